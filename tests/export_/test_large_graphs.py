"""What changes when a graph is too large to hold its weights: a file beside it, mapped into memory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest

from export import room, storage
from export.errors import ExportError
from export.onnx import main
from export.room import check_room, weight_bytes
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import BundleCorruptError
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.requests import DrawRequest


@pytest.fixture(scope="module")
def large(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nano family, exported as if each of its graphs were large. Not to be changed by a test."""
    out = tmp_path_factory.mktemp("large") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "MAX_INLINE_BYTES", 0)
        assert main(["--ckpt", str(checkpoint), "--out", str(out)]) == 0
    return out


def test_weights_lie_page_by_page_in_a_file_that_the_manifest_names(large: Path) -> None:
    for name, graph in Bundle.load(large, verify="full").manifest.graphs.items():
        assert graph.data is not None
        assert graph.data.file == f"{name}/model.onnx.data"
        assert (large / name / "model.onnx").stat().st_size < 300_000
        model = onnx.load(large / name / "model.onnx", load_external_data=False)
        where = [
            {entry.key: entry.value for entry in tensor.external_data} for tensor in model.graph.initializer
        ]
        outside = [one for one in where if one]
        assert outside
        assert all(int(one["offset"]) % 4096 == 0 and one["location"] == "model.onnx.data" for one in outside)


def test_it_draws_what_the_bundle_with_its_weights_inside_draws(large: Path, exported) -> None:
    request = DrawRequest(("a cat", "a fox"), (1, 2), references=3)
    with Pipeline.load(Bundle.load(large), device="cpu") as ours:
        outside = ours.draw(request)
    with Pipeline.load(Bundle.load(exported.path), device="cpu") as ours:
        inside = ours.draw(request)
    assert outside.references == inside.references
    assert np.abs(outside.images.astype(int) - inside.images).max() <= 1


@pytest.mark.parametrize("damage", ["truncated", "missing", "flipped"])
def test_damaged_weights_are_named(large: Path, tmp_path: Path, damage: str) -> None:
    bundle = shutil.copytree(large, tmp_path / "bundle")
    data = bundle / "unet_decoder" / "model.onnx.data"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.unlink()
    if damage != "missing":
        data.write_bytes(content[:-1] if damage == "truncated" else content)
    with pytest.raises(BundleCorruptError, match=r"unet_decoder/model\.onnx\.data"):
        Bundle.load(bundle, verify="full")


def test_truncated_weights_that_nobody_verified_do_not_load(large: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(large, tmp_path / "bundle")
    data = bundle / "unet_decoder" / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:5000])
    with pytest.raises(BundleCorruptError, match="unet_decoder"):
        Pipeline.load(Bundle.load(bundle, verify="off"), device="cpu")


def test_the_manifest_cannot_name_weights_outside_the_bundle(large: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(large, tmp_path / "bundle")
    document = json.loads((bundle / "manifest.json").read_text())
    document["graphs"]["adapter"]["data"]["file"] = "../model.onnx.data"
    (bundle / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(BundleCorruptError, match=r"data\.file"):
        Bundle.load(bundle)


def test_weights_are_counted_from_the_headers(checkpoint: Path, models) -> None:
    family = models.family
    modules = (family.unet, family.vae, models.adapter)
    expected = sum(parameter.numel() for module in modules for parameter in module.parameters())
    assert weight_bytes(checkpoint.parent, checkpoint) > 4 * expected


@pytest.mark.parametrize("what", ["memory", "disk"])
def test_too_little_room_is_said_before_anything_is_loaded(
    checkpoint: Path, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The needs are made huge; what there is is real."""
    free = psutil.virtual_memory().available if what == "memory" else shutil.disk_usage(tmp_path).free
    factor = 2 * free / weight_bytes(checkpoint.parent, checkpoint)
    if what == "memory":
        monkeypatch.setattr(room, "COPIES", factor)
    else:
        monkeypatch.setattr(room, "weight_bytes", lambda *_: 2 * free)
        monkeypatch.setattr(room, "COPIES", 0.0)
    with pytest.raises(ExportError, match=rf"too little {what}.*GiB are free; "):
        check_room(checkpoint, checkpoint.parent, tmp_path / "bundle")
    assert main(["--ckpt", str(checkpoint), "--out", str(tmp_path / "bundle")]) == 2
    assert f"error: too little {what}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_library_that_cannot_be_read_is_said_before_anything_is_loaded(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr("export.models.load_models", lambda *_: pytest.fail("the models were loaded"))
    assert (
        main(["--ckpt", str(checkpoint), "--out", str(tmp_path / "bundle"), "--library", str(tmp_path)]) == 2
    )
    assert "no metadata.csv" in capsys.readouterr().err
