"""One training step without numbers: shapes alone, in PyTorch's fake tensors, to know memory and FLOPs beforehand.

The trainer, the student and the judge are the real ones; only their tensors hold nothing. So a step of any batch is
measured on a machine that could not hold one, in a minute.
"""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

from training.models.split_unet import bottleneck_side, latent_shape

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from training.family.folder import Family
    from training.ladd.batches import Batch, Batcher
    from training.ladd.config import LaddConfig
    from training.ladd.library import ReferenceFeatures
    from training.ladd.setup import Parts


PEAK_STEP = 1.01
"""A peak is exact to this factor."""


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of all tensors that are alive, and keeps the most; a number that is asked for is 1.

    Fake tensors lie in reference cycles where real ones do not: before a new peak counts, the garbage is collected.
    What kernels need for themselves (convolution workspaces, an allocator's gaps) is not in it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = self._collected_at = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def restart(self) -> int:
        """Forget the peak; returns the bytes that are alive."""
        gc.collect()
        self.peak = self._collected_at = self.live
        return self.live

    def __torch_dispatch__(  # PyTorch's protocol
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
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
        weakref.finalize(storage, self._forget, size)
        if self.live > PEAK_STEP * self._collected_at:
            self._collected_at = self.live
            gc.collect()
        self.peak = max(self.peak, self.live)

    def _forget(self, size: int) -> None:
        self.live -= size


def _shapes_of(path: Path) -> tuple[Family, UNet2DConditionModel]:
    """A family and its teacher without weights; the configs in its folder are enough."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from training.family.folder import Family, read_json, read_settings
    from training.family.text_tower import CONFIG_FILE, new_text_only_tower

    def made(kind: Any, part: str) -> Any:  # noqa: ANN401 - a diffusers class
        return kind.from_config(read_json(path / part / "config.json")).eval().requires_grad_(False)

    settings = read_settings(path)
    text = new_text_only_tower(read_json(path / "text_encoder" / CONFIG_FILE)["model_cfg"])
    family = Family(
        path=path,
        name=settings["name"],
        resolution=settings["resolution"],
        vae=made(AutoencoderKL, "vae"),
        unet=made(UNet2DConditionModel, "unet"),
        text=text.requires_grad_(False),
        scheduler=read_json(path / "scheduler" / "scheduler_config.json"),
        settings=settings,
    )
    return family, made(UNet2DConditionModel, "teacher")


def _give_tensors(module: nn.Module) -> None:
    """Put tensors of the current mode where there are shapes alone (the meta device)."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            empty = torch.empty_like(parameter, device="cpu")
            setattr(part, name, nn.Parameter(empty, requires_grad=parameter.requires_grad))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, torch.empty_like(buffer, device="cpu"))


@dataclass(frozen=True)
class _OneBatch:
    """Deals one batch for ever."""

    batch: Batch

    def training(self, step: int, size: int) -> Batch:
        return self.batch


@dataclass(frozen=True)
class _Features:
    """Reads the references of that batch."""

    tokens: Tensor

    def read(self, rows: Tensor, changed: dict[tuple[int, int], str]) -> Tensor:
        return self.tokens


@dataclass(frozen=True)
class DryStep:
    """What a step takes."""

    flops: int
    weights_bytes: int
    """Frozen and trained weights, the running mean, one batch; before the first step."""
    resident_bytes: int
    """With gradients and optimiser states too: what lies there between two steps."""
    peak_bytes: int
    """The most during a step."""


def dry_step(config: LaddConfig, path: Path) -> DryStep:
    """Take two training steps without numbers; the second one counts, because it finds the optimisers' states.

    Args:
        config: The run's config; the networks run under bfloat16 autocast unless its [run] says "off".
        path: The family's folder; no weight is read.

    Raises:
        FileNotFoundError: The family lacks a config.
    """
    from training.ladd.trainer import Trainer
    from training.parallel import Processes

    parts = _parts_of_shapes(config, path)  # outside of the mode: PyTorch cannot move modules of fake tensors
    gc.collect()
    gc.freeze()  # so that collecting garbage takes a moment
    with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as memory:
        parts = _with_tensors(config, parts)
        with TemporaryDirectory() as folder:
            trainer = Trainer(config, parts, Path(folder), processes=Processes("cpu"), retrieves=True)
            weights = memory.restart()
            trainer.train_step(0)
            resident = memory.restart()
            with FlopCounterMode(display=False) as counter:
                trainer.train_step(1)
    gc.unfreeze()
    return DryStep(counter.get_total_flops(), weights, resident, memory.peak)


def _parts_of_shapes(config: LaddConfig, path: Path) -> Parts:
    """A run's networks on the meta device, without batches and features."""
    from training.ladd.diffusion import Diffusion
    from training.ladd.discriminator import DiscriminatorHeads, tapped_channels
    from training.ladd.frozen import prepare
    from training.ladd.library import TrainingLibrary
    from training.ladd.setup import Parts, new_student
    from training.ladd.step import Judge

    if config.losses.perceptual_network == "vgg":
        raise ValueError(
            '--dry knows no VGG16 ([losses] perceptual_network = "vgg"); measure a real step instead'
        )
    with torch.device("meta"):
        family, teacher = _shapes_of(path)
        for unet in (family.unet, teacher):
            prepare(unet, config.run)
        student = new_student(config, family, retrieves=True)
        heads = DiscriminatorHeads(tapped_channels(teacher), width=config.losses.head_width)
    student.diffusion = Diffusion(family.scheduler)
    bf16 = config.run.bf16 != "off"
    judge = Judge(teacher, heads, student.diffusion, config.losses, bf16=bf16)
    library = TrainingLibrary((), torch.zeros(0), torch.zeros(0))
    nothing = cast("Batcher", None)
    return Parts(family, {}, library, None, nothing, nothing, None, student, heads, judge, bf16)


def _with_tensors(config: LaddConfig, parts: Parts) -> Parts:
    """Fill the networks, and deal one batch for ever."""
    student, family = parts.student, parts.family
    for module in (family.vae, family.text, student.unet, student.adapter, parts.judge.teacher, parts.heads):
        if module is not None:
            _give_tensors(module)
    dealt = cast("Batcher", _OneBatch(_batch_of(config, family)))
    features = cast("ReferenceFeatures", _Features(_tokens_of(config, family)))
    return replace(parts, features=features, training=dealt, held_out=dealt)


def _batch_of(config: LaddConfig, family: Family) -> Batch:
    from training.ladd.batches import Batch

    size, references = config.optimiser.batch, config.retrieval.references
    latents = torch.zeros(size, *latent_shape(family.unet))
    prompts = tuple(f"a picture of thing number {number}" for number in range(size))
    rows, weights = torch.zeros(size, references, dtype=torch.int64), torch.ones(size, references)
    return Batch(prompts, prompts, latents, latents.clone(), rows, weights, {}, tuple(range(size)))


def _tokens_of(config: LaddConfig, family: Family) -> Tensor:
    """(B, K, T, C) float32."""
    retrieval, channels = config.retrieval, int(family.unet.config.block_out_channels[-1])
    side = bottleneck_side(family.unet) // retrieval.reference_pool
    return torch.zeros(config.optimiser.batch, retrieval.references, side**2, channels)
