"""The least that a picture could take: the arithmetic over the matrix peak, or the bytes over the bandwidth.

Arithmetic is counted by torch on the meta device: shapes alone, no weights. A convolution behind a doubled picture
counts 4 of 9 products, which is what it takes (`export.upsampling`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from export.text_wrapper import TextEncoderGraph
from export.wrappers import AdapterGraph, UNetDecoderGraph, UNetEncoderGraph, VaeDecoderGraph
from ragturbo_runtime.manifest import Manifest, TensorSpec
from training.family.folder import read_json
from training.family.text_tower import CONFIG_FILE, new_text_only_tower
from training.models.adapter import HSpaceAdapter
from training.models.slerp import SlerpAdapter

if TYPE_CHECKING:
    from export.benchmark.peaks import Peaks

HALVED = 5 / 9
"""Of a 3x3 convolution behind a doubling: what computing it at the smaller size saves."""


@dataclass(frozen=True)
class Work:
    """What one graph has to do for one picture.

    Attributes:
        flops: A multiply and an add are two.
        bytes: Of its weights, its inputs and its outputs, each once.
    """

    flops: int
    bytes: int

    def floor_ms(self, peaks: Peaks) -> float:
        """The larger of the two times, in milliseconds."""
        return 1e3 * max(self.flops / peaks.flops_per_s, self.bytes / peaks.bytes_per_s)


def count_work(base: Path, manifest: Manifest, heads: int | None, itemsize: int) -> dict[str, Work]:
    """Count the work of the graphs of one picture with retrieval.

    Args:
        base: The family's folder; its configs alone are read.
        manifest: The bundle's: shapes of inputs, and how many references there are by default.
        heads: Of the adapter's attention; None where references are injected by slerp.
        itemsize: Bytes of a float that is computed with.

    Returns:
        By graph, in the order of the chain.
    """
    with torch.no_grad(), torch.device("meta"):
        graphs = _modules(base, manifest, heads)
        return {name: _count(name, module, manifest, itemsize) for name, module in graphs.items()}


def _modules(base: Path, manifest: Manifest, heads: int | None) -> dict[str, nn.Module]:
    unet, vae = (
        kind.from_config(read_json(base / part / "config.json")).eval()
        for kind, part in ((UNet2DConditionModel, "unet"), (AutoencoderKL, "vae"))
    )
    for model in (unet, vae):
        model.set_attn_processor(AttnProcessor())  # written out: the counter knows every product
    tower = new_text_only_tower(read_json(base / "text_encoder" / CONFIG_FILE)["model_cfg"])
    channels = manifest.adapter.channels
    adapter = SlerpAdapter() if heads is None else HSpaceAdapter(channels, num_attention_heads=heads)
    return {
        "text_encoder": TextEncoderGraph(tower),
        "unet_encoder": UNetEncoderGraph(unet),
        "adapter": AdapterGraph(adapter.eval()),
        "unet_decoder": UNetDecoderGraph(unet),
        "vae_decoder": VaeDecoderGraph(vae),
    }


def _count(name: str, module: nn.Module, manifest: Manifest, itemsize: int) -> Work:
    inputs = [_input(spec, manifest) for spec in manifest.graphs[name].inputs]
    used: dict[str, int] = {}
    with _noting(module, used, itemsize), FlopCounterMode(display=False) as counter:
        outputs = module(*inputs)
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    moved = sum(_bytes(tensor, itemsize) for tensor in (*inputs, *outputs))
    return Work(counter.get_total_flops() - used.pop("", 0), sum(used.values()) + moved)


@contextmanager
def _noting(module: nn.Module, used: dict[str, int], itemsize: int) -> Iterator[None]:
    """Note the bytes of every part that runs, and under "" the FLOPs that the doublings save.

    Half a U-Net's module holds the whole one: only what runs is read.
    """

    def note(name: str) -> Any:  # noqa: ANN401 - a hook of torch
        def hook(part: nn.Module, _: Any, output: Any) -> None:  # noqa: ANN401
            if not isinstance(part, nn.Embedding):  # of a table, 77 rows are read
                used[name] = sum(_bytes(weight, itemsize) for weight in part.parameters(recurse=False))
            if isinstance(part, Upsample2D) and isinstance(part.conv, nn.Conv2d):
                conv = part.conv
                products = output.numel() * conv.in_channels * conv.weight[0, 0].numel()
                used[""] = used.get("", 0) + round(2 * products * HALVED)

        return hook

    hooks = [part.register_forward_hook(note(name)) for name, part in module.named_modules() if name]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _input(spec: TensorSpec, manifest: Manifest) -> Tensor:
    sizes: Mapping[str, int] = {
        "batch": 1,
        "length": manifest.text.context_length,
        "references": max(1, manifest.adapter.default_references),
    }
    shape = [sizes[size] if isinstance(size, str) else size for size in spec.shape]
    dtype = {"float16": torch.float32}.get(spec.dtype, getattr(torch, spec.dtype))
    return torch.zeros(shape, dtype=dtype)


def _bytes(tensor: Tensor, itemsize: int) -> int:
    return tensor.numel() * (itemsize if tensor.is_floating_point() else tensor.element_size())
