"""Damaged bundles: each is refused by the right class, with a message that names the file and what to do."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import (
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    BundleVersionError,
    InferenceError,
    RetrievalError,
)
from ragturbo_runtime.manifest import REQUIRED_GRAPHS
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.requests import DrawRequest
from tests.faults.graph_damage import bless

GRAPH = "unet_decoder/model.onnx"
REQUEST = DrawRequest(("a red circle",), (1,))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def garble(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * (path.stat().st_size // 256 + 1))


def all_files(bundle: Path) -> list[str]:
    return [entry.file for entry in Bundle.load(bundle, verify="off").manifest.files()]


@pytest.mark.parametrize("damage", [truncate, empty, remove, make_folder], ids=lambda f: f.__name__)
def test_every_file_is_checked_on_opening(nano_bundle_copy: Path, damage: Callable[[Path], None]) -> None:
    for file in all_files(nano_bundle_copy):
        path = nano_bundle_copy / file
        backup = path.read_bytes()
        damage(path)
        with pytest.raises(BundleCorruptError) as caught:
            Bundle.load(nano_bundle_copy)
        assert str(caught.value).startswith(f"{file}: ")
        assert str(caught.value).endswith("; download or export the bundle again")
        assert caught.value.path == path
        if path.is_dir():
            path.rmdir()
        path.write_bytes(backup)
    Bundle.load(nano_bundle_copy, verify="full")


def test_a_flipped_bit_is_found_by_full_verification(nano_bundle_copy: Path) -> None:
    for file in all_files(nano_bundle_copy):
        path = nano_bundle_copy / file
        flip_a_bit(path)
        Bundle.load(nano_bundle_copy, verify="fast")
        with pytest.raises(
            BundleCorruptError, match=rf"{file}: sha256 [0-9a-f]{{64}}, expected [0-9a-f]{{64}}"
        ):
            Bundle.load(nano_bundle_copy, verify="full")
        flip_a_bit(path)
    Bundle.load(nano_bundle_copy, verify="full")


@pytest.mark.parametrize("damage", [truncate, empty, garble, remove], ids=lambda f: f.__name__)
@pytest.mark.parametrize("graph", REQUIRED_GRAPHS)
def test_a_graph_that_is_none_is_refused_even_unverified(
    nano_bundle_copy: Path, graph: str, damage: Callable[[Path], None]
) -> None:
    damage(nano_bundle_copy / graph / "model.onnx")
    bundle = Bundle.load(nano_bundle_copy, verify="off")
    with pytest.raises(
        BundleCorruptError, match=f"{graph}/model.onnx: not a graph that ONNX Runtime can load"
    ):
        Pipeline.load(bundle)


def test_swapped_graphs_are_refused(nano_bundle_copy: Path) -> None:
    shutil.copy(nano_bundle_copy / "unet_encoder/model.onnx", nano_bundle_copy / GRAPH)
    with pytest.raises(BundleCorruptError, match=rf"{GRAPH}: \d+ bytes, expected \d+"):
        Bundle.load(nano_bundle_copy)
    bless(nano_bundle_copy, GRAPH)
    with pytest.raises(
        BundleCorruptError, match=f"{GRAPH}: its inputs are .*'sample'.*; export the bundle again"
    ):
        Pipeline.load(Bundle.load(nano_bundle_copy, verify="full"))


@pytest.mark.parametrize("graph", ["unet_encoder", "adapter", "unet_decoder", "vae_decoder"])
def test_weights_of_nan_never_become_a_picture(nano_bundle_copy: Path, graph: str) -> None:
    file = f"{graph}/model.onnx"
    model = onnx.load(nano_bundle_copy / file)
    weights = next(w for w in model.graph.initializer if w.data_type == onnx.TensorProto.FLOAT16)
    values = numpy_helper.to_array(weights)
    weights.CopyFrom(numpy_helper.from_array(np.full_like(values, np.nan), weights.name))
    onnx.save(model, nano_bundle_copy / file)
    bless(nano_bundle_copy, file)
    with Pipeline.load(Bundle.load(nano_bundle_copy, verify="full"), threads=1) as pipeline:
        with pytest.raises(InferenceError, match=r"NaN or infinity.*export it again"):
            pipeline.draw(REQUEST)


def test_keys_of_nan_are_refused(nano_bundle_copy: Path) -> None:
    file = "library/keys-000001.f16"
    np.full(32 * 24, np.nan, dtype=np.float16).tofile(nano_bundle_copy / file)
    bless(nano_bundle_copy, file)
    with pytest.raises(
        RetrievalError, match="the library's keys hold NaN or infinity; build the library again"
    ):
        Pipeline.load(Bundle.load(nano_bundle_copy, verify="full"))


def test_a_text_encoder_of_nan_is_refused(nano_bundle_copy: Path) -> None:
    file = "text_encoder/model.onnx"
    model = onnx.load(nano_bundle_copy / file)
    for weights in model.graph.initializer:
        if weights.data_type == onnx.TensorProto.FLOAT16:
            values = numpy_helper.to_array(weights)
            weights.CopyFrom(numpy_helper.from_array(np.full_like(values, np.nan), weights.name))
    onnx.save(model, nano_bundle_copy / file)
    bless(nano_bundle_copy, file)
    with Pipeline.load(Bundle.load(nano_bundle_copy), threads=1) as pipeline:
        for request in (REQUEST, DrawRequest(("a red circle",), (1,), references=0)):
            with pytest.raises(InferenceError, match="text_encoder: returned NaN or infinity"):
                pipeline.draw(request)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("tokenizer.json", truncate),
        ("tokenizer.json", garble),
        ("tokenizer.json", remove),
        ("library/records.sqlite", garble),
        ("library/records.sqlite", empty),
        ("library/records.sqlite", truncate),
        ("library/records.sqlite", remove),
        ("library/keys-000001.f16", truncate),
        ("library/keys-000001.f16", remove),
        ("library/features-000001.i8", truncate),
        ("library/features-000001.i8", empty),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_other_files_are_refused_even_unverified(
    nano_bundle_copy: Path, file: str, damage: Callable[[Path], None]
) -> None:
    damage(nano_bundle_copy / file)
    bundle = Bundle.load(nano_bundle_copy, verify="off")
    with pytest.raises((BundleCorruptError, RetrievalError), match=r"; (download|export|build)") as caught:
        with Pipeline.load(bundle, threads=1) as pipeline:
            pipeline.draw(REQUEST)
    assert str(Path(file).name) in str(caught.value) or "library" in str(caught.value)


def test_a_bundle_for_a_later_sdk_says_what_to_install(nano_bundle: Path) -> None:
    with pytest.raises(
        BundleVersionError, match=r"made for ragturbo-sdk >=0\.2\.0,<0\.3\.0, this is 0\.3\.1; pip"
    ):
        Bundle.load(nano_bundle, sdk_version="0.3.1")


def test_a_foreign_folder_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(BundleNotFoundError, match=r"no manifest\.json in it; pass a folder that"):
        Bundle.load(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{}", "null", "[]", '{"schema_version": "1"}', "\x00", '{"schema_version": 1}']
)
def test_a_foreign_manifest_is_refused(nano_bundle_copy: Path, content: str) -> None:
    (nano_bundle_copy / "manifest.json").write_text(content)
    with pytest.raises(BundleCorruptError, match=r"manifest\.json"):
        Bundle.load(nano_bundle_copy)


@pytest.mark.parametrize("file", ["../outside", "/etc/hostname", "library/../../outside"])
def test_a_library_file_outside_is_refused(nano_bundle_copy: Path, file: str) -> None:
    path = nano_bundle_copy / "manifest.json"
    data: Any = json.loads(path.read_text(encoding="utf-8"))
    data["library"]["files"][file] = next(iter(data["library"]["files"].values()))
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(BundleCorruptError, match="expected a relative path inside the bundle"):
        Bundle.load(nano_bundle_copy)


def test_no_foreign_exception_passes(nano_bundle_copy: Path) -> None:
    """Whatever single byte of whatever file is changed: the bundle works, or fails with an error of ours."""
    random = np.random.default_rng(0)
    for file in all_files(nano_bundle_copy):
        path = nano_bundle_copy / file
        sound = path.read_bytes()
        for _ in range(4):
            damaged = bytearray(sound)
            damaged[random.integers(len(damaged))] ^= int(random.integers(1, 256))
            path.write_bytes(bytes(damaged))
            with contextlib.suppress(BundleError, RetrievalError, InferenceError):
                with Pipeline.load(Bundle.load(nano_bundle_copy), threads=1) as pipeline:
                    assert pipeline.draw(REQUEST).images.shape == (1, 32, 32, 3)
        path.write_bytes(sound)
