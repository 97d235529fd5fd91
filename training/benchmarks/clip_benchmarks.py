"""PartiPrompts (Yu et al., 2022) and COCO-5k: CLIP score, and for COCO the FID to real pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from ragturbo_runtime.files import hash_file
from training.benchmarks.fid_features import CLIP_FID, INCEPTION_FID, Inception
from training.benchmarks.model_folders import hash_folder
from training.benchmarks.open_clip_model import OpenClip, clip_scores
from training.benchmarks.pictures import PictureSet, in_batches, list_pictures
from training.benchmarks.prompts import Prompt, first_prompts, read_coco_prompts, read_parti_prompts
from training.benchmarks.scores import BOOTSTRAP, RowScores, grouped, score_document, write_json
from training.benchmarks.sources import Options, picture_rows, rows_protocol
from training.evaluation.fidelity import frechet_distance
from training.evaluation.scores import Counts

CLIP_SCORE = "open_clip, mean cosine of prompt and picture; no factor, no clipping, no prefix"


class Embedder(Protocol):
    """Sees pictures."""

    def embed_pictures(self, pictures: Sequence[Image]) -> Tensor:
        """Embed RGB pictures: (N, E) float32 on the CPU."""


def run_parti(options: Options, *, prompts: Path, clip: Path) -> dict[str, Any]:
    """Draw and score PartiPrompts, by category and challenge too; writes ``parti.json``.

    Args:
        options: What all benchmarks share.
        prompts: PartiPrompts.tsv.
        clip: Folder of the CLIP.

    Returns:
        The document.

    Raises:
        FileNotFoundError: The model or pictures are missing.
        ValueError: A file cannot be used, or kept pictures are of another bundle, seed or prompt.
        RagTurboError: The bundle cannot be used.
    """
    listed = first_prompts(read_parti_prompts(prompts), options.count)
    tower = OpenClip(clip, device=options.device, batch=options.batch)
    rows = picture_rows(options, listed)
    texts = tower.embed_prompts([one.text for one in listed])
    scores = {}
    for row in rows:
        values = clip_scores(texts, _embed(tower, _files(row, listed), options.batch, row.name))
        scores[row.name] = RowScores(Counts(values, np.ones_like(values)), grouped(listed, values))
    protocol = _protocol(prompts, listed, clip, rows)
    return _written(options.out / "parti.json", "PartiPrompts", protocol, scores)


def run_coco(
    options: Options, *, prompts: Path, clip: Path, pictures_real: Path | None, inception: Path | None
) -> dict[str, Any]:
    """Draw and score a list of captions; writes ``coco.json``.

    Args:
        options: What all benchmarks share.
        prompts: One caption a line, ``id----caption`` or the caption alone.
        clip: Folder of the CLIP.
        pictures_real: Folder of real pictures for FID; None: CLIP score alone.
        inception: torch-fidelity's Inception weights; None: FID with the CLIP's picture embeddings.

    Returns:
        The document.

    Raises:
        FileNotFoundError: A model or pictures are missing.
        ValueError: A file cannot be used, or kept pictures are of another bundle, seed or prompt.
        RagTurboError: The bundle cannot be used.
    """
    if inception is not None and pictures_real is None:
        raise ValueError("--inception without --pictures-real: FID needs real pictures to compare with")
    listed = first_prompts(read_coco_prompts(prompts), options.count)
    real_files = None if pictures_real is None else list_pictures(pictures_real)
    if real_files is not None and len(listed) < 2:
        raise ValueError("FID needs at least 2 prompts; take more with --count")
    tower = OpenClip(clip, device=options.device, batch=options.batch)
    net = None if inception is None else Inception(inception, device=options.device)
    rows = picture_rows(options, listed)
    texts = tower.embed_prompts([one.text for one in listed])
    real = None if real_files is None else _embed(net or tower, real_files, options.batch, "real pictures")
    scores = {}
    for row in rows:
        files = _files(row, listed)
        embedded = _embed(tower, files, options.batch, row.name)
        values = clip_scores(texts, embedded)
        numbers = {}
        if real is not None:
            seen = embedded if net is None else _embed(net, files, options.batch, f"{row.name}, Inception")
            numbers["fid"] = frechet_distance(seen, real) * (100 if net is None else 1)
        scores[row.name] = RowScores(Counts(values, np.ones_like(values)), numbers=numbers)
    protocol = _protocol(prompts, listed, clip, rows) | _fid_protocol(real, net, inception)
    return _written(options.out / "coco.json", "COCO", protocol, scores)


def _files(row: PictureSet, prompts: Sequence[Prompt]) -> list[Path]:
    return [row.files[one.id] for one in prompts]


def _embed(embedder: Embedder, files: Sequence[Path], batch: int, title: str) -> Tensor:
    from tqdm import tqdm

    parts = []
    with tqdm(total=len(files), desc=f"features, {title}", unit="picture") as bar:
        for pictures in in_batches(files, batch):
            parts.append(embedder.embed_pictures(pictures))
            bar.update(len(pictures))
    return torch.cat(parts)


def _protocol(
    file: Path, prompts: Sequence[Prompt], clip: Path, rows: Sequence[PictureSet]
) -> dict[str, Any]:
    return {
        "prompts": len(prompts), "prompts_sha256": hash_file(file), "clip": CLIP_SCORE,
        "clip_model": {"folder": clip.name, "sha256": hash_folder(clip)}, **rows_protocol(rows),
        "intervals": BOOTSTRAP,
    }  # fmt: skip


def _fid_protocol(real: Tensor | None, net: Inception | None, inception: Path | None) -> dict[str, Any]:
    if real is None:
        return {}
    protocol: dict[str, Any] = {
        "fid": CLIP_FID if net is None else INCEPTION_FID, "real_pictures": len(real),
        "fid_interval": "none: FID of a resampled set is larger than that of the set",
    }  # fmt: skip
    return protocol if inception is None else protocol | {"inception_sha256": hash_file(inception)}


def _written(
    path: Path, benchmark: str, protocol: dict[str, Any], scores: dict[str, RowScores]
) -> dict[str, Any]:
    document = {"benchmark": benchmark, "protocol": protocol, **score_document("clip", scores)}
    write_json(path, document)
    return document
