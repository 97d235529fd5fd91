"""One training step without numbers: shapes alone, in PyTorch's fake tensors, to know memory and FLOPs beforehand.

The trainer, the student and the judge are the real ones; only their tensors hold nothing. So a step of any batch is
measured on a machine that could not hold one, in a minute.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from training.family.folder import Family
    from training.ladd.batches import Batch
    from training.ladd.config import LaddConfig
    from training.ladd.setup import Parts


class LiveBytes(TorchDispatchMode):
    """Adds up the bytes of all tensors that are alive, and keeps the most; a number that is asked for is 1.

    What kernels need for themselves (convolution workspaces, an allocator's gaps) is not in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - PyTorch's protocol
        """Run one operation and look at what it made."""
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1.0
        made = func(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, Tensor):
                self._watch(tensor.untyped_storage())
        return made

    def _watch(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self.live -= size


def shapes_of(path: Path) -> tuple[Family, UNet2DConditionModel]:
    """Make a family and its teacher without reading a weight; call it inside a `FakeTensorMode`.

    Args:
        path: The family's folder; its configs are enough.

    Raises:
        FileNotFoundError: A config is missing.
    """
    import json

    from diffusers import AutoencoderKL, UNet2DConditionModel

    from training.family.folder import SETTINGS_FILE, Family, read_json
    from training.family.text_tower import CONFIG_FILE, new_text_only_tower

    settings = read_json(path / SETTINGS_FILE)
    model_cfg = json.loads((path / "text_encoder" / CONFIG_FILE).read_text(encoding="utf-8"))["model_cfg"]

    def made(kind: Any, part: str) -> Any:  # noqa: ANN401 - a diffusers class
        return kind.from_config(read_json(path / part / "config.json")).eval().requires_grad_(False)

    family = Family(
        path=path,
        name=settings["name"],
        resolution=settings["resolution"],
        vae=made(AutoencoderKL, "vae"),
        unet=made(UNet2DConditionModel, "unet"),
        text=new_text_only_tower(model_cfg).requires_grad_(False),
        scheduler=read_json(path / "scheduler" / "scheduler_config.json"),
        settings=settings,
    )
    return family, made(UNet2DConditionModel, "teacher")


@dataclass(frozen=True)
class _OneBatch:
    """Deals one batch for ever."""

    batch: Batch

    def training(self, step: int, size: int) -> Batch:
        return self.batch


@dataclass(frozen=True)
class _Features:
    """Reads the references of that batch."""

    make: Callable[[], Tensor]

    def read(self, rows: Tensor, changed: dict[tuple[int, int], str]) -> Tensor:
        return self.make()


def dry_parts(config: LaddConfig, family: Family, teacher: UNet2DConditionModel, *, bf16: bool) -> Parts:
    """Put a run together whose batches are always the same; call it inside a `FakeTensorMode`.

    Args:
        config: The run's config.
        family: From `shapes_of`.
        teacher: From `shapes_of`.
        bf16: Run the networks under bfloat16 autocast.
    """
    from training.ladd.batches import Batch, Batcher
    from training.ladd.discriminator import DiscriminatorHeads, tapped_channels
    from training.ladd.library import ReferenceFeatures, TrainingLibrary
    from training.ladd.setup import Parts, new_student
    from training.ladd.step import Judge

    size, references = config.optimiser.batch, config.retrieval.references
    unet = family.unet.config
    latents = torch.zeros(size, int(unet.in_channels), int(unet.sample_size), int(unet.sample_size))
    channels = int(unet.block_out_channels[-1])
    side = int(unet.sample_size) // 2 ** (len(unet.block_out_channels) - 1) // config.retrieval.reference_pool
    prompts = tuple(f"a picture of thing number {number}" for number in range(size))
    rows, weights = torch.zeros(size, references, dtype=torch.int64), torch.ones(size, references)
    batch = Batch(prompts, prompts, latents, latents.clone(), rows, weights, {})
    dealt = cast("Batcher", _OneBatch(batch))
    features = _Features(lambda: torch.zeros(size, references, side * side, channels))
    student = new_student(config, family, retrieves=True)
    heads = DiscriminatorHeads(tapped_channels(teacher), width=config.losses.head_width)
    judge = Judge(teacher, heads, student.diffusion, config.losses, bf16=bf16)
    library = TrainingLibrary((), latents[:0], latents.new_zeros(0, 1))
    read = cast("ReferenceFeatures", features)
    return Parts(family, {}, library, read, dealt, dealt, None, student, heads, judge, bf16)
