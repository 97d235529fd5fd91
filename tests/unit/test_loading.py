"""Loading: side by side, with progress, whole or not at all - and only where it can run."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import BundleCorruptError, InvalidInputError, ProviderUnavailableError
from ragturbo_runtime.loading import LoadProgress, open_parts
from ragturbo_runtime.manifest import REQUIRED_GRAPHS
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.providers import CUDA
from ragturbo_runtime.requests import DrawRequest

HAS_CUDA = CUDA in onnxruntime.get_available_providers()
REQUEST = DrawRequest(("a red circle",), (1,))


def open_databases(folder: Path) -> list[str]:
    """Databases of a bundle that this process holds open. Mapped arrays end with the last reference to them."""
    links = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return [link for link in links if link.startswith(str(folder.resolve())) and link.endswith(".sqlite")]


def loading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ragturbo-load")]


def of_flavour(bundle: Path, flavour: str, graph: str = "unet_decoder") -> Bundle:
    path = bundle / "manifest.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["graphs"][graph]["flavour"] = flavour
    path.write_text(json.dumps(data), encoding="utf-8")
    return Bundle.load(bundle)


def test_each_graph_is_reported_once_in_the_callers_thread(nano_bundle: Path) -> None:
    seen: list[LoadProgress] = []
    threads = set()

    def show(progress: LoadProgress) -> None:
        seen.append(progress)
        threads.add(threading.current_thread())

    with Pipeline.load(Bundle.load(nano_bundle), device="cpu", threads=1, progress=show) as opened:
        assert not Path("/proc/self/fd").exists() or open_databases(nano_bundle), "the tests below can see it"
        assert opened.draw(REQUEST).images.any()
    assert [progress.done for progress in seen] == [1, 2, 3, 4, 5]
    assert {progress.total for progress in seen} == {5}
    assert {progress.graph for progress in seen} == set(REQUIRED_GRAPHS)
    assert threads == {threading.current_thread()}
    assert loading_threads() == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
@pytest.mark.parametrize("error", [ValueError("enough"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
@pytest.mark.parametrize("when", [1, 3, 5])
def test_what_progress_raises_comes_through_and_leaves_nothing_open(
    nano_bundle_copy: Path, error: BaseException, when: int
) -> None:
    def give_up(progress: LoadProgress) -> None:
        if progress.done == when:
            raise error

    with pytest.raises(type(error)) as caught:
        Pipeline.load(Bundle.load(nano_bundle_copy), device="cpu", threads=1, progress=give_up)
    assert caught.value is error
    assert open_databases(nano_bundle_copy) == []
    assert loading_threads() == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_a_graph_that_fails_leaves_nothing_open(nano_bundle_copy: Path) -> None:
    (nano_bundle_copy / "adapter" / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleCorruptError, match=r"adapter/model\.onnx"):
        Pipeline.load(Bundle.load(nano_bundle_copy, verify="off"), device="cpu", threads=1)
    assert open_databases(nano_bundle_copy) == []


@pytest.mark.parametrize("spinning", [True, False])
def test_spinning_does_not_change_the_picture(nano_bundle: Path, spinning: bool) -> None:
    bundle = Bundle.load(nano_bundle)
    with (
        Pipeline.load(bundle, device="cpu", threads=2, spinning=spinning) as opened,
        Pipeline.load(bundle, device="cpu", threads=2) as usual,
    ):
        assert opened.draw(REQUEST).latents.tobytes() == usual.draw(REQUEST).latents.tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"memory_limit": 2**30},
            r"memory_limit is 1073741824, but the graphs run on the CPU.*leave memory_limit",
        ),
        ({"cuda_graphs": True}, r"cuda_graphs is True, but the graphs run on the CPU"),
    ],
)
def test_options_for_cuda_are_refused_on_the_cpu(
    nano_bundle: Path, options: dict[str, Any], message: str
) -> None:
    devices = ["cpu"] if HAS_CUDA else ["cpu", "auto"]
    for device in devices:
        with pytest.raises(InvalidInputError, match=message) as caught:
            open_parts(Bundle.load(nano_bundle), device=device, **options)
        assert caught.value.argument in options


@pytest.mark.parametrize("graph", REQUIRED_GRAPHS)
def test_graphs_for_cuda_are_refused_on_the_cpu(nano_bundle_copy: Path, graph: str) -> None:
    bundle = of_flavour(nano_bundle_copy, "cuda-fp16", graph)
    for device in ["cpu"] if HAS_CUDA else ["cpu", "auto"]:
        with pytest.raises(ProviderUnavailableError) as caught:
            Pipeline.load(bundle, device=device)
        error = caught.value
        assert f"device '{device}': bundle 'nano' was exported for CUDA: {graph} (cuda-fp16)" in error.message
        assert (
            f"installed: onnxruntime{'-gpu' if HAS_CUDA else ''} {onnxruntime.__version__}" in error.message
        )
        assert "needed: CUDAExecutionProvider, a driver and the libraries of CUDA 1" in error.message
        assert "bundle of the portable flavour" in str(error.hint)
        assert HAS_CUDA or "pip install 'ragturbo-sdk[cuda]'" in str(error.hint)
        assert "\n" not in str(error)


def test_other_flavours_load_anywhere(nano_bundle_copy: Path) -> None:
    with Pipeline.load(of_flavour(nano_bundle_copy, "cpu-int8"), device="cpu", threads=1) as opened:
        assert opened.draw(REQUEST).images.any()


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="this ONNX Runtime knows no CUDA")
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_a_card_draws_what_the_cpu_draws(
    nano_bundle: Path, cuda_graphs: bool, caplog: pytest.LogCaptureFixture
) -> None:
    import numpy as np

    bundle = Bundle.load(nano_bundle)
    caplog.set_level(logging.INFO)
    with (
        Pipeline.load(bundle, device="cpu") as here,
        Pipeline.load(bundle, device="cuda", cuda_graphs=cuda_graphs, memory_limit=2**31) as there,
    ):
        for references in (4, 0):
            for pictures in (1, 3, 1):
                request = DrawRequest(
                    ("a red circle",) * pictures, tuple(range(pictures)), references=references
                )
                one, other = here.draw(request), there.draw(request)
                np.testing.assert_allclose(one.latents, other.latents, atol=2e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="this ONNX Runtime knows no CUDA")
def test_a_limit_below_the_weights_is_refused(nano_bundle: Path) -> None:
    with pytest.raises(
        InvalidInputError, match=r"memory_limit is 7, expected more than the .* bytes of the weights"
    ):
        Pipeline.load(Bundle.load(nano_bundle), device="cuda", memory_limit=7)
