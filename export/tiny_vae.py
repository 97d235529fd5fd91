"""A tiny autoencoder (TAESD) in the place of the VAE's decoder: a picture in a fraction of the time.

Two published layouts are read: a folder of diffusers' `AutoencoderTiny`, and ``taesd_decoder.safetensors`` of the
original repository, which names the layers of one `nn.Sequential` by their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffusers import AutoencoderTiny
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from export.errors import ExportError
from ragturbo_runtime.files import hash_file
from training.family.folder import read_json
from training.family.weight_files import find_weights

_CLASS = "AutoencoderTiny"
_DECODER = "decoder."
_LAYERS_BEFORE = 1
"""The original's layer 0 clamps the latents; diffusers does that before its layers."""


@dataclass(frozen=True)
class TinyDecoder:
    """A decoder that was read.

    Attributes:
        module: Latents in the model's scaled space (B, c, h, w) to pixels (B, 3, H, W), about [-1, 1].
        sha256: Of its weights, hex.
    """

    module: nn.Module
    sha256: str


class TinyDecoderGraph(nn.Module):
    """Latents in the model's scaled space to pixels, by a tiny autoencoder."""

    def __init__(self, vae: AutoencoderTiny) -> None:
        """Keep its decoder, and how it scales what it reads (TAESD: not at all)."""
        super().__init__()
        self.decoder = vae.decoder
        self.scaling_factor = float(vae.config["scaling_factor"])
        self.shift_factor = float(vae.config["shift_factor"])

    def forward(self, latent_sample: Tensor) -> Tensor:
        """(B, c, h, w) -> sample (B, 3, H, W), about [-1, 1]: diffusers' decoder doubles what is in [0, 1]."""
        decoded: Tensor = self.decoder(latent_sample / self.scaling_factor + self.shift_factor)
        return decoded


def load_tiny_decoder(path: Path, latent_shape: tuple[int, int, int], resolution: int) -> TinyDecoder:
    """Read a tiny autoencoder's decoder.

    Args:
        path: A folder (config.json, diffusion_pytorch_model.safetensors) or taesd_decoder.safetensors.
        latent_shape: (c, h, w) of the family's latents.
        resolution: Side of its pictures in pixels.

    Returns:
        The decoder on the CPU, float32, in evaluation mode.

    Raises:
        ExportError: It is something else, damaged, or made for other latents; the message says what was found.
    """
    try:
        vae, weights, sha256 = _read_folder(path) if path.is_dir() else _read_file(path, latent_shape[0])
    except FileNotFoundError as error:
        raise ExportError(
            f"{path}: no tiny autoencoder ({error}); give a folder of diffusers' {_CLASS} or taesd_decoder.safetensors"
        ) from error
    except (SafetensorError, ValueError, TypeError, OSError) as error:
        raise ExportError(f"{path}: the tiny autoencoder cannot be read: {error}") from error
    _check_fit(path, vae, latent_shape, resolution)
    _load(path, vae.decoder, weights)
    return TinyDecoder(TinyDecoderGraph(vae).eval().requires_grad_(False), sha256)


def _read_folder(path: Path) -> tuple[AutoencoderTiny, dict[str, Tensor], str]:
    """Diffusers' layout; an encoder that is there is not needed."""
    config = read_json(path / "config.json")
    if (found := config.get("_class_name")) != _CLASS:
        raise ValueError(f"its config.json describes {found or 'no class'}, expected {_CLASS}")
    files = find_weights(path)
    weights = {name: tensor for file in files.paths for name, tensor in load_file(file).items()}
    decoder = {
        key.removeprefix(_DECODER): value for key, value in weights.items() if key.startswith(_DECODER)
    }
    return AutoencoderTiny.from_config(config), decoder, files.sha256


def _read_file(path: Path, channels: int) -> tuple[AutoencoderTiny, dict[str, Tensor], str]:
    """The original's layout: "3.conv.0.weight" is "layers.2.conv.0.weight" in diffusers' decoder."""
    if not path.exists():
        raise FileNotFoundError("no such file or folder")
    weights = {}
    for name, tensor in load_file(path).items():
        number, _, rest = name.partition(".")
        if not number.isdecimal():
            raise ValueError(f"it holds {name!r}, expected names such as '3.conv.0.weight'")
        weights[f"layers.{int(number) - _LAYERS_BEFORE}.{rest}"] = tensor
    return AutoencoderTiny(latent_channels=channels), weights, hash_file(path)


def _check_fit(path: Path, vae: AutoencoderTiny, latent_shape: tuple[int, int, int], resolution: int) -> None:
    """Compare what it reads and makes with the family."""
    config = vae.config
    factor = config["upsampling_scaling_factor"] ** (len(config["num_decoder_blocks"]) - 1)
    found = config["latent_channels"], factor, config["out_channels"]
    expected = latent_shape[0], resolution // latent_shape[1], 3
    if found != expected:
        raise ExportError(
            f"{path}: it decodes {found[0]} channels, {found[1]} times larger, to {found[2]} colours; the family needs "
            f"{expected[0]} channels, {expected[1]} times larger, to {expected[2]}; give one that was made for it"
        )


def _load(path: Path, decoder: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Fill the decoder, all of it and nothing else."""
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in decoder.state_dict().items()}
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unknown:
        raise ExportError(
            f"{path}: not the decoder of {_CLASS}: of {len(expected)} tensors it lacks {len(missing)} "
            f"{missing[:2]}, and {len(unknown)} are unknown {unknown[:2]}; give a whole one"
        )
    if wrong := [name for name in sorted(expected) if found[name] != expected[name]]:
        name = wrong[0]
        raise ExportError(
            f"{path}: {len(wrong)} tensors of its decoder have other shapes, first {name}: {found[name]}, "
            f"expected {expected[name]}"
        )
    decoder.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
