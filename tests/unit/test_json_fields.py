"""A JSON object read key by key: what each kind of value lets through, and all that is said of the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragturbo_runtime.errors import BundleCorruptError
from ragturbo_runtime.json_fields import JsonFields

PATH = Path("bundle/manifest.json")
Read = Callable[[JsonFields], object]


def one(value: object, where: str = "") -> JsonFields:
    return JsonFields({"key": value}, where, PATH)


def refused(read: Read, fields: JsonFields) -> str:
    with pytest.raises(BundleCorruptError) as caught:
        read(fields)
    assert caught.value.path == PATH
    assert caught.value.hint == "download or export the bundle again"
    return caught.value.message


READS: dict[str, tuple[Read, str, list[Any], list[Any]]] = {
    "text": (lambda fields: fields.text("key"), "a string", ["", "é"], [None, 1, ["a"]]),
    "choice": (lambda fields: fields.choice("key", ("a", "b")), "one of 'a', 'b'", ["a", "b"], ["c", ""]),
    "integer": (
        lambda fields: fields.integer("key"),
        "an integer of at least 0",
        [0, 1, 10**400],
        [-1, True, 1.0, "1", None],
    ),
    "from two": (
        lambda fields: fields.integer("key", minimum=2),
        "an integer of at least 2",
        [2, 3],
        [1, 0, False],
    ),
    "number": (
        lambda fields: fields.number("key"),
        "a finite number",
        [0, -1.5, 3],
        [float("inf"), float("-inf"), float("nan"), True, "1", None, 10**400],
    ),
    "optional number": (
        lambda fields: fields.optional_number("key"),
        "a number or null",
        [0, -1.5, 3, float("inf"), float("-inf"), None],
        [float("nan"), False, "1", 10**400],
    ),
    "nested": (lambda fields: dict(fields.nested("key").data), "an object", [{}, {"a": 1}], [[], "a", None]),
    "nested list": (
        lambda fields: [dict(item.data) for item in fields.nested_list("key")],
        "a list of objects",
        [[], [{"a": 1}, {}]],
        [{}, [{}, 1], "ab", None],
    ),
    "optional texts": (
        lambda fields: list(fields.optional_texts("key")),
        "a list of strings",
        [[], ["a", ""]],
        ["ab", ["a", 1], None, {}],
    ),
}


@pytest.mark.parametrize("name", READS)
def test_what_is_allowed_is_returned(name: str) -> None:
    read, _, allowed, _ = READS[name]
    for value in allowed:
        assert read(one(value)) == value


@pytest.mark.parametrize("name", READS)
def test_what_is_not_is_named_with_its_place(name: str) -> None:
    read, expected, _, others = READS[name]
    for value in others:
        shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
        assert refused(read, one(value)) == f"manifest.json: key is {shown}, expected {expected}"
        assert refused(read, one(value, "a.b")) == f"manifest.json: a.b.key is {shown}, expected {expected}"


@pytest.mark.parametrize("name", [name for name in READS if not name.startswith("optional")])
def test_what_is_missing_is_named_with_its_place(name: str) -> None:
    read = READS[name][0]
    assert refused(read, JsonFields({}, "", PATH)) == "manifest.json: key is missing"
    assert refused(read, JsonFields({}, "a", PATH)) == "manifest.json: a.key is missing"


def test_what_may_be_missing_is_none_or_empty() -> None:
    assert JsonFields({}, "", PATH).optional_number("key") is None
    assert JsonFields({}, "", PATH).optional_texts("key") == ()


def test_numbers_become_floats() -> None:
    assert type(one(3).number("key")) is float
    assert type(one(3).optional_number("key")) is float
    assert one(2**1000).number("key") == 2.0**1000


def test_objects_know_where_they_were() -> None:
    assert one({"a": 1}).nested("key") == JsonFields({"a": 1}, "key", PATH)
    assert one({"a": 1}, "w").nested("key") == JsonFields({"a": 1}, "w.key", PATH)
    assert one([{}, {"a": 1}]).nested_list("key")[1] == JsonFields({"a": 1}, "key[1]", PATH)
    assert one([{}, {"a": 1}], "w").nested_list("key")[1] == JsonFields({"a": 1}, "w.key[1]", PATH)


def test_a_whole_object_is_strings() -> None:
    assert JsonFields({"a": "1", "b": ""}, "w", PATH).texts() == {"a": "1", "b": ""}
    said = refused(JsonFields.texts, JsonFields({"a": "1", "b": 2}, "w", PATH))
    assert said == "manifest.json: w.b is 2, expected a string"


@pytest.mark.parametrize(("length", "shown"), [(78, "'" + "x" * 78 + "'"), (79, "'" + "x" * 76 + "...")])
def test_a_long_value_is_shortened(length: int, shown: str) -> None:
    assert refused(lambda fields: fields.number("key"), one("x" * length)) == (
        f"manifest.json: key is {shown}, expected a finite number"
    )


@pytest.mark.parametrize("value", ["a", "a/b.onnx", "a/.b/c", "..a/b"])
def test_a_path_inside_is_returned(value: str) -> None:
    assert one(value).relative_path(value, "key") == value


@pytest.mark.parametrize(
    "value", ["", ".", "/a", "/", "a/../b", "..", "a//b", "./a", "a/", "a\\b", "c:a", "a\0"]
)
def test_a_path_that_leaves_or_is_not_plain_is_refused(value: str) -> None:
    assert refused(lambda fields: fields.relative_path(value, "key"), one(value, "w")) == (
        f"manifest.json: w.key is {value!r}, expected a relative path inside the bundle, with forward slashes"
    )
