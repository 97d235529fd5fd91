"""Nothing that is loaded may run: no pickle in any room, training and export included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house.test_imports import NEVER_IN_THE_WHEEL, PACKAGES, at, imports, parsed

UNPICKLERS = NEVER_IN_THE_WHEEL | {"pickletools", "_pickle", "cPickle", "copyreg"}
LOADERS = {"read_pickle", "load_state_dict_from_url", "unsafe_load", "full_load"}
"""Of pandas, torch.hub and yaml: calls that unpickle, or run what a file says."""


def _says(call: ast.Call, argument: str, value: bool) -> bool:
    return any(
        word.arg == argument and isinstance(word.value, ast.Constant) and word.value.value is value
        for word in call.keywords
    )


def _fault(call: ast.Call) -> str | None:
    name = ast.unparse(call.func)
    if name in ("torch.load", "torch.jit.load") and not _says(call, "weights_only", True):
        return f"{name} without weights_only=True"
    if any(word.arg == "allow_pickle" for word in call.keywords) and not _says(call, "allow_pickle", False):
        return f"{name} with allow_pickle"
    if any(word.arg == "use_safetensors" for word in call.keywords) and not _says(
        call, "use_safetensors", True
    ):
        return f"{name} without safetensors"
    return name if name.rpartition(".")[2] in LOADERS or name in ("eval", "exec") else None


def faults(path: Path, tree: ast.Module) -> list[str]:
    """Every place of a file that could run what it loads."""
    found = [at(path, line, name) for line, name in imports(tree) if name.split(".")[0] in UNPICKLERS]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return found + [at(path, call.lineno, fault) for call in calls if (fault := _fault(call)) is not None]


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_nothing_that_is_loaded_can_run(package: str) -> None:
    found = [line for path, tree in parsed(package) for line in faults(path, tree)]
    assert not found, "load safetensors, JSON or raw arrays:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from cloudpickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "torch.jit.load(path)",
        "np.load(path, allow_pickle=True)",
        "numpy.load(path, allow_pickle=flag)",
        "pandas.read_pickle(path)",
        "Kind.from_pretrained(path, use_safetensors=False)",
        "torch.hub.load_state_dict_from_url(address)",
        "yaml.unsafe_load(text)",
        "eval(text)",
    ],
)
def test_the_reader_sees_it(line: str) -> None:
    """The test above is only as good as this."""
    assert faults(PACKAGES["training"] / "x.py", ast.parse(line))


@pytest.mark.parametrize(
    "line", ["torch.load(path, weights_only=True)", "np.load(path)", "json.load(file)", "load_file(path)"]
)
def test_and_nothing_else(line: str) -> None:
    assert not faults(PACKAGES["training"] / "x.py", ast.parse(line))
