"""The training loop: student step, heads step, running means, checkpoints, logs, sheets."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.ladd.batches import Batch, References
from training.ladd.config import LaddConfig, OptimiserConfig
from training.ladd.ema import ExponentialMovingAverage
from training.ladd.gate import Gate, measure_gate
from training.ladd.health import Health
from training.ladd.journal import Journal
from training.ladd.losses import smooth_l1
from training.ladd.setup import Parts
from training.ladd.sheet import draw_sheet
from training.ladd.signals import stop_signals
from training.ladd.state import RunState
from training.ladd.step import check_finite
from training.ladd.timing import Stopwatch
from training.models.lora import set_lora_enabled
from training.parallel import Processes

logger = logging.getLogger(__name__)

WATCHED_PAIRS = 64
"""Held-out pairs on which a run watches whether its references are used."""
MEASURED_STEPS = range(3, 18)
"""The steps whose time tells how many fit into a number of minutes; the first ones warm up."""


class Trainer:
    """Trains a student.

    Args:
        config: The run's config.
        parts: What `setup.assemble` made.
        folder: Where state, logs and sheets go.
        processes: Those that train together; the networks are on this one's device.
        retrieves: Whether an adapter is trained.
    """

    def __init__(
        self, config: LaddConfig, parts: Parts, folder: Path, *, processes: Processes, retrieves: bool
    ) -> None:
        self.config, self.parts, self.folder, self.retrieves = config, parts, folder, retrieves
        self.processes, self.device, self.health = processes, processes.device, Health()
        self.trained = parts.student.parameters()
        self.average = ExponentialMovingAverage(self.trained, decay=config.optimiser.ema)
        self.optimisers = _new_optimisers(config.optimiser, self.trained, parts.heads)
        self.state = RunState(folder, config, parts.hashes, retrieval=retrieves)
        self.watch = Stopwatch(self.device)
        self.step, self.total_steps, self.seconds = 0, config.optimiser.steps, 0.0

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one.

        Raises:
            ValueError: It is of another run, or cannot be read.
        """
        if self.state.exists():
            self.step, self.total_steps, self.seconds = self.state.load(
                trained=self.trained, average=self.average, heads=self.parts.heads, optimisers=self.optimisers
            )
            logger.info("resumed at step %d of %d", self.step, self.total_steps)

    def run(self, *, minutes: float | None = None) -> None:
        """Train to the last step.

        Args:
            minutes: Lower the number of steps to what fits into this time; decided once, early, and kept on
                resuming (the learning rate's schedule depends on it). None = the config's number.

        Raises:
            NonFiniteLossError: A loss or gradient is not finite; the checkpoint from before it is intact.
            KeyboardInterrupt: SIGINT or SIGTERM came; the state after the step that it came in is saved.
            OSError: The disk is full; the last checkpoint is intact.
        """
        is_main = self.processes.is_main
        journal = Journal(self.folder, step=self.step) if is_main else None
        bar = tqdm(
            total=self.total_steps,
            initial=self.step,
            desc="ladd",
            unit="step",
            smoothing=0.05,
            disable=not is_main,
        )
        started, saved = time.monotonic() - self.seconds, time.monotonic()
        try:
            with stop_signals() as stopped:
                while self.step < self.total_steps:
                    metrics = self.train_step(self.step)
                    self.step += 1
                    self.seconds = time.monotonic() - started
                    bar.update()
                    self._measure(bar, minutes)
                    if journal is not None:
                        journal.add(metrics)
                        self._report(bar, journal)
                    if time.monotonic() - saved > 60 * self.config.run.save_minutes:
                        self.save()
                        saved = time.monotonic()
                    if self.processes.any(stopped()):
                        self.save()
                        raise KeyboardInterrupt
            self.save()
        finally:
            bar.close()
            if journal is not None:
                journal.close()

    def train_step(self, step: int) -> dict[str, float]:
        """Take one step of the student and one of the heads; depends on the weights and the step's number alone.

        Args:
            step: Counted from 0.

        Returns:
            Metrics: losses, gradient norms, logits, shares.

        Raises:
            NonFiniteLossError: A loss or gradient is not finite; no weight has been changed by this step.
        """
        parts, settings = self.parts, self.config.optimiser
        share = self.processes.share(step)
        generator = torch.Generator().manual_seed(_seed_of(self.config.seed, share))
        with self.watch.phase("batch and text"):
            batch = parts.training.training(share, settings.batch)
            true_embeds, shown_embeds = self._embed(batch)
            target = batch.target.to(self.device)
        denoised = self._draw(batch, shown_embeds)
        judged = parts.judge.judge(
            denoised, target, true_embeds, step=step, generator=generator, watch=self.watch
        )
        with self.watch.phase("student backward"):
            self.optimisers["student"].zero_grad(set_to_none=True)
            torch.autograd.backward(denoised, judged.gradient)
            self.processes.average_gradients(self.trained)
            norm = _clip(self.trained, settings.clip_norm)
        with self.watch.phase("heads"):
            self.optimisers["heads"].zero_grad(set_to_none=True)
            loss, metrics = parts.judge.heads_loss(judged, target, true_embeds, generator=generator)
            torch.autograd.backward(loss)
            self.processes.average_gradients(list(parts.heads.parameters()))
            heads_norm = _clip(list(parts.heads.parameters()), settings.clip_norm)
        metrics |= judged.metrics | {"gradient/student": norm, "gradient/heads": heads_norm}
        check_finite(step, metrics)
        with self.watch.phase("optimisers"):
            self._update(step)
        self.watch.lap()
        metrics["masked"] = float(batch.is_masked.float().mean())
        metrics["references"] = float((batch.weights > 0).sum(dim=1).float().mean())
        metrics["lambda"] = float(batch.weights.sum() / (batch.weights > 0).sum().clamp(min=1))
        return metrics

    @torch.no_grad()
    def draw(self, batch: Batch) -> Tensor:
        """Draw a batch with the student as it is: (B, c, h, w) float32."""
        _, shown_embeds = self._embed(batch)
        return self._draw(batch, shown_embeds)

    @torch.no_grad()
    def draw_base(self, batch: Batch) -> Tensor:
        """Draw a batch with the base: no adapter, no LoRA."""
        student = self.parts.student
        set_lora_enabled(student.unet, enabled=False)
        try:
            _, shown_embeds = self._embed(batch)
            with self._autocast():
                return student.decode(student.encode(batch.noise.to(self.device), shown_embeds), None, None)
        finally:
            set_lora_enabled(student.unet, enabled=True)

    def measure_gate(self) -> Gate:
        """Measure the running means on the held-out pairs, in float32 where the config says so."""
        share = self.config.masking.share if self.retrieves else 0.0
        with self.average.applied():
            return measure_gate(
                self.parts.held_out,
                self.draw,
                masked_share=share,
                beta=self.config.losses.smooth_l1_beta,
                unknown=self.parts.unknown,
            )

    def measure_references(self) -> dict[str, float]:
        """Measure the running means on some held-out pairs with right, wrong and no references, names masked."""
        batcher = self.parts.unknown or self.parts.held_out
        rows, beta = list(range(min(WATCHED_PAIRS, len(batcher.pairs)))), self.config.losses.smooth_l1_beta
        losses = {}
        with self.average.applied():
            for kind in get_args(References):
                batch = batcher.held_out(rows, kind, masked=True, seed=0)
                losses[kind] = float(smooth_l1(self.draw(batch).cpu(), batch.target, beta=beta))
        return losses

    def draw_sheet(self) -> dict[str, Path]:
        """Draw a sample sheet with the running means, and one of unknown things where there are such pairs.

        Returns:
            Name -> the PNG file.
        """
        sheets = {"": self.parts.held_out, "-unknown": self.parts.unknown}
        drawn = {}
        with self.average.applied():
            for name, batcher in sheets.items():
                if batcher is not None:
                    path = drawn[f"sheet{name}"] = self.folder / "sheets" / f"{self.step:06d}{name}.png"
                    draw_sheet(
                        path,
                        batcher,
                        self.parts.family.vae,
                        self.draw,
                        self.draw_base,
                        rows=self.config.run.sheet_rows,
                    )
        return drawn

    def save(self) -> None:
        """Write the state; the main process's, for all hold the same."""
        if not self.processes.is_main:
            return
        self.state.save(
            step=self.step,
            total_steps=self.total_steps,
            seconds=self.seconds,
            trained=self.trained,
            average=self.average,
            heads=self.parts.heads,
            optimisers=self.optimisers,
        )

    def _draw(self, batch: Batch, shown_embeds: Tensor) -> Tensor:
        student, features = self.parts.student, self.parts.features
        with self.watch.phase("student encoder"), self._autocast():
            encoded = student.encode(batch.noise.to(self.device), shown_embeds)
        reference_h, weights = None, None
        if features is not None:
            with self.watch.phase("reference features"):
                reference_h = features.read(batch.rows, batch.changed)
                weights = batch.weights.to(self.device)
        with self.watch.phase("adapter and decoder"), self._autocast():
            return student.decode(encoded, reference_h, weights)

    def _embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, L, D) of the true prompts and of the shown ones; what they share is encoded once."""
        unique = list(dict.fromkeys([*batch.prompts, *batch.shown]))
        place = {text: number for number, text in enumerate(unique)}
        with torch.no_grad(), self._autocast():
            embeds = self.parts.family.text.encode(unique)[0].float()
        return embeds[[place[text] for text in batch.prompts]], embeds[[place[text] for text in batch.shown]]

    def _update(self, step: int) -> None:
        settings = self.config.optimiser
        factor = learning_rate_factor(step, self.total_steps, settings)
        for name, rate in (("student", settings.learning_rate), ("heads", settings.heads_learning_rate)):
            for group in self.optimisers[name].param_groups:
                group["lr"] = rate * factor
            self.optimisers[name].step()
        self.average.update(step)

    def _report(self, bar: tqdm, journal: Journal) -> None:
        """Write metrics and sheets when it is time to."""
        run, is_last = self.config.run, self.step == self.total_steps
        if self.step % run.log_every == 0 or is_last:
            means = journal.flush(self.step)
            self.health.look(self.step, means)
            bar.set_postfix(_short(means), refresh=False)
        if self.step % run.sheet_every == 0 or is_last:
            for name, picture in self.draw_sheet().items():
                journal.show(self.step, name, picture)
            if self.retrieves:
                losses = self.measure_references()
                journal.record(self.step, {f"held_out/{kind}": loss for kind, loss in losses.items()})
                self.health.look_at_references(self.step, losses)

    def _measure(self, bar: tqdm, minutes: float | None) -> None:
        """Say what a step costs, and let the number of steps fit the minutes; once, in a run's first steps."""
        if self.step == MEASURED_STEPS.start:
            self.watch.reset()
        if self.step != MEASURED_STEPS.stop:
            return
        bar.write(self.watch.breakdown())
        if minutes is not None:
            left = int((60 * minutes - self.seconds) / self.watch.step_seconds)
            self.total_steps = self.processes.same(min(self.total_steps, self.step + max(1, left)))
            bar.total = self.total_steps
            bar.write(f"{self.total_steps} steps fit into {minutes:g} minutes")

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.parts.bf16)


