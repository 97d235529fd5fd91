"""Tensors that stay on the device: the code that runs on a card, run here on the CPU's OrtValues."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime import OrtValue

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.captures import MAX_CAPTURES
from ragturbo_runtime.errors import InferenceError, InvalidInputError
from ragturbo_runtime.loading import open_on
from ragturbo_runtime.noise import batch_noise
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.providers import cpu_device
from ragturbo_runtime.requests import DrawRequest, DrawResult
from ragturbo_runtime.session import GraphSession
from ragturbo_runtime.session_options import SessionOptions
from ragturbo_runtime.tensors import describe, to_float32, to_host
from tests.nano.build_nano_bundle import build_nano_bundle
from tests.nano.nano_graphs import CONTEXT, LATENTS, WIDTH

PROMPT = "a red circle left of two blue stars"
REQUESTS = [
    DrawRequest(prompts, tuple(range(seed, seed + len(prompts))), steps=steps, references=references)
    for seed in (1, 5)
    for references in (4, 0)
    for steps in (1, 2)
    for prompts in ((PROMPT,), (PROMPT, "a green square"), (PROMPT, "a green square", PROMPT))
]
WAYS = {"bound": {"bind": True}, "recorded": {"bind": True, "cuda_graphs": True}}


@pytest.fixture(scope="session")
def half_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose graphs exchange float16, as those for CUDA may."""
    return build_nano_bundle(tmp_path_factory.mktemp("half") / "bundle", half=True)


@pytest.fixture(params=["single", "half"])
def bundle(request: pytest.FixtureRequest, nano_bundle: Path, half_bundle: Path) -> Bundle:
    return Bundle.load(half_bundle if request.param == "half" else nano_bundle)


def options(**ways: bool) -> SessionOptions:
    return SessionOptions(cpu_device(), threads=1, **ways)


def pipeline(bundle: Bundle, **ways: bool) -> Pipeline:
    return Pipeline(bundle, open_on(bundle, options(**ways)))


def draw_all(bundle: Bundle, **ways: bool) -> list[DrawResult]:
    with pipeline(bundle, **ways) as opened:
        return [opened.draw(request) for request in REQUESTS]


def unet_encoder(bundle: Bundle, **ways: bool) -> GraphSession:
    spec = bundle.manifest.graphs["unet_encoder"]
    return GraphSession("unet_encoder", bundle.graph_file("unet_encoder"), spec, options(**ways))


def feeds(batch: int, seed: int = 0) -> dict[str, Any]:
    return {
        "sample": batch_noise(range(seed, seed + batch), LATENTS),
        "timestep": np.full(batch, 999, dtype=np.int64),
        "encoder_hidden_states": batch_noise(range(batch), (CONTEXT, WIDTH)),
    }


@pytest.mark.parametrize("way", WAYS)
def test_pictures_do_not_depend_on_where_the_tensors_lie(bundle: Bundle, way: str) -> None:
    for plain, other in zip(draw_all(bundle), draw_all(bundle, **WAYS[way]), strict=True):
        assert other.latents.tobytes() == plain.latents.tobytes()
        assert other.images.tobytes() == plain.images.tobytes()
        assert other.references == plain.references
        assert other.latents.dtype == np.float32


@pytest.mark.parametrize("way", WAYS)
def test_threads_may_draw_at_once(nano_bundle: Path, way: str) -> None:
    """Recorded runs write into the same buffers at each call: the pipeline lets the calls take turns."""
    with pipeline(Bundle.load(nano_bundle), **WAYS[way]) as opened:
        alone = [opened.draw(request) for request in REQUESTS]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(opened.draw, REQUESTS))
    for one, other in zip(alone, together, strict=True):
        assert one.latents.tobytes() == other.latents.tobytes()


@pytest.mark.parametrize("way", WAYS)
def test_outputs_stay_on_the_device_and_inputs_are_brought_there_once(nano_bundle: Path, way: str) -> None:
    graph = unet_encoder(Bundle.load(nano_bundle), **WAYS[way])
    given = feeds(2)
    placed = graph.put("encoder_hidden_states", given["encoder_hidden_states"])
    assert isinstance(placed, OrtValue)
    assert graph.put("encoder_hidden_states", placed) is placed
    outputs = graph.run_on_device({**given, "encoder_hidden_states": placed})
    assert all(isinstance(value, OrtValue) for value in outputs.values())
    expected = unet_encoder(Bundle.load(nano_bundle)).run(given)
    for name, value in outputs.items():
        np.testing.assert_array_equal(to_host(value), expected[name])


def test_a_recorded_run_keeps_its_places(nano_bundle: Path) -> None:
    graph = unet_encoder(Bundle.load(nano_bundle), **WAYS["recorded"])
    first = graph.run_on_device(feeds(2, seed=0))
    kept = to_host(first["h"]).copy()
    second = graph.run_on_device(feeds(2, seed=9))
    assert second["h"] is first["h"]
    assert np.abs(to_host(second["h"]) - kept).max() > 0
    assert graph.run_on_device(feeds(3))["h"] is not first["h"]
    assert graph.run_on_device(feeds(2, seed=0))["h"] is first["h"]
    np.testing.assert_array_equal(to_host(first["h"]), kept)


