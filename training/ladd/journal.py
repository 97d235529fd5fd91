"""What a run leaves to read: one JSON line per interval; for TensorBoard the same numbers, and the sheets."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from training.atomic import save_atomically

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"


class Journal:
    """Collects the metrics of steps and writes their means.

    Args:
        folder: The run's folder; made if it is missing.
        step: Where the run starts or goes on. What an interrupted run wrote from there on is dropped.

    Raises:
        OSError: The disk is full or the folder cannot be written, here and in every method that writes; what was
            written before is there, and so is the last checkpoint.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        self.path, self.board_path = folder / METRICS_FILE, folder / "tensorboard"
        self._sums: dict[str, float] = defaultdict(float)
        self._count = 0
        kept = [line for line in self._lines() if line.get("step", 0) <= step] if step else []
        text = "".join(json.dumps(line) + "\n" for line in kept)
        with room_for(self.path):
            save_atomically(self.path, lambda beside: beside.write_text(text, encoding="utf-8"))
        with room_for(self.board_path):
            self._board = _open_board(self.board_path, step)

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
            with room_for(self.board_path):
                for name, value in numbers.items():
                    self._board.add_scalar(name, value, step)
                self._board.flush()

    def write(self, record: dict[str, Any]) -> None:
        """Append one line of JSON."""
        with room_for(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def show(self, step: int, name: str, picture: Path) -> None:
        """Show a picture in TensorBoard.

        Args:
            step: Steps done.
            name: What it is called there.
            picture: A PNG file.
        """
        if self._board is not None:
            with Image.open(picture) as image, room_for(self.board_path):
                self._board.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")
                self._board.flush()

    def close(self) -> None:
        """Flush TensorBoard's file."""
        if self._board is not None:
            with room_for(self.board_path):
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


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Say what to do where a log cannot be written: TensorBoard's own thread hands its error on, too."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{path}: cannot be written ({error.strerror or error}); the last checkpoint is intact: make room, and go "
            "on with --resume"
        ) from error


def _open_board(folder: Path, step: int) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        logger.warning("no TensorBoard files: pip install tensorboard; %s has the same numbers", METRICS_FILE)
        return None
    return SummaryWriter(str(folder), purge_step=step)