def learning_rate_factor(step: int, total_steps: int, settings: OptimiserConfig) -> float:
    """Rise linearly over the warm-up, stay, fall to zero as a half cosine over the last share.

    Args:
        step: Counted from 0.
        total_steps: Of the run.
        settings: Warm-up and share.

    Returns:
        In [0, 1].
    """
    warm = min(1.0, (step + 1) / max(1, settings.warmup))
    left = (total_steps - step) / max(1.0, settings.decay_share * total_steps)
    return warm * (1.0 if left >= 1 else 0.5 - 0.5 * math.cos(math.pi * left))


def _new_optimisers(
    settings: OptimiserConfig, trained: list[nn.Parameter], heads: nn.Module
) -> dict[str, torch.optim.Optimizer]:
    return {
        "student": torch.optim.AdamW(
            trained,
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay,
            fused=True,
        ),
        "heads": torch.optim.AdamW(
            heads.parameters(),
            lr=settings.heads_learning_rate,
            betas=(settings.heads_beta1, settings.beta2),
            weight_decay=settings.weight_decay,
            fused=True,
        ),
    }


def _clip(parameters: list[nn.Parameter], largest: float) -> float:
    return float(nn.utils.clip_grad_norm_(parameters, largest))


def _seed_of(seed: int, step: int) -> int:
    """A seed of torch's own for each step: neighbouring numbers give unrelated streams."""
    import numpy as np

    return int(np.random.SeedSequence([seed, step, 1]).generate_state(1, dtype=np.uint64)[0] >> 1)


def _short(metrics: dict[str, float]) -> dict[str, str]:
    shown = {
        "l1": "loss/smooth_l1",
        "lpips": "loss/perceptual",
        "adv": "loss/adversarial",
        "heads": "loss/heads",
    }
    return {label: f"{metrics[name]:.4f}" for label, name in shown.items() if name in metrics}
