"""What a run leaves to read, and what it says where there is no room for it."""

from __future__ import annotations

import json
import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.ladd.journal import Journal
from training.ladd.trainer import Trainer

MakeTrainer = Callable[..., Trainer]


def events_of(folder: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    return found.Reload()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: as on a full disk, a write fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_event_files_hold_every_number_and_picture(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "sheet.png")
    journal = Journal(tmp_path / "run", step=0)
    journal.add({"loss/smooth_l1": 1.0})
    journal.add({"loss/smooth_l1": 3.0})
    journal.flush(2)
    journal.record(3, {"held_out/right": 0.25})
    journal.show(3, "sheet", tmp_path / "sheet.png")
    journal.close()
    events = events_of(tmp_path / "run" / "tensorboard")
    assert [(one.step, one.value) for one in events.Scalars("loss/smooth_l1")] == [(2, 2.0)]
    assert [(one.step, one.value) for one in events.Scalars("held_out/right")] == [(3, 0.25)]
    (shown,) = events.Images("sheet")
    assert (shown.step, shown.height, shown.width) == (3, 6, 9)


def test_a_run_shows_its_sheets(new_trainer: MakeTrainer) -> None:
    trainer = new_trainer(sheet_every=3)
    trainer.run()
    events = events_of(trainer.folder / "tensorboard")
    assert [one.step for one in events.Images("sheet")] == [3, 6]
    assert [one.step for one in events.Images("sheet-unknown")] == [3, 6]
    assert [one.step for one in events.Scalars("loss/heads")] == [2, 4, 6]


def test_what_an_interrupted_run_wrote_too_much_is_dropped_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = "".join(json.dumps({"step": step}) + "\n" for step in (2, 4, 6))
    path.write_text(lines + '{"step": 8, "lo')  # cut off

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match=r"metrics\.jsonl: cannot be written .* --resume"):
            Journal(tmp_path, step=4)
    assert path.read_text() == lines + '{"step": 8, "lo'
    Journal(tmp_path, step=4).close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [2, 4]


@pytest.mark.skipif(os.name != "posix", reason="file size limits")
def test_a_full_disk_names_the_log_and_the_way_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path, step=0)
    journal.write({"step": 1, "text": "x" * 4000})
    with (
        files_of_at_most(4096),
        pytest.raises(
            OSError, match=r"metrics\.jsonl: cannot be written .*intact: make room, and go on with --resume"
        ),
    ):
        journal.write({"step": 2, "text": "x" * 4000})
    journal.close()


@pytest.mark.skipif(os.name != "posix", reason="file size limits")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the writer's own thread
def test_a_full_disk_names_tensorboards_folder(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    picture = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "sheet.png")
    journal = Journal(tmp_path / "run", step=0)

    def show() -> None:
        for step in range(3):
            journal.show(step, "sheet", tmp_path / "sheet.png")

    with files_of_at_most(4096), pytest.raises(OSError, match=r"tensorboard: cannot be written .* --resume"):
        show()
    for thread in threading.enumerate():
        if type(thread).__name__ == "_AsyncWriterThread":  # its error shall be this test's
            thread.join()
