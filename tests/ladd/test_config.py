"""What a config file may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.ladd.config_file import parse_ladd_config, read_ladd_config

PLAIN: dict[str, object] = {"family": "family", "work_dir": "work"}
CONFIGS = Path(__file__).parents[2] / "training" / "configs"


def test_the_committed_config_is_valid() -> None:
    config = read_ladd_config(CONFIGS / "ladd_emoji.toml")
    assert config.family == "training/weights/emoji"
    assert config.masking.share > 0  # references must be needed


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({**PLAIN, "sed": 1}, r"x\.toml: unknown keys \['sed'\]"),
        ({**PLAIN, "losses": {"smoth_l1": 1.0}}, r"x\.toml \[losses\]: unknown keys \['smoth_l1'\]"),
        ({**PLAIN, "losses": {"smooth_l1": "1"}}, r"\[losses\] smooth_l1: is '1' \(str\)"),
        ({**PLAIN, "optimiser": {"steps": 10.5}}, r"\[optimiser\] steps: is 10\.5 \(float\)"),
        ({**PLAIN, "losses": {"misaligned": 1}}, r"\[losses\] misaligned: is 1 \(int\)"),
        ({**PLAIN, "retrieval": {"reference_caption": "none"}}, r"reference_caption: is 'none'"),
        ({**PLAIN, "masking": 0.5}, r"\[masking\] must be a table"),
        ({"work_dir": "work"}, r"missing keys \['family'\]"),
        ({**PLAIN, "masking": {"share": 1.5}}, r"\[masking\] share is 1\.5; it must be in \[0, 1\]"),
        ({**PLAIN, "optimiser": {"batch": 1}}, r"\[optimiser\] batch is 1; it must be 2 or more"),
        (
            {**PLAIN, "retrieval": {"drop_share": 0.6, "wrong_share": 0.6}},
            "drop_share \\+ wrong_share is over 1",
        ),
        ({**PLAIN, "retrieval": {"references": 20}}, r"candidates is 12; it must be 20 or more"),
        ({**PLAIN, "pairs": {"count": 8}}, r"\[pairs\] count is 8; it must be 32 or more"),
        ({**PLAIN, "pairs": {"count": 40}, "alignment": {"steps": 9}}, r"count is 40; it must be 64 or more"),
        ({**PLAIN, "alignment": {"log_every": 0}}, r"\[alignment\] log_every is 0; it must be 1 or more"),
        ({**PLAIN, "retrieval": {"reference_pool": 0}}, r"reference_pool is 0; it must be 1 or more"),
        (
            {**PLAIN, "retrieval": {"reference_timestep": 1000}},
            r"\[retrieval\] reference_timestep is 1000; it must be in \[0, 1000\)",
        ),
        (
            {**PLAIN, "losses": {"perceptual_timestep": -1}},
            r"\[losses\] perceptual_timestep is -1; it must be in \[0, 1000\)",
        ),
        ({**PLAIN, "student": {"attention_heads": 0}}, r"attention_heads is 0; it must be 1 or more"),
        ({**PLAIN, "alignment": {"guide": -1}}, r"\[alignment\] guide is -1\.0; it must be 0 or more"),
        (
            {**PLAIN, "alignment": {"guide": 0.1}},
            r"\[alignment\] guide is 0\.1, and only drawn real pairs know",
        ),
        (
            {
                **PLAIN,
                "data": {"library": "a", "prompts": "b"},
                "real": {"scenes": 9},
                "alignment": {"guide": 0.1},
            },
            r"guide is 0\.1, and only drawn real pairs know",
        ),
        ({**PLAIN, "real": {"fresh_noise": 1.0}}, r"\[real\] fresh_noise is 1\.0; it must be in \[0, 1\)"),
        ({**PLAIN, "real": {"held_out": 1}}, r"\[real\] held_out is 1; it must be 2 or more"),
        ({**PLAIN, "real": {"lent_variants": 0}}, r"\[real\] lent_variants is 0; it must be 1 or more"),
        ({**PLAIN, "real": {"steps": 0}}, r"\[real\] steps is 0; it must be 1 or more"),
        ({**PLAIN, "student": {"norm_groups": 0}}, r"norm_groups is 0; it must be 1 or more"),
    ],
)
def test_what_is_wrong_is_named(document: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_ladd_config(document, "x.toml")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("family = \n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"broken\.toml: not valid TOML"):
        read_ladd_config(path)
