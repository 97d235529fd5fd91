"""What the page says of the aims, of the stages and of the choice among seeds: from numbers, and right about them."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training.evaluation.choice import choice_lines
from training.evaluation.judge_faults import through_vae
from training.evaluation.stages import stage_lines
from training.evaluation.times import add_derived_times
from training.evaluation.wanted import FIGURES, reached_figures, wanted_lines
from training.family.folder import Family


def row(tifa: float, **more: Any) -> dict[str, Any]:
    recall = {kind: [0.5, 0.4, 0.6] for kind in ("common", "rare", "library_only")}
    return {"tifa": [tifa, tifa - 0.01, tifa + 0.01], "recall": recall, **more}


def document() -> dict[str, Any]:
    """All aims are reached, by a little."""
    return {
        "protocol": {"vqa": {"error_rates": {"drawn": {"all": 0.01}, "reconstructed": {"all": 0.03}}}},
        "rows": {
            "teacher_50": row(0.73, ms=2600.0),
            "base_1": row(0.70, clip=[0.7, 0.6, 0.8], fid=5.0, ms=80.0),
            "slerp_fixed_1": row(0.69, ms=90.0, ms_split={"total": 94.0, "retrieval": 4.0, "injection": 1.0}),
            "slerp_best_1": row(0.71, candidates=9),
            "best_of_seeds_1": row(0.75, candidates=9, clip=[0.71, 0.6, 0.8]),
            "lora_only_1": row(0.71, ms=85.0),
            "adapter_1": row(0.725, clip=[0.71, 0.6, 0.8], fid=4.9, ms=97.0, ms_split={"total": 100.0}),
            "adapter_wrong_references_1": row(0.70),
        },
        "controls": {"adapter_no_references_1": row(0.7), "adapter_k1_1": row(0.7), "drawn_scenes": row(0.99)},
        "paired": {
            "adapter_minus_base": [0.025, 0.01, 0.03],
            "adapter_minus_lora_only": [0.015, 0.001, 0.03],
            "adapter_minus_wrong_references": [0.025, 0.01, 0.03],
            "adapter_minus_teacher": [-0.005, -0.01, 0.0],
        },
        "paired_clip": {"adapter_minus_base": [0.01, 0.001, 0.02]},
        "paired_recall": {
            "adapter_minus_base": {
                "common": [0.01, 0.0, 0.02], "rare": [0.1, 0.05, 0.2], "library_only": [0.05, 0.01, 0.1]
            }
        },
    }  # fmt: skip


NEW = {
    "recall": {"none": [0.02, 0.0, 0.1], "own_3": [0.11, 0.05, 0.2], "rare": [0.2, 0.1, 0.3]},
    "paired": {"own_3_minus_none": [0.09, 0.02, 0.2]},
}


def test_every_aim_is_computed_and_can_be_reached() -> None:
    reached = reached_figures(document(), NEW)
    assert len(reached) == len(FIGURES)
    assert [one.what for one in reached if not one.is_met] == []
    text = "\n".join(wanted_lines(document(), NEW))
    assert "Reached: 11 of 11" in text
    assert "+3.6%" in text  # 0.025 of 0.70
    assert "26.0 times" in text
    assert "5.5 times" in text
    assert "55%" in text


@pytest.mark.parametrize(
    ("path", "value", "missed"),
    [
        (("paired", "adapter_minus_base"), [0.021, 0.01, 0.03], "TIFA over the base"),
        (("paired", "adapter_minus_lora_only"), [0.02, -0.001, 0.03], "TIFA over the same LoRA"),
        (("rows", "adapter_1", "clip"), [0.7095, 0.6, 0.8], "CLIP"),
        (("rows", "adapter_1", "fid"), 5.01, "FID"),
        (("paired", "adapter_minus_wrong_references"), [0.012, 0.01, 0.03], "TIFA lost with wrong"),
        (("rows", "adapter_1", "tifa"), [0.721, 0.7, 0.73], "the teacher's 50"),
        (("paired_recall", "adapter_minus_base", "rare"), [0.005, 0.001, 0.1], "rare concepts"),
        (("paired_recall", "adapter_minus_base", "library_only"), [0.05, -0.001, 0.1], "library-only"),
        (("rows", "teacher_50", "ms"), 2499.0, "speed"),
    ],
)
def test_an_aim_that_is_just_missed_is_missed(path: tuple[str, ...], value: object, missed: str) -> None:
    changed: Any = document()
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    names = [one.what for one in reached_figures(changed, NEW) if not one.is_met]
    assert len(names) == 1
    assert missed in names[0]
    assert "[no](research.md#what-was-not-reached-and-what-was-ruled-out)" in "\n".join(
        wanted_lines(changed, NEW)
    )


@pytest.mark.parametrize(("own", "count"), [(0.05, 2), (0.09, 1)])
def test_new_concepts_have_two_aims(own: float, count: int) -> None:
    new: Any = deepcopy(NEW)
    new["recall"]["own_3"][0] = own
    assert sum(not one.is_met for one in reached_figures(document(), new)) == count


def test_what_was_not_measured_is_left_out() -> None:
    assert len(reached_figures(document(), None)) == len(FIGURES) - 2
    empty: dict[str, Any] = {"rows": {}, "controls": {}, "paired": {}, "paired_clip": {}, "paired_recall": {}}
    assert wanted_lines(empty, None) == []
    assert stage_lines({**empty, "protocol": {}}) == []
    assert choice_lines({}) == []


def test_the_link_leads_to_a_section() -> None:
    research = (Path(__file__).parents[2] / "docs" / "research.md").read_text()
    assert "## What was not reached, and what was ruled out" in research


def test_times_follow_from_what_was_measured() -> None:
    known = document()
    add_derived_times(known)
    assert known["rows"]["best_of_seeds_1"]["ms"] == 720.0
    best = known["rows"]["slerp_best_1"]
    assert best["ms"] == 810.0
    assert best["ms_split"] == {
        "total": 814.0,
        "retrieval": 4.0,
        "injection": 9.0,
        "share": round(13 / 801, 4),
    }
    assert known["controls"]["adapter_no_references_1"]["ms"] == 85.0
    assert "ms" not in known["controls"]["adapter_k1_1"]  # its work is its own: it must be timed
    del known["rows"]["base_1"]["ms"], known["rows"]["best_of_seeds_1"]["ms"]
    add_derived_times(known)
    assert "ms" not in known["rows"]["best_of_seeds_1"]


def test_the_page_says_where_seeds_win_and_what_they_cost() -> None:
    known = document()
    known["rows"]["best_of_seeds_1"]["recall"]["rare"] = [0.2, 0.1, 0.3]
    add_derived_times(known)
    text = "\n".join(choice_lines(known["rows"]))
    assert "best of 9 seeds" in text
    assert "ahead of the adapter in\nTIFA (0.725, seeds 0.750). The adapter" in text
    assert "The adapter is ahead in recall of rare concepts (0.500, seeds 0.200)." in text
    assert "720 ms a picture where the adapter takes 100: 7.2 times" in text


def test_stages_say_where_most_is_lost() -> None:
    known = document()
    text = "\n".join(stage_lines(known))
    assert "Most is lost at `teacher_50`" in text
    assert "0.260 of the 0.290" in text
    assert "it costs 2.0% of the questions (1.0% wrong before it, 3.0% after)" in text
    known["controls"]["drawn_through_vae"] = row(0.70)
    text = "\n".join(stage_lines(known))
    assert "Most is lost at `drawn_through_vae`" in text
    assert "was not measured" not in text


def test_pictures_go_through_the_autoencoder_and_nothing_else(family: Family) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    rebuilt = through_vae(family.vae, pictures, batch=2)
    assert rebuilt.shape == pictures.shape
    assert rebuilt.dtype == np.uint8
    with torch.no_grad():
        pixels = torch.from_numpy(pictures[3:4]).permute(0, 3, 1, 2) / 127.5 - 1
        decoded = family.vae.decode(family.vae.encode(pixels).latent_dist.mode()).sample
    expected = ((decoded.clamp(-1, 1) + 1) * 127.5)[0].permute(1, 2, 0).numpy()
    assert np.abs(rebuilt[3] - expected).max() <= 0.51


def test_the_committed_numbers_give_the_committed_table() -> None:
    docs = Path(__file__).parents[2] / "docs"
    results, new = (json.loads((docs / name).read_text()) for name in ("results.json", "new_concepts.json"))
    page = (docs / "results.md").read_text()
    lines = [*wanted_lines(results, new), *stage_lines(results), *choice_lines(results["rows"])]
    assert [line for line in lines if line not in page.splitlines()] == []
