"""LoRA on the U-Net's decoder (Hu et al., 2022), through PEFT.

Every layer of the up blocks takes part: attention, feed-forward, projections, time projections, and the
convolutions of resnets and upsamplers. Attention alone would not do: the first up block of SD-2.1, the direct
consumer of the edited h, has none. Encoder and mid-block stay the base's: cached reference features outlive
any retraining.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

# Attention and its projections; feed-forward; resnets; upsamplers. 10.07 M parameters for SD-2.1 at rank 16.
TARGETS = (
    r"up_blocks\..*\.(to_q|to_k|to_v|to_out\.0|proj_in|proj_out|net\.0\.proj|net\.2"
    r"|conv1|conv2|conv_shortcut|time_emb_proj|upsamplers\.0\.conv)"
)
_NAME = "default"  # PEFT's name of the one set of weights that a U-Net of ours carries


def add_lora(unet: UNet2DConditionModel, *, rank: int = 16, alpha: float = 16.0) -> None:
    """Wrap the layers of the up blocks. A starts random, B at zero: the output does not change by a bit.

    Afterwards only the LoRA weights require gradients; they are float32 even where the U-Net is not.

    Args:
        unet: A U-Net without LoRA; changed in place.
        rank: r >= 1.
        alpha: Scale: B @ A counts alpha / r times.

    Raises:
        ValueError: The rank is below 1, or the U-Net carries LoRA already.
    """
    if rank < 1:
        raise ValueError(f"LoRA rank is {rank}; it must be at least 1")
    if has_lora(unet):
        raise ValueError("the U-Net carries LoRA already; call fuse_and_strip first")
    # PEFT annotates alpha as int; any number works, and the file format here says float.
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=TARGETS), adapter_name=_NAME)  # type: ignore[arg-type]
    for parameter in lora_parameters(
        unet
    ):  # PEFT gives it the dtype of the layer, and bfloat16 loses small updates
        parameter.data = parameter.data.float()


def has_lora(unet: nn.Module) -> bool:
    """Whether any layer is wrapped by PEFT."""
    return any(isinstance(module, BaseTunerLayer) for module in unet.modules())


def lora_parameters(unet: nn.Module) -> list[nn.Parameter]:
    """The LoRA weights, for an optimiser, in a fixed order."""
    return [parameter for name, parameter in unet.named_parameters() if ".lora_" in name]


def lora_state(unet: nn.Module) -> dict[str, Tensor]:
    """Copy the LoRA weights out.

    Args:
        unet: A U-Net that went through `add_lora`.

    Returns:
        ``up_blocks.0.resnets.0.conv1.lora_A.weight`` and so on -> tensors on the CPU, in their own dtype.

    Raises:
        ValueError: The U-Net carries no LoRA.
    """
    named = named_lora(unet)
    return {name: parameter.detach().cpu().clone().contiguous() for name, parameter in named.items()}


def load_lora(unet: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy LoRA weights in.

    Args:
        unet: A U-Net that went through `add_lora` with the rank of `state`; changed in place.
        state: What `lora_state` returned.

    Raises:
        ValueError: A layer is missing, unknown, or of another shape (another base, or another rank).
    """
    named = named_lora(unet)
    missing, unknown = sorted(named.keys() - state.keys()), sorted(state.keys() - named.keys())
    if missing or unknown:
        raise ValueError(
            f"LoRA weights do not fit this U-Net: {len(missing)} layers missing (first: {missing[:1]}), "
            f"{len(unknown)} unknown (first: {unknown[:1]}); use the base that they were trained on"
        )
    for name, parameter in named.items():
        if parameter.shape != state[name].shape:
            raise ValueError(
                f"LoRA weight {name} has shape {tuple(state[name].shape)}, this U-Net expects "
                f"{tuple(parameter.shape)}; use the rank and the base that it was trained with"
            )
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(state[name])


def set_lora_enabled(unet: UNet2DConditionModel, *, enabled: bool) -> None:
    """Switch LoRA on, or off (then the U-Net is the base again).

    Args:
        unet: A U-Net that went through `add_lora`; changed in place.
        enabled: Whether the LoRA weights count.
    """
    if enabled:
        unet.enable_lora()  # type: ignore[no-untyped-call]
    else:
        unet.disable_lora()  # type: ignore[no-untyped-call]


def fuse_and_strip(unet: UNet2DConditionModel) -> None:
    """Add alpha / r * B @ A to the base weights and remove PEFT's wrappers.

    Exporters and TensorRT's refit fail on wrapped names (``base_layer``); so afterwards every name and class
    is plain again, as if the U-Net had been trained that way.

    Args:
        unet: A U-Net that went through `add_lora`; changed in place.

    Raises:
        ValueError: The U-Net carries no LoRA.
        RuntimeError: PEFT left a wrapper behind.
    """
    named_lora(unet)  # refuses a U-Net without LoRA
    with torch.no_grad():
        unet.fuse_lora(safe_fusing=True)  # type: ignore[no-untyped-call]
    unet.unload_lora()  # type: ignore[no-untyped-call]
    wrapped = [name for name, _ in unet.named_parameters() if "lora_" in name or "base_layer" in name]
    if wrapped or has_lora(unet):
        raise RuntimeError(f"PEFT left wrappers behind after fusing, for example at {wrapped[:1]}")


def named_lora(unet: nn.Module) -> dict[str, nn.Parameter]:
    """The LoRA weights by the names that `lora_state` gives them.

    Raises:
        ValueError: The U-Net carries no LoRA.
    """
    named = {
        name.replace(f".{_NAME}.", "."): parameter
        for name, parameter in unet.named_parameters()
        if ".lora_" in name
    }
    if not named:
        raise ValueError("the U-Net carries no LoRA; call add_lora first")
    return named
