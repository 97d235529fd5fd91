"""The state of an alignment on the disk: adapter, optimiser and schedule, in one file that is whole or not there.

Batches depend on the step alone: an alignment that was stopped and resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.atomic import save_atomically

ALIGNMENT_FILE = "alignment.pt"
FORMAT_VERSION = 1


class AlignmentState:
    """Reads and writes the state.

    Args:
        folder: The run's folder.
        identity: What the run is, as `training.ladd.state.RunState` says it: all of it must stay what it was.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.path = folder / ALIGNMENT_FILE
        self._identity = json.dumps(identity, sort_keys=True)

    def save(
        self, step: int, adapter: nn.Module, optimiser: torch.optim.Optimizer, schedule: Mapping[str, Any]
    ) -> None:
        """Write it, atomically.

        Args:
            step: Steps done.
            adapter: What is aligned.
            optimiser: Its optimiser.
            schedule: The learning rate's, by its own `state_dict`.

        Raises:
            OSError: The disk is full; the last state is as it was.
        """
        state = {
            "format_version": FORMAT_VERSION,
            "identity": self._identity,
            "step": step,
            "adapter": adapter.state_dict(),
            "optimiser": optimiser.state_dict(),
            "schedule": dict(schedule),
        }
        try:
            save_atomically(self.path, lambda beside: torch.save(state, beside))
        except OSError as error:
            raise OSError(f"{error}, with --resume") from error

    def load(
        self,
        adapter: nn.Module,
        optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> int:
        """Read it into the objects, if it is there.

        Returns:
            Steps done; 0 where there is none.

        Raises:
            ValueError: It cannot be read, or it is of another run.
        """
        if not self.path.exists():
            return 0
        way_out = "delete it to align anew"
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            if state["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format {state['format_version']}, not {FORMAT_VERSION}")
            if state["identity"] != self._identity:
                raise ValueError("of a run with another config or family")
            adapter.load_state_dict(state["adapter"])
            optimiser.load_state_dict(state["optimiser"])
            schedule.load_state_dict(state["schedule"])
        except Exception as error:  # torch raises anything from EOFError to its own pickle errors
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise ValueError(f"{self.path}: cannot be gone on with ({reason}); {way_out}") from error
        return int(state["step"])

    def remove(self) -> None:
        """Forget it: the run's own state holds what was learnt."""
        self.path.unlink(missing_ok=True)
