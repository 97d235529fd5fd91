"""Devices: what is asked for is what one gets, or an error."""

from __future__ import annotations

from typing import Any

import onnxruntime
import pytest

from ragturbo_runtime.errors import InvalidInputError, ProviderUnavailableError
from ragturbo_runtime.providers import CPU, CUDA, Device, cpu_device, find_device, require_provider

HAS_CUDA = CUDA in onnxruntime.get_available_providers()
CARD = Device(name="cuda:1", kind="cuda", index=1, may_fall_back=False)


def test_cpu_means_the_cpu_alone() -> None:
    device = find_device("cpu")
    assert device == cpu_device()
    assert device.providers == [(CPU, {})]


@pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime knows CUDA")
def test_auto_takes_the_cpu_where_there_is_no_cuda() -> None:
    assert find_device("auto").name == "cpu"


@pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime knows CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_by_name_is_never_the_cpu(device: str) -> None:
    with pytest.raises(
        ProviderUnavailableError, match=r"no CUDA provider .*needed: CUDAExecution.*pip "
    ) as caught:
        find_device(device)
    assert caught.value.requested == device
    assert CPU in caught.value.available


@pytest.mark.parametrize("device", ["gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "", None, 0])
def test_unknown_names_are_refused(device: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected 'auto', 'cpu', 'cuda' or 'cuda:<number>'"):
        find_device(device)


def test_a_card_asks_for_its_own_number_and_keeps_the_cpu_for_odd_nodes() -> None:
    (first, options), (second, _) = CARD.providers
    assert (first, second) == (CUDA, CPU)
    assert options["device_id"] == "1"
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"


def test_a_session_that_fell_back_is_refused() -> None:
    require_provider(CARD, [CUDA, CPU])
    require_provider(cpu_device(), [CPU])
    with pytest.raises(
        ProviderUnavailableError, match="'cuda:1': CUDA was found but its libraries did not load"
    ):
        require_provider(CARD, [CPU])
