"""Features as float16: the same pictures as int8's, from twice the bytes, through every flavour's graph."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.cuda_storage import store_cuda
from export.graphs import graph_specs
from export.models import Models
from export.onnx import main
from export.trace import trace
from export.translations import cuda_translations
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.collection.opening import open_collection
from ragturbo_runtime.errors import BundleCorruptError
from ragturbo_runtime.indexing.building import build_library
from ragturbo_runtime.indexing.engine import LocalEngine
from ragturbo_runtime.indexing.opening import open_encoder
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.requests import DrawRequest
from tests.library.folders import caption, imagefolder


@pytest.fixture(scope="module")
def bundles(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each codec, with a library of twelve pictures."""
    root = tmp_path_factory.mktemp("codecs")
    pictures = imagefolder(root / "pictures", range(12))
    made = {}
    for codec in ("int8", "float16"):
        made[codec] = root / codec
        words = ["--ckpt", str(checkpoint), "--out", str(made[codec]), "--library", str(pictures)]
        assert main([*words, "--feature-codec", codec]) == 0
    return made


def drawn(bundle: Path, library: Path | None = None) -> np.ndarray:
    request = DrawRequest((caption(3), caption(8)), (1, 2), references=3)
    with Pipeline.load(Bundle.load(bundle), device="cpu", threads=1, library=library) as pipeline:
        return pipeline.draw(request).latents


def test_float16_draws_what_int8_draws_from_twice_the_bytes(bundles: dict[str, Path]) -> None:
    manifests = {codec: Bundle.load(path).manifest for codec, path in bundles.items()}
    for codec, manifest in manifests.items():
        assert manifest.adapter.feature_codec == codec
        (features,) = [i for i in manifest.graphs["adapter"].inputs if i.name == "reference_h"]
        assert features.dtype == codec
        assert manifest.parity.psnr_db is not None
        assert manifest.parity.psnr_db > 60
    sizes = {
        codec: next((path / "library").glob("features-*")).stat().st_size for codec, path in bundles.items()
    }
    assert sizes["float16"] == 2 * sizes["int8"]
    latents = {codec: drawn(path) for codec, path in bundles.items()}
    error = np.abs(latents["float16"] - latents["int8"]).max()
    assert 0 < error < 0.1 * np.abs(latents["int8"]).max()


def test_a_library_is_built_as_the_adapter_reads_it(bundles: dict[str, Path], tmp_path: Path) -> None:
    pictures = imagefolder(tmp_path / "pictures", range(12))
    for codec, path in bundles.items():
        bundle = Bundle.load(path)
        engine = LocalEngine(open_encoder(bundle, device="cpu", threads=1), bundle.manifest.picture_height)
        build_library(bundle, open_collection(pictures), tmp_path / codec, engine)
        own, bundled = drawn(path, tmp_path / codec), drawn(path)
        np.testing.assert_allclose(own, bundled, atol=0.05 * np.abs(bundled).max())
    with pytest.raises(BundleCorruptError, match=r"codec are .*'int8'\), the model's are .*'float16'\)"):
        drawn(bundles["float16"], tmp_path / "int8")


def test_half_precision_graphs_read_float16(models: Models, tmp_path: Path) -> None:
    halved = dataclasses.replace(models, feature_codec="float16")
    (spec,) = [spec for spec in graph_specs(halved) if spec.name == "adapter"]
    stored = store_cuda(trace(spec, cuda_translations()), spec, tmp_path / "adapter")
    written = {i.name: i.type.tensor_type.elem_type for i in onnx.load(stored.path).graph.input}
    assert {i.name: i.dtype for i in stored.inputs}["reference_h"] == "float16"
    assert written["reference_h"] == onnx.TensorProto.FLOAT16
