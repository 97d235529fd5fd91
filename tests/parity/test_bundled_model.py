"""The bundle that ships is the committed model: same hashes, same pictures as torch draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from export.chain import CHAIN_MIN_PSNR_DB, compare_chain
from export.graphs import graph_specs
from export.models import Models, load_models
from export.pictures import generated_entries
from ragturbo_runtime.bundle import Bundle
from training.family.tokenizer_json import tokenizer_json

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "ragturbo_sdk" / "bundles" / "emoji"
WEIGHTS = ROOT / "training" / "weights" / "emoji"

pytestmark = pytest.mark.skipif(not WEIGHTS.exists(), reason="the sdist leaves the trained weights out")


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(WEIGHTS / "adapter.safetensors")


def test_every_file_is_what_the_manifest_says() -> None:
    assert Bundle.load(BUNDLE, verify="full").manifest.name == "emoji"


def test_the_bundle_was_made_from_the_committed_weights(models: Models) -> None:
    manifest = Bundle.load(BUNDLE).manifest
    assert dict(manifest.family.hashes) == models.hashes
    assert set(manifest.graphs) == {spec.name for spec in graph_specs(replace(models, image_encoder=True))}


def test_the_tokenizer_that_ships_is_the_one_that_is_tested() -> None:
    """Its ids are compared with open_clip's on thousands of strings in tests/unit/test_tokenizer.py."""
    assert (BUNDLE / "tokenizer.json").read_text(encoding="utf-8") == tokenizer_json()


def test_torch_draws_the_pictures_that_the_bundle_draws(models: Models) -> None:
    """With and without references, one picture and three, one step and two."""
    parity = compare_chain(BUNDLE, models, generated_entries(models.family))
    assert parity.psnr_db >= CHAIN_MIN_PSNR_DB
