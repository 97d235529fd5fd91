"""Several processes that train one model: one per GPU, started by ``accelerate launch``; or just this one.

Every process deals its own batches and takes the same step: gradients are averaged over all before the optimiser moves.
So there is no wrapper around the models, and a single process does what it did without any of this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, reduce
from torch import Tensor, nn


class Processes:
    """The processes of a run.

    Args:
        device: Where this one computes, as the command line says; "cuda" is the GPU of this process.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._state = PartialState(cpu=torch.device(device).type == "cpu")
        asked = torch.device(device)
        self.device = self._state.device if self.count > 1 and asked.type != "cpu" else asked

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self._state.num_processes)

    @property
    def index(self) -> int:
        """Which this is, from 0."""
        return int(self._state.process_index)

    @property
    def is_main(self) -> bool:
        """Whether this one writes files and talks."""
        return bool(self._state.is_main_process)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main one run a block, then the others: what it makes on the disk, they find there."""
        with self._state.main_process_first():
            yield

    def wait(self) -> None:
        """Wait until all are here."""
        self._state.wait_for_everyone()

    def share(self, step: int) -> int:
        """The number of this one's batch of a step, so that no two deal the same pairs."""
        return step * self.count + self.index

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its mean over all processes; in one message."""
        if self.count == 1:
            return
        gradients = [one.grad if one.grad is not None else torch.zeros_like(one) for one in parameters]
        mean: Tensor = reduce(torch.cat([one.flatten() for one in gradients]), reduction="mean")
        parts = torch.split(mean, [one.numel() for one in gradients])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.reshape(parameter.shape)

    def any(self, flag: bool) -> bool:
        """Whether any process says so: all must stop at the same step."""
        if self.count == 1:
            return flag
        told = torch.tensor([float(flag)], device=self.device)
        return bool(reduce(told, reduction="sum") > 0)

    def same(self, value: int) -> int:
        """The main process's number, for all."""
        if self.count == 1:
            return value
        told: Tensor = broadcast(torch.tensor([value], device=self.device))
        return int(told)
