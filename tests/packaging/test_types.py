"""Every public name of the installed wheel has a declared type, as pyright counts; both packages are typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.conftest import Environment

pytestmark = [pytest.mark.slow, pytest.mark.network]


@pytest.mark.parametrize("package", ["ragturbo_sdk", "ragturbo_runtime"])
def test_every_public_type_is_known(environment: Environment, package: str, tmp_path: Path) -> None:
    """Hosts get errors and LoadProgress from the runtime, so it counts too. onnxruntime itself has no types."""
    command = [
        sys.executable,
        "-m",
        "basedpyright",
        "--outputjson",
        "--ignoreexternal",
        "--verifytypes",
        package,
    ]
    # Here pyright takes the packages of the first Python on the path, whatever else it is told.
    path = os.pathsep.join([str(environment.python.parent), os.environ["PATH"]])
    variables = {**os.environ, "VIRTUAL_ENV": str(environment.path), "PATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    report = json.loads(done.stdout)["typeCompleteness"]
    assert Path(report["packageRootDirectory"]).is_relative_to(environment.path.resolve())
    unknown = [s["name"] for s in report["symbols"] if s["isExported"] and not s["isTypeKnown"]]
    ambiguous = [s["name"] for s in report["symbols"] if s["isExported"] and s["isTypeAmbiguous"]]
    assert (unknown, ambiguous, report["completenessScore"]) == ([], [], 1)
