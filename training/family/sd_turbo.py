"""SD-Turbo's shapes: what a folder of its weights holds, and a small family of the same structure.

Sources: the configs that stabilityai/sd-turbo published (U-Net and autoencoder of Stable Diffusion 2.1-base), and
open_clip's ViT-H-14, whose text tower Stable Diffusion 2 was trained with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.family.text_tower import CONTEXT_LENGTH

SCHEDULER: dict[str, Any] = {
    "_class_name": "EulerDiscreteScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "timestep_spacing": "trailing",
    "timestep_type": "discrete",
    "interpolation_type": "linear",
    "use_karras_sigmas": False,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
"""SD-Turbo's scheduler_config.json: one step starts at t = 999."""


@dataclass(frozen=True)
class BaseShapes:
    """The configs of a base of SD-Turbo's structure."""

    name: str
    resolution: int
    """Side of a picture in pixels; the autoencoder makes it an eighth, the U-Net's bottleneck a 64th."""
    unet: dict[str, Any]
    """Arguments of diffusers' UNet2DConditionModel."""
    vae: dict[str, Any]
    """Arguments of diffusers' AutoencoderKL."""
    clip: dict[str, Any]
    """open_clip's ``model_cfg``."""


def _shapes(
    name: str,
    *,
    resolution: int,
    channels: tuple[int, int, int, int],
    heads: tuple[int, int, int, int],
    vae_channels: tuple[int, int, int, int],
    vae_groups: int,
    clip: dict[str, Any],
) -> BaseShapes:
    unet = {
        "sample_size": resolution // 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": channels,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "layers_per_block": 2,
        "cross_attention_dim": clip["text_cfg"]["width"],
        "attention_head_dim": heads,  # diffusers takes the number of heads under this name (its issue 2011)
        "use_linear_projection": True,
    }
    vae = {
        "sample_size": resolution,
        "block_out_channels": vae_channels,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "norm_num_groups": vae_groups,
        "scaling_factor": 0.18215,
    }
    return BaseShapes(name, resolution, unet, vae, clip)


def _clip(embed_dim: int, heads: int, layers: int, vision: dict[str, int]) -> dict[str, Any]:
    text = {"context_length": CONTEXT_LENGTH, "vocab_size": 49408, "width": embed_dim}
    return {
        "embed_dim": embed_dim,
        "vision_cfg": vision,
        "text_cfg": {**text, "heads": heads, "layers": layers},
    }


SD_TURBO = _shapes(
    "sd-turbo",
    resolution=512,
    channels=(320, 640, 1280, 1280),
    heads=(5, 10, 20, 20),
    vae_channels=(128, 256, 512, 512),
    vae_groups=32,
    clip=_clip(
        1024,
        heads=16,
        layers=24,
        vision={"image_size": 224, "layers": 32, "width": 1280, "head_width": 80, "patch_size": 14},
    ),
)
"""The real thing: U-Net of 865,910,724 parameters, 64x64x4 latents, h-space 1280x8x8, ViT-H-14."""

SD_TURBO_SMALL = _shapes(
    "sd-turbo-small",
    resolution=128,
    channels=(32, 32, 64, 64),
    heads=(1, 1, 2, 2),
    vae_channels=(8, 8, 16, 16),
    vae_groups=8,
    clip=_clip(
        32,
        heads=2,
        layers=3,
        vision={"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    ),
)
"""The same blocks with few channels, 16x16x4 latents, h-space 64x2x2: for tests."""

SIZES = {shapes.name: shapes for shapes in (SD_TURBO, SD_TURBO_SMALL)}
