"""`UNet2DConditionModel.forward` in two halves, so that h-space can be read and changed in between.

``h`` is the mid-block's *output*, as in Asyrp (Kwon et al., 2023) and ImageRAGTurbo: 1280x8x8 for SD-2.1 at
512 pixels. The skip connections are left alone. ``decode(unet, *encode(unet, x, t, c), t, c)`` does the same
operations in the same order as ``unet(x, t, c)``, and so gives the same bits.

diffusers has no such split: its ``mid_block_additional_residual`` is applied only beside a ControlNet's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

# Settings under which `forward` does more than the two halves below; SD-1, SD-2, SD-Turbo leave them unset.
_UNSUPPORTED = (
    "addition_embed_type",
    "class_embed_type",
    "encoder_hid_dim_type",
    "num_class_embeds",
    "time_cond_proj_dim",
    "time_embedding_act_fn",
)


def check_splittable(unet: UNet2DConditionModel) -> None:
    """Refuse a U-Net whose `forward` the two halves would not reproduce.

    Args:
        unet: Any `UNet2DConditionModel`.

    Raises:
        ValueError: The config holds a class, added-text or added-time embedding, centres its input, or has no
            mid-block.
    """
    for name in _UNSUPPORTED:
        value = getattr(unet.config, name, None)
        if value is not None:
            raise ValueError(
                f"unet config has {name}={value!r}; the split handles U-Nets that are conditioned by "
                "cross-attention alone (SD-1.x, SD-2.x, SD-Turbo): leave it out of the config"
            )
    if getattr(unet.config, "center_input_sample", False):
        raise ValueError("unet config has center_input_sample=True; the split handles only False")
    if unet.mid_block is None:
        raise ValueError("unet has no mid-block, so no h-space; set mid_block_type=UNetMidBlock2DCrossAttn")


def latent_shape(unet: UNet2DConditionModel) -> tuple[int, int, int]:
    """(c, h, w) of what a U-Net draws."""
    side = int(unet.config["sample_size"])
    return int(unet.config["in_channels"]), side, side


def bottleneck_side(unet: UNet2DConditionModel) -> int:
    """Cells along a side of h."""
    halvings = len(unet.config["block_out_channels"]) - 1
    return int(unet.config["sample_size"]) >> halvings


def encode(
    unet: UNet2DConditionModel, sample: Tensor, timestep: Tensor | int, encoder_hidden_states: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run the time embedding, the down blocks and the mid-block.

    Args:
        unet: A U-Net that passes `check_splittable`.
        sample: (B, c, h, w) noisy latents, float.
        timestep: Training timestep in [0, N): a number, or int64 of shape () or (B,).
        encoder_hidden_states: (B, L, D) prompt embeddings, float.

    Returns:
        h (B, C, h/f, w/f), the mid-block's output, and the skips in the order in which they were made.
    """
    before, skips = encode_down(unet, sample, timestep, encoder_hidden_states)
    return apply_mid(unet, before, timestep, encoder_hidden_states), skips


def encode_down(
    unet: UNet2DConditionModel, sample: Tensor, timestep: Tensor | int, encoder_hidden_states: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run the time embedding and the down blocks alone; arguments as `encode`.

    Returns:
        The mid-block's input (B, C, h/f, w/f), and the skips.
    """
    emb = _time_embedding(unet, sample, timestep)
    sample = unet.conv_in(sample)
    skips: tuple[Tensor, ...] = (sample,)
    for block in unet.down_blocks:
        sample, made = block(hidden_states=sample, temb=emb, **_condition(block, encoder_hidden_states))
        skips += made
    return sample, skips


def apply_mid(
    unet: UNet2DConditionModel, before: Tensor, timestep: Tensor | int, encoder_hidden_states: Tensor
) -> Tensor:
    """Run the mid-block: its input (B, C, h/f, w/f), from `encode_down` or changed since, to h."""
    emb = _time_embedding(unet, before, timestep)
    h: Tensor = unet.mid_block(before, emb, **_condition(unet.mid_block, encoder_hidden_states))
    return h


def decode(
    unet: UNet2DConditionModel,
    h: Tensor,
    skips: tuple[Tensor, ...],
    timestep: Tensor | int,
    encoder_hidden_states: Tensor,
) -> Tensor:
    """Run the up blocks and the output convolution.

    Args:
        unet: The U-Net that `encode` was called with (LoRA on its up blocks may differ).
        h: (B, C, h/f, w/f) bottleneck features, from `encode` or changed since.
        skips: The skips that `encode` returned, unchanged and in the same order.
        timestep: The timestep that `encode` was called with.
        encoder_hidden_states: (B, L, D) prompt embeddings, float.

    Returns:
        (B, c, h, w) model output: noise or velocity, as the family's prediction type says.
    """
    height, width = skips[0].shape[-2:]
    factor = 2**unet.num_upsamplers
    # As in forward(): the target size is spelled out only if the upsampling factor does not divide the size.
    is_odd = height % factor != 0 or width % factor != 0
    emb = _time_embedding(unet, h, timestep)
    sample = h
    for block in unet.up_blocks:
        count = len(cast("nn.ModuleList", block.resnets))
        used, skips = skips[-count:], skips[:-count]
        size = skips[-1].shape[2:] if is_odd and skips else None
        sample = block(
            hidden_states=sample,
            temb=emb,
            res_hidden_states_tuple=used,
            upsample_size=size,
            **_condition(block, encoder_hidden_states),
        )
    if unet.conv_norm_out:
        sample = unet.conv_act(unet.conv_norm_out(sample))
    out: Tensor = unet.conv_out(sample)
    return out


def _time_embedding(unet: UNet2DConditionModel, sample: Tensor, timestep: Tensor | int) -> Tensor:
    emb: Tensor = unet.time_embedding(unet.get_time_embed(sample=sample, timestep=timestep))
    return emb


def _condition(block: nn.Module, encoder_hidden_states: Tensor) -> dict[str, Tensor]:
    """Blocks without attention take no prompt."""
    has_attention = getattr(block, "has_cross_attention", False)
    return {"encoder_hidden_states": encoder_hidden_states} if has_attention else {}
