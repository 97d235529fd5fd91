"""The wheel where nothing else is: installed and used with each Python, and the list of what it brought."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.release.candidate import Candidate, Fault, run, uv
from tests.release.checksums import sha256


def check_installed(candidate: Candidate, python: Path) -> str:
    """Run tests/packaging on these very files; it installs the wheel with that Python and draws pictures."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/packaging"]
    said = run(
        command, cwd=candidate.clone, RAGTURBO_DIST=str(candidate.wheel.parent), RAGTURBO_PYTHON=str(python)
    )
    return f"{python}: {said.splitlines()[-1]}"


def write_bill(candidate: Candidate, python: Path, folder: Path) -> tuple[Path, str]:
    """Install the wheel in an empty environment below `folder`; write beside it which packages are there then."""
    environment = folder / "environment"
    run([uv(), "venv", "--quiet", "--python", python, environment], cwd=folder)
    (inside,) = [p for p in (environment / "bin/python", environment / "Scripts/python.exe") if p.exists()]
    pins = ["--constraint", candidate.clone / "constraints.txt"]
    wheel = f"ragturbo-sdk[cpu] @ {candidate.wheel.as_uri()}"
    run([uv(), "pip", "install", "--quiet", "--python", inside, *pins, wheel], cwd=folder)
    bill = folder / f"ragturbo_sdk-{candidate.version}.cdx.json"
    command = [Path(sys.executable).with_name("cyclonedx-py"), "environment", "--output-reproducible"]
    project = ["--pyproject", candidate.clone / "pyproject.toml", "--mc-type", "library"]
    run([*command, *project, "--validate", "-o", bill, inside], cwd=folder)
    return bill, _complete(bill, candidate)


def _complete(bill: Path, candidate: Candidate) -> str:
    """Take the paths of this machine out, and put the wheel's hash in."""
    said: dict[str, Any] = json.loads(bill.read_text(encoding="utf-8"))
    for component in said["components"]:
        links = component.pop("externalReferences", [])
        kept = [link for link in links if not link["url"].startswith("file:")]
        component.update({"externalReferences": kept} if kept else {})
        if component["name"] == "ragturbo-sdk":
            component["hashes"] = [{"alg": "SHA-256", "content": sha256(candidate.wheel)}]
    bill.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    packages = {component["name"]: component["version"] for component in said["components"]}
    if packages.get("ragturbo-sdk") != candidate.version or "onnxruntime" not in packages:
        raise Fault(
            f"the bill of materials lists {packages}, expected ragturbo-sdk {candidate.version}, onnxruntime"
        )
    return f"{len(packages)} packages"
