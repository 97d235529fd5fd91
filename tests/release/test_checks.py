"""The checks of `make release-check`, each with what it is for."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from ragturbo_runtime.bundle import Bundle
from ragturbo_sdk._version import __version__
from tests.release.candidate import Candidate, Fault, run, version_of
from tests.release.changelog import check_changelog, notes
from tests.release.checksums import checksums
from tests.release.conftest import FILES, pack_sdist, pack_wheel
from tests.release.contents import BUNDLE, LARGEST, check_bundle, check_files, check_sizes
from tests.release.interpreters import PROMISED, find_pythons
from tests.release.repack import repack
from tests.release.versions import check_bundle_range, check_documents, check_versions

ROOT = Path(__file__).resolve().parents[2]
TAGGED = ("v1.2.0",)


def test_a_whole_candidate_passes(candidate: Candidate) -> None:
    tagged = replace(candidate, tags=TAGGED)
    assert check_files(tagged) == "7 files of sdist and wheel, each as git has it"
    assert check_versions(tagged) == "1.2.0 in wheel, sdist, METADATA, PKG-INFO, tag v1.2.0"
    assert check_documents(tagged) == "2 documents name no other version"
    assert check_changelog(tagged) == "[1.2.0] of 2026-02-01, 0 entries not released yet"
    assert "MB" in check_sizes(tagged)
    assert notes(tagged) == "- New\n"
    assert version_of(tagged.clone) == "1.2.0"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("tests/test_x.py", "not in a package: tests/test_x.py|tests/test_x.py"),
        ("ragturbo_sdk/__pycache__/x.pyc", "__pycache__/x.pyc"),
        ("ragturbo_sdk/_version.py.partial", "_version.py.partial"),
    ],
)
def test_a_file_that_git_has_not_is_named(candidate: Candidate, name: str, found: str) -> None:
    folder = candidate.clone.parent
    with pytest.raises(Fault, match=found):
        check_files(replace(candidate, wheel=pack_wheel(folder, **{name: b"x"})))
    with pytest.raises(Fault, match=name):
        check_files(replace(candidate, sdist=pack_sdist(folder, **{name: b"x"})))


def test_other_bytes_than_those_of_git_are_named(candidate: Candidate) -> None:
    pack_sdist(candidate.clone.parent, **{"README.md": b"other"})
    with pytest.raises(Fault, match=r"other bytes than in git: \['ragturbo_sdk-1.2.0.tar.gz: README.md'\]"):
        check_files(candidate)


def test_a_file_that_is_too_large_is_named(candidate: Candidate) -> None:
    with candidate.wheel.open("r+b") as file:
        file.truncate(LARGEST)
    with pytest.raises(Fault, match=f"'{candidate.wheel.name}': {LARGEST}"):
        check_sizes(candidate)


@pytest.mark.parametrize(("version", "tags"), [("1.2.1", ()), ("1.2.0", ("v1.2.1",))])
def test_a_version_that_differs_is_named(candidate: Candidate, version: str, tags: tuple[str, ...]) -> None:
    with pytest.raises(Fault, match=r"expected 1\.2\.\d as in _version.py"):
        check_versions(replace(candidate, version=version, tags=tags))


@pytest.mark.parametrize(
    "text",
    [
        "ragturbo-sdk==1.1.0",
        "`ragturbo_sdk-1.0-py3-none-any.whl`",
        "ragturbo 2.0.0",
        "ragturbo-sdk[cpu]>=1.1",
    ],
)
def test_a_document_with_another_version_is_named(candidate: Candidate, text: str) -> None:
    (candidate.clone / "docs").mkdir()
    (candidate.clone / "docs" / "draw.md").write_text(f"See {text}.\n", encoding="utf-8")
    with pytest.raises(Fault, match=r"expected 1\.2\.0: \['docs/draw.md: "):
        check_documents(candidate)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("## [Unreleased]\n", "", "expected Unreleased and then versions"),
        ("- 2026-02-01", "", "is of None, expected a day"),
        ("- 2026-02-01", "- 2026-02-30", "is of '2026-02-30', expected a day"),
        ("- 2026-02-01", "- 2026-01-01", "expected the newest first"),
        ("[1.1.0]", "[1.3.0]", "expected the newest first"),
        ("[1.1.0]", "[1.2.0]", "expected the newest first"),
        ("[1.2.0]", "[1.2.1]", r"the newest section is \[1.2.1\], expected \[1.2.0\]"),
        ("[Unreleased]\n", "[Unreleased]\n\n- More\n", r"\[Unreleased\] still has 1 entries"),
    ],
)
def test_what_is_wrong_with_a_changelog_is_named(
    candidate: Candidate, before: str, after: str, message: str
) -> None:
    text = FILES["CHANGELOG.md"].replace(before, after)
    (candidate.clone / "CHANGELOG.md").write_text(text, encoding="utf-8")
    with pytest.raises(Fault, match=message):
        check_changelog(replace(candidate, tags=TAGGED))


def test_repacked_archives_are_the_same_whatever_was_packed_when(tmp_path: Path) -> None:
    archives = []
    for name, time, mode in (("one", 1, 0o644), ("two", 2_000_000_000, 0o664)):
        folder = tmp_path / name / "x-1"
        folder.mkdir(parents=True)
        for file in ("a", "run") if name == "one" else ("run", "a"):
            (folder / file).write_text(file, encoding="utf-8")
            (folder / file).chmod(mode | (0o100 if file == "run" else 0))
        archive = tmp_path / f"{name}.tar.gz"
        run(["tar", "--mtime", f"@{time}", "-czf", archive, "-C", folder.parent, "x-1"], cwd=tmp_path)
        repack(archive, 1_700_000_000)
        archives.append(archive.read_bytes())
    assert archives[0] == archives[1]
    with tarfile.open(tmp_path / "one.tar.gz") as archive:
        found = [(m.name, m.mode, m.mtime, m.uname) for m in archive.getmembers()]
    assert found == [
        ("x-1", 0o755, 1_700_000_000, ""),
        ("x-1/a", 0o644, 1_700_000_000, ""),
        ("x-1/run", 0o755, 1_700_000_000, ""),
    ]


def test_sha256sum_reads_the_checksums(candidate: Candidate) -> None:
    folder = candidate.wheel.parent
    (folder / "SHA256SUMS").write_text(checksums([candidate.wheel, candidate.sdist]), encoding="utf-8")
    assert run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder).count(": OK") == 2


def test_pythons_are_what_they_are_called() -> None:
    found = find_pythons()
    assert tuple(found) == PROMISED
    assert any(found.values()), "not even the Python that runs this test"
    for version, python in found.items():
        if python is not None:
            said = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout
            assert said.startswith(f"Python {version}.")


def test_a_command_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"(?s)exit status 1.*not a git repository"):
        run(["git", "-C", tmp_path, "log"], cwd=tmp_path)


def packed_bundle(candidate: Candidate, bundle: Path, **changed: bytes) -> Candidate:
    """A wheel that holds a whole bundle, but for what is changed."""
    files = {
        path.relative_to(bundle).as_posix(): path.read_bytes() for path in bundle.rglob("*") if path.is_file()
    }
    inside = {f"{BUNDLE}/{name}": data for name, data in {**files, **changed}.items()}
    return replace(candidate, wheel=pack_wheel(candidate.clone.parent, **inside))


def test_a_whole_bundle_passes_and_each_changed_file_is_named(
    candidate: Candidate, nano_bundle: Path
) -> None:
    assert "each with its hash" in check_bundle(packed_bundle(candidate, nano_bundle))
    for name, data in (("tokenizer.json", b"{}"), ("unnamed.onnx", b"x")):
        with pytest.raises(Fault, match=rf"than in its manifest: \['{name}'\]"):
            check_bundle(packed_bundle(candidate, nano_bundle, **{name: data}))


def test_a_bundle_for_other_versions_is_refused(candidate: Candidate, nano_bundle: Path) -> None:
    shutil.copytree(nano_bundle, candidate.clone / BUNDLE)
    assert check_bundle_range(replace(candidate, version=__version__)).startswith("the bundle is for >=")
    with pytest.raises(Fault, match=r"refuses the version: .* this is 99\.0\.0"):
        check_bundle_range(replace(candidate, version="99.0.0"))


def test_the_exporter_writes_a_range_that_this_version_is_in(nano_bundle: Path) -> None:
    source = (ROOT / "export" / "manifest.py").read_text(encoding="utf-8")
    (written,) = re.findall(r'^SDK_RANGE = "([^"]+)"$', source, re.MULTILINE)
    opened = Bundle.load(nano_bundle)
    Bundle(opened.path, replace(opened.manifest, sdk=written)).require_sdk(__version__)
