"""LPIPS with VGG16 on decoded pictures: the `lpips` package's network and its calibrated layers, the user's weights.

The package downloads VGG16 when it is made; here its weights are a file: torchvision's state dict of `vgg16`, as .pth
or .safetensors. The linear layers (version 0.1) come with the package.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from training.ladd.losses import unit_channels

if TYPE_CHECKING:
    from diffusers import AutoencoderKL
    from lpips import LPIPS

WAY_OUT = "give torchvision's vgg16 state dict (.pth or .safetensors), or set [losses] perceptual_network"
SMALLEST_SIDE = 16
"""Pixels: VGG16 halves a picture four times."""


class VggDistance(nn.Module):
    """LPIPS (Zhang et al., 2018, equation 1) of the pictures that latents stand for.

    Args:
        weights: VGG16's state dict.
        vae: The family's autoencoder, frozen; gradients pass through its decoder.

    Raises:
        FileNotFoundError: The file is not there.
        ValueError: It cannot be read, or is not VGG16's.
    """

    def __init__(self, weights: Path, vae: AutoencoderKL) -> None:
        super().__init__()
        self.network = new_lpips(weights).to(next(vae.parameters()).device)
        self._vae = [vae]  # no part of this module: it is the family's

    def forward(self, latents: Tensor, target: Tensor) -> Tensor:
        """Compare latents by the pictures that they stand for.

        Args:
            latents: (B, c, h, w) float32, scaled.
            target: The same shape; no gradient goes into it.

        Returns:
            A scalar float32, 0 or more: the mean over the batch.

        Raises:
            ValueError: The pictures are too small for VGG16.
        """
        with torch.no_grad():
            wanted = self._look(self._decode(target))
        seen = self._look(self._decode(latents))
        layers = [
            lin((unit_channels(one) - unit_channels(other)).square()).mean()
            for lin, one, other in zip(self.network.lins, seen, wanted, strict=True)
        ]
        return torch.stack(layers).sum()

    def _decode(self, latents: Tensor) -> Tensor:
        (vae,) = self._vae
        pixels = cast("Tensor", vae.decode(latents / float(vae.config.scaling_factor)).sample)
        if min(pixels.shape[2:]) < SMALLEST_SIDE:
            raise ValueError(
                f"pictures of {pixels.shape[3]} x {pixels.shape[2]} are too small for VGG16 (at least "
                f'{SMALLEST_SIDE}); set [losses] perceptual_network to "teacher"'
            )
        return pixels

    def _look(self, pixels: Tensor) -> list[Tensor]:
        return list(self.network.net(self.network.scaling_layer(pixels)))


def new_lpips(weights: Path) -> LPIPS:
    """Make the package's LPIPS with its own linear layers and VGG16 weights from a file; frozen, float32.

    Raises:
        FileNotFoundError: The file is not there.
        ValueError: It cannot be read, or is not VGG16's.
    """
    import lpips

    state = _read(weights)
    with warnings.catch_warnings(), torch.device("meta"):  # no 550 MB of random weights that are thrown away
        warnings.simplefilter("ignore", UserWarning)  # torchvision's, of an option that the package uses
        network = lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False)
    network.to_empty(device="cpu")
    network.scaling_layer = lpips.ScalingLayer()  # its constants were lost with the rest
    _fill(network.net, state, weights)
    linear = Path(lpips.__file__).parent / "weights" / "v0.1" / "vgg.pth"
    network.load_state_dict(torch.load(linear, map_location="cpu", weights_only=True), strict=False)
    for parameter in network.lins.parameters():
        parameter.data.clamp_(min=0)  # a negative one would reward differences
    frozen: LPIPS = network.eval().requires_grad_(False)
    return frozen


def _read(weights: Path) -> dict[str, Tensor]:
    if not weights.is_file():
        raise FileNotFoundError(f"[losses] perceptual_weights: {weights} is not there; {WAY_OUT}")
    try:
        if weights.suffix == ".safetensors":
            return load_file(weights)
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything from EOFError to its own pickle errors
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ValueError(f"{weights}: cannot be read ({reason}); {WAY_OUT}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{weights}: holds no state dict; {WAY_OUT}")
    return state


def _fill(net: nn.Module, state: dict[str, Tensor], weights: Path) -> None:
    """Copy `features.N.*` into the slices that hold layer N."""
    for name, parameter in net.named_parameters():
        key = f"features.{name.partition('.')[2]}"
        value = state.get(key)
        if not isinstance(value, Tensor) or value.shape != parameter.shape:
            found = tuple(value.shape) if isinstance(value, Tensor) else "nothing"
            raise ValueError(f"{weights}: {key} is {found}, VGG16's is {tuple(parameter.shape)}; {WAY_OUT}")
        if not torch.isfinite(value).all():
            raise ValueError(f"{weights}: {key} holds NaN or infinity; {WAY_OUT}")
        parameter.data.copy_(value)
