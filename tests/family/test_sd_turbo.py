"""SD-Turbo's shapes are exact, and a folder of random weights in its layout is a family like any other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from ragturbo_runtime.sampler import Schedule
from training.family.folder import family_hashes, load_family, load_teacher
from training.family.random_family import random_family
from training.family.sd_turbo import SD_TURBO
from training.family.text_tower import new_text_only_tower
from training.models.adapter import HSpaceAdapter
from training.models.lora import add_lora, lora_parameters


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_family(tmp_path_factory.mktemp("family") / "small", size="sd-turbo-small")


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_full_size_has_the_published_numbers_of_parameters() -> None:
    with torch.device("meta"):  # shapes alone: no memory
        unet = UNet2DConditionModel(**SD_TURBO.unet)
        assert count(unet) == 865_910_724
        assert count(AutoencoderKL(**SD_TURBO.vae)) == 83_653_863
        assert count(new_text_only_tower(SD_TURBO.clip)) == 354_032_641  # with the logit scale
        assert count(HSpaceAdapter(1280, num_attention_heads=20)) == 36_071_680
        add_lora(unet, rank=16)
    assert sum(parameter.numel() for parameter in lora_parameters(unet)) == 10_068_992
    assert tuple(unet.mid_block.resnets[-1].conv2.weight.shape[:1]) == (1280,)


def test_diffusers_reads_the_folder(small: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(small / "unet")
    assert unet.config.down_block_types == ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    assert AutoencoderKL.from_pretrained(small / "vae").config.scaling_factor == 0.18215
    scheduler = EulerDiscreteScheduler.from_pretrained(small / "scheduler")
    assert scheduler.config.timestep_spacing == "trailing"
    assert scheduler.config.prediction_type == "epsilon"
    assert float(scheduler.alphas_cumprod[999]) == pytest.approx(0.0046600985, rel=1e-5)


def test_it_draws_finite_numbers_in_one_step(small: Path) -> None:
    family = load_family(small)
    schedule = Schedule.from_manifest(family.scheduler)
    assert schedule.prediction_type == "epsilon"
    embeds, key = family.text.encode(["a lighthouse"])
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = family.unet(noise, 999, encoder_hidden_states=embeds).sample
        picture = family.vae.decode(output / family.vae.config.scaling_factor).sample
    assert picture.shape == (1, 3, 128, 128)
    assert torch.isfinite(picture).all()
    assert float(key.norm()) == pytest.approx(1.0, abs=1e-5)


def test_the_teacher_takes_no_second_place_on_the_disk(small: Path) -> None:
    files = [small / part / "diffusion_pytorch_model.safetensors" for part in ("unet", "teacher")]
    assert files[0].samefile(files[1])
    assert count(load_teacher(small)) == count(load_family(small).unet)


def test_the_text_tower_alone_reads_no_pictures(small: Path) -> None:
    tower = load_family(small).text
    with pytest.raises(ValueError, match="no image tower"):
        tower.encode_image(torch.zeros(1, 3, 32, 32))


def test_the_image_tower_is_left_on_the_disk_where_nobody_needs_it(nano_family: Path) -> None:
    whole, texts = load_family(nano_family).text, load_family(nano_family, image_tower=False).text
    assert count(texts) < count(whole)
    for one, other in zip(whole.encode(["a red bus"]), texts.encode(["a red bus"]), strict=True):
        assert torch.equal(one, other)


def test_the_same_seed_gives_the_same_weights(small: Path, tmp_path: Path) -> None:
    again = family_hashes(random_family(tmp_path / "again", size="sd-turbo-small"))
    other = family_hashes(random_family(tmp_path / "other", size="sd-turbo-small", seed=1))
    assert again == family_hashes(small)
    assert {part for part in again if again[part] == other[part]} == {"configs"}
    assert torch.get_default_dtype() == torch.float32


def test_a_missing_tensor_is_named(small: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(small, tmp_path / "broken"))
    file = broken / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["decoder.conv_in.bias"]
    file.unlink()
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"vae: the weights lack 1 tensors .*decoder\.conv_in\.bias"):
        load_family(broken)


def test_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allowed are nano, sd-turbo, sd-turbo-small"):
        random_family(tmp_path, size="sdxl")
