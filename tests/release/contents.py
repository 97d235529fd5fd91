"""What is in the two files: what git has and nothing else, the bundle as its manifest says, and not too much."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
import zipfile
from pathlib import PurePosixPath

from ragturbo_runtime.manifest import parse_manifest
from tests.release.candidate import Candidate, Fault, run

# The package index takes files up to 100 MB unless one asks for more.
LARGEST = 100_000_000
BUNDLE = "ragturbo_sdk/bundles/emoji"
# What packing adds to what git has.
ADDED = re.compile(r"PKG-INFO|setup\.cfg|[\w/]*\.egg-info/.+")
PACKAGES = {"ragturbo_sdk/": "ragturbo_sdk/", "ragturbo_runtime/": "runtime/ragturbo_runtime/"}


def check_files(candidate: Candidate) -> str:
    """Everything in the sdist and in the wheel is a file that git has, with its bytes."""
    tracked = set(run(["git", "ls-files", "-z"], cwd=candidate.clone).split("\0"))
    ours = {**_of_sdist(candidate), **_of_wheel(candidate)}
    strangers = sorted(place for place, (name, _) in ours.items() if name not in tracked)
    changed = sorted(
        place
        for place, (name, data) in ours.items()
        if name in tracked and (candidate.clone / name).read_bytes() != data
    )
    if strangers or changed:
        raise Fault(f"not in git: {strangers[:8]}; other bytes than in git: {changed[:8]}")
    return f"{len(ours)} files of sdist and wheel, each as git has it"


def _of_sdist(candidate: Candidate) -> dict[str, tuple[str, bytes]]:
    found = {}
    with tarfile.open(candidate.sdist) as archive:
        for member in archive.getmembers():
            name = PurePosixPath(*PurePosixPath(member.name).parts[1:]).as_posix()
            if not member.isdir() and not ADDED.fullmatch(name):
                data = archive.extractfile(member)
                found[f"{candidate.sdist.name}: {name}"] = name, data.read() if data else b""
    return found


def _of_wheel(candidate: Candidate) -> dict[str, tuple[str, bytes]]:
    found = {}
    with zipfile.ZipFile(candidate.wheel) as archive:
        for name in archive.namelist():
            if ".dist-info/" not in name:
                top = next((top for top in PACKAGES if name.startswith(top)), "")
                source = PACKAGES.get(top, "not in a package: ") + name.removeprefix(top)
                found[f"{candidate.wheel.name}: {name}"] = source, archive.read(name)
    return found


def check_bundle(candidate: Candidate) -> str:
    """The wheel's bundle is whole: each file has the size and hash of its manifest, and none is there unnamed."""
    with zipfile.ZipFile(candidate.wheel) as archive:
        prefix = f"{BUNDLE}/"
        files = {n.removeprefix(prefix): archive.read(n) for n in archive.namelist() if n.startswith(prefix)}
    manifest = parse_manifest(json.loads(files.pop("manifest.json")), path=candidate.wheel)
    named = {entry.file: (entry.bytes, entry.sha256) for entry in manifest.files()}
    packed = {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()}
    wrong = sorted(name for name in named.keys() | packed.keys() if named.get(name) != packed.get(name))
    if wrong:
        raise Fault(f"{BUNDLE}: missing, unnamed, or of another size or hash than in its manifest: {wrong}")
    return f"{len(packed)} files of {manifest.name} {manifest.bundle_version}, each with its hash"


def check_sizes(candidate: Candidate) -> str:
    """The package index takes both."""
    sizes = {path.name: path.stat().st_size for path in (candidate.wheel, candidate.sdist)}
    if too_large := {name: size for name, size in sizes.items() if size >= LARGEST}:
        raise Fault(f"{too_large} bytes, expected less than {LARGEST}")
    return ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items())
