"""The running mean of the trained weights: what is evaluated and saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class ExponentialMovingAverage:
    """Means of parameters over the last 1 / (1 - decay) steps or so.

    Args:
        parameters: What to average; always in the same order.
        decay: In [0, 1). It rises to this value as (1 + step) / (10 + step), so that the first steps do not
            weigh on.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], *, decay: float) -> None:
        self.parameters = list(parameters)
        self.decay = decay
        self.means: list[Tensor] = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters after an optimiser step (counted from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for mean, parameter in zip(self.means, self.parameters, strict=True):
            mean.lerp_(parameter, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the parameters hold their means inside the block, and their own values again after it."""
        own = [parameter.detach().clone() for parameter in self.parameters]
        self._set(self.means)
        try:
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

    def state_dict(self) -> dict[str, Tensor]:
        """The means, for a checkpoint."""
        return {str(place): mean for place, mean in enumerate(self.means)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the means of a checkpoint.

        Raises:
            ValueError: They belong to other parameters.
        """
        if len(state) != len(self.means):
            raise ValueError(
                f"{len(state)} averaged tensors in the checkpoint, {len(self.means)} parameters here"
            )
        for place, mean in enumerate(self.means):
            mean.copy_(state[str(place)])
