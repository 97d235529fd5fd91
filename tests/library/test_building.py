"""ragturbo library build: from a folder of pictures to a library, whatever happens on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from export.library import main as export_main
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.collection.opening import open_collection
from ragturbo_runtime.errors import InvalidInputError, OutputError, RetrievalError
from ragturbo_runtime.indexing.building import BuildReport, build_library
from ragturbo_runtime.indexing.engine import LocalEngine
from ragturbo_runtime.indexing.opening import open_encoder
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.library.verification import verify_library
from tests.library.folders import caption, imagefolder, picture

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runtime")])}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 pictures, three of which cannot be read; at 32 pixels a chunk has 128."""
    folder = imagefolder(tmp_path_factory.mktemp("pictures") / "folder", range(300))
    for number in (0, 150, 299):
        (folder / f"{number:04d}.png").write_bytes(b"no picture")
    return folder


def built(bundle_path: Path, pictures: Path, library: Path) -> BuildReport:
    bundle = Bundle.load(bundle_path)
    encoder = open_encoder(bundle, device="cpu", threads=1)
    engine = LocalEngine(encoder, bundle.manifest.picture_height)
    return build_library(bundle, open_collection(pictures), library, engine)


@pytest.fixture(scope="module")
def whole(nano_bundle: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that was built in one go."""
    library = tmp_path_factory.mktemp("whole") / "library"
    report = built(nano_bundle, pictures, library)
    assert (report.added, report.known) == (297, 0)
    assert [one.name for one in report.skipped] == ["0000.png", "0150.png", "0299.png"]
    return library


def contents(library: Path) -> dict[str, object]:
    """All that a library holds, byte for byte, but for SQLite's own counters."""
    with closing(Library(library)) as opened:
        view = opened.view
        rows = range(view.layout.rows)
        records = opened.records(rows)
        thumbnails = [opened.thumbnail(record.id) for record in records]
        files = {path.name: path.read_bytes() for path in library.glob("[fk]e*")}
        return {"records": records, "thumbnails": thumbnails, "scale": view.layout.scale.tobytes(), **files}


def test_a_build_holds_every_picture_that_can_be_read(whole: Path) -> None:
    assert list(verify_library(whole)) == []
    with closing(Library(whole)) as library:
        records = library.records(range(library.count))
    assert [record.id for record in records] == [
        f"{number:04d}.png" for number in range(300) if number not in (0, 150, 299)
    ]
    assert records[6].caption == caption(7)
    assert (records[6].source, records[6].licence) == ("drawn here", "CC0-1.0")


def test_a_build_that_is_done_adds_nothing(nano_bundle: Path, pictures: Path, whole: Path) -> None:
    before = contents(whole)
    report = built(nano_bundle, pictures, whole)
    assert (report.added, report.known, len(report.skipped)) == (0, 297, 3)
    assert contents(whole) == before


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_builds_that_are_killed_end_as_one_that_was_not(
    nano_bundle: Path, pictures: Path, whole: Path, tmp_path: Path
) -> None:
    rng, library = random.Random(0), tmp_path / "library"
    words = ["library", "build", str(pictures), "--out", str(library), "--bundle", str(nano_bundle), "--json"]
    command = [sys.executable, "-m", "ragturbo_sdk", *words, "--device", "cpu", "--threads", "1"]
    for _ in range(10):
        process = subprocess.Popen(
            command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while not list(library.glob("*.sqlite")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if (library / "records.sqlite").exists():
            assert list(verify_library(library)) == []
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["added"] + report["known"] == 297
    assert contents(library) == contents(whole)


@pytest.mark.slow
def test_ray_builds_the_same_bytes(
    nano_bundle: Path, pictures: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    library = tmp_path / "library"
    words = [str(pictures), "--bundle", str(nano_bundle), "--out", str(library)]
    process = subprocess.run(
        [sys.executable, "-m", "export.library", *words, "--engine", "ray", "--workers", "2"],
        env=ENVIRONMENT,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    assert "297 added, 0 known before, 3 skipped" in process.stdout
    assert contents(library) == contents(whole)
    assert export_main([*words, "--engine", "local"]) == 0
    assert "0 added, 297 known before, 3 skipped" in capsys.readouterr().out


def test_pictures_that_come_later_are_added(nano_bundle: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    built(nano_bundle, imagefolder(tmp_path / "first", range(20)), library)
    report = built(nano_bundle, imagefolder(tmp_path / "second", range(10, 30)), library)
    assert (report.added, report.known) == (10, 10)
    with closing(Library(library)) as opened:
        assert opened.count == 30


def test_features_beyond_the_scale_are_told(
    nano_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = imagefolder(tmp_path / "plain", range(4))
    for path in plain.glob("*.png"):
        picture(0).point(lambda value: 128 + value // 64).save(path)
    built(nano_bundle, plain, tmp_path / "library")
    assert not caplog.records
    built(nano_bundle, imagefolder(tmp_path / "wild", range(10, 40)), tmp_path / "library")
    assert "of the features lie beyond what this library's scale can hold" in caplog.text


def test_a_collection_without_a_picture_makes_no_library(nano_bundle: Path, tmp_path: Path) -> None:
    folder = imagefolder(tmp_path / "pictures", range(3))
    for path in folder.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(InvalidInputError, match="none of 3 pictures can be used"):
        built(nano_bundle, folder, tmp_path / "library")
    assert not (tmp_path / "library").exists()


def test_a_library_of_another_bundle_is_left_alone(
    nano_bundle: Path, nano_bundle_copy: Path, pictures: Path, whole: Path
) -> None:
    manifest = json.loads((nano_bundle_copy / "manifest.json").read_text())
    manifest["key_space_id"] = "0" * 64
    manifest["library"] = None
    (nano_bundle_copy / "manifest.json").write_text(json.dumps(manifest))
    before = contents(whole)
    with pytest.raises(RetrievalError, match="key space"):
        built(nano_bundle_copy, pictures, whole)
    assert contents(whole) == before


def test_a_bundle_that_cannot_encode_says_so(nano_bundle_copy: Path, pictures: Path, tmp_path: Path) -> None:
    manifest = json.loads((nano_bundle_copy / "manifest.json").read_text())
    del manifest["graphs"]["vae_encoder"]
    (nano_bundle_copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RetrievalError, match="has no graph vae_encoder, which encodes pictures"):
        built(nano_bundle_copy, pictures, tmp_path / "library")


def test_a_disk_that_is_full_keeps_what_was_acknowledged(
    nano_bundle: Path, pictures: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second chunk's write fails as on a full disk; the build is started again, and ends like any other."""
    import ragturbo_runtime.library.writer as writing

    append, calls = writing.append_rows, []

    def full(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        append(*arguments)  # type: ignore[arg-type]

    library = tmp_path / "library"
    monkeypatch.setattr(writing, "append_rows", full)
    with pytest.raises(OutputError, match=r"No space left on device.*nothing was changed; make room"):
        built(nano_bundle, pictures, library)
    monkeypatch.undo()
    assert list(verify_library(library)) == []
    report = built(nano_bundle, pictures, library)
    assert (report.added, report.known) == (170, 127)
    assert contents(library) == contents(whole)


@pytest.mark.skipif(os.name != "posix", reason="limits of a process")
@pytest.mark.parametrize("kilobytes", [70, 140, 400])
def test_files_that_may_not_grow_keep_what_was_acknowledged(
    nano_bundle: Path, pictures: Path, whole: Path, tmp_path: Path, kilobytes: int
) -> None:
    """The system refuses the write itself: of the records, of their log, or of the features."""
    library = tmp_path / "library"
    words = ["library", "build", str(pictures), "--out", str(library), "--bundle", str(nano_bundle)]
    limit = f"ulimit -f {kilobytes}; trap '' XFSZ; exec \"$@\""
    command = [sys.executable, "-m", "ragturbo_sdk", *words, "--device", "cpu", "--threads", "1"]
    limited = subprocess.run(
        ["bash", "-c", limit, "build", *command], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert limited.returncode == 2, limited.stderr
    assert "ragturbo: error: " in limited.stderr
    assert "Traceback" not in limited.stderr
    if (library / "records.sqlite").exists():
        assert list(verify_library(library)) == []
    built(nano_bundle, pictures, library)
    assert contents(library) == contents(whole)


def test_features_are_those_of_the_exporter_s_own_encoder(nano_bundle: Path, tmp_path: Path) -> None:
    """One encoder serves both, so the bundle's library and one that is built here are of one space."""
    folder = imagefolder(tmp_path / "pictures", range(8))
    built(nano_bundle, folder, tmp_path / "library")
    bundle = Bundle.load(nano_bundle)
    encoder = open_encoder(bundle, device="cpu", threads=1)
    side = bundle.manifest.picture_height
    entries = open_collection(folder).entries
    keys, features = encoder.encode([entry.read(side) for entry in entries], [e.caption for e in entries])
    with closing(Library(tmp_path / "library")) as library:
        stored = library.features(range(8)) * library.scale
        np.testing.assert_allclose(stored, features, atol=float(library.scale.max()))
        rows, cosines = library.search(keys, 1)
    assert rows[:, 0].tolist() == list(range(8))
    np.testing.assert_allclose(cosines, 1, atol=2e-3)
