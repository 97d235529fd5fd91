"""The graphs of a plain pipeline, with the signatures that optimum-onnx's `ORTDiffusionPipeline` runs.

Unlike a bundle's, its U-Net is one graph and its timestep a scalar; and diffusers, not the graphs, scales the
latents. Tensors are float32 unless stated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from export.graphs import CONTEXT_LENGTH, TOLERANCE, VAE_TOLERANCE, GraphSpec, graph_specs
from export.models import Models
from export.text_wrapper import TextEncoderGraph
from ragturbo_runtime.manifest import TensorSpec

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from training.family.text_tower import TextTower

Sizes = Mapping[str, int]


class ConditioningGraph(nn.Module):
    """Token ids to the U-Net's conditioning alone: the last layer, which only a retrieval key needs, is left out."""

    def __init__(self, tower: TextTower) -> None:
        """Take the tower's parts."""
        super().__init__()
        self.encoder = TextEncoderGraph(tower)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> last_hidden_state (B, L, D): the last but one layer, after the final norm."""
        normed: Tensor = self.encoder.ln_final(self.encoder.hidden(input_ids))
        return normed


class TowerConditioning(nn.Module):
    """The same by open_clip's own layers, to compare with."""

    def __init__(self, tower: TextTower) -> None:
        """Keep the tower."""
        super().__init__()
        self.tower = tower

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> last_hidden_state (B, L, D)."""
        conditioning: Tensor = self.tower(input_ids, input_ids.argmax(dim=1))[0]
        return conditioning


class UNetGraph(nn.Module):
    """The whole U-Net, at one timestep for all of the batch."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        """Keep the U-Net, LoRA fused."""
        super().__init__()
        self.unet = unet

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """(B, c, h, w), () float32, (B, 77, D) -> out_sample (B, c, h, w)."""
        out: Tensor = self.unet(sample, timestep, encoder_hidden_states, return_dict=False)[0]
        return out


class UnscaledDecoder(nn.Module):
    """Latents as the VAE has them to pixels: by the family's decoder, or by a tiny one that reads scaled latents."""

    def __init__(self, decoder: nn.Module, scaling_factor: float) -> None:
        """Keep a decoder of scaled latents, and their scale."""
        super().__init__()
        self.decoder, self.scaling_factor = decoder, scaling_factor

    def forward(self, latent_sample: Tensor) -> Tensor:
        """(B, c, h, w) -> sample (B, 3, H, W), about [-1, 1]."""
        decoded: Tensor = self.decoder(latent_sample * self.scaling_factor)
        return decoded


class PosteriorEncoder(nn.Module):
    """Pixels to mean and log variance, of which diffusers takes a sample or the mode."""

    def __init__(self, vae: AutoencoderKL) -> None:
        """Keep the autoencoder."""
        super().__init__()
        self.vae = vae

    def forward(self, sample: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> latent_parameters (B, 2 c, h, w), not scaled."""
        parameters: Tensor = self.vae.encode(sample, return_dict=False)[0].parameters
        return parameters


@dataclass(frozen=True)
class _Inputs:
    """A bundle's example inputs, changed to what a pipeline's graph takes."""

    example: Callable[[Sizes, int], tuple[Tensor, ...]]
    change: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]

    def __call__(self, sizes: Sizes, seed: int) -> tuple[Tensor, ...]:
        return self.change(self.example(sizes, seed))


def pipeline_specs(models: Models) -> list[GraphSpec]:
    """List the graphs of a plain pipeline.

    Args:
        models: The loaded models; what injects references takes no part.

    Returns:
        text_encoder, unet, vae_decoder, vae_encoder.
    """
    family, bundled = models.family, {spec.name: spec for spec in graph_specs(models)}
    scale = float(family.vae.config["scaling_factor"])
    width, (c, height, side) = family.text.width, models.latent_shape
    latents, pixels = ("batch", c, height, side), ("batch", 3, family.resolution, family.resolution)

    def spec(
        name: str, module: nn.Module, like: str, change: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]],
        inputs: tuple[TensorSpec, ...], output: TensorSpec, atol: float, reference: nn.Module | None = None,
    ) -> GraphSpec:  # fmt: skip
        example = _Inputs(bundled[like].example, change)
        return GraphSpec(name, module, reference or module, inputs, (output,), atol, example)

    return [
        spec(
            "text_encoder",
            ConditioningGraph(family.text),
            "text_encoder",
            lambda inputs: inputs[:1],
            (TensorSpec("input_ids", "int64", ("batch", "length")),),
            _f32("last_hidden_state", "batch", "length", width),
            TOLERANCE,
            TowerConditioning(family.text),
        ),
        spec(
            "unet",
            UNetGraph(family.unet),
            "unet_encoder",
            lambda inputs: (inputs[0], inputs[1][0].float(), inputs[2]),
            (
                _f32("sample", *latents),
                _f32("timestep"),
                _f32("encoder_hidden_states", "batch", CONTEXT_LENGTH, width),
            ),
            _f32("out_sample", *latents),
            TOLERANCE,
        ),
        spec(
            "vae_decoder",
            UnscaledDecoder(models.vae_decoder, scale),
            "vae_decoder",
            lambda inputs: (inputs[0] / scale,),
            (_f32("latent_sample", *latents),),
            _f32("sample", *pixels),
            VAE_TOLERANCE,
        ),
        spec(
            "vae_encoder",
            PosteriorEncoder(family.vae),
            "vae_encoder",
            lambda inputs: inputs,
            (_f32("sample", *pixels),),
            _f32("latent_parameters", "batch", 2 * c, height, side),
            VAE_TOLERANCE,
        ),
    ]


def _f32(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name, "float32", shape)
