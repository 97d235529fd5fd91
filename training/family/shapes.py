"""The exact shapes of a family's networks: configs for diffusers and open_clip, made from the family's config."""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel

from training.family.config import FamilyConfig, TeacherConfig, TextConfig, VaeConfig
from training.family.text_tower import CONTEXT_LENGTH

SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,
}
"""The families trained here: Stable Diffusion's betas with zero terminal SNR, so that one step starts from pure noise
(Lin et al. 2024, "Common Diffusion Noise Schedules and Sample Steps are Flawed")."""


def new_vae(config: VaeConfig, resolution: int) -> AutoencoderKL:
    """A picture autoencoder with fresh weights.

    Args:
        config: Its channels.
        resolution: Side of the pictures in pixels, divisible by 2 ** (levels - 1).

    Returns:
        Pictures (B, 3, resolution, resolution) in [-1, 1] to latents (B, latent_channels, h, h) and back, with
        h = resolution / 2 ** (levels - 1); its scaling factor is 1.

    Raises:
        ValueError: GroupNorm cannot divide the channels: the smaller of 8 and the first number must divide them all.
    """
    levels = len(config.block_out_channels)
    return AutoencoderKL(
        block_out_channels=config.block_out_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=config.latent_channels,
        norm_num_groups=min(8, config.block_out_channels[0]),
        sample_size=resolution,
        # Stated, though it is set after training: diffusers reads no value back that it took for a default when the
        # model was made.
        scaling_factor=1.0,
    )


def new_unet(config: FamilyConfig) -> UNet2DConditionModel:
    """A U-Net with fresh weights, built as Stable Diffusion's.

    Attention everywhere but at the finest of several resolutions. A single resolution (8x8 latents) attends throughout.

    Args:
        config: Of the whole family: the latents' shape and the width of the conditioning count too.

    Returns:
        sample (B, c, h, h), timestep (B,) and conditioning (B, L, text.width) to an output (B, c, h, h), where
        c = vae.latent_channels and h is the side of the latents.

    Raises:
        ValueError: GroupNorm cannot divide the channels: each number must be a multiple of 32.
    """
    shape: TeacherConfig = config.teacher
    plain = min(1, len(shape.block_out_channels) - 1)
    attending = len(shape.block_out_channels) - plain
    return UNet2DConditionModel(
        sample_size=config.resolution // 2 ** (len(config.vae.block_out_channels) - 1),
        in_channels=config.vae.latent_channels,
        out_channels=config.vae.latent_channels,
        block_out_channels=shape.block_out_channels,
        down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",) * attending,
        up_block_types=("CrossAttnUpBlock2D",) * attending + ("UpBlock2D",) * plain,
        layers_per_block=1,
        cross_attention_dim=config.text.width,
        # diffusers takes the number of heads under this name (its issue 2011)
        attention_head_dim=tuple(width // shape.attention_head_dim for width in shape.block_out_channels),
        use_linear_projection=True,
        norm_num_groups=32,
    )


def clip_config(config: TextConfig, resolution: int) -> dict[str, Any]:
    """open_clip's ``model_cfg`` of the towers.

    Args:
        config: Their shapes.
        resolution: Side of the pictures in pixels; the image tower reads (resolution / patch_size) ** 2 patches.

    Returns:
        Keys ``embed_dim``, ``vision_cfg`` and ``text_cfg``, for `text_tower.new_text_tower`.
    """
    return {
        "embed_dim": config.embed_dim,
        "vision_cfg": {
            "image_size": resolution,
            "patch_size": config.patch_size,
            "width": config.width,
            "head_width": config.width // config.heads,
            "layers": config.layers,
        },
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": 49408,  # open_clip's byte-pair vocabulary
            "width": config.width,
            "heads": config.heads,
            "layers": config.layers,
        },
    }
