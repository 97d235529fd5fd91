"""Bundle, base, checkpoint and optimum's folder: the same weights, or nothing is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from export.benchmark.device import Device
from export.benchmark.errors import BenchError, one_line
from export.pipeline_writer import MARKER
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.files import hash_file
from ragturbo_runtime.manifest import REQUIRED_GRAPHS, Manifest
from training.family.folder import family_hashes, read_json
from training.models.checkpoint import CheckpointError, load_adapter

CHECKPOINT_FILE = "adapter.safetensors"


@dataclass(frozen=True)
class Inputs:
    """What is measured, checked.

    Attributes:
        bundle: Its folder.
        manifest: What it says.
        base: The family's folder.
        checkpoint: The adapter file that the bundle was made from; None where it was made from the base alone.
        heads: Of its adapter's attention; None without one.
        flavour: Of the bundle's graphs.
    """

    bundle: Path
    manifest: Manifest
    base: Path
    checkpoint: Path | None
    heads: int | None
    flavour: str

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one picture's noise."""
        latents = self.manifest.latents
        return latents.channels, latents.height, latents.width

    @property
    def is_rounded(self) -> bool:
        """Whether weights are int8, so that its pictures cannot be those of the baselines to the last bits."""
        return "int8" in self.flavour

    @property
    def key(self) -> str:
        """Of its entry in docs/performance.json: the family, and the flavour where a device has a plainer one."""
        name = self.manifest.family.name
        return f"{name}, {self.flavour}" if self.is_rounded else name


def check_inputs(bundle: Path, base: Path, checkpoint: Path | None, device: Device) -> Inputs:
    """Read what the options name, and refuse what would not be a comparison.

    Args:
        bundle: Folder of the bundle.
        base: Folder of the family.
        checkpoint: ``--ckpt``, or None.
        device: Where it is to run.

    Raises:
        BenchError: No library, other weights, or graphs for another device.
        RagTurboError: The bundle cannot be read.
    """
    manifest = Bundle.load(bundle).manifest
    if manifest.library is None or manifest.adapter.default_references == 0:
        raise BenchError(
            f"{bundle}: it looks nothing up; export a bundle with a library (leave out --library none)"
        )
    if "vae_decoder" in manifest.family.hashes:
        raise BenchError(
            f"{bundle}: another autoencoder decodes there (--vae), which the baselines do not have"
        )
    _same(bundle, manifest.family.hashes, base, _hashes_of(base))
    flavour = _flavour(bundle, manifest, device)
    checkpoint = _checkpoint(bundle, manifest, base, checkpoint)
    return Inputs(bundle, manifest, base, checkpoint, _heads(checkpoint), flavour)


def check_optimum(folder: Path, inputs: Inputs) -> None:
    """Refuse a pipeline that was made from other weights; one that does not say is judged by its pictures.

    Raises:
        BenchError: It was, or it is no pipeline.
    """
    if not (folder / "model_index.json").exists():
        raise BenchError(
            f"{folder}: no model_index.json; write the folder with python -m export.onnx --layout optimum"
        )
    if (folder / MARKER).exists():
        family = read_json(folder / MARKER).get("family", {})
        _same(folder, family.get("hashes", {}), inputs.bundle, inputs.manifest.family.hashes)


def _same(first: Path, hashes: Mapping[str, str], second: Path, others: Mapping[str, str]) -> None:
    parts = [part for part in others if hashes.get(part) != others[part]]
    if parts:
        raise BenchError(f"{first} and {second} are of different weights ({', '.join(parts)}); give a pair")


def _hashes_of(base: Path) -> dict[str, str]:
    try:
        return family_hashes(base)
    except (OSError, ValueError, KeyError) as error:
        raise BenchError(f"{base}: not a whole base family ({one_line(error)})") from error


def _flavour(bundle: Path, manifest: Manifest, device: Device) -> str:
    flavours = sorted({manifest.graphs[name].flavour for name in REQUIRED_GRAPHS})
    if any(flavour.startswith("cuda") != device.is_cuda for flavour in flavours):
        wanted = "cuda-fp16" if device.is_cuda else "portable"
        raise BenchError(
            f"{bundle}: graphs are {', '.join(flavours)}, and on {device.name} the rows compute as {wanted} does; "
            f"export it with --flavour {wanted}, or choose another --device"
        )
    return ", ".join(flavours)


def _checkpoint(bundle: Path, manifest: Manifest, base: Path, asked: Path | None) -> Path | None:
    """Find the file whose LoRA the bundle's U-Net holds."""
    wanted = manifest.family.hashes.get("adapter")
    if wanted is None:
        if asked is not None:
            raise BenchError(f"{bundle}: made from the base alone, without an adapter; leave --ckpt out")
        return None
    found = asked or base / CHECKPOINT_FILE
    if not found.exists():
        raise BenchError(f"{found}: not there; give the adapter that the bundle was made from with --ckpt")
    if hash_file(found) != wanted:
        raise BenchError(f"{found}: not the adapter that {bundle} was made from; give that one with --ckpt")
    return found


def _heads(checkpoint: Path | None) -> int | None:
    if checkpoint is None:
        return None
    try:
        return load_adapter(checkpoint).metadata.num_attention_heads
    except CheckpointError as error:
        raise BenchError(str(error)) from error
