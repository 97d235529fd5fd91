"""diffusers' own pipeline, eager or compiled: what most people use, with the same weights."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn

from export.benchmark.job import COMPILED, PROMPT, Drawn, Job
from ragturbo_runtime.noise import batch_noise
from training.family.text_tower import TextTower, load_text_tower
from training.family.weight_files import find_weights
from training.models.checkpoint import load_adapter
from training.models.lora import add_lora, fuse_and_strip, load_lora


class DiffusersDrawer:
    """`StableDiffusionPipeline` with `EulerDiscreteScheduler`; the prompt is encoded by the family's own tower.

    Args:
        job: What to load; its row says whether to compile.
    """

    note = ""

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(job.threads)
        self._job, device = job, job.device
        unet = self._read(UNet2DConditionModel, "unet")
        started = time.perf_counter()
        _fuse_lora(unet, job.checkpoint)
        self.preparing_ms = (time.perf_counter() - started) * 1e3
        self._tower = load_text_tower(job.base / "text_encoder", image_tower=False)
        self._tower.to(device.name, device.dtype)
        self._pipeline = StableDiffusionPipeline(
            vae=self._read(AutoencoderKL, "vae"), text_encoder=None, tokenizer=None, unet=unet,
            scheduler=EulerDiscreteScheduler.from_pretrained(job.base / "scheduler"),
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        ).to(device.name)  # fmt: skip
        self._pipeline.set_progress_bar_config(disable=True)
        self.compile_ms = self._compile() if job.row == COMPILED else 0.0

    def draw(self, row: str, prompt: str, seed: int) -> Drawn:
        """One step, guidance 0, from the noise of our seed."""
        device = self._job.device
        noise = torch.from_numpy(batch_noise((seed,), self._job.latent_shape))
        start = time.perf_counter()
        with torch.no_grad():
            embeds = conditioning(self._tower, prompt)
        pictures = self._pipeline(
            prompt_embeds=embeds, latents=noise.to(device.name, device.dtype), num_inference_steps=1,
            guidance_scale=0.0,
        ).images  # fmt: skip
        device.synchronize()
        return Drawn((time.perf_counter() - start) * 1e3, np.asarray(pictures[0]))

    def _compile(self) -> float:
        """Compile what takes the time; it happens at the first picture. Returns its milliseconds."""
        start = time.perf_counter()
        for module in (self._pipeline.unet, self._pipeline.vae.decoder):
            module.compile(mode=self._job.device.compile_mode)
        self.draw(COMPILED, PROMPT, 0)
        return (time.perf_counter() - start) * 1e3

    def _read(self, kind: Any, part: str) -> Any:  # noqa: ANN401 - a diffusers class
        """Read a model straight in the dtype that it is run in, as a user would."""
        folder, device = self._job.base / part, self._job.device
        model = kind.from_pretrained(
            folder, local_files_only=True, torch_dtype=device.dtype, use_safetensors=True,
            variant=find_weights(folder).variant,
        )  # fmt: skip
        if device.channels_last:
            model.to(memory_format=torch.channels_last)
        return model.eval().requires_grad_(False).to(device.name)


def conditioning(tower: TextTower, prompt: str) -> Tensor:
    """The U-Net's conditioning (1, 77, D) alone: like transformers' text encoder, without the last layer."""
    clip = tower.clip
    ids = tower.tokenize([prompt])[0].to(clip.positional_embedding.device)
    x = clip.token_embedding(ids) + clip.positional_embedding[: ids.shape[1]]
    for block in clip.transformer.resblocks[:-1]:
        x = block(x, attn_mask=clip.attn_mask)
    out: Tensor = clip.ln_final(x)
    return out


def _fuse_lora(unet: nn.Module, checkpoint: Path | None) -> None:
    """Make the U-Net's weights those of the bundle; in float32, as the exporter does."""
    loaded = None if checkpoint is None else load_adapter(checkpoint)
    if loaded is None or not loaded.lora_state:
        return
    dtype = next(unet.parameters()).dtype
    unet.float()
    add_lora(unet, rank=loaded.metadata.rank, alpha=loaded.metadata.alpha)  # type: ignore[arg-type]
    load_lora(unet, loaded.lora_state)
    fuse_and_strip(unet)  # type: ignore[arg-type]
    unet.to(dtype).requires_grad_(False)
