"""The parts of export.bench that need no process: refusals, numbers, groups, merging, the floor."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch.utils.flop_counter import FlopCounterMode

from export.bench import main
from export.benchmark.device import Device, find_device
from export.benchmark.document import merged, read_document
from export.benchmark.errors import BenchError, RowError, one_line
from export.benchmark.floor import Work, count_work
from export.benchmark.groups import make_groups, together, worker_bytes
from export.benchmark.inputs import check_inputs, check_optimum
from export.benchmark.job import BASELINES, COMPILED, EAGER, OPTIMUM, OURS, OURS_OFF, GraphRun, Job
from export.benchmark.numbers import summarise, with_interval
from export.benchmark.peaks import Peaks
from export.benchmark.process import Worker
from export.benchmark.rounds import GroupTimes, Measured
from export.benchmark.safety import _kind
from export.benchmark.torch_rows import conditioning
from ragturbo_runtime.manifest import read_manifest

GIB = 2**30
CPU = Device("cpu")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What the command says, in one line, when it measures nothing."""
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1, said
    return said


@pytest.fixture
def other_base(checkpoint: Path, tmp_path: Path) -> Path:
    """The same family with one bit of its U-Net changed."""
    base = shutil.copytree(checkpoint.parent, tmp_path / "other")
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    return base


def test_other_weights_are_refused(
    exported: Any, other_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "--bundle", exported.path, "--base", other_base, "--out", tmp_path)
    assert "of different weights (unet)" in said
    assert not (tmp_path / "performance.json").exists()


def test_another_adapter_is_refused(exported: Any, checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "adapter.safetensors"
    other.write_bytes(checkpoint.read_bytes() + b"\0")
    with pytest.raises(BenchError, match="not the adapter that"):
        check_inputs(exported.path, checkpoint.parent, other, CPU)
    with pytest.raises(BenchError, match="not there; give the adapter"):
        check_inputs(exported.path, checkpoint.parent, tmp_path / "none", CPU)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda manifest: manifest.update(library=None), "it looks nothing up"),
        (lambda manifest: manifest["adapter"].update(default_references=0), "it looks nothing up"),
        (lambda manifest: manifest["family"]["hashes"].update(vae_decoder="0" * 64), "another autoencoder"),
        (lambda manifest: manifest["graphs"]["adapter"].update(flavour="cuda-fp16"), "--flavour portable"),
    ],
)
def test_bundles_that_cannot_be_compared_are_refused(
    change: Any, said: str, exported: Any, checkpoint: Path, tmp_path: Path
) -> None:
    bundle = shutil.copytree(exported.path, tmp_path / "bundle")
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BenchError, match=said):
        check_inputs(bundle, checkpoint.parent, None, CPU)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--device", "tpu"), "--device is 'tpu'; expected cpu, cuda or cuda:1"),
        (("--device", "cuda:99"), "torch sees"),
        (("--rounds", "0"), "--rounds and --threads are 1 or more"),
        (("--base", "nowhere"), "nowhere: not a whole base family"),
        (("--together", "1"), "a ratio takes 2 workers"),
        (("--optimum", "nowhere"), "nowhere: no model_index.json"),
    ],
)
def test_options_are_checked(
    options: tuple[str, str], said: str, exported: Any, checkpoint: Path, tmp_path: Path, capsys: Any
) -> None:
    arguments = ["--bundle", exported.path, "--base", checkpoint.parent, "--out", tmp_path, *options]
    assert said in refused(capsys, *arguments)


def test_int8_stands_beside_the_plain_flavour(exported: Any, checkpoint: Path) -> None:
    plain = check_inputs(exported.path, checkpoint.parent, None, CPU)
    rounded = dataclasses.replace(plain, flavour="cpu-int8")
    assert (plain.key, rounded.key) == ("nano", "nano, cpu-int8")
    assert CPU.min_psnr_db(rounded=rounded.is_rounded) < CPU.min_psnr_db(rounded=plain.is_rounded)


