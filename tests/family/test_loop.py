"""The optimiser loop: a stop in between changes nothing, and what is not finite stops it."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training.family import loop


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 1))


def run(
    model: nn.Module, checkpoint: Path, stop_at: int | None = None, sent: signal.Signals | None = None
) -> nn.Module:
    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        if step == stop_at:
            if sent is None:
                raise KeyboardInterrupt
            os.kill(os.getpid(), sent)
        inputs = torch.randn(16, 4, generator=generator)
        return nn.functional.mse_loss(model(inputs), inputs.sum(dim=1, keepdim=True))

    return loop.train(
        model,
        loss_of,
        name="test",
        steps=30,
        learning_rate=0.2,
        decay_share=0.5,
        checkpoint=checkpoint,
        ema=0.9,
    )


def test_a_run_that_was_stopped_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(make_model(), tmp_path / "whole.pt")
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run(make_model(), tmp_path / "stopped.pt", stop_at=17)
    resumed = run(make_model(), tmp_path / "stopped.pt")
    for left, right in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stop_at", [17, 29])
def test_a_signal_saves_the_step_that_it_comes_in(tmp_path: Path, sent: signal.Signals, stop_at: int) -> None:
    """Long before the checkpoint of every three minutes; in the last step too, or the next stage would begin."""
    whole = run(make_model(), tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        run(make_model(), tmp_path / "stopped.pt", stop_at=stop_at, sent=sent)
    assert torch.load(tmp_path / "stopped.pt", weights_only=True)["step"] == stop_at + 1
    resumed = run(make_model(), tmp_path / "stopped.pt")
    for left, right in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_checkpoint_of_another_model_is_named(tmp_path: Path) -> None:
    run(make_model(), tmp_path / "x.pt")
    wider = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
    with pytest.raises(ValueError, match=r"x\.pt: does not fit .*size mismatch.*; delete it") as caught:
        run(wider, tmp_path / "x.pt")
    assert "\n" not in str(caught.value)
    (tmp_path / "x.pt").write_bytes((tmp_path / "x.pt").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"x\.pt: does not fit"):
        run(make_model(), tmp_path / "x.pt")


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    inputs = torch.randn(256, 4, generator=torch.Generator().manual_seed(99))
    before = make_model()
    trained = run(make_model(), tmp_path / "model.pt")
    losses = [nn.functional.mse_loss(m(inputs), inputs.sum(dim=1, keepdim=True)) for m in (before, trained)]
    assert losses[1] < 0.9 * losses[0]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path: Path) -> None:
    model = make_model()
    with pytest.raises(FloatingPointError, match="test: loss is nan at step 1"):
        loop.train(
            model,
            lambda step, generator: model(torch.full((1, 4), float("nan"))).sum(),
            name="test", steps=3, learning_rate=1e-2, decay_share=0.5, checkpoint=tmp_path / "x.pt",
        )  # fmt: skip
    assert not (tmp_path / "x.pt").exists()


def test_the_schedule_warms_up_stays_and_decays_to_zero() -> None:
    factors = [loop.schedule(step, 1000, 0.4) for step in range(1001)]
    assert factors[0] < 0.01
    assert factors[300] == factors[600] == 1.0
    assert factors[1000] == 0.0
    assert all(a >= b for a, b in itertools.pairwise(factors[600:]))
