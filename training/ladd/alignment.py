"""Teaches the adapter where to look, before LADD: cheaply, in h-space alone.

Finding the place in a reference that belongs to a place in the picture takes an attention hundreds of thousands of
examples, and through the decoder, the teacher and the heads each of them is dear. A linear reading of h tells what the
one-step student is about to draw there (`training.family.student` trains it to); here the adapter learns to correct
that draft: smooth-L1 between the reading of h' = h + lambda * g(h, references) and the target's latents. Only the
adapter is trained, with the same references, masked prompts and weights as in LADD. Where drawn scenes tell which
part of a reference shows what, a guide may tell the attention too (`training.ladd.guide`).
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, get_args

import torch
import torch.nn.functional as functional
from diffusers.optimization import get_cosine_schedule_with_warmup
from torch import Tensor, nn
from tqdm import tqdm

from training.ladd.batches import References
from training.ladd.config import AlignmentConfig
from training.ladd.guide import WatchedAttention, guide_loss
from training.ladd.signals import stop_signals
from training.ladd.step import check_finite
from training.models.adapter import fuse

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.ladd.alignment_state import AlignmentState
    from training.ladd.batches import Batch, Batcher
    from training.ladd.setup import Parts
    from training.parallel import Processes

FITTED_PAIRS = 1024
RIDGE = 1e-3
"""Relative to the mean square of h."""
ROWS_MEASURED = 128


class Reading(nn.Module):
    """A linear map from each cell of h to the latents of that cell, fitted and then frozen."""

    weight: Tensor
    bias: Tensor

    def __init__(self, h: Tensor, latents: Tensor) -> None:
        """Fit it by ridge regression.

        Args:
            h: (N, C, hh, hw) float32.
            latents: (N, c, h, w) float32; h and w are multiples of hh and hw.
        """
        super().__init__()
        self.factor = latents.shape[-1] // h.shape[-1]
        cells = _rows(h)
        mean, target = cells.mean(dim=0), _rows(functional.pixel_unshuffle(latents, self.factor))
        centre = target.mean(dim=0)
        gram = (cells - mean).T @ (cells - mean)
        gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), device=gram.device)
        weight = torch.linalg.solve(gram, (cells - mean).T @ (target - centre))  # (C, c * f * f)
        self.register_buffer("weight", weight.T[:, :, None, None].contiguous())
        self.register_buffer("bias", centre - mean @ weight)

    def forward(self, h: Tensor) -> Tensor:
        """(B, C, hh, hw) -> the latents (B, c, h, w) that it stands for."""
        return functional.pixel_shuffle(functional.conv2d(h, self.weight, self.bias), self.factor)


class Alignment:
    """Trains the adapter of a run's parts on the reading of h.

    Args:
        settings: Steps, batch, learning rate.
        parts: The run's; the adapter is trained in place.
        clip_norm: Largest norm of a gradient.
        processes: Those that train together.
        encode: Gives the h (B, C, hh, hw) float32 of a batch, as `encode_batch` does, but perhaps from memory.
    """

    def __init__(
        self,
        settings: AlignmentConfig,
        parts: Parts,
        *,
        clip_norm: float,
        processes: Processes,
        encode: Callable[[Batch], Tensor] | None = None,
    ) -> None:
        if parts.student.adapter is None or parts.features is None:
            raise ValueError("there is no adapter to align; leave [alignment] steps at 0 without retrieval")
        if settings.guide and parts.guide is None:
            raise ValueError(f"[alignment] guide is {settings.guide}, and these parts were made without one")
        self.settings, self.parts, self.clip_norm, self.processes = settings, parts, clip_norm, processes
        self.adapter, self.features = parts.student.adapter, parts.features
        self.device = parts.student.unet.device
        self._encode = encode or partial(encode_batch, parts)
        self.reading = self._fit()

    def run(self, state: AlignmentState | None = None, *, save_minutes: float = 3.0) -> None:
        """Take all steps that are left.

        Args:
            state: Where it is kept what was learnt; it goes on from there. None keeps nothing.
            save_minutes: Minutes between two states.

        Raises:
            NonFiniteLossError: The loss is not finite.
            KeyboardInterrupt: SIGINT or SIGTERM came; the state after the step that it came in is saved.
            ValueError: The state is damaged, or of another run.
            OSError: The disk is full; the last state is intact.
        """
        settings = self.settings
        trained = list(self.adapter.parameters())
        optimiser = torch.optim.AdamW(trained, lr=settings.learning_rate, betas=(0.9, 0.99), fused=True)
        schedule = get_cosine_schedule_with_warmup(optimiser, settings.steps // 20, settings.steps)
        first = 0 if state is None else state.load(self.adapter, optimiser, schedule)
        saved, is_main = time.monotonic(), self.processes.is_main
        steps = range(first, settings.steps)
        bar = tqdm(
            steps,
            initial=first,
            total=settings.steps,
            desc="alignment",
            unit="step",
            smoothing=0.05,
            disable=not is_main,
        )
        with stop_signals() as stopped:
            for step in bar:
                value = self._step(step, trained, optimiser)
                schedule.step()
                self._report(bar, step, value)
                is_stopped = self.processes.any(stopped())
                if is_stopped or time.monotonic() - saved > 60 * save_minutes:
                    if state is not None and is_main:
                        state.save(step + 1, self.adapter, optimiser, schedule.state_dict())
                    saved = time.monotonic()
                if is_stopped:
                    raise KeyboardInterrupt

    def _step(self, step: int, trained: list[nn.Parameter], optimiser: torch.optim.Optimizer) -> float:
        """Take one step; gives its loss."""
        loss = self._guided(self.parts.training.training(self.processes.share(step), self.settings.batch))
        value = float(loss.detach())
        check_finite(step, {"loss/alignment": value})
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.processes.average_gradients(trained)
        nn.utils.clip_grad_norm_(trained, self.clip_norm)
        optimiser.step()
        return value

    def _report(self, bar: tqdm[int], step: int, value: float) -> None:
        """Measure on held-out pairs when it is time to."""
        settings = self.settings
        if self.processes.is_main and (step % settings.log_every == 0 or step + 1 == settings.steps):
            measured = self.measure(self.parts.unknown or self.parts.held_out)
            line = ", ".join(f"{kind} {loss:.4f}" for kind, loss in measured.items())
            bar.write(f"alignment {step + 1}: trained {value:.4f}; held out {line}")

    @torch.no_grad()
    def measure(self, batcher: Batcher) -> dict[str, float]:
        """Measure the loss on held-out pairs with right, wrong and no references, names masked."""
        rows = list(range(min(ROWS_MEASURED, len(batcher.pairs))))
        return {
            kind: float(self._loss(batcher.held_out(rows, kind, masked=True, seed=0)))
            for kind in get_args(References)
        }

    def drafts(self, batch: Batch) -> Tensor:
        """What the corrected h of a batch stands for: latents (B, c, h, w) float32."""
        h = self._encode(batch)
        reference_h = self.features.read(batch.rows, batch.changed)
        weights = batch.weights.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.parts.bf16):
            fused = fuse(h, self.adapter(h, reference_h, weights), weights)
        drafts: Tensor = self.reading(fused.float())
        return drafts

    def _guided(self, batch: Batch) -> Tensor:
        """The loss of a batch of training pairs, with what the guide says of where to look."""
        guide = self.parts.guide
        if not self.settings.guide or guide is None:
            return self._loss(batch)
        with WatchedAttention(self.adapter.block.attn2) as watched:
            loss = self._loss(batch)
        shares, known = guide.shares(batch.indices, batch.rows, batch.weights)
        told = guide_loss(watched.probabilities(), shares.to(self.device), known.to(self.device))
        return loss + self.settings.guide * told

    def _loss(self, batch: Batch) -> Tensor:
        target = batch.target.to(self.device)
        return functional.smooth_l1_loss(self.drafts(batch), target, beta=self.settings.beta)

    def _fit(self) -> Reading:
        """Fit the reading on held-out pairs without references: what h says when the prompt says all."""
        batcher = self.parts.training
        count = min(FITTED_PAIRS, len(batcher.pairs))
        batch = batcher.held_out(list(range(count)), "none", masked=False, seed=0)
        return Reading(self._encode(batch), batch.target.to(self.device)).to(self.device)


@torch.no_grad()
def encode_batch(parts: Parts, batch: Batch) -> Tensor:
    """The h (B, C, hh, hw) float32 that the student makes of a batch's noise and prompts, without references."""
    device = parts.student.unet.device
    with torch.autocast(device.type, torch.bfloat16, enabled=parts.bf16):
        embeds, _ = parts.family.text.encode(list(batch.shown))
        return parts.student.encode(batch.noise.to(device), embeds.float()).h.float()


def _rows(maps: Tensor) -> Tensor:
    """(N, C, H, W) -> (N * H * W, C)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)
