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


def has_compiler() -> bool:
    return shutil.which("g++") is not None


@pytest.fixture(scope="module")
def measured(exported: Any, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """All rows side by side; optimum on the folder that the command writes."""
    out = tmp_path_factory.mktemp("bench") / "docs"
    return bench(exported.path, checkpoint.parent, out, "--seeds", "2")


@pytest.mark.slow
def test_every_row_is_measured(measured: Bench) -> None:
    entry = measured.entry
    assert set(entry) >= REQUIRED
    rows = {OURS, OURS_OFF, EAGER, OPTIMUM} | ({COMPILED} if has_compiler() else set())
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
    assert set(ratios) == {EAGER, OPTIMUM} | ({COMPILED} if has_compiler() else set())
    assert all(ratio is None or ratio >= 45 for ratio in ratios.values())
    assert measured.entry["safety"] == {"pictures": 4, "not_finite": 0, "black": 0}


@pytest.mark.slow
def test_a_row_that_fails_says_why_and_leaves_the_others(
    exported: Any, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    found = bench(exported.path, checkpoint.parent, tmp_path, "--skip", EAGER, OPTIMUM, "--together", "2")
    assert found.entry["together"] == 2
    assert "compiler" in found.entry["failed"][COMPILED].lower()
    assert found.entry["failed"][OPTIMUM] == "left out with --skip"
    assert found.entry["vs_diffusers_compile"] is None
    assert "Not measured: diffusers, torch.compile: " in found.printed
    assert "| ours, with retrieval " in found.printed


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
def test_compiling_is_part_of_the_load_and_said_beside_it(measured: Bench) -> None:
    entry = measured.entry
    if not has_compiler():
        assert "compiler" in entry["failed"][COMPILED].lower()
        return
    assert COMPILED not in entry["failed"]
    assert entry["vs_diffusers_compile"] > 0
    assert 0 < entry["compile_ms"][COMPILED] < entry["load_ms"][COMPILED]
