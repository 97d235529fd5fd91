"""One version everywhere: _version.py says it, and file names, metadata, tag, documents and the bundle agree."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import BundleError
from tests.release.candidate import Candidate, Fault, run
from tests.release.contents import BUNDLE

# Our name with a version: ragturbo-sdk==0.1.0, "ragturbo-sdk[cpu]>=0.1.0", ragturbo_sdk-0.1.0, ragturbo 0.1.0.
NAMED = re.compile(r"ragturbo(?:[-_]sdk)?(?:\[\w+\])?[ \-=<>~v]{1,4}(\d+\.\d+(?:\.\d+)?(?:\.dev\d+|rc\d+)?)")


def check_versions(candidate: Candidate) -> str:
    """Names, metadata and tag say what `_version.py` says."""
    said = {
        "wheel": candidate.wheel.name.split("-")[1],
        "sdist": candidate.sdist.name.removeprefix("ragturbo_sdk-").removesuffix(".tar.gz"),
        **_from_metadata(candidate),
        **{f"tag {tag}": tag.removeprefix("v") for tag in candidate.tags if tag.startswith("v")},
    }
    if other := {where: version for where, version in said.items() if version != candidate.version}:
        raise Fault(f"{other}, expected {candidate.version} as in _version.py")
    return f"{candidate.version} in {', '.join(said)}"


def _from_metadata(candidate: Candidate) -> dict[str, str]:
    with zipfile.ZipFile(candidate.wheel) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = wheel.read(name).decode()
    with tarfile.open(candidate.sdist) as sdist:
        (member,) = (m for m in sdist.getmembers() if m.name.count("/") == 1 and m.name.endswith("/PKG-INFO"))
        reader = sdist.extractfile(member)
        assert reader is not None, member.name
        info = reader.read().decode()
    parse = HeaderParser().parsestr
    return {"METADATA": parse(metadata)["Version"], "PKG-INFO": parse(info)["Version"]}


def check_metadata(candidate: Candidate) -> str:
    """The package index can show it."""
    run(
        [sys.executable, "-m", "twine", "check", "--strict", candidate.sdist, candidate.wheel],
        cwd=candidate.clone,
    )
    return "twine has nothing to say"


def check_bundle_range(candidate: Candidate) -> str:
    """The bundle that ships says that this version can read it."""
    bundle = Bundle.load(candidate.clone / BUNDLE)
    try:
        bundle.require_sdk(candidate.version)
    except BundleError as error:
        raise Fault(f"the bundle that ships refuses the version: {error.message}") from error
    return f"the bundle is for {bundle.manifest.sdk}"


def check_documents(candidate: Candidate) -> str:
    """No document names another version of ours; the changelog, which tells of all, is none of them."""
    documents = [path for path in _documents(candidate.clone) if path.name != "CHANGELOG.md"]
    other = [
        f"{path.relative_to(candidate.clone)}: {match[0]}"
        for path in documents
        for match in NAMED.finditer(path.read_text(encoding="utf-8"))
        if match[1] != candidate.version
    ]
    if other:
        raise Fault(f"expected {candidate.version}: {other}")
    return f"{len(documents)} documents name no other version"


def _documents(clone: Path) -> list[Path]:
    return [*clone.glob("*.md"), *(clone / "docs").rglob("*.md"), clone / "runtime" / "README.md"]
