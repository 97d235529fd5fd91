"""Weights in one file, in shards, as a variant: what diffusers writes is read, and what is missing is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from training.family.folder import family_hashes, load_family
from training.family.weight_files import DIFFUSERS_WEIGHTS, find_weights

INDEX = f"{DIFFUSERS_WEIGHTS}.index.json"


@pytest.fixture
def written(nano_family: Path, tmp_path: Path) -> Path:
    """A family without the weights of its U-Net."""
    family = Path(shutil.copytree(nano_family, tmp_path / "family"))
    (family / "unet" / DIFFUSERS_WEIGHTS).unlink()
    return family


def unet_of(family: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(family / "unet", low_cpu_mem_usage=False)


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
def test_what_diffusers_writes_is_read(
    nano_family: Path, written: Path, variant: str | None, sharded: bool
) -> None:
    source = unet_of(nano_family)
    size = "40KB" if sharded else "10GB"
    source.half().save_pretrained(written / "unet", variant=variant, max_shard_size=size)
    found = find_weights(written / "unet")
    assert found.variant == variant
    assert (len(found.paths) > 1) == sharded
    read, expected = load_family(written).unet.state_dict(), load_family(nano_family).unet.state_dict()
    assert all(torch.equal(read[name], expected[name]) for name in expected)
    assert family_hashes(written)["vae"] == family_hashes(nano_family)["vae"]


def test_a_bit_in_any_shard_changes_the_hash(nano_family: Path, written: Path) -> None:
    unet_of(nano_family).save_pretrained(written / "unet", max_shard_size="40KB")
    seen = {family_hashes(written)["unet"]}
    for path in find_weights(written / "unet").paths:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        seen.add(family_hashes(written)["unet"])
    assert len(seen) == 1 + len(find_weights(written / "unet").paths)


def test_plain_names_go_before_variants(nano_family: Path, written: Path) -> None:
    unet_of(nano_family).save_pretrained(written / "unet", variant="fp16")
    shutil.copy(nano_family / "unet" / DIFFUSERS_WEIGHTS, written / "unet")
    assert find_weights(written / "unet").variant is None
    assert family_hashes(written) == family_hashes(nano_family)


def test_two_variants_are_refused(nano_family: Path, written: Path) -> None:
    for variant in ("fp16", "non_ema"):
        unet_of(nano_family).save_pretrained(written / "unet", variant=variant)
    with pytest.raises(ValueError, match=r"several variants \(fp16, non_ema\) and no plain ones"):
        load_family(written)


def test_a_missing_shard_is_named(nano_family: Path, written: Path) -> None:
    unet_of(nano_family).save_pretrained(written / "unet", max_shard_size="40KB")
    shard = find_weights(written / "unet").paths[1]
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{shard.name} is missing, one of \d+ shards"):
        load_family(written)


def test_no_weights_are_named(written: Path) -> None:
    (written / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickled: never read")
    with pytest.raises(
        FileNotFoundError, match=r"unet: no weights; expected diffusion_pytorch_model\.safetensors"
    ):
        load_family(written)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not an index of shards"),
        ("[]", "not an index of shards"),
        ('{"weight_map": {}}', "names no shards"),
        (json.dumps({"weight_map": {"a": "../a.safetensors"}}), r"names \['\.\./a\.safetensors'\]"),
    ],
)
def test_a_bad_index_is_named(written: Path, text: str, message: str) -> None:
    (written / "unet" / INDEX).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_family(written)
