"""A run's state on the disk: all that the next step depends on, in one file that is whole or not there.

Nothing random is kept between steps (each draws from the run's seed and its own number), so a run that was
stopped and resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.atomic import save_atomically
from training.differences import differences
from training.ladd.config import LaddConfig
from training.ladd.ema import ExponentialMovingAverage

STATE_FILE = "state.pt"
FORMAT_VERSION = 1


class RunState:
    """Reads and writes the state of a run.

    Args:
        folder: The run's folder.
        config: The run's config; all of it but [run] must stay what it was, and what [data] names.
        base_hashes: SHA-256 of the family's weights, by part.
        retrieval: Whether the run trains an adapter.
    """

    def __init__(
        self, folder: Path, config: LaddConfig, base_hashes: dict[str, str], *, retrieval: bool
    ) -> None:
        self.path = folder / STATE_FILE
        fixed = {
            key: value
            for key, value in asdict(config).items()
            if key not in ("run", "data", "family", "work_dir")
        }
        fixed["losses"].pop("perceptual_weights")  # a place on the disk, as the family's
        self.identity: dict[str, Any] = {**fixed, "base": base_hashes, "retrieval": retrieval}

    def save(
        self,
        *,
        step: int,
        total_steps: int,
        seconds: float,
        trained: list[nn.Parameter],
        average: ExponentialMovingAverage,
        heads: nn.Module,
        optimisers: dict[str, torch.optim.Optimizer],
    ) -> None:
        """Write the state, atomically.

        Args:
            step: Steps done.
            total_steps: Steps in all: the learning rate's schedule depends on it.
            seconds: Time spent in training so far.
            trained: The student's trained parameters, in their order.
            average: Their running means.
            heads: The discriminator's heads, with their spectral norms' vectors.
            optimisers: By name.

        Raises:
            OSError: The disk is full; the last state is as it was.
        """
        state = {
            "format_version": FORMAT_VERSION,
            "identity": json.dumps(self.identity, sort_keys=True),
            "step": step,
            "total_steps": total_steps,
            "seconds": seconds,
            "trained": [parameter.detach() for parameter in trained],
            "average": average.state_dict(),
            "heads": heads.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in optimisers.items()},
        }
        try:
            save_atomically(self.path, lambda beside: torch.save(state, beside))
        except OSError as error:
            raise OSError(f"{error}, with --resume") from error

    def load(
        self,
        *,
        trained: list[nn.Parameter],
        average: ExponentialMovingAverage,
        heads: nn.Module,
        optimisers: dict[str, torch.optim.Optimizer],
    ) -> tuple[int, int, float]:
        """Read the state into the objects.

        Returns:
            step, total_steps and seconds, as they were saved.

        Raises:
            ValueError: The file cannot be read, or it is of a run with another config, family or kind.
        """
        state = self._read()
        self._check_identity(json.loads(state["identity"]))
        _fill(trained, state["trained"])
        average.load_state_dict(state["average"])
        heads.load_state_dict(state["heads"])
        for name, optimiser in optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        return int(state["step"]), int(state["total_steps"]), float(state["seconds"])

    def exists(self) -> bool:
        """Whether there is a state to resume."""
        return self.path.exists()

    def _read(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises anything from EOFError to its own pickle errors
            raise ValueError(
                f"{self.path}: cannot be read ({error}); delete it to start the run anew"
            ) from error
        if not isinstance(state, dict) or state.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"{self.path}: not a run's state of format {FORMAT_VERSION}; delete it to start anew"
            )
        return state

    def _check_identity(self, found: dict[str, Any]) -> None:
        here = json.loads(json.dumps(self.identity))
        if "configs" not in found.get("base", {}):  # a state from before they were hashed
            here["base"].pop("configs", None)
        found.get("losses", {}).setdefault("perceptual_network", "teacher")  # from before there was a choice
        if differing := differences(found, here):
            raise ValueError(
                f"{self.path}: a run with another config or family ({differing}); use another work_dir, or delete it"
            )


def _fill(trained: list[nn.Parameter], saved: list[Tensor]) -> None:
    if [tuple(one.shape) for one in trained] != [tuple(other.shape) for other in saved]:
        raise ValueError(
            f"{len(saved)} trained tensors in the state do not fit the {len(trained)} of this student"
        )
    with torch.no_grad():
        for parameter, value in zip(trained, saved, strict=True):
            parameter.copy_(value)
