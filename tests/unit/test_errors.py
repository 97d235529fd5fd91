"""The tree of errors."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

from ragturbo_runtime import errors
from ragturbo_runtime.errors import RagTurboError

EXAMPLES: list[tuple[RagTurboError, type[BaseException], dict[str, Any]]] = [
    (errors.BundleError("m", path="a/b"), Exception, {"path": Path("a/b")}),
    (
        errors.BundleNotFoundError("m", path="a", hint="h"),
        FileNotFoundError,
        {"path": Path("a"), "hint": "h"},
    ),
    (errors.BundleCorruptError("m", path="a"), errors.BundleError, {"path": Path("a")}),
    (errors.BundleVersionError("m", path="a"), errors.BundleError, {"path": Path("a")}),
    (
        errors.ProviderUnavailableError("m", requested="cuda", available=["x"]),
        Exception,
        {"requested": "cuda", "available": ("x",)},
    ),
    (errors.InvalidInputError("m", argument="seed"), ValueError, {"argument": "seed"}),
    (errors.RetrievalError("m", hint="h"), Exception, {"hint": "h"}),
    (errors.InferenceError("m", graph="adapter"), Exception, {"graph": "adapter"}),
    (errors.OutputError("m", path="out.png"), OSError, {"path": Path("out.png")}),
]


@pytest.mark.parametrize(("error", "builtin", "attributes"), EXAMPLES, ids=lambda v: type(v).__name__)
def test_errors_carry_their_facts_and_a_builtin_base(
    error: RagTurboError, builtin: type[BaseException], attributes: dict[str, Any]
) -> None:
    assert isinstance(error, RagTurboError)
    assert isinstance(error, builtin)
    for name, value in attributes.items():
        assert getattr(error, name) == value
    assert str(error) == ("m" if error.hint is None else "m; h")


@pytest.mark.parametrize("error", [example[0] for example in EXAMPLES], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(
    "duplicate", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))], ids=["copy", "pickle"]
)
def test_errors_cross_process_borders(error: RagTurboError, duplicate: Any) -> None:
    other = duplicate(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert other.__dict__ == error.__dict__
