"""A family on disk: what others read it with can read it, and what is missing is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from training.family.config import VaeConfig
from training.family.folder import family_hashes, load_family, load_teacher, save_part
from training.family.random_family import random_family
from training.family.scene_cache import SceneCache
from training.family.vae import encode_latents, train_vae


def test_diffusers_and_open_clip_read_the_folder_themselves(nano_family: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(nano_family / "unet", low_cpu_mem_usage=False)
    vae = AutoencoderKL.from_pretrained(nano_family / "vae", low_cpu_mem_usage=False)
    scheduler = DDIMScheduler.from_pretrained(nano_family / "scheduler")
    clip = open_clip.create_model(f"local-dir:{nano_family / 'text_encoder'}")
    assert unet.config.in_channels == vae.config.latent_channels
    assert scheduler.config.prediction_type == "v_prediction"
    assert float(scheduler.alphas_cumprod[-1]) == 0.0
    family = load_family(nano_family)
    ids, eos = family.text.tokenize(["a cat on a mat", ""])
    torch.testing.assert_close(family.text(ids, eos)[1], clip.encode_text(ids, normalize=True))


def test_the_scale_of_the_latents_survives_the_folder(tmp_path: Path) -> None:
    """Diffusers drops what it took for a default when the model was made, even if it was set since."""
    pictures = np.random.default_rng(0).integers(0, 256, (192, 3, 16, 16), dtype=np.uint8)
    scenes = SceneCache(pictures, ("noise",) * len(pictures))
    shape = VaeConfig(block_out_channels=(8, 8), latent_channels=2, steps=2, batch=2)
    save_part(train_vae(shape, scenes, scenes, tmp_path), tmp_path / "vae")
    loaded = AutoencoderKL.from_pretrained(tmp_path / "vae", low_cpu_mem_usage=False)
    assert float(encode_latents(loaded, scenes, np.arange(192)).std()) == pytest.approx(1.0, abs=0.02)


def test_keys_do_not_depend_on_the_padding(nano_family: Path) -> None:
    text = load_family(nano_family).text
    ids, eos = text.tokenize(["a cat", "three small owls above a bus at night"])
    whole, short = text(ids, eos)[1], text(ids[:, :16], eos)[1]
    assert torch.allclose(whole, short, atol=1e-6)


def test_the_same_seed_gives_the_same_files(nano_family: Path, tmp_path: Path) -> None:
    assert family_hashes(random_family(tmp_path / "again")) == family_hashes(nano_family)
    assert family_hashes(random_family(tmp_path / "other", seed=1)) != family_hashes(nano_family)


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("vae/config.json", "scaling_factor", 0.5),
        ("unet/config.json", "sample_size", 16),
        ("scheduler/scheduler_config.json", "beta_end", 0.02),
    ],
)
def test_how_the_weights_are_used_is_hashed_too(
    nano_family: Path, tmp_path: Path, file: str, key: str, value: float
) -> None:
    other = Path(shutil.copytree(nano_family, tmp_path / "other"))
    config = json.loads((other / file).read_text())
    (other / file).write_text(
        json.dumps({**config, "_diffusers_version": "99.0"})
    )  # a note, and another layout
    before = family_hashes(nano_family)
    assert family_hashes(other) == before
    (other / file).write_text(json.dumps({**config, key: value}))
    after = family_hashes(other)
    assert {part for part in before if before[part] != after[part]} == {"configs"}


def test_everything_loaded_is_frozen_float32(nano_family: Path) -> None:
    family, teacher = load_family(nano_family), load_teacher(nano_family)
    for model in (family.vae, family.unet, family.text, teacher):
        assert not model.training
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(("part", "named"), [("vae/config.json", "vae"), ("family.json", "family.json")])
def test_a_missing_part_is_named(nano_family: Path, tmp_path: Path, part: str, named: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(nano_family, broken)
    (broken / part).unlink()
    with pytest.raises(FileNotFoundError, match=named):
        load_family(broken)


def test_a_broken_settings_file_is_named(nano_family: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(nano_family, broken)
    (broken / "family.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"family\.json: not valid JSON"):
        load_family(broken)
    (broken / "family.json").write_text(json.dumps([1]), encoding="utf-8")
    with pytest.raises(ValueError, match="expected a JSON object, found list"):
        load_family(broken)
