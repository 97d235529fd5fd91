"""The rules of the house, read off the source: who may import whom, and how big a file may be.

Nothing is imported here: an import that only happens inside a function counts too, and so does one in a file
that no test reaches.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "ragturbo_sdk": ROOT / "ragturbo_sdk",
    "ragturbo_runtime": ROOT / "runtime" / "ragturbo_runtime",
    "export": ROOT / "export",
    "training": ROOT / "training",
}
SHIPPED = ("ragturbo_sdk", "ragturbo_runtime")

# pyproject.toml promises these to a host and nothing more; extras bring onnxruntime and faiss.
ALLOWED_IN_THE_WHEEL = frozenset(sys.stdlib_module_names) | {
    "numpy",
    "onnxruntime",
    "tokenizers",
    "PIL",
    "ftfy",
    "scann",
    "faiss",
}
# The extra `playground` brings these, for that package alone.
OF_THE_PLAYGROUND = {"gradio", "starlette"}
MAY_IMPORT = {
    "ragturbo_runtime": {"ragturbo_runtime"},
    "ragturbo_sdk": {"ragturbo_sdk", "ragturbo_runtime"},
    "training": {"training", "ragturbo_runtime"},
    "export": {"export", "training", "ragturbo_runtime"},
}
# What training must do without: it retrieves and samples with the wheel's own code, but runs no bundle.
# Evaluation does, because the exported bundle is what it measures.
BUNDLE_PARTS = {"bundle", "manifest", "pipeline", "providers", "session"}
SLOW_TO_IMPORT = {"scann", "faiss", "ftfy", *OF_THE_PLAYGROUND}
NEVER_IN_THE_WHEEL = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def sources(package: str) -> list[Path]:
    """All Python files of one package."""
    return sorted(PACKAGES[package].rglob("*.py"))


def imports(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and dotted name of every import below `tree`, `importlib.import_module("x")` included."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Call) and _is_dynamic_import(node):
            argument = node.args[0] if node.args else None
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                found.append((node.lineno, argument.value))
    return found


def _is_dynamic_import(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name in {"import_module", "__import__"}


def at(path: Path, line: int, what: str) -> str:
    """A place in the form an editor opens."""
    return f"{path.relative_to(ROOT)}:{line}: {what}"


def parsed(package: str) -> list[tuple[Path, ast.Module]]:
    """Path and syntax tree of each file of one package; there is at least one."""
    files = [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in sources(package)]
    assert files, f"{package}: no Python file under {PACKAGES[package]}"
    return files


def test_the_reader_sees_every_way_to_import() -> None:
    """The other tests here are only as good as this."""
    tree = ast.parse(
        "import torch.nn as nn\n"
        "def f():\n    from diffusers import UNet2DConditionModel\n"
        "importlib.import_module('export.onnx')\n"
        "__import__('training')\n"
        "from . import sibling\n"
    )
    assert [name for _, name in sorted(imports(tree))] == [
        "torch.nn",
        "diffusers.UNet2DConditionModel",
        "export.onnx",
        "training",
    ]


@pytest.mark.parametrize("package", SHIPPED)
def test_shipped_code_imports_only_what_the_wheel_declares(package: str) -> None:
    allowed = ALLOWED_IN_THE_WHEEL | MAY_IMPORT[package]
    strangers = [
        at(path, line, name)
        for path, tree in parsed(package)
        for line, name in imports(tree)
        if name.split(".")[0]
        not in allowed | (OF_THE_PLAYGROUND if path.parent.name == "playground" else set())
    ]
    assert not strangers, (
        "shipped code may import only "
        + ", ".join(sorted(allowed - set(sys.stdlib_module_names)))
        + ":\n"
        + "\n".join(strangers)
    )


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_imports_between_the_rooms_point_one_way(package: str) -> None:
    ours = set(PACKAGES) | {"runtime", "tests"}
    wrong = [
        at(path, line, name)
        for path, tree in parsed(package)
        for line, name in imports(tree)
        if name.split(".")[0] in ours - MAY_IMPORT[package]
    ]
    assert not wrong, f"{package} may import {sorted(MAY_IMPORT[package])}:\n" + "\n".join(wrong)


def test_training_runs_no_bundle() -> None:
    wrong = [
        at(path, line, name)
        for path, tree in parsed("training")
        for line, name in imports(tree)
        if not path.is_relative_to(PACKAGES["training"] / "evaluation")
        and name.split(".")[0] == "ragturbo_runtime"
        and name.split(".")[1] in BUNDLE_PARTS
    ]
    assert not wrong, "training takes only pure parts from the runtime:\n" + "\n".join(wrong)


@pytest.mark.parametrize("package", SHIPPED)
def test_slow_libraries_are_imported_where_they_are_used(package: str) -> None:
    eager = [
        at(path, node.lineno, name)
        for path, tree in parsed(package)
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for _, name in imports(node)
        if name.split(".")[0] in SLOW_TO_IMPORT
    ]
    assert not eager, "import these inside the function that needs them:\n" + "\n".join(eager)


@pytest.mark.parametrize("package", SHIPPED)
def test_shipped_code_executes_and_unpickles_nothing(package: str) -> None:
    found: list[str] = []
    for path, tree in parsed(package):
        found += [
            at(path, line, name) for line, name in imports(tree) if name.split(".")[0] in NEVER_IN_THE_WHEEL
        ]
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"eval", "exec"}
            ):
                found.append(at(path, node.lineno, node.func.id))
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                allowed = isinstance(node.value, ast.Constant) and node.value.value is False
                found += [] if allowed else [at(path, node.value.lineno, "allow_pickle")]
    assert not found, "a bundle is data; nothing in it may run:\n" + "\n".join(found)


@pytest.mark.parametrize("package", [*sorted(PACKAGES), "tests"])
def test_files_stay_small_and_have_a_subject(package: str) -> None:
    folder = PACKAGES.get(package, ROOT / "tests")
    files = sorted(folder.rglob("*.py"))
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    long = [at(path, length, "lines") for path, length in lengths.items() if length > 400]
    vague = [
        at(path, 1, "name") for path in files if path.stem in {"utils", "util", "helpers", "misc", "common"}
    ]
    assert files
    assert not long, "over 400 lines:\n" + "\n".join(long)
    assert not vague, "a file is named for what it is about:\n" + "\n".join(vague)
