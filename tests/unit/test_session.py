"""One graph: its border is checked, and no exception of ONNX Runtime passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnxruntime import OrtValue

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import (
    BundleCorruptError,
    InferenceError,
    InvalidInputError,
    ProviderUnavailableError,
)
from ragturbo_runtime.manifest import TensorSpec
from ragturbo_runtime.noise import batch_noise
from ragturbo_runtime.providers import CUDA, Device, cpu_device
from ragturbo_runtime.session import GraphSession, SessionOptions
from tests.nano.nano_graphs import CONTEXT, LATENTS, WIDTH

OPTIONS = SessionOptions(device=cpu_device(), threads=1)


def open_graph(bundle: Bundle, name: str, **changes: Any) -> GraphSession:
    spec = replace(bundle.manifest.graphs[name], **changes)
    return GraphSession(name, bundle.graph_file(name), spec, OPTIONS)


@pytest.fixture
def bundle(nano_bundle: Path) -> Bundle:
    return Bundle.load(nano_bundle)


def unet_feeds(batch: int) -> dict[str, Any]:
    return {
        "sample": batch_noise(range(batch), LATENTS),
        "timestep": np.full(batch, 999, dtype=np.int64),
        "encoder_hidden_states": batch_noise(range(batch), (CONTEXT, WIDTH)),
    }


def test_outputs_come_by_name(bundle: Bundle) -> None:
    graph = open_graph(bundle, "unet_encoder")
    outputs = graph.run(unet_feeds(3))
    assert [(name, value.shape) for name, value in outputs.items()] == [
        ("h", (3, 32, 4, 4)),
        ("skip_0", (3, 16, 8, 8)),
        ("skip_1", (3, 32, 4, 4)),
    ]


def test_tensors_left_on_the_device_hold_the_same_numbers(bundle: Bundle) -> None:
    encoder, decoder = open_graph(bundle, "unet_encoder"), open_graph(bundle, "unet_decoder")
    feeds = unet_feeds(2)
    condition = {name: feeds[name] for name in ("timestep", "encoder_hidden_states")}
    on_host, on_device = encoder.run(feeds), encoder.run_on_device(feeds)
    for name, value in on_device.items():
        np.testing.assert_array_equal(value, on_host[name])  # arrays: here the device is the host
    bound = {name: OrtValue.ortvalue_from_numpy(value, "cpu", 0) for name, value in on_host.items()}
    through_binding = decoder.run({**bound, **condition})["out_sample"]
    through_host = decoder.run({**on_host, **condition})["out_sample"]
    through_device = decoder.run({**on_device, **condition})["out_sample"]
    np.testing.assert_array_equal(through_device, through_host)
    np.testing.assert_array_equal(through_binding, through_host)


def test_a_strided_input_is_read_as_it_is_meant(bundle: Bundle) -> None:
    graph = open_graph(bundle, "unet_encoder")
    feeds = unet_feeds(2)
    turned = np.asfortranarray(feeds["sample"])
    assert not turned.flags.c_contiguous
    expected = graph.run(feeds)["h"]
    np.testing.assert_array_equal(graph.run({**feeds, "sample": turned})["h"], expected)
    np.testing.assert_array_equal(graph.run_on_device({**feeds, "sample": turned})["h"], expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"sample": np.zeros((1, 4, 8, 8))},
            r"sample is float64 \(1, 4, 8, 8\), expected float32 \('batch', 4, 8, 8\)",
        ),
        ({"sample": np.zeros((1, 4, 8, 9), dtype=np.float32)}, r"sample is float32 \(1, 4, 8, 9\)"),
        ({"sample": np.zeros((4, 8, 8), dtype=np.float32)}, r"sample is float32 \(4, 8, 8\)"),
        (
            {"extra": np.zeros(1)},
            r"got inputs .*'extra'.*, expected \['encoder_hidden_states', 'sample', 'timestep'\]",
        ),
    ],
)
def test_wrong_inputs_are_named(bundle: Bundle, change: dict[str, Any], message: str) -> None:
    graph = open_graph(bundle, "unet_encoder")
    for run in (graph.run, graph.run_on_device):
        with pytest.raises(InvalidInputError, match=f"unet_encoder: {message}"):
            run({**unet_feeds(1), **change})


def test_a_missing_input_is_named(bundle: Bundle) -> None:
    feeds = unet_feeds(1)
    del feeds["timestep"]
    with pytest.raises(InvalidInputError, match=r"got inputs \['encoder_hidden_states', 'sample'\]"):
        open_graph(bundle, "unet_encoder").run(feeds)


def test_a_failure_inside_the_graph_is_ours(bundle: Bundle) -> None:
    graph = open_graph(bundle, "unet_encoder")
    feeds = {**unet_feeds(2), "timestep": np.zeros(3, dtype=np.int64)}  # 2 and 3 pictures do not broadcast
    for run in (graph.run, graph.run_on_device):
        with pytest.raises(InferenceError, match="unet_encoder: ") as caught:
            run(feeds)
        assert caught.value.graph == "unet_encoder"
        assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    "inputs",
    [
        (TensorSpec("latent_sample", "float32", ("batch", 4, 8, 9)),),
        (TensorSpec("latent_sample", "float16", ("batch", 4, 8, 8)),),
        (TensorSpec("latents", "float32", ("batch", 4, 8, 8)),),
        (TensorSpec("latent_sample", "float32", ("batch", 4, 64)),),
        (),
    ],
)
def test_a_graph_with_another_signature_is_refused(bundle: Bundle, inputs: tuple[TensorSpec, ...]) -> None:
    with pytest.raises(
        BundleCorruptError, match=r"vae_decoder/model\.onnx: its inputs are .*the manifest says"
    ):
        open_graph(bundle, "vae_decoder", inputs=inputs)


def test_threads_are_taken_over(bundle: Bundle) -> None:
    one = open_graph(bundle, "unet_encoder").run(unet_feeds(2))
    spec = bundle.manifest.graphs["unet_encoder"]
    options = SessionOptions(device=cpu_device(), threads=2)
    two = GraphSession("unet_encoder", bundle.graph_file("unet_encoder"), spec, options).run(unet_feeds(2))
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=1e-6)


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this ONNX Runtime knows CUDA")
@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider':UserWarning")
def test_a_session_that_came_up_elsewhere_is_refused(bundle: Bundle) -> None:
    card = Device(name="cuda:0", kind="cuda", index=0, may_fall_back=False)
    spec = bundle.manifest.graphs["adapter"]
    with pytest.raises(ProviderUnavailableError, match="'cuda:0'"):
        GraphSession("adapter", bundle.graph_file("adapter"), spec, SessionOptions(device=card))
