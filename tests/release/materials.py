"""The bill of materials (SBOM, CycloneDX): which packages are there when the wheel has been installed with [cpu]."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.release.candidate import Candidate, Fault, run
from tests.release.checksums import sha256
from tests.release.installation import install

ALWAYS = {"numpy", "onnxruntime", "pillow", "tokenizers", "ftfy"}


def check_materials(candidate: Candidate, python: Path, folder: Path) -> str:
    """Write the bill into `folder`; the wheel itself is what it is the bill of."""
    inside = install(candidate, python, folder / "environment")
    bill = folder / f"ragturbo_sdk-{candidate.version}.cdx.json"
    command = [
        Path(sys.executable).with_name("cyclonedx-py"),
        "environment",
        "--output-reproducible",
        "--validate",
    ]
    project = ["--pyproject", candidate.clone / "pyproject.toml", "--mc-type", "library"]
    run([*command, *project, "-o", bill, inside], cwd=folder)
    said: dict[str, Any] = json.loads(bill.read_text(encoding="utf-8"))
    _name_the_wheel(said, candidate)
    bill.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return f"{len(said['components'])} packages come with it: {_compare(said, candidate)}"


def _name_the_wheel(said: dict[str, Any], candidate: Candidate) -> None:
    """The version stands in no field of pyproject.toml, so the tool knows neither it nor the file."""
    said["metadata"]["component"] |= {
        "version": candidate.version,
        "purl": f"pkg:pypi/ragturbo-sdk@{candidate.version}",
        "hashes": [{"alg": "SHA-256", "content": sha256(candidate.wheel)}],
    }


def _compare(said: dict[str, Any], candidate: Candidate) -> str:
    packages = {component["name"].lower(): component["version"] for component in said["components"]}
    lines = (candidate.clone / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split(" ;")[0].split("==") for line in lines if "==" in line.split(" ;")[0])
    if missing := ALWAYS - packages.keys():
        raise Fault(f"the bill lists {packages}, expected {sorted(missing)} too")
    if other := {name: packages[name] for name in ALWAYS if packages[name] != pins[name]}:
        raise Fault(f"the bill lists {other}, expected what constraints.txt pins")
    if "file:" in json.dumps(said):
        raise Fault("the bill names a path of this machine")
    return ", ".join(f"{name} {packages[name]}" for name in sorted(ALWAYS))
