"""The table of graphs: what each is called, takes and gives, and how near to torch it must come.

Names, order, dtypes and shapes are the bundle's public interface. Dimensions given as words are dynamic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from export.attention import OneOperator
from export.image_wrapper import ImageEncoderGraph, Normalise, WholeImageTower
from export.models import Models, unet_shapes
from export.text_wrapper import TextEncoderGraph
from export.wrappers import AdapterGraph, UNetDecoderGraph, UNetEncoderGraph, VaeEncoderGraph
from ragturbo_runtime.manifest import Dim, TensorSpec
from ragturbo_runtime.sampler import Schedule
from training.family.widen import without_twins
from training.models.split_unet import encode

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

OPSET = 18
CONTEXT_LENGTH = 77
MAX_REFERENCES = 16
DYNAMIC: Mapping[str, tuple[int, int]] = {
    "batch": (1, 64),
    "length": (2, CONTEXT_LENGTH),  # the shortest text is start and end
    "references": (1, MAX_REFERENCES),
}
"""Dynamic dimensions and their ranges."""

TRACED_SIZES: Mapping[str, int] = {"batch": 3, "length": 12, "references": 2}
"""A batch of 1 would be traced as a constant. All three differ, so that none is taken for another."""
COMPARED_SIZES: tuple[Mapping[str, int], ...] = (
    {"batch": 1, "length": CONTEXT_LENGTH, "references": 4},
    {"batch": 2, "length": 9, "references": 1},
)
"""Sizes at which a graph is compared with torch: batch 1 and 2, none of them the traced ones."""

TOLERANCE = 1e-4
VAE_TOLERANCE = 3e-4
"""Largest difference from torch, as a share of the output's largest value (which counts as 1 at least)."""

_PROMPTS = (
    "a cat left of two pizzas on a blue background",
    "a big dog at the beach",
    "three small cherries and a hat in the snow",
    "a guitar",
)


@dataclass(frozen=True)
class GraphSpec:
    """One graph of the bundle.

    Attributes:
        name: As in the manifest; the file is ``<name>/model.onnx``.
        module: What is traced; takes the inputs in order.
        reference: What it must equal; takes the same inputs, and may be another way to compute it.
        inputs: Names, dtypes, shapes.
        outputs: Names, dtypes, shapes.
        atol: Allowed difference, as a share of the output's largest value.
        example: Sizes of the dynamic dimensions, and a seed -> inputs such as the chain makes.
        chain_batches: Whether `export.chain` runs the graph in ONNX Runtime with several pictures at once, and nothing
            but the batch is dynamic.
    """

    name: str
    module: nn.Module
    reference: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    atol: float
    example: Callable[[Mapping[str, int], int], tuple[Tensor, ...]]
    chain_batches: bool = False
    _known: dict[tuple[object, ...], list[Tensor]] = field(default_factory=dict, repr=False, compare=False)

    def expected(self, sizes: Mapping[str, int], seed: int) -> list[Tensor]:
        """Return what the reference makes of an example.

        It is computed once, also for specs that `dataclasses.replace` made of this one: a picture through
        SD-Turbo's autoencoder takes two cores ten seconds, and a flavour asks for it up to three times.

        Args:
            sizes: Of the dynamic dimensions.
            seed: Of the example.

        Returns:
            The outputs in order, float32.
        """
        known = self._key(sizes, seed)
        if known not in self._known:
            with torch.inference_mode():
                self.remember(sizes, seed, self.reference(*self.example(sizes, seed)))
        return self._known[known]

    def remember(self, sizes: Mapping[str, int], seed: int, outputs: Tensor | tuple[Tensor, ...]) -> None:
        """Keep what the reference made of an example, for whoever asks `expected` next."""
        self._known[self._key(sizes, seed)] = [outputs] if isinstance(outputs, Tensor) else list(outputs)

    def _key(self, sizes: Mapping[str, int], seed: int) -> tuple[object, ...]:
        """Sizes that no input has change nothing."""
        own = {dim for tensor in self.inputs for dim in tensor.shape if isinstance(dim, str)}
        return (seed, *sorted((name, size) for name, size in sizes.items() if name in own))


