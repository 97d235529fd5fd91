"""A manifest with anything in it: an error of ours, or the picture that the bundle draws."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragturbo_runtime.errors import RagTurboError
from ragturbo_sdk import Generator

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["", "0", "../library", "/etc", "int8", "float16", "portable", ">=0.1.0", "\ud800"]),
)
VALUES = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text(max_size=5), SCALARS, max_size=2)
)
PROMPT = "a cat"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key and every element of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def drawn(bundle: Path) -> bytes | None:
    """What the bundle draws; None where an error of ours says why it does not."""
    try:
        with Generator(bundle, device="cpu", threads=1, verify="off") as generator:
            return generator.generate(PROMPT, seed=3).image.tobytes()
    except RagTurboError:
        return None


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_value_in_any_place_ends_in_an_error_of_ours_or_in_a_picture(
    nano_bundle_copy: Path, data: st.DataObject
) -> None:
    whole = (nano_bundle_copy / "manifest.json").read_text(encoding="utf-8")
    document = json.loads(whole)
    *path, last = data.draw(st.sampled_from(sorted(places(document), key=repr)))
    parent = document
    for key in path:
        parent = parent[key]
    if data.draw(st.booleans()) and isinstance(parent, dict):
        del parent[last]
    else:
        parent[last] = data.draw(VALUES)
    try:
        (nano_bundle_copy / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
        drawn(nano_bundle_copy)
    finally:
        (nano_bundle_copy / "manifest.json").write_text(whole, encoding="utf-8")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1), st.integers(0, 255))
def test_any_byte_of_the_manifest_ends_so_too(nano_bundle_copy: Path, share: float, byte: int) -> None:
    file = nano_bundle_copy / "manifest.json"
    whole = file.read_bytes()
    changed = bytearray(whole)
    changed[int(share * (len(whole) - 1))] = byte
    try:
        file.write_bytes(changed)
        drawn(nano_bundle_copy)
    finally:
        file.write_bytes(whole)
