"""``adapter.safetensors``: adapter, LoRA, and all that an exporter must know about them, in one file.

Tensors are named ``adapter.*`` and ``lora.*``; the safetensors metadata holds one JSON object under
``ragturbo``. The file carries its own SHA-256 over that object and every tensor, because safetensors has no
checksum and a flipped bit in a weight is silent otherwise. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from training.atomic import save_atomically
from training.models.adapter import HSpaceAdapter

FORMAT = 1
_KEY = "ragturbo"


class CheckpointError(ValueError):
    """An adapter file is missing, damaged, or made for something else.

    Attributes:
        path: The file.
    """

    def __init__(self, message: str, *, path: Path) -> None:
        """Put the path before the message."""
        super().__init__(f"{path}: {message}")
        self.path = path


@dataclass(frozen=True)
class AdapterMetadata:
    """What an adapter was trained for.

    Attributes:
        family: Name of the base family, such as "emoji".
        base_hashes: SHA-256 of the base's safetensors files, unet, text_encoder and vae, and of its configs (files
            from before those were hashed lack that key).
        rank: LoRA rank; 0 = no LoRA.
        alpha: LoRA scale (B @ A counts alpha / rank times).
        channels: C of the U-Net's bottleneck.
        num_attention_heads: Heads of the adapter's attentions.
        norm_num_groups: Groups of its GroupNorm.
        tokens: T, reference tokens per picture.
        reference_pool: Side of the square of h-space cells whose mean is one token; 1 keeps every cell.
        references: How many references it was trained with, and the default number at run time.
        similarity_low: Cosine at which lambda is 0.
        similarity_high: Cosine at which lambda is 1.
        reference_timestep: Timestep in [0, N) at which the reference features were taken.
        reference_caption: "caption" or "empty": which prompt the reference features were taken with.
        trained_timesteps: Timesteps that the student was trained at, such as (999,).
        step: Optimiser steps taken.
        retrieval: Whether references were used in training (False: the LoRA-only control).
        feature_codec: How reference features were stored in training: "int8" or "float32".
        token_layout: Order of the tokens; "row-major" is the only one.
    """

    family: str
    base_hashes: dict[str, str]
    rank: int
    alpha: float
    channels: int
    num_attention_heads: int
    tokens: int
    norm_num_groups: int = 32
    references: int = 4
    similarity_low: float = 0.0
    similarity_high: float = 1.0
    reference_timestep: int = 0
    reference_caption: str = "caption"
    reference_pool: int = 1
    trained_timesteps: tuple[int, ...] = (999,)
    step: int = 0
    retrieval: bool = True
    feature_codec: str = "int8"
    token_layout: str = "row-major"

    def __post_init__(self) -> None:
        """Check the values that other code relies on."""
        allowed = {
            "reference_caption": ("caption", "empty"),
            "feature_codec": ("int8", "float32"),
            "token_layout": ("row-major",),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(values)}")
        if self.reference_pool < 1:
            raise ValueError(f"reference_pool={self.reference_pool} is below 1")
        if not self.similarity_low < self.similarity_high:
            raise ValueError(f"similarity_low={self.similarity_low} is not below {self.similarity_high=}")


@dataclass(frozen=True)
class AdapterCheckpoint:
    """An adapter file, read and verified.

    Attributes:
        path: Where it was read from.
        metadata: What it was trained for.
        adapter_state: State dict of `HSpaceAdapter`; empty in a LoRA-only control.
        lora_state: As `lora.lora_state` returns it; empty without LoRA.
    """

    path: Path
    metadata: AdapterMetadata
    adapter_state: dict[str, Tensor]
    lora_state: dict[str, Tensor]

    def build_adapter(self) -> HSpaceAdapter:
        """Make the adapter that the file holds.

        Returns:
            The adapter in evaluation mode, float32, requiring no gradients.

        Raises:
            CheckpointError: The file holds no adapter, or its weights do not fit its metadata.
        """
        if not self.adapter_state:
            raise CheckpointError(
                "it holds no adapter (a LoRA-only control); use adapter.safetensors", path=self.path
            )
        metadata = self.metadata
        adapter = HSpaceAdapter(
            metadata.channels,
            num_attention_heads=metadata.num_attention_heads,
            norm_num_groups=metadata.norm_num_groups,
        )
        try:
            adapter.load_state_dict(self.adapter_state)
        except RuntimeError as error:
            raise CheckpointError(f"its weights do not fit its metadata: {error}", path=self.path) from error
        return adapter.eval().requires_grad_(False)

    def check_base(self, hashes: Mapping[str, str]) -> None:
        """Refuse a base other than the one that the adapter was trained on.

        Args:
            hashes: SHA-256 of the base's files, as `training.family.folder.family_hashes` returns them; keys that
                the checkpoint does not know are left alone.

        Raises:
            CheckpointError: A hash differs; the message names both.
        """
        for name, expected in self.metadata.base_hashes.items():
            if hashes.get(name) != expected:
                raise CheckpointError(
                    f"it was trained on another base: {name} has sha256 {hashes.get(name)}, the checkpoint "
                    f"expects {expected} (family {self.metadata.family!r}); give the folder of that base",
                    path=self.path,
                )


def save_adapter(
    path: str | os.PathLike[str],
    adapter: HSpaceAdapter | None,
    lora_state: Mapping[str, Tensor],
    metadata: AdapterMetadata,
) -> Path:
    """Write adapter and LoRA as one safetensors file, atomically.

    Args:
        path: File to write; its folder is made. An existing file is replaced.
        adapter: The trained adapter; None for a LoRA-only control.
        lora_state: From `lora.lora_state`; may be empty.
        metadata: What it was trained for.

    Returns:
        The path.

    Raises:
        CheckpointError: The file cannot be written.
    """
    path = Path(path)
    tensors = {f"lora.{name}": tensor for name, tensor in lora_state.items()}
    if adapter is not None:
        tensors |= {f"adapter.{name}": tensor for name, tensor in adapter.state_dict().items()}
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    record = json.loads(json.dumps({"format": FORMAT, **asdict(metadata)}))  # tuples become lists
    record["sha256"] = _digest(record, tensors)
    # One key only: safetensors writes several in an order that differs from run to run.
    content = save(tensors, metadata={_KEY: json.dumps(record, sort_keys=True)})
    try:
        save_atomically(path, lambda beside: beside.write_bytes(content))
    except OSError as error:
        raise CheckpointError(
            f"cannot be written: {error}; choose a writable folder with room", path=path
        ) from error
    return path


def load_adapter(path: str | os.PathLike[str]) -> AdapterCheckpoint:
    """Read an adapter file and verify every byte of it.

    Args:
        path: A file that `save_adapter` wrote.

    Returns:
        Metadata and weights, on the CPU.

    Raises:
        CheckpointError: The file is missing, truncated, changed since it was written, of another format, or
            not ours.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError("there is no such file; train one with python -m training.ladd", path=path)
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"is not a readable safetensors file ({error}); copy it again", path=path
        ) from error
    if _KEY not in header:
        raise CheckpointError("has no 'ragturbo' metadata: it is not an adapter of ragturbo", path=path)
    record = _json_object(header[_KEY])
    if record.pop("sha256", None) != _digest(record, tensors):
        raise CheckpointError(
            "its content does not match its own SHA-256: it is damaged; copy it again", path=path
        )
    return AdapterCheckpoint(
        path=path,
        metadata=_parse(record, path),
        adapter_state=_part("adapter.", tensors),
        lora_state=_part("lora.", tensors),
    )


def _part(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _json_object(text: str) -> dict[str, Any]:
    """An object, or an empty one (which no SHA-256 matches) if the text is damaged."""
    try:
        record = json.loads(text)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _parse(record: dict[str, Any], path: Path) -> AdapterMetadata:
    found = record.pop("format", None)
    if found != FORMAT:
        raise CheckpointError(f"has format {found!r}; this version reads format {FORMAT}", path=path)
    known = {field.name for field in fields(AdapterMetadata)}
    needed = {field.name for field in fields(AdapterMetadata) if field.default is MISSING}
    # A field that came later has a default that says what files did before it.
    if not needed <= record.keys() <= known:
        raise CheckpointError(
            f"its metadata lacks {sorted(needed - record.keys())} and has unknown "
            f"{sorted(record.keys() - known)}; it was written by another version of ragturbo",
            path=path,
        )
    try:
        record["trained_timesteps"] = tuple(record["trained_timesteps"])
        return AdapterMetadata(**record)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"its metadata is not usable: {error}", path=path) from error


def _digest(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the metadata and, in order of name, every tensor's name, dtype, shape and bytes."""
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
