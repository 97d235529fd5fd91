"""How features may be stored: what is lost, and the page that says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from training.evaluation.codecs import ALL, main
from training.ladd.product_codes import CODES, PIECE, lose_to_product_codes


def test_product_codes_lose_little_where_features_repeat() -> None:
    """Pieces out of fewer than 256 different ones come back as they were; noise does not."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randn(32, 2 * PIECE, generator=generator)
    features = kinds[torch.randint(32, (40, 4), generator=generator)]
    torch.testing.assert_close(lose_to_product_codes(features), features, atol=1e-5, rtol=0)
    noise = torch.randn(200, 4, 2 * PIECE, generator=generator)
    lost = lose_to_product_codes(noise)
    error = float((lost - noise).norm() / noise.norm())
    assert 0.2 < error < 0.9
    pieces = lost.reshape(-1, 2, PIECE)
    assert all(len(torch.unique(pieces[:, place], dim=0)) <= CODES for place in range(2))


def test_channels_that_make_no_pieces_are_refused() -> None:
    with pytest.raises(ValueError, match="features have 12 channels, expected a multiple of 8"):
        lose_to_product_codes(torch.zeros(2, 2, 12))


def test_the_page_says_what_each_costs(family_path: Path, tmp_path: Path) -> None:
    scored = {"adapter_1": {"tifa": [0.72, 0.71, 0.73]}}
    keys = ("protocol", "paired", "paired_clip", "paired_recall", "controls")
    parts: dict[str, object] = {key: {} for key in keys}
    results = {**parts, "rows": scored}
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert main(["--family", str(family_path), "--out", str(tmp_path), "--prompts", "8"]) == 0
    rows = json.loads((tmp_path / "codecs.json").read_text())["rows"]
    assert [row["name"] for row in rows] == [stored.name for stored in ALL]
    by_name = {row["name"]: row for row in rows}
    default, half = by_name["int8, pooled (default)"], by_name["float16, pooled"]
    assert default["bytes_sd_turbo"] in (20_480, 81_920)  # pooled 2 x 2, or not at all
    assert by_name["float16, every cell"]["bytes_sd_turbo"] == 163_840
    assert half["bytes"] == 2 * default["bytes"]
    assert (
        half["delta_h_error"] <= default["delta_h_error"] <= by_name["product codes, pooled"]["delta_h_error"]
    )
    assert (default["tifa"], half["tifa"]) == ([0.72, 0.71, 0.73], None)
    page = (tmp_path / "codecs.md").read_text()
    assert all(f"| {stored.name} |" in page for stored in ALL)


def test_a_family_without_results_is_refused(
    family_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--family", str(family_path), "--out", str(tmp_path)]) == 2
    assert "results.json" in capsys.readouterr().err
