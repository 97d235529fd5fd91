"""manifest.json: read strictly, written back unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragturbo_runtime.errors import BundleCorruptError, BundleNotFoundError, BundleVersionError
from ragturbo_runtime.json_fields import JsonFields
from ragturbo_runtime.manifest import MANIFEST_FILE, parse_manifest, read_manifest
from ragturbo_runtime.manifest_json import manifest_to_json, write_manifest
from ragturbo_runtime.manifest_text import checksum

PATH = Path("bundle") / MANIFEST_FILE


@pytest.fixture(scope="session")
def manifest_text(nano_bundle: Path) -> str:
    return (nano_bundle / MANIFEST_FILE).read_text(encoding="utf-8")


@pytest.fixture
def data(manifest_text: str) -> Any:
    document = json.loads(manifest_text)
    assert document.pop("checksum") == checksum(document)
    return document


OPTIONAL = ("max_abs_diff", "psnr_db", "atol", "mode", "slerp_share")


def required_keys(data: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Every key that must be there; the scheduler's are checked by the sampler, `OPTIONAL` ones may be absent."""
    for key, value in data.items():
        yield (key,)
        if isinstance(value, dict) and key not in ("scheduler", "parity", "licences", "hashes", "files"):
            for rest in required_keys(value):
                if rest[0] != "vae_encoder" and rest[-1] not in OPTIONAL:
                    yield (key, *rest)


def parent(data: Any, keys: tuple[str, ...]) -> Any:
    for key in keys[:-1]:
        data = data[key]
    return data


def test_it_is_written_back_unchanged(data: Any, tmp_path: Path) -> None:
    manifest = parse_manifest(data, path=PATH)
    assert manifest_to_json(manifest) == data
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST_FILE]


def test_every_required_key_is_missed_by_name(data: Any, manifest_text: str) -> None:
    keys = list(required_keys(data))
    assert len(keys) > 80
    for path in keys:
        damaged = json.loads(manifest_text)
        del parent(damaged, path)[path[-1]]
        with pytest.raises(BundleCorruptError, match=f"{'.'.join(path)} is missing|{path[-1]} is None"):
            parse_manifest(damaged, path=PATH)


def test_every_mistyped_value_is_refused_by_name(data: Any, manifest_text: str) -> None:
    for path in required_keys(data):
        damaged = json.loads(manifest_text)
        parent(damaged, path)[path[-1]] = [None]
        with pytest.raises(BundleCorruptError, match=rf"{path[-1]}.* is .*, expected|{path[-1]} is \[None\]"):
            parse_manifest(damaged, path=PATH)


@pytest.mark.parametrize(("version", "hint"), [(0, "export the bundle again"), (2, "upgrade ragturbo-sdk")])
def test_another_schema_is_refused(data: Any, version: int, hint: str) -> None:
    data["schema_version"] = version
    with pytest.raises(BundleVersionError, match=f"schema_version {version}, .* reads 1; {hint}"):
        parse_manifest(data, path=PATH)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("adapter", "similarity_high"), 0.0, "a number above similarity_low"),
        (("adapter", "default_references"), 17, "at most max_references"),
        (("adapter", "reference_caption"), "title", "one of 'caption', 'empty'"),
        (("adapter", "channels"), True, "an integer of at least 1"),
        (("adapter", "channels"), 0, "an integer of at least 1"),
        (("latents", "scaling_factor"), float("nan"), "a finite number"),
        (("latents", "scaling_factor"), 10**400, "a finite number"),
        (("parity", "chain_psnr_db"), 10**400, "a number or null"),
        (("tokenizer", "sha256"), "abc", "64 hexadecimal digits"),
        (("library", "key_dtype"), "float64", "one of 'float16'"),
    ],
)
def test_values_out_of_range_are_refused(
    data: Any, keys: tuple[str, ...], value: object, message: str
) -> None:
    parent(data, keys)[keys[-1]] = value
    with pytest.raises(BundleCorruptError, match=f"{'.'.join(keys)} is .*, expected {message}"):
        parse_manifest(data, path=PATH)


@pytest.mark.parametrize(
    "file",
    [
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/..",
        "",
        ".",
        "a\\b",
        "C:/x",
        "a//b",
        "./a",
        "a/",
        "a\0b",
        "~/../x/..",
    ],
)
def test_paths_that_leave_the_bundle_are_refused(data: Any, file: str) -> None:
    data["graphs"]["adapter"]["file"] = file
    with pytest.raises(
        BundleCorruptError, match=r"graphs\.adapter\.file is .*, expected a relative path inside"
    ):
        parse_manifest(data, path=PATH)


@given(st.text(st.sampled_from("ab./\\:~\0"), max_size=8))
def test_a_path_that_is_let_through_stays_inside(value: str) -> None:
    fields = JsonFields({}, "", PATH)
    try:
        fields.relative_path(value, "file")
    except BundleCorruptError:
        return
    root = Path("/bundle")
    assert (root / value).resolve().is_relative_to(root)
    assert (root / value).resolve() != root


def test_a_bundle_without_library_is_read(data: Any) -> None:
    data["library"] = None
    manifest = parse_manifest(data, path=PATH)
    assert manifest.library is None
    assert {entry.file for entry in manifest.files()} == {
        "tokenizer.json",
        *(f"{name}/model.onnx" for name in data["graphs"]),
    }


def test_unknown_keys_are_ignored(data: Any) -> None:
    data["colour"] = "red"
    data["adapter"]["heads"] = 8
    assert parse_manifest(data, path=PATH).adapter.channels == 32


def test_an_infinite_psnr_is_written_as_null(data: Any) -> None:
    data["graphs"]["adapter"]["parity"]["psnr_db"] = float("inf")
    manifest = parse_manifest(data, path=PATH)
    assert manifest_to_json(manifest)["graphs"]["adapter"]["parity"]["psnr_db"] is None


def test_what_is_no_bundle_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="no such folder") as caught:
        read_manifest(tmp_path / "absent")
    assert caught.value.path == tmp_path / "absent"
    with pytest.raises(BundleNotFoundError, match=r"no manifest\.json in it"):
        read_manifest(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleNotFoundError, match="no such folder"):
        read_manifest(tmp_path / "file")


@pytest.mark.parametrize(
    ("content", "message"), [(b"{", "not JSON"), (b"\xff\xfe", "not JSON"), (b"[]", "found list")]
)
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(BundleCorruptError, match=message):
        read_manifest(tmp_path)