def test_a_missing_bundle_is_one_line(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    said = refused(capsys, "--bundle", tmp_path / "no", "--base", checkpoint.parent, "--out", tmp_path)
    assert "no such folder" in said


def test_a_pipeline_of_other_weights_is_refused(exported: Any, checkpoint: Path, tmp_path: Path) -> None:
    inputs = check_inputs(exported.path, checkpoint.parent, None, CPU)
    (tmp_path / "model_index.json").write_text("{}")
    check_optimum(tmp_path, inputs)
    hashes = {**inputs.manifest.family.hashes, "adapter": "0" * 64}
    (tmp_path / "ragturbo.json").write_text(json.dumps({"family": {"hashes": hashes}}))
    with pytest.raises(BenchError, match=r"different weights \(adapter\)"):
        check_optimum(tmp_path, inputs)


def test_a_worker_that_cannot_load_says_why(tmp_path: Path) -> None:
    job = Job(EAGER, CPU, tmp_path, tmp_path / "no", None, None, 1, (4, 8, 8))
    with pytest.raises(RowError, match="no weights"):
        Worker(job)


def test_groups_are_as_large_as_the_memory() -> None:
    need = worker_bytes(5 * GIB, 512 * 512)
    assert 8 * GIB < need < 10 * GIB
    assert together(need, 21 * GIB, None) == 2
    assert together(need, 10 * GIB, 3) == 3
    with pytest.raises(BenchError, match="too little memory"):
        together(need, 10 * GIB, None)
    assert make_groups(BASELINES, 2) == [(OURS, EAGER), (OURS, COMPILED), (OURS, OPTIMUM)]
    assert make_groups(BASELINES, 3) == [(OURS, EAGER, COMPILED), (OURS, OPTIMUM)]
    assert make_groups(BASELINES, 9) == [(OURS, *BASELINES)]
    assert make_groups((), 2) == [(OURS,)]


def measured_by_hand() -> Measured:
    """Two groups on a machine that was twice as slow in the second; its rounds may not meet the first's."""
    first = GroupTimes(
        drawn_ms={OURS: [11.0, 22.0, 11.0], OURS_OFF: [10.0, 20.0, 10.0], EAGER: [22.0, 44.0, 22.0]},
        stages_ms={OURS: {"adapter": [1.0, 2.0, 1.0]}},
        bare=[
            [GraphRun("unet", 8.0 * x, False), GraphRun("unet", x, True), GraphRun("adapter", x, True)]
            for x in (1.0, 2.0, 1.0)
        ],
        psnr_db={EAGER: float("inf")},
    )
    second = GroupTimes(
        drawn_ms={OURS: [22.0] * 3, OURS_OFF: [20.0] * 3, OPTIMUM: [33.0] * 3}, psnr_db={OPTIMUM: 20.0}
    )
    return Measured(groups=[first, second])


def test_ratios_come_from_the_rounds_of_one_group() -> None:
    measured = measured_by_hand()
    numbers = summarise(measured, 15.0)
    assert numbers["vs_diffusers_eager"] == 2.0
    assert numbers["vs_optimum"] == 1.5
    assert numbers["vs_diffusers_compile"] is None
    assert numbers["retrieval_overhead"] == pytest.approx(0.1)
    assert numbers["intervals"]["retrieval_overhead"] == pytest.approx([0.05, 0.2], abs=0.1)
    assert numbers["vs_sum_of_graphs"] == 1.1
    assert numbers["vs_sum_of_graphs_without_retrieval"] == 1.25
    assert numbers["per_graph_ms"]["bare"] == {"unet": 8.0, "unet (phrases)": 1.0, "adapter": 1.0}
    assert numbers["ms"][OURS] == {"p50": 22.0, "p95": 22.0}
    assert numbers["psnr_db"] == {EAGER: None, OPTIMUM: 20.0}
    json.dumps(numbers, allow_nan=False)


def test_a_row_that_draws_another_picture_has_no_numbers() -> None:
    measured = measured_by_hand()
    numbers = summarise(measured, 45.0)
    assert numbers["vs_optimum"] is None
    assert OPTIMUM not in numbers["ms"]
    assert "PSNR 20.0 dB" in measured.failed[OPTIMUM]


def test_an_interval_needs_pairs() -> None:
    assert with_interval(lambda a, b: np.median(a - b, axis=-1), [1.0], []) is None


def test_merging_keeps_other_devices_and_families(tmp_path: Path) -> None:
    before = {"cuda: H200": {"sd-turbo": {"a": 1}}, "cpu: X": {"emoji": {"b": 2}, "sd-turbo": {"c": 3}}}
    after = merged(before, "cpu: X", "sd-turbo", {"new": 4})
    assert after == {
        "cuda: H200": {"sd-turbo": {"a": 1}},
        "cpu: X": {"emoji": {"b": 2}, "sd-turbo": {"new": 4}},
    }
    (tmp_path / "damaged.json").write_text("{")
    with pytest.raises(BenchError, match="not JSON"):
        read_document(tmp_path / "damaged.json")
    assert read_document(tmp_path / "none.json") == {}


def test_bad_pictures_are_told_apart() -> None:
    assert _kind(RowError("vae_decoder: drew a wholly black picture")) == "black"
    assert _kind(RowError("adapter: returned NaN or infinity")) == "not_finite"
    with pytest.raises(RowError, match="killed"):
        _kind(RowError("killed"))


def test_errors_are_one_line() -> None:
    assert one_line(ValueError("\n first \nsecond")) == "first"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("x" * 1000))) == 200


