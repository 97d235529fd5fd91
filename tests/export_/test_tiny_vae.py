"""--vae: a tiny autoencoder in TAESD's published layouts decodes in the VAE's place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch import nn

from export.errors import ExportError
from export.manifest import h_space_id
from export.models import Models, load_base
from export.onnx import main
from export.pipeline_graphs import pipeline_specs
from export.tiny_vae import load_tiny_decoder
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.files import hash_file
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.requests import DrawRequest
from training.family.random_family import random_family

LATENTS, RESOLUTION = (4, 16, 16), 128


class Clamp(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 3 * torch.tanh(x / 3)


class Block(nn.Module):
    """The published block: three convolutions, and a way around them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(conv(64, 64), nn.ReLU(), conv(64, 64), nn.ReLU(), conv(64, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.conv(x))


def conv(wide: int, to: int, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(wide, to, 3, padding=1, bias=bias)


def published(channels: int = 4) -> nn.Sequential:
    """TAESD's decoder as its repository describes it: three doublings, four groups of blocks, pixels in [0, 1]."""
    layers: list[nn.Module] = [Clamp(), conv(channels, 64), nn.ReLU()]
    for _ in range(3):
        layers += [Block(), Block(), Block(), nn.Upsample(scale_factor=2), conv(64, 64, bias=False)]
    torch.manual_seed(0)
    decoder = nn.Sequential(*layers, Block(), conv(64, 3)).eval().requires_grad_(False)
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.04)
        parameter.copy_(parameter.half())  # as they are stored
    nn.init.constant_(decoder[-1].bias, 0.5)  # between black and white
    return decoder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_family(tmp_path_factory.mktemp("family") / "small", size="sd-turbo-small")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("taesd") / "taesd_decoder.safetensors"
    save_file(published().state_dict(), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Diffusers' own, encoder included, as float16."""
    torch.manual_seed(1)
    AutoencoderTiny().half().save_pretrained(tmp_path / "taesd")
    return tmp_path / "taesd"


def latents(count: int = 2) -> torch.Tensor:
    return 4 * torch.randn(count, *LATENTS, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def test_the_originals_file_is_the_originals_network_from_minus_one_to_one(file: Path) -> None:
    assert {"1.weight", "3.conv.0.weight", "3.conv.2.bias", "7.weight", "19.bias"} <= load_file(file).keys()
    ours = load_tiny_decoder(file, LATENTS, RESOLUTION)
    torch.testing.assert_close(ours.module(latents()), 2 * published()(latents()) - 1, rtol=1e-5, atol=1e-5)
    assert ours.sha256 == hash_file(file)


@torch.inference_mode()
def test_diffusers_folder_is_diffusers_decoder(folder: Path) -> None:
    theirs = AutoencoderTiny.from_pretrained(folder).float()
    ours = load_tiny_decoder(folder, LATENTS, RESOLUTION)
    torch.testing.assert_close(ours.module(latents()), theirs.decode(latents()).sample)
    assert ours.sha256 == hash_file(folder / "diffusion_pytorch_model.safetensors")


@torch.inference_mode()
def test_latents_are_scaled_as_the_config_says(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    plain = load_tiny_decoder(folder, LATENTS, RESOLUTION).module
    (folder / "config.json").write_text(json.dumps({**config, "scaling_factor": 0.5, "shift_factor": 0.25}))
    scaled = load_tiny_decoder(folder, LATENTS, RESOLUTION).module
    torch.testing.assert_close(scaled(latents()), plain(latents() / 0.5 + 0.25))


@pytest.mark.slow
def test_a_bundle_draws_with_it_and_indexes_without_it(small: Path, file: Path, tmp_path: Path) -> None:
    """The chain is compared with torch before the command returns."""
    out = tmp_path / "bundle"
    arguments = ["--mode", "slerp", "--base", small, "--vae", file, "--library", "none", "--out", out]
    assert main([str(argument) for argument in arguments]) == 0
    bundle, base = Bundle.load(out, verify="full"), load_base(small)
    assert bundle.manifest.family.hashes == {**base.hashes, "vae_decoder": hash_file(file)}
    assert bundle.manifest.h_space_id == h_space_id(base)
    with Pipeline.load(bundle, device="cpu", threads=1) as pipeline:
        drawn = pipeline.draw(DrawRequest(("a cat", "a boat"), (1, 2), references=0))
    decoded = published()(torch.from_numpy(drawn.latents)).clamp(0, 1)
    expected = (decoded * 255).round().numpy().transpose(0, 2, 3, 1)
    assert np.abs(drawn.images - expected).max() <= 1


@torch.inference_mode()
def test_a_plain_pipeline_keeps_the_familys_scale(small: Path, file: Path) -> None:
    """Diffusers divides the latents by it before the graph."""
    models: Models = load_base(small, vae=file)
    decoder = next(spec for spec in pipeline_specs(models) if spec.name == "vae_decoder").module
    given = latents() / models.family.vae.config["scaling_factor"]
    torch.testing.assert_close(decoder(given), 2 * published()(latents()) - 1, rtol=1e-4, atol=1e-4)


def _without(name: str, path: Path, file: Path) -> Path:
    weights = load_file(file)
    del weights[name]
    save_file(weights, path)
    return path


def test_a_missing_tensor_is_named(file: Path, tmp_path: Path) -> None:
    damaged = _without("8.conv.4.bias", tmp_path / "taesd_decoder.safetensors", file)
    with pytest.raises(ExportError, match=r"lacks 1 \['layers\.7\.conv\.4\.bias'\]"):
        load_tiny_decoder(damaged, LATENTS, RESOLUTION)


def test_latents_of_another_kind_are_refused(folder: Path, tmp_path: Path) -> None:
    """Sixteen channels, as Stable Diffusion 3's; and pictures of another size."""
    other = tmp_path / "taesd3_decoder.safetensors"
    save_file(published(16).state_dict(), other)
    with pytest.raises(ExportError, match=r"layers\.0\.weight: \(64, 16, 3, 3\), expected \(64, 4, 3, 3\)"):
        load_tiny_decoder(other, LATENTS, RESOLUTION)
    with pytest.raises(
        ExportError, match=r"it decodes 4 channels, 8 times larger.* needs 4 channels, 4 times"
    ):
        load_tiny_decoder(folder, (4, 8, 8), 32)


def test_the_encoders_file_is_not_the_decoders(tmp_path: Path) -> None:
    encoder = AutoencoderTiny().encoder
    path = tmp_path / "taesd_encoder.safetensors"
    save_file({name.removeprefix("layers."): value for name, value in encoder.state_dict().items()}, path)
    with pytest.raises(ExportError, match="not the decoder of AutoencoderTiny"):
        load_tiny_decoder(path, LATENTS, RESOLUTION)


@pytest.mark.parametrize(
    ("config", "found"), [({"_class_name": "AutoencoderKL"}, "AutoencoderKL"), ({}, "no class")]
)
def test_another_class_is_refused(folder: Path, config: dict[str, str], found: str) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match=f"describes {found}, expected AutoencoderTiny"):
        load_tiny_decoder(folder, LATENTS, RESOLUTION)


@pytest.mark.parametrize("what", ["nothing", "empty", "pickle", "truncated", "other names"])
def test_what_cannot_be_read_is_one_line(
    what: str, small: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "taesd_decoder.safetensors"
    if what == "empty":
        path.mkdir()
    elif what == "pickle":
        torch.save(published().state_dict(), path)
    elif what == "truncated":
        path.write_bytes(file.read_bytes()[:10_000])
    elif what == "other names":
        save_file({"decoder.weight": torch.zeros(1)}, path)
    out = tmp_path / "out"
    arguments = ["--mode", "slerp", "--base", small, "--vae", path, "--library", "none", "--out", out]
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: ")
    assert error.count("\n") == 1
    assert not out.exists()
