"""The optimiser loop that all stages of a family share: bf16, EMA, schedule, progress, resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.atomic import save_atomically
from training.ladd.signals import stop_signals

SAVE_SECONDS = 180.0
WARMUP_STEPS = 200
CLIP_NORM = 1.0


def train(
    model: nn.Module,
    loss_of: Callable[[int, torch.Generator], Tensor],
    *,
    name: str,
    steps: int,
    learning_rate: float,
    decay_share: float,
    checkpoint: Path,
    ema: float = 0.0,
    weight_decay: float = 0.01,
    sample: Callable[[nn.Module, int], None] | None = None,
    sample_every: int = 2000,
) -> nn.Module:
    """Train a model in place, from its last checkpoint on.

    The batch of a step depends on the step alone (the generator is seeded by it), so a run that was stopped and resumed
    ends with the weights of one that was not.

    Args:
        model: Every parameter that requires a gradient is trained.
        loss_of: Gives the loss of a step, a scalar, from the step's number and its own generator.
        name: What the progress bar says.
        steps: How many in all.
        learning_rate: AdamW's peak, after a warm-up of 200 steps.
        decay_share: The last share of the steps, over which it falls to zero as a cosine.
        checkpoint: File that is written every three minutes, at the end and when the run is stopped.
        ema: Decay of the moving average of the weights; 0 keeps none.
        weight_decay: AdamW's.
        sample: Called with the (averaged) model and the step, to draw a grid.
        sample_every: Steps between two grids.

    Returns:
        The averaged model if there is one, else the model.

    Raises:
        FloatingPointError: The loss is not finite; the message names the step, and the checkpoint is from before it.
        KeyboardInterrupt: SIGINT or SIGTERM came; the state after the step that it came in is saved.
        ValueError: The checkpoint is of another model, or cannot be read.
        OSError: The disk is full; the last checkpoint is intact.
    """
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=learning_rate,
        weight_decay=weight_decay,
        fused=True,
    )
    average = torch.optim.swa_utils.AveragedModel(model, avg_fn=None, multi_avg_fn=_ema(ema)) if ema else None
    step = _resume(checkpoint, model, optimizer, average)
    saved = time.monotonic()
    smooth_loss = math.nan
    model.train()
    with (
        stop_signals() as stopped,
        tqdm(total=steps, initial=step, desc=name, unit="step", smoothing=0.02) as bar,
    ):
        while step < steps:
            loss = loss_of(step, torch.Generator().manual_seed(step))
            _update(model, optimizer, average, loss, learning_rate * schedule(step, steps, decay_share))
            step += 1
            value = float(loss.detach())
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"{name}: loss is {value} at step {step}; lower the learning rate and resume"
                )
            smooth_loss = value if math.isnan(smooth_loss) else 0.99 * smooth_loss + 0.01 * value
            bar.update()
            if step % 20 == 0:
                bar.set_postfix(loss=f"{smooth_loss:.4f}", refresh=False)
            if sample is not None and (step % sample_every == 0 or step == steps):
                sample(model if average is None else average.module, step)
                model.train()
            is_stopped = stopped()
            if is_stopped or step == steps or time.monotonic() - saved > SAVE_SECONDS:
                _save(checkpoint, step, model, optimizer, average)
                saved = time.monotonic()
            if is_stopped:
                raise KeyboardInterrupt
    model.eval()
    return model if average is None else average.module


def schedule(step: int, steps: int, decay_share: float) -> float:
    """The learning rate's factor: warm-up, plateau, cosine to zero over the last ``decay_share`` of the steps."""
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    left = (steps - step) / max(1.0, decay_share * steps)
    return warm * (1.0 if left >= 1 else 0.5 - 0.5 * math.cos(math.pi * left))


def _update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: torch.optim.swa_utils.AveragedModel | None,
    loss: Tensor,
    learning_rate: float,
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
    optimizer.step()
    if average is not None:
        average.update_parameters(model)


def _ema(decay: float) -> Callable[..., None]:
    """The library's own averaging, with a warm-up: early weights are forgotten sooner."""

    def average(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averaged, [p.detach() for p in current], 1 - now)

    return average


def _resume(
    checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None
) -> int:
    if not checkpoint.exists():
        return 0
    try:
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        if average is not None:
            average.load_state_dict(state["average"])
        return int(state["step"])
    except Exception as error:  # torch raises anything from EOFError to its own pickle errors
        reason = " ".join(str(error).split())[:300]  # it lists every tensor on a line of its own
        raise ValueError(
            f"{checkpoint}: does not fit what is trained here ({reason}); delete it to start the stage anew"
        ) from error


def _save(
    checkpoint: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None
) -> None:
    state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    if average is not None:
        state["average"] = average.state_dict()
    save_atomically(checkpoint, lambda path: torch.save(state, path))