def graph_specs(models: Models) -> list[GraphSpec]:
    """List the graphs of a family, in the order in which the chain runs them; the VAE's encoder comes last.

    Args:
        models: The loaded models.

    Returns:
        Six graphs, or seven with the image tower.
    """
    family, examples = models.family, _Examples(models)
    c, height, width = models.latent_shape
    h, skips = unet_shapes(family)
    latents = _f32("sample", "batch", c, height, width)
    pixels = _f32("sample", "batch", 3, family.resolution, family.resolution)
    condition = (
        _i64("timestep", "batch"),
        _f32("encoder_hidden_states", "batch", CONTEXT_LENGTH, family.text.width),
    )
    channels, tokens = models.metadata.channels, models.metadata.tokens
    bottleneck = (
        _f32("h", "batch", *h),
        *(_f32(f"skip_{i}", "batch", *shape) for i, shape in enumerate(skips)),
    )

    def spec(
        name: str, module: nn.Module, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...],
        atol: float = TOLERANCE, reference: nn.Module | None = None,
    ) -> GraphSpec:  # fmt: skip
        example, batches = getattr(examples, name), name in ("unet_encoder", "unet_decoder", "vae_decoder")
        return GraphSpec(name, module, reference or module, inputs, outputs, atol, example, batches)

    specs = [
        spec(
            "text_encoder",
            TextEncoderGraph(family.text),
            (_i64("input_ids", "batch", "length"), _i64("eos_index", "batch")),
            (
                _f32("last_hidden_state", "batch", "length", family.text.width),
                _f32("text_embeds", "batch", family.text.embed_dim),
            ),
            reference=family.text,
        ),
        spec("unet_encoder", UNetEncoderGraph(family.unet), (latents, *condition), bottleneck),
        spec(
            "adapter",
            AdapterGraph(models.adapter),
            (
                _f32("h", "batch", *h),
                TensorSpec("reference_h", models.feature_codec, ("batch", "references", tokens, channels)),
                _f32("reference_scale", channels),
                _f32("reference_weight", "batch", "references"),
                _f32("strength", "batch"),
            ),
            (_f32("fused_h", "batch", *h),),
        ),
        spec(
            "unet_decoder",
            UNetDecoderGraph(family.unet),
            (*bottleneck, *condition),
            (_f32("out_sample", *latents.shape),),
        ),
        spec(
            "vae_decoder",
            models.vae_decoder,
            (_f32("latent_sample", *latents.shape),),
            (pixels,),
            VAE_TOLERANCE,
        ),
        spec(
            "vae_encoder",
            VaeEncoderGraph(_narrow_encoder(family.vae)),
            (pixels,),
            (_f32("latent_sample", *latents.shape),),
            VAE_TOLERANCE,
            VaeEncoderGraph(family.vae),
        ),
    ]
    if models.image_encoder:
        normalise = Normalise(family.path / "text_encoder")
        graph = ImageEncoderGraph(family.text, normalise)
        specs.append(
            spec(
                "image_encoder",
                graph,
                (_f32("pixels", "batch", 3, graph.side, graph.side),),
                (_f32("image_embeds", "batch", family.text.embed_dim),),
                reference=WholeImageTower(family.text, normalise),
            )
        )
    return specs


def _narrow_encoder(vae: AutoencoderKL) -> AutoencoderKL:
    """The encoder of an autoencoder that was widened for its decoder's sake need not ship at its width."""
    narrow: AutoencoderKL = without_twins(vae)
    narrow.set_attn_processor(OneOperator())  # type: ignore[arg-type]  # diffusers lists its own classes
    return narrow


