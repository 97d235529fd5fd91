"""python -m export.bench: every row measured in a process of its own, on the nano family."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from export.bench import main
from export.benchmark.job import COMPILED, EAGER, OPTIMUM, OURS, OURS_OFF
from export.benchmark.page import main as write_page
from export.pipeline_writer import write_pipeline

REQUIRED = {
    "vs_diffusers_eager", "vs_diffusers_compile", "vs_optimum", "retrieval_overhead", "vs_sum_of_graphs", "ms",
    "peak_bytes", "floor_ms", "load_ms", "per_graph_ms", "flavour", "versions", "rounds", "threads",
}  # fmt: skip


@dataclass(frozen=True)
class Bench:
    entry: dict[str, Any]
    printed: str
    out: Path


def bench(bundle: Path, base: Path, out: Path, *options: str) -> Bench:
    """Run the command with one thread; returns what it printed and wrote."""
    printed = io.StringIO()
    paths = ["--bundle", str(bundle), "--base", str(base), "--out", str(out), "--threads", "1"]
    with contextlib.redirect_stdout(printed):
        assert main([*paths, "--rounds", "2", *options]) == 0
    document = json.loads((out / "performance.json").read_text(encoding="utf-8"))
    (device,) = document
    return Bench(document[device]["nano"], printed.getvalue(), out)


@pytest.fixture(scope="module")
def measured(exported: Any, checkpoint: Path, models: Any, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """All rows, where no C++ compiler can be found."""
    folder = tmp_path_factory.mktemp("bench")
    pipeline = write_pipeline(models, folder / "optimum", report=lambda line: None)
    out = folder / "docs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", str(folder / "no-compiler"))
        return bench(exported.path, checkpoint.parent, out, "--optimum", str(pipeline), "--seeds", "2")


@pytest.mark.slow
def test_every_row_is_measured(measured: Bench) -> None:
    entry = measured.entry
    assert set(entry) >= REQUIRED
    rows = {OURS, OURS_OFF, EAGER, OPTIMUM}
    for key in ("ms", "peak_bytes", "load_ms"):
        assert set(entry[key]) == rows, key
    assert all(0 < times["p50"] <= times["p95"] for times in entry["ms"].values())
    assert all(peak > 50e6 for peak in entry["peak_bytes"].values())
    # Ours is in a process without torch.
    assert entry["peak_bytes"][OURS_OFF] <= entry["peak_bytes"][OURS] < entry["peak_bytes"][EAGER]
    assert entry["vs_diffusers_eager"] == pytest.approx(
        entry["ms"][EAGER]["p50"] / entry["ms"][OURS]["p50"], rel=0.01
    )
    assert entry["vs_optimum"] > 0
    assert (entry["rounds"], entry["threads"], entry["flavour"]) == (2, 1, "portable")
    assert entry["versions"]["torch"]


@pytest.mark.slow
def test_all_rows_draw_the_same_picture(measured: Bench) -> None:
    ratios = measured.entry["psnr_db"]
    assert set(ratios) == {EAGER, OPTIMUM}
    assert all(ratio is None or ratio >= 45 for ratio in ratios.values())
    assert measured.entry["safety"] == {"pictures": 4, "not_finite": 0, "black": 0}


@pytest.mark.slow
def test_a_row_that_fails_says_why_and_leaves_the_others(measured: Bench) -> None:
    assert "compiler" in measured.entry["failed"][COMPILED].lower()
    assert measured.entry["vs_diffusers_compile"] is None
    assert "Not measured: diffusers, torch.compile: " in measured.printed
    assert "| diffusers, eager " in measured.printed


@pytest.mark.slow
def test_the_split_by_graph_beside_bare_graphs_and_the_floor(measured: Bench) -> None:
    split, floor = measured.entry["per_graph_ms"], measured.entry["floor"]["graphs"]
    graphs = {"text_encoder", "unet_encoder", "adapter", "unet_decoder", "vae_decoder"}
    assert set(floor) == graphs
    assert set(split["bare"]) == graphs  # the keys of the prompt's phrases are known since the warm-up
    assert split[OURS]["adapter"] > 0 == split[OURS_OFF]["adapter"]
    assert measured.entry["floor_ms"] == pytest.approx(sum(one["ms"] for one in floor.values()), rel=0.01)
    assert measured.entry["floor_ms"] < measured.entry["ms"][OURS]["p50"]
    assert measured.entry["vs_sum_of_graphs"] > 0
    assert measured.entry["vs_sum_of_graphs_without_retrieval"] > 0


@pytest.mark.slow
def test_page_and_plot_come_from_the_numbers_alone(measured: Bench) -> None:
    page = measured.out / "performance.md"
    (plot,) = (measured.out / "performance").iterdir()
    before = page.read_bytes(), plot.read_bytes()
    assert b"![Milliseconds per row](performance/" + plot.name.encode() in before[0]
    page.unlink()
    plot.unlink()
    assert write_page(["--out", str(measured.out)]) == 0
    assert (page.read_bytes(), plot.read_bytes()) == before


@pytest.mark.slow
def test_torch_compile_and_an_exported_pipeline(exported: Any, checkpoint: Path, tmp_path: Path) -> None:
    """The rows that take a minute: compiled, or the reason; optimum on the folder that the command writes."""
    found = bench(exported.path, checkpoint.parent, tmp_path, "--skip", EAGER, "--together", "2").entry
    assert found["vs_optimum"] > 0
    assert found["together"] == 2
    assert found["failed"][EAGER] == "left out with --skip"
    if COMPILED in found["failed"]:
        assert shutil.which("g++") is None, found["failed"][COMPILED]
        return
    assert 0 < found["compile_ms"][COMPILED] < found["load_ms"][COMPILED]
    assert found["psnr_db"][COMPILED] >= 45