def test_devices() -> None:
    assert find_device("cpu") == CPU
    assert CPU.dtype is torch.float32
    card = Device("cuda:1", 1)
    assert (card.dtype, card.providers[0][1]) == (torch.float16, {"device_id": "1"})
    assert CPU.label(2).startswith("cpu: ")
    assert CPU.label(2).endswith(", 2 cores")
    assert CPU.peak_bytes(0) > 100e6


def test_the_floor_is_the_larger_of_arithmetic_and_bytes() -> None:
    peaks = Peaks(flops_per_s=1e9, bytes_per_s=1e6)
    assert Work(flops=10**9, bytes=10).floor_ms(peaks) == 1000.0
    assert Work(flops=10, bytes=10**6).floor_ms(peaks) == 1000.0


def test_work_counted_by_shapes_is_the_work_of_the_modules(exported: Any, models: Any) -> None:
    """The U-Net and the decoder as they are, but for what doubling before a convolution saves."""
    manifest, family = read_manifest(exported.path), models.family
    work = count_work(family.path, manifest, 4, 4)
    unet, sample = family.unet, torch.zeros(1, *models.latent_shape)
    processors = unet.attn_processors
    unet.set_attn_processor(AttnProcessor())
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            unet(sample, torch.tensor([999]), torch.zeros(1, 77, family.text.width))
    finally:
        unet.set_attn_processor(processors)
    halves = work["unet_encoder"].flops + work["unet_decoder"].flops
    # One doubling, 4 x 4 to 8 x 8, of 64 channels; the time embedding is made in each half.
    saved = 2 * 64 * 64 * 9 * 8 * 8 * 5 / 9
    assert halves == pytest.approx(counter.get_total_flops() - saved, rel=0.01)
    weights = 4 * sum(parameter.numel() for parameter in unet.parameters())
    assert weights < work["unet_encoder"].bytes + work["unet_decoder"].bytes < 1.5 * weights


def test_the_baseline_is_conditioned_as_the_tower_says(models: Any) -> None:
    with torch.no_grad():
        expected = models.family.text.encode(["two cats"])[0]
        torch.testing.assert_close(conditioning(models.family.text, "two cats"), expected)