class _Examples:
    """Inputs as the chain makes them, one method per graph: random numbers would miss the real ranges."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._schedule = Schedule.from_manifest(models.family.scheduler)
        self._encoded: dict[tuple[int, int], tuple[Tensor, ...]] = {}

    def text_encoder(self, sizes: Mapping[str, int], seed: int) -> tuple[Tensor, ...]:
        """Captions, cut to the length."""
        ids, eos = self._tokens(sizes["batch"], seed)
        length = sizes["length"]
        return ids[:, :length].contiguous(), eos.clamp(max=length - 1)

    def unet_encoder(self, sizes: Mapping[str, int], seed: int) -> tuple[Tensor, ...]:
        """Pure noise at the first timestep, and less noisy latents at the timestep of the references."""
        batch = sizes["batch"]
        generator = torch.Generator().manual_seed(seed)
        sample = torch.randn(batch, *self._models.latent_shape, generator=generator)
        first = self._schedule.timesteps(1)[0]
        timestep = torch.tensor(
            [first if i % 2 == 0 else self._models.metadata.reference_timestep for i in range(batch)]
        )
        ids, eos = self._tokens(batch, seed)
        with torch.no_grad():
            prompt_embeds, _ = self._models.family.text(ids, eos)
        return sample, timestep, prompt_embeds

    def adapter(self, sizes: Mapping[str, int], seed: int) -> tuple[Tensor, ...]:
        """The encoder's h, and stored features of a like spread."""
        h, generator = self._hidden(sizes, seed)[0], torch.Generator().manual_seed(seed)
        batch, references, metadata = sizes["batch"], sizes["references"], self._models.metadata
        shape = (batch, references, metadata.tokens, metadata.channels)
        scale = h.abs().amax(dim=(0, 2, 3)).clamp(min=1e-3) / 127
        reference_h = (40 * torch.randn(shape, generator=generator)).round().clamp(-127, 127)
        if self._models.feature_codec == "int8":
            reference_h = reference_h.to(torch.int8)
        else:  # float16 holds the values themselves
            reference_h, scale = (reference_h * scale).half(), torch.ones_like(scale)
        weight = torch.rand(batch, references, generator=generator)
        return h, reference_h, scale, weight, torch.linspace(1.0, 0.5, batch)

    def unet_decoder(self, sizes: Mapping[str, int], seed: int) -> tuple[Tensor, ...]:
        """What the encoder gives, and what it was given."""
        _, timestep, prompt_embeds = self.unet_encoder(sizes, seed)
        return *self._hidden(sizes, seed), timestep, prompt_embeds

    def vae_decoder(self, sizes: Mapping[str, int], seed: int) -> tuple[Tensor, ...]:
        """Latents of unit spread, as scaled latents are."""
        generator = torch.Generator().manual_seed(seed)
        return (torch.randn(sizes["batch"], *self._models.latent_shape, generator=generator),)

    def vae_encoder(self, sizes: Mapping[str, int], seed: int) -> tuple[Tensor, ...]:
        """Smooth pictures, within [-1, 1]."""
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.randn(sizes["batch"], 3, 8, 8, generator=generator)
        side = self._models.family.resolution
        return (nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(-1, 1),)

    def image_encoder(self, sizes: Mapping[str, int], seed: int) -> tuple[Tensor, ...]:
        """The same, of the side that the image tower reads."""
        (pictures,) = self.vae_encoder(sizes, seed)
        side = int(self._models.family.text.clip.visual.image_size[0])
        return (nn.functional.interpolate(pictures, size=(side, side), mode="bilinear"),)

    def _tokens(self, batch: int, seed: int) -> tuple[Tensor, Tensor]:
        return self._models.family.text.tokenize([_PROMPTS[(i + seed) % len(_PROMPTS)] for i in range(batch)])

    def _hidden(self, sizes: Mapping[str, int], seed: int) -> tuple[Tensor, ...]:
        asked = (sizes["batch"], seed)
        if asked not in self._encoded:
            with torch.no_grad():
                h, skips = encode(self._models.family.unet, *self.unet_encoder(sizes, seed))
            self._encoded[asked] = (h, *skips)
        return self._encoded[asked]


def _f32(name: str, *shape: Dim) -> TensorSpec:
    return TensorSpec(name, "float32", shape)


def _i64(name: str, *shape: Dim) -> TensorSpec:
    return TensorSpec(name, "int64", shape)
