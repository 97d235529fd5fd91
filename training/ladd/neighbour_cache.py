"""Keeps the neighbours that a run found, for its resumption and for the processes beside it.

A file is named by the hash of all that neighbours depend on: what lies under a name is what would be found again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.atomic import save_atomically
from training.ladd.neighbours import Neighbours

if TYPE_CHECKING:
    from ragturbo_runtime.retriever import Calibration
    from training.ladd.library import TrainingLibrary
    from training.ladd.masking import Masker
    from training.ladd.pairs import Pairs

FORMAT_VERSION = 1
"""Of the file, and of the rule that neighbours are found by: another rule is another version."""


def neighbours_key(
    text_encoder: str,
    library: TrainingLibrary,
    pairs: Pairs,
    masker: Masker,
    lent: Sequence[str],
    *,
    candidates: int,
    near_duplicate: float,
) -> str:
    """Hash everything that neighbours depend on.

    Args:
        text_encoder: SHA-256 of its weights: the keys of queries.
        library: Captions, keys and latents.
        pairs: Prompts and latents.
        masker: Finds names.
        lent: Names of lent things.
        candidates: As `find_neighbours`.
        near_duplicate: As there.

    Returns:
        A SHA-256, hex. Reading the latents of a million pairs for it takes a minute or two.
    """
    settings = [FORMAT_VERSION, text_encoder, candidates, near_duplicate, library.lent, masker.digest, *lent]
    whole = hashlib.sha256(json.dumps(settings).encode())
    for texts in (library.captions, pairs.prompts):
        whole.update(json.dumps(texts).encode())
    for tensor in (library.keys, library.latents, pairs.latents):
        whole.update(json.dumps(list(tensor.shape)).encode())
        for part in torch.split(tensor, 4096):
            whole.update(part.contiguous().numpy().tobytes())
    return whole.hexdigest()


def kept_neighbours(
    folder: Path, key: str, calibration: Calibration, find: Callable[[], Neighbours]
) -> Neighbours:
    """Read the neighbours that were found before, or find and keep them.

    Args:
        folder: Where they are kept; made if it is missing.
        key: From `neighbours_key`.
        calibration: Measured anew in every run; neighbours do not depend on it.
        find: Finds them.

    Raises:
        ValueError: A kept file is damaged.
        OSError: The disk is full.
    """
    path = folder / f"{key[:32]}.safetensors"
    if path.exists():
        tensors = _read(path)
        return Neighbours(tensors["rows"], tensors["cosines"], tensors["prompt_keys"], calibration)
    found = find()
    tensors = {"rows": found.rows, "cosines": found.cosines, "prompt_keys": found.prompt_keys}
    save_atomically(path, lambda beside: save_file(tensors, beside, metadata={"sha256": _digest(tensors)}))
    return found


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get("sha256")
        if written != _digest(tensors):
            raise ValueError("its SHA-256 is another one than was written")
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: no neighbours ({error}); delete it, and they are found anew") from error
    return tensors


def _digest(tensors: dict[str, Tensor]) -> str:
    whole = hashlib.sha256()
    for name in ("rows", "cosines", "prompt_keys"):
        whole.update(json.dumps([name, list(tensors[name].shape)]).encode())
        whole.update(tensors[name].contiguous().numpy().tobytes())
    return whole.hexdigest()
