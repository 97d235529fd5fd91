"""manifest.json as text: what is refused, and all that its error says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ragturbo_runtime.errors import BundleCorruptError, BundleNotFoundError
from ragturbo_runtime.manifest_text import MAX_BYTES, checksum, read_document, verify_checksum

SUM_OF_A_1 = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
"""`printf '{"a":1}' | sha256sum`."""
LONG = "0123456789" * 7


def bundle_of(folder: Path, text: str) -> Path:
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return folder


def refused(bundle: Path) -> str:
    """What is said of a damaged manifest, behind its path and before the way out."""
    path = bundle / "manifest.json"
    with pytest.raises(BundleCorruptError) as caught:
        verify_checksum(bundle)
    assert caught.value.path == path
    assert caught.value.hint == "download or export the bundle again"
    assert caught.value.message.startswith(f"{path}: ")
    return caught.value.message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "expected a JSON object, found list"),
        ('{"a": 1, "b": 2, "c": 3, "b": 4}', "not JSON (the key 'b' is there twice)"),
        ('{"b": {"a": 1, "a": 1}}', "not JSON (the key 'a' is there twice)"),
        (f'{{"{LONG}": 1, "{LONG}": 1}}', f"not JSON (the key '{LONG[:40]}' is there twice)"),
        ('{"a": NaN}', "not JSON (NaN is no JSON)"),
        ('{"a": -Infinity}', "not JSON (-Infinity is no JSON)"),
        ("[" * 100_000, "not JSON of ours (nested too deep)"),
        ('{"a": 1, "checksum": "b"}', f"its checksum is {SUM_OF_A_1}, it says 'b'"),
        ('{"a": 1, "checksum": 5}', f"its checksum is {SUM_OF_A_1}, it says '5'"),
        (f'{{"a": 1, "checksum": "{LONG}"}}', f"its checksum is {SUM_OF_A_1}, it says '{LONG[:64]}'"),
    ],
)
def test_a_damaged_text_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert refused(bundle_of(tmp_path, text)) == said


def test_a_text_without_end_is_refused_and_the_longest_is_read(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, '{"a": 1}'.ljust(MAX_BYTES))
    assert read_document(bundle) == {"a": 1}
    (bundle / "manifest.json").write_bytes(bytes(MAX_BYTES + 1))
    assert refused(bundle) == "cannot be read (16777217 bytes, expected at most 16777216)"


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    assert refused(tmp_path) == "cannot be read (not a plain file)"


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need rights elsewhere")
def test_a_link_is_followed_inside_and_nowhere_else(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    outside = tmp_path / "outside.json"
    for target in (outside, bundle / "inside.json"):
        target.write_text('{"a": 1}')
    (bundle / "manifest.json").symlink_to(outside)
    assert refused(bundle) == f"leads out of the bundle to {outside.resolve()}"
    (bundle / "manifest.json").unlink()
    (bundle / "manifest.json").symlink_to(bundle / "inside.json")
    assert read_document(bundle) == {"a": 1}


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need rights elsewhere")
def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").symlink_to(tmp_path / "manifest.json")
    assert refused(tmp_path) == "cannot be read (Too many levels of symbolic links)"


@pytest.mark.parametrize(("name", "said"), [("absent", "no such folder"), (".", "no manifest.json in it")])
def test_what_is_no_bundle_says_what_would_be(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(BundleNotFoundError) as caught:
        read_document(tmp_path / name)
    assert caught.value.path == tmp_path / name
    assert str(caught.value) == (
        f"{tmp_path / name}: {said}; "
        "pass a folder that python -m export.onnx wrote, or no bundle at all for the bundled model"
    )


def test_the_checksum_is_of_all_other_keys_in_any_order(tmp_path: Path) -> None:
    assert checksum({"a": 1}) == checksum({"checksum": "x", "a": 1}) == SUM_OF_A_1
    assert checksum({"b": 2, "a": "ä"}) == checksum({"a": "ä", "b": 2})
    for said in ({}, {"checksum": None}, {"checksum": SUM_OF_A_1}):
        verify_checksum(bundle_of(tmp_path, json.dumps({"a": 1, **said})))
