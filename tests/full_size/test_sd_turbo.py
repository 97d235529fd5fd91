"""Everything holds at 865,910,724 parameters: diffusers' pictures, the exporter's promises, the runtime's memory."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from ragturbo_runtime.bundle import Bundle
from tests.full_size.conftest import Exported
from tests.full_size.measured import run

pytestmark = pytest.mark.slow
GIB = 2**30


def test_it_draws_what_diffusers_draws(sd_turbo: Path, tmp_path: Path) -> None:
    took = run("-m", "tests.family.two_ways", str(sd_turbo), "1", "2", log=tmp_path / "log")
    found = json.loads(took.output.splitlines()[-1])
    assert found.keys() == {"1", "2"}
    for numbers in found.values():
        assert numbers["range"] > 0.1, found
        assert numbers["psnr_db"] >= 60.0, found
        assert numbers["max_abs_diff"] < 1e-3, found


def test_the_export_stays_within_its_memory_and_says_how_near_it_came(exported: Exported) -> None:
    assert exported.run.peak_bytes < 16 * GIB
    manifest = Bundle.load(exported.path, verify="full").manifest
    for name, graph in manifest.graphs.items():
        assert (graph.parity.psnr_db or 0.0) > 60.0, name
        assert name in exported.run.output
    assert (manifest.parity.psnr_db or 0.0) >= 45.0
    assert manifest.adapter.channels == 1280
    assert manifest.adapter.tokens == 64


def test_weights_lie_beside_the_graphs_page_by_page(exported: Exported) -> None:
    for name in ("text_encoder", "unet_encoder", "adapter", "unet_decoder", "vae_decoder", "vae_encoder"):
        path = exported.path / name / "model.onnx"
        assert path.stat().st_size < 4 * 2**20
        model = onnx.load(path, load_external_data=False)
        outside = [
            {entry.key: entry.value for entry in tensor.external_data}
            for tensor in model.graph.initializer
            if tensor.external_data
        ]
        assert outside
        assert all(int(one["offset"]) % 4096 == 0 for one in outside)
        assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
        assert b"site-packages" not in path.read_bytes()


def test_the_runtime_takes_hardly_more_memory_than_its_weights_and_stops_when_told(
    exported: Exported, tmp_path: Path
) -> None:
    found = json.loads(run("-m", "tests.full_size.draw", str(exported.path), log=tmp_path / "log").output)
    assert found["size"] == [512, 512]
    assert len(found["references"]) == 4
    assert found["same"]
    assert found["plain_differs"]
    assert found["peak"] <= 1.15 * found["weights"], found
    for cancelled in found["cancelled"]:
        assert cancelled["raised_ms"] < 100, found
        assert cancelled["free_ms"] < 2000, found
