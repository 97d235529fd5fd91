"""What the import costs a host, and what drawing never loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TORCH_SIDE = {
    "torch",
    "torchvision",
    "diffusers",
    "open_clip",
    "transformers",
    "peft",
    "onnx",
    "export",
    "training",
}
IMPORT_LIMIT = 0.3  # seconds


def python(code: str, *arguments: str) -> str:
    """Run code in a fresh interpreter that finds this checkout's packages, and give back what it printed."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "runtime")])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_is_quick() -> None:
    """Best of five, in processor time: the limit is about the program, not about its neighbours."""
    code = "import time; s = time.process_time(); import ragturbo_sdk; print(time.process_time() - s)"
    seconds = [float(python(code)) for _ in range(5)]
    assert min(seconds) < IMPORT_LIMIT, seconds


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, json, ragturbo_sdk; print(json.dumps(sorted(sys.modules)))"
    loaded = {name.split(".")[0] for name in json.loads(python(code))}
    assert not loaded & (TORCH_SIDE | {"numpy", "onnxruntime", "PIL", "tokenizers", "scann"})


def test_drawing_loads_no_torch(nano_bundle: Path, tmp_path: Path) -> None:
    code = (
        "import sys, json, ragturbo_sdk\n"
        "with ragturbo_sdk.Generator(sys.argv[1]) as generator:\n"
        "    generator.generate('a caf\\u00e9 &amp; two cats', seed=7).save(sys.argv[2])\n"
        "from ragturbo_sdk.cli.demo import draw_demo\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    loaded = {
        name.split(".")[0] for name in json.loads(python(code, str(nano_bundle), str(tmp_path / "a.png")))
    }
    assert not loaded & TORCH_SIDE
    assert {"onnxruntime", "ragturbo_runtime"} <= loaded
    assert (tmp_path / "a.png").exists()


def test_a_plain_prompt_loads_no_module(nano_bundle: Path) -> None:
    """Ctrl-C can get lost while a module loads, and a picture has to heed it. Only other prompts load ftfy."""
    code = (
        "import sys, json, ragturbo_sdk\n"
        "with ragturbo_sdk.Generator(sys.argv[1]) as generator:\n"
        "    before = set(sys.modules)\n"
        "    generator.generate('a cat left of two pizzas')\n"
        "    print(json.dumps(sorted(set(sys.modules) - before)))\n"
    )
    assert json.loads(python(code, str(nano_bundle))) == []


def test_without_onnxruntime_the_message_names_the_extras(nano_bundle: Path) -> None:
    code = (
        "import sys\nsys.modules['onnxruntime'] = None\n"
        "from ragturbo_sdk.cli.main import main\n"
        "print(main(['info', '--bundle', sys.argv[1]]))\n"
        "import ragturbo_sdk\n"
        "try:\n    ragturbo_sdk.Generator(sys.argv[1])\n"
        "except ragturbo_sdk.ProviderUnavailableError as error:\n    print(error.hint)\n"
    )
    status, hint = python(code, str(nano_bundle)).splitlines()
    assert status == "2"
    assert "ragturbo-sdk[cpu]" in hint
    assert "ragturbo-sdk[cuda]" in hint
