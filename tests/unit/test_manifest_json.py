"""The text of manifest.json, held against the format as docs/bundle.md has it: what reads it elsewhere relies on it."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragturbo_runtime.errors import BundleCorruptError
from ragturbo_runtime.manifest import (
    MANIFEST_FILE,
    AdapterSpec,
    FamilyInfo,
    FileEntry,
    GraphEntry,
    LatentSpec,
    LibraryPart,
    Manifest,
    Parity,
    TensorSpec,
    TextSpec,
    parse_manifest,
    read_manifest,
)
from ragturbo_runtime.manifest_json import manifest_to_json, write_manifest

HASH = "0123456789abcdef" * 4
NAMES = ("text_encoder", "unet_encoder", "adapter", "unet_decoder", "vae_decoder")


def graph(name: str, **changes: Any) -> GraphEntry:
    whole = GraphEntry(
        file=FileEntry(f"{name}/model.onnx", HASH, 7),
        opset=18,
        flavour="portable",
        inputs=(TensorSpec("x", "float32", ("batch", 3)),),
        outputs=(TensorSpec("y", "int64", (1, "batch")),),
        parity=Parity(0.25, 80.5, 0.5),
    )
    return replace(whole, **changes)


MANIFEST = Manifest(
    name="Kätzchen",
    bundle_version="1.2.3",
    sdk=">=0.2.0,<0.3.0",
    family=FamilyInfo("emoji", {"unet": HASH}),
    licences={"weights": "Apache-2.0"},
    key_space_id="k",
    h_space_id="h",
    picture_height=64,
    picture_width=32,
    latents=LatentSpec(4, 8, 16, 0.125),
    scheduler={"beta_start": 0.5},
    adapter=AdapterSpec(32, 16, 4, 16, 0.25, 0.75, 10, "empty", 2, "int8", "slerp", 0.5),
    text=TextSpec(12, 24, 77),
    tokenizer=FileEntry("tokenizer.json", HASH, 5),
    graphs={name: graph(name) for name in NAMES},
    parity=Parity(2.0, 60.5, None),
    library=LibraryPart(
        "library",
        9,
        "int8",
        tuple(
            FileEntry(f"library/{name}", HASH, 3) for name in ("records.sqlite", "keys-1.i8", "features-1.i8")
        ),
    ),
)


def as_json(name: str) -> dict[str, Any]:
    return {
        "file": f"{name}/model.onnx",
        "sha256": HASH,
        "bytes": 7,
        "opset": 18,
        "flavour": "portable",
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 3]}],
        "outputs": [{"name": "y", "dtype": "int64", "shape": [1, "batch"]}],
        "parity": {"max_abs_diff": 0.25, "psnr_db": 80.5, "atol": 0.5},
    }


DOCUMENT = {
    "schema_version": 1,
    "name": "Kätzchen",
    "bundle_version": "1.2.3",
    "sdk": ">=0.2.0,<0.3.0",
    "family": {"name": "emoji", "hashes": {"unet": HASH}},
    "licences": {"weights": "Apache-2.0"},
    "key_space_id": "k",
    "h_space_id": "h",
    "picture": {"height": 64, "width": 32},
    "latents": {"channels": 4, "height": 8, "width": 16, "scaling_factor": 0.125},
    "scheduler": {"beta_start": 0.5},
    "adapter": {
        "channels": 32,
        "tokens": 16,
        "default_references": 4,
        "max_references": 16,
        "similarity_low": 0.25,
        "similarity_high": 0.75,
        "reference_timestep": 10,
        "reference_caption": "empty",
        "reference_pool": 2,
        "feature_codec": "int8",
        "mode": "slerp",
        "slerp_share": 0.5,
    },
    "text": {"width": 12, "embed_dim": 24, "context_length": 77},
    "tokenizer": {"file": "tokenizer.json", "sha256": HASH, "bytes": 5},
    "graphs": {name: as_json(name) for name in NAMES},
    "parity": {"chain_psnr_db": 60.5, "chain_max_abs_diff": 2.0},
    "library": {
        "directory": "library",
        "count": 9,
        "key_dtype": "int8",
        "files": {
            f"library/{name}": {"sha256": HASH, "bytes": 3}
            for name in ("records.sqlite", "keys-1.i8", "features-1.i8")
        },
    },
}


def test_a_manifest_and_its_document_say_the_same() -> None:
    assert manifest_to_json(MANIFEST) == DOCUMENT
    assert parse_manifest(DOCUMENT, path=Path(MANIFEST_FILE)) == MANIFEST


def test_what_is_not_there_is_not_written_or_null() -> None:
    manifest = replace(MANIFEST, library=None, parity=Parity(None, float("inf"), None))
    document = manifest_to_json(manifest)
    assert document["library"] is None
    assert document["parity"] == {"chain_psnr_db": None, "chain_max_abs_diff": None}
    assert not {"data", "fp32_ops"} & document["graphs"]["adapter"].keys()


def test_weights_of_their_own_and_operators_in_float32_are_written() -> None:
    large = graph("adapter", data=FileEntry("adapter/model.onnx.data", HASH, 8), fp32_ops=("norm", "softmax"))
    manifest = replace(MANIFEST, graphs={**MANIFEST.graphs, "adapter": large})
    document = manifest_to_json(manifest)
    assert document["graphs"]["adapter"] == {
        **as_json("adapter"),
        "data": {"file": "adapter/model.onnx.data", "sha256": HASH, "bytes": 8},
        "fp32_ops": ["norm", "softmax"],
    }
    assert parse_manifest(document, path=Path(MANIFEST_FILE)) == manifest
    assert manifest.is_large
    assert not MANIFEST.is_large


def test_every_file_is_named_once() -> None:
    large = graph("adapter", data=FileEntry("adapter/model.onnx.data", HASH, 8))
    manifest = replace(MANIFEST, graphs={**MANIFEST.graphs, "adapter": large})
    assert [entry.file for entry in manifest.files()] == [
        "tokenizer.json",
        *(f"{name}/model.onnx" for name in NAMES),
        "adapter/model.onnx.data",
        "library/records.sqlite",
        "library/keys-1.i8",
        "library/features-1.i8",
    ]


def test_the_file_is_text_for_people_with_its_checksum_last(tmp_path: Path) -> None:
    path = write_manifest(tmp_path, MANIFEST)
    assert path == tmp_path / MANIFEST_FILE
    text = path.read_text(encoding="utf-8")
    assert text.startswith('{\n "schema_version": 1,\n "name": "Kätzchen",\n')
    assert text.endswith('"\n}\n')
    *keys, last = json.loads(text)
    assert (keys, last) == (list(DOCUMENT), "checksum")
    # sha256 of the document as compact JSON with sorted keys, by another program.
    assert json.loads(text)["checksum"] == "45fcd50f2d64ecb761b5c5743736cdbfb431b3e949ac2fbe2ad98bf5a42bb07c"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_not_written(tmp_path: Path, number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_manifest(tmp_path, replace(MANIFEST, scheduler={"beta_start": number}))
    assert not list(tmp_path.iterdir())


SHAPE = "a list of numbers and axis names"


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (
            ("graphs", "adapter", "inputs", 0, "shape"),
            3,
            f"graphs.adapter.inputs[0].shape is 3, expected {SHAPE}",
        ),
        (
            ("graphs", "adapter", "outputs", 0, "shape"),
            [1, 2.0],
            f"graphs.adapter.outputs[0].shape is [1, 2.0], expected {SHAPE}",
        ),
        (("graphs", "adapter", "opset"), 0, "graphs.adapter.opset is 0, expected an integer of at least 1"),
        (("library", "count"), 0, "library.count is 0, expected an integer of at least 1"),
        (
            ("library", "directory"),
            "/library",
            "library.directory is '/library', expected a relative path inside the bundle, with forward slashes",
        ),
        (
            ("library", "files"),
            {"library/records.sqlite": {}},
            "library.files is ['library/records.sqlite'], expected a file library/keys-...",
        ),
    ],
)
def test_a_value_that_cannot_be_is_named(keys: tuple[str | int, ...], value: object, message: str) -> None:
    document: Any = deepcopy(DOCUMENT)
    inner = document
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    with pytest.raises(BundleCorruptError) as caught:
        parse_manifest(document, path=Path("bundle", MANIFEST_FILE))
    assert str(caught.value) == f"{MANIFEST_FILE}: {message}; download or export the bundle again"
    assert caught.value.path == Path("bundle", MANIFEST_FILE)


def test_the_least_numbers_are_read(tmp_path: Path) -> None:
    manifest = replace(MANIFEST, graphs={**MANIFEST.graphs, "adapter": graph("adapter", opset=1)})
    assert manifest.library is not None
    manifest = replace(manifest, library=replace(manifest.library, count=1))
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


def test_a_file_that_says_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_FILE).write_text('{"schema_version": 1}')
    with pytest.raises(BundleCorruptError) as caught:
        read_manifest(tmp_path)
    assert caught.value.path == tmp_path / MANIFEST_FILE