def test_a_value_at_an_address_of_its_own_is_not_recorded(nano_bundle: Path) -> None:
    """Its address is another one at the next call, so a replay would read something else."""
    graph = unet_encoder(Bundle.load(nano_bundle), **WAYS["recorded"])
    given = feeds(2)
    loose = OrtValue.ortvalue_from_numpy(given["encoder_hidden_states"], "cpu", 0)
    runs = [graph.run_on_device({**given, "encoder_hidden_states": loose}) for _ in range(2)]
    assert runs[0]["h"] is not runs[1]["h"]
    np.testing.assert_array_equal(to_host(runs[0]["h"]), graph.run(given)["h"])


def test_there_is_an_end_to_recordings(nano_bundle: Path) -> None:
    graph, plain = (unet_encoder(Bundle.load(nano_bundle), **way) for way in (WAYS["recorded"], {}))
    for batch in range(1, MAX_CAPTURES + 3):
        given = feeds(batch)
        placed = graph.put("encoder_hidden_states", given["encoder_hidden_states"])
        first, second = (graph.run_on_device({**given, "encoder_hidden_states": placed})["h"] for _ in "12")
        assert (first is second) == (batch <= MAX_CAPTURES)
        np.testing.assert_array_equal(to_host(second), plain.run(given)["h"])


@pytest.mark.parametrize("way", [{}, *WAYS.values()], ids=["plain", *WAYS])
def test_the_border_is_checked_on_the_device_too(half_bundle: Path, way: dict[str, bool]) -> None:
    graph = unet_encoder(Bundle.load(half_bundle), **way)
    wrong = OrtValue.ortvalue_from_numpy(np.zeros((1, 4, 8, 9), np.float32), "cpu", 0)
    for bad in (wrong, np.zeros((1, 4, 8, 8)), np.zeros((1, 4, 8, 8), np.int64)):
        with pytest.raises(
            InvalidInputError, match=r"unet_encoder: sample is .*, expected float16 \('batch', 4"
        ):
            graph.run_on_device({**feeds(1), "sample": bad})
    with pytest.raises(InvalidInputError, match="sample is float64"):
        graph.put("sample", np.zeros((1, 4, 8, 8)))
    with pytest.raises(InferenceError, match="unet_encoder: "):
        graph.run_on_device({**feeds(2), "timestep": np.zeros(3, dtype=np.int64)})


@pytest.mark.parametrize("way", [{}, *WAYS.values()], ids=["plain", *WAYS])
def test_single_and_half_precision_stand_for_each_other(
    nano_bundle: Path, half_bundle: Path, way: dict[str, bool]
) -> None:
    """What a graph reads decides: arrays and OrtValues of the other precision are cast on the way in."""
    half, single = (unet_encoder(Bundle.load(path), **way) for path in (half_bundle, nano_bundle))
    given = feeds(2)
    halved = {**given, "sample": given["sample"].astype(np.float16)}
    on_device = {**given, "sample": OrtValue.ortvalue_from_numpy(halved["sample"], "cpu", 0)}
    for graph, dtype in ((half, "float16"), (single, "float32")):
        outputs = [graph.run_on_device(feed)["h"] for feed in (halved, on_device)]
        assert describe(outputs[0])[0] == dtype
        np.testing.assert_array_equal(to_float32(outputs[0]), to_float32(outputs[1]))
        assert to_float32(outputs[0]).dtype == np.float32
    expected = single.run(given)["h"]
    np.testing.assert_allclose(to_float32(half.run(given)["h"]), expected, atol=5e-3)


def test_half_precision_draws_the_same_picture_nearly(nano_bundle: Path, half_bundle: Path) -> None:
    single, half = (draw_all(Bundle.load(path)) for path in (nano_bundle, half_bundle))
    for one, other in zip(single, half, strict=True):
        assert np.abs(one.latents - other.latents).max() < 0.05
        assert 0 < np.abs(one.images.astype(int) - other.images.astype(int)).max() < 12


def test_what_half_precision_cannot_hold_is_no_picture(half_bundle: Path) -> None:
    huge = np.full((1, *LATENTS), 1e30, dtype=np.float32)
    with pipeline(Bundle.load(half_bundle)) as opened, pytest.raises(InferenceError, match="NaN or infinity"):
        opened.draw(DrawRequest((PROMPT,), (1,), noise=huge))


@pytest.fixture
def recorder(nano_bundle: Path) -> Iterator[RecordingPipeline]:
    bundle = Bundle.load(nano_bundle)
    with RecordingPipeline(bundle, open_on(bundle, options(**WAYS["recorded"]))) as opened:
        yield opened


class RecordingPipeline(Pipeline):
    """Keeps what it drew."""

    def draw(self, request: DrawRequest) -> DrawResult:
        self.drawn = [*getattr(self, "drawn", []), super().draw(request)]
        return self.drawn[-1]


def test_warming_up_runs_every_graph_with_and_without_references(recorder: RecordingPipeline) -> None:
    recorder.warm_up(3)
    with_references, without = recorder.drawn
    assert all(milliseconds > 0 for milliseconds in with_references.timings.values())
    assert len(with_references.images) == len(without.images) == 3
    assert without.timings["adapter"] == 0
