"""Errors that a process with an earlier version pickled are still errors here: docs/compatibility.md promises it.

The files beside this one were each written by the version in their name with Python 3.11, protocol 4. They are never
written again; a later minor version adds a file with the errors that are new in it.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
from pathlib import Path

import pytest

import ragturbo_sdk

FILES = sorted(Path(__file__).parent.glob("pickled_errors_*.json"))
PICKLED = [(path.stem, name, text) for path in FILES for name, text in json.loads(path.read_text()).items()]
ATTRIBUTES = {
    "path": Path("a/b"),
    "graph": "adapter",
    "argument": "seed",
    "requested": "cuda",
    "available": ("x",),
}


@pytest.mark.skipif(os.name != "posix", reason="the paths in the file are of such a system")
@pytest.mark.parametrize(("file", "name", "text"), PICKLED, ids=lambda value: str(value)[:32])
def test_an_earlier_versions_error_is_read(file: str, name: str, text: str) -> None:
    error = pickle.loads(base64.b64decode(text))
    assert type(error) is getattr(ragturbo_sdk, name)
    assert isinstance(error, ragturbo_sdk.RagTurboError)
    assert (error.message, error.hint, str(error)) == ("m", "h", "m; h")
    for attribute, value in ATTRIBUTES.items():
        assert getattr(error, attribute, value) == value


def test_every_error_is_in_the_file() -> None:
    errors = {name for name in ragturbo_sdk.__all__ if name.endswith("Error")}
    assert errors == {name for _, name, _ in PICKLED}
