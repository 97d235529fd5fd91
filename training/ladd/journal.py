"""What a run leaves to read: one JSON line per interval, and the same numbers for TensorBoard."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"


class Journal:
    """Collects the metrics of steps and writes their means.

    Args:
        folder: The run's folder; made if it is missing.
        step: Where the run starts or goes on. What an interrupted run wrote from there on is dropped.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / METRICS_FILE
        self._sums: dict[str, float] = defaultdict(float)
        self._count = 0
        kept = [line for line in self._lines() if line.get("step", 0) <= step] if step else []
        self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._board = _open_board(folder / "tensorboard", step)

    def add(self, metrics: dict[str, float]) -> None:
        """Take in the metrics of one step."""
        for name, value in metrics.items():
            self._sums[name] += value
        self._count += 1

    def flush(self, step: int) -> dict[str, float]:
        """Write the means since the last call.

        Args:
            step: Steps done.

        Returns:
            The means.
        """
        means = {name: total / max(1, self._count) for name, total in self._sums.items()}
        self._sums.clear()
        self._count = 0
        self.record(step, means)
        return means

    def record(self, step: int, numbers: dict[str, float]) -> None:
        """Write numbers of a step at once.

        Args:
            step: Steps done.
            numbers: By name.
        """
        self.write({"step": step, **numbers})
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)

    def write(self, record: dict[str, Any]) -> None:
        """Append one line of JSON."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def close(self) -> None:
        """Flush TensorBoard's file."""
        if self._board is not None:
            self._board.close()

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        lines = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break  # a line that was cut off when the run was stopped
        return lines


def _open_board(folder: Path, step: int) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        logger.warning("no TensorBoard files: pip install tensorboard; %s has the same numbers", METRICS_FILE)
        return None
    return SummaryWriter(str(folder), purge_step=step)
