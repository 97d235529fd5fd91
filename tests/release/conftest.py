"""A repository of three files and the two archives of it, all whole; a test damages one thing."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.release.candidate import Candidate, run

FILES = {
    "ragturbo_sdk/_version.py": '__version__ = "1.2.0"\n',
    "README.md": '# ragturbo\npip install "ragturbo-sdk[cpu]"\n',
    "runtime/README.md": "The runtime.\n",
    "runtime/ragturbo_runtime/__init__.py": "",
    "CHANGELOG.md": "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-02-01\n\n- New\n\n## [1.1.0] - 2026-01-31\n",
}
METADATA = "Metadata-Version: 2.4\nName: ragturbo-sdk\nVersion: 1.2.0\n"


@pytest.fixture
def candidate(tmp_path: Path) -> Candidate:
    clone = tmp_path / "clone"
    for name, text in FILES.items():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text(text, encoding="utf-8")
    for words in (["init", "--quiet"], ["add", "--all"]):
        run(["git", *words], cwd=clone)
    return Candidate(clone, pack_sdist(tmp_path), pack_wheel(tmp_path), "1.2.0", ())


def pack_sdist(folder: Path, **more: bytes) -> Path:
    path = folder / "ragturbo_sdk-1.2.0.tar.gz"
    files = {name: text.encode() for name, text in FILES.items()} | {"PKG-INFO": METADATA.encode()} | more
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"ragturbo_sdk-1.2.0/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def pack_wheel(folder: Path, **more: bytes) -> Path:
    path = folder / "ragturbo_sdk-1.2.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ragturbo_sdk/_version.py", FILES["ragturbo_sdk/_version.py"])
        archive.writestr("ragturbo_runtime/__init__.py", "")
        archive.writestr("ragturbo_sdk-1.2.0.dist-info/METADATA", METADATA)
        for name, data in more.items():
            archive.writestr(name, data)
    return path
