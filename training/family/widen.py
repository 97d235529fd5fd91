"""Makes an autoencoder twice as wide without changing what it does, and trains its decoder on.

Net2WiderNet (Chen et al. 2016, section 2.2): every channel becomes two equal ones, which share the weight of what they
feed. GroupNorm does not notice, because twins fall into one group. A wide decoder starts from all that a narrow one has
learnt so, at a fraction of the time; and the encoder, which is kept, gives the latents that it gave before: what was
trained on them stays valid.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from training.family.config import VaeConfig
from training.family.loop import train
from training.family.scene_cache import SceneCache
from training.precision import autocast

TWINS_DIFFER = 0.3
"""How far the twins of the decoder are pulled apart, in deviations of their weights: equal ones would learn alike."""
ENCODED_AT_A_TIME = 64


def widen(vae: AutoencoderKL, *, apart: float = TWINS_DIFFER, seed: int = 0) -> AutoencoderKL:
    """Build an autoencoder of twice the channels that does the same.

    Args:
        vae: The narrow one.
        apart: Deviations by which what the decoder's twins read is pulled apart, their sum kept; 0 = equal twins.
        seed: The differences are drawn from it.

    Returns:
        A new one, float32: the same latents, and the same pictures up to rounding (GroupNorm sees equal twins: what
        they read differs, what they are does not).
    """
    settings = {key: value for key, value in vae.config.items() if not key.startswith("_")}
    channels = tuple(2 * count for count in vae.config.block_out_channels)
    wide = AutoencoderKL(**settings | {"block_out_channels": channels})
    generator = torch.Generator().manual_seed(seed)
    narrow, state = vae.state_dict(), wide.state_dict()
    for name, shape in ((name, value.shape) for name, value in state.items()):
        difference = apart if name.startswith("decoder.") else 0.0
        state[name] = _doubled(narrow[name], shape, difference, generator)
        if ".to_q." in name:  # twice as many products, and diffusers divides them by the root of their number
            state[name] = state[name] / 2**0.5
    wide.load_state_dict(state)
    return wide.eval()


def without_twins(vae: AutoencoderKL) -> AutoencoderKL:
    """Undo `widen` for an encoder: half the channels, the same latents, a quarter of the weights.

    Args:
        vae: Any autoencoder.

    Returns:
        A new one whose encoder does the same and whose decoder has fresh weights; where the encoder was not widened,
        `vae` itself.
    """
    channels = tuple(vae.config.block_out_channels)
    settings = {key: value for key, value in vae.config.items() if not key.startswith("_")}
    if any(count % 2 or (count // 2) % settings["norm_num_groups"] for count in channels):
        return vae
    narrow = AutoencoderKL(**settings | {"block_out_channels": tuple(count // 2 for count in channels)})
    wide = vae.state_dict()
    state = {name: value for name, value in narrow.state_dict().items() if _is_encoders(name)}
    for name, value in state.items():
        state[name] = _halved(wide[name], value.shape)
        if not torch.equal(_doubled(state[name], wide[name].shape, 0.0, torch.Generator()), wide[name]):
            return vae
        if ".to_q." in name:
            state[name] = state[name] * 2**0.5
    narrow.load_state_dict(state, strict=False)
    return narrow.eval().requires_grad_(False).to(vae.device)


def train_decoder(config: VaeConfig, vae: AutoencoderKL, scenes: SceneCache, work: Path) -> AutoencoderKL:
    """Train the decoder alone, on the latents that the encoder gives.

    Args:
        config: Steps, batch, learning rate.
        vae: Trained in place; its encoder stays as it is.
        scenes: Training pictures.
        work: Folder of the checkpoint.

    Returns:
        The moving average, in eval mode.
    """
    vae.requires_grad_(False)
    for part in (vae.decoder, vae.post_quant_conv):
        part.requires_grad_(True)
    mean, deviation = _posteriors(vae, scenes)

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(scenes), (config.batch,), generator=generator)
        noise = torch.randn((config.batch, *mean.shape[1:]), generator=generator)
        pixels = torch.from_numpy(scenes.batch(rows.numpy()))
        with autocast():
            decoded = vae.decode(mean[rows] + deviation[rows] * noise).sample
        difference = decoded.float() - pixels
        loss: Tensor = 0.5 * difference.abs().mean() + 3 * difference.square().mean()
        return loss

    trained: AutoencoderKL = train(
        vae, loss_of, name="decoder", steps=config.decoder_steps, learning_rate=config.decoder_learning_rate,
        decay_share=0.6, checkpoint=work / "decoder.pt", weight_decay=0.0, ema=0.995,
    )  # fmt: skip
    return trained.eval().requires_grad_(False)


def _doubled(narrow: Tensor, shape: torch.Size, apart: float, generator: torch.Generator) -> Tensor:
    """Twins beside each other: inputs share the weight, outputs repeat it."""
    wide = narrow.float()
    if wide.ndim > 1 and shape[1] == 2 * wide.shape[1]:
        half = wide / 2
        difference = apart * half.std() * torch.randn(half.shape, generator=generator)
        wide = torch.stack([half + difference, half - difference], dim=2).flatten(1, 2)
    if shape[0] == 2 * wide.shape[0]:
        wide = wide.repeat_interleave(2, dim=0)
    return wide


def _halved(wide: Tensor, shape: torch.Size) -> Tensor:
    """The first of each pair of outputs, the sum of each pair of inputs."""
    narrow = wide[::2] if wide.shape[0] == 2 * shape[0] else wide
    if narrow.ndim > 1 and narrow.shape[1] == 2 * shape[1]:
        narrow = narrow[:, ::2] + narrow[:, 1::2]
    return narrow


def _is_encoders(name: str) -> bool:
    return name.startswith(("encoder.", "quant_conv."))


@torch.inference_mode()
def _posteriors(vae: AutoencoderKL, scenes: SceneCache) -> tuple[Tensor, Tensor]:
    """The mean and the deviation of the latents of all pictures, encoded once."""
    means, deviations = [], []
    for start in range(0, len(scenes), ENCODED_AT_A_TIME):
        rows = np.arange(start, min(start + ENCODED_AT_A_TIME, len(scenes)))
        posterior = vae.encode(torch.from_numpy(scenes.batch(rows))).latent_dist
        means.append(posterior.mean)
        deviations.append(posterior.std)
    return torch.cat(means), torch.cat(deviations)
