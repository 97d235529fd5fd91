"""--layout optimum: optimum-onnx loads the folder, and draws what diffusers and our own chain draw."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import open_clip
import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
from transformers import CLIPTokenizer

from export import storage
from export.onnx import main
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.requests import DrawRequest
from training.family.folder import family_hashes, load_family
from training.family.random_family import random_family
from training.models.checkpoint import load_adapter
from training.models.lora import add_lora, load_lora

PROMPTS = ["a lighthouse in a storm!", "two cats"]
GRAPHS = ("text_encoder", "unet", "vae_decoder", "vae_encoder")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_family(tmp_path_factory.mktemp("family") / "small", size="sd-turbo-small")


@pytest.fixture(scope="module")
def exported(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With LoRA, and as if each graph were large. Not to be changed by a test."""
    out = tmp_path_factory.mktemp("optimum") / "pipeline"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "MAX_INLINE_BYTES", 0)
        arguments = ["--ckpt", str(small / "adapter.safetensors"), "--layout", "optimum", "--out", str(out)]
        assert main(arguments) == 0
    return out


@contextmanager
def noise_of_others() -> Iterator[None]:
    """What optimum 2.1, diffusers 0.39 and numpy 2 say of each other."""
    with warnings.catch_warnings():
        for message in (
            "`torch.jit.script` is deprecated",
            "Accessing config attribute `num_hidden_layers`",
            "__array__ implementation doesn't accept a copy keyword",
        ):
            warnings.filterwarnings("ignore", message=message)
        yield


@pytest.fixture(scope="module")
def pipeline(exported: Path) -> Any:
    with noise_of_others():
        from optimum.onnxruntime import ORTDiffusionPipeline

        loaded = ORTDiffusionPipeline.from_pretrained(exported)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def noise() -> torch.Tensor:
    return torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))


def with_optimum(pipeline: Any, **options: Any) -> np.ndarray:
    with noise_of_others():
        drawn = pipeline(PROMPTS, guidance_scale=0.0, latents=noise(), output_type="np", **options).images
    return np.asarray(drawn)


def with_diffusers(small: Path, *, steps: int) -> np.ndarray:
    """The U-Net with PEFT's LoRA beside it, diffusers' own pipeline and scheduler."""
    family, adapter = load_family(small), load_adapter(small / "adapter.safetensors")
    add_lora(family.unet, rank=adapter.metadata.rank, alpha=adapter.metadata.alpha)
    load_lora(family.unet, adapter.lora_state)
    with noise_of_others():
        drawer = StableDiffusionPipeline(
            family.vae,
            text_encoder=None,
            tokenizer=None,
            unet=family.unet,
            scheduler=EulerDiscreteScheduler.from_pretrained(small / "scheduler"),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        drawer.set_progress_bar_config(disable=True)
        embeds, _ = family.text.encode(PROMPTS)
        options: dict[str, Any] = {"guidance_scale": 0.0, "latents": noise(), "output_type": "np"}
        return np.asarray(drawer(prompt_embeds=embeds, num_inference_steps=steps, **options).images)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 3])
def test_optimum_draws_what_diffusers_draws(pipeline: Any, small: Path, steps: int) -> None:
    assert type(pipeline).__name__ == "ORTStableDiffusionPipeline"
    ours, theirs = with_optimum(pipeline, num_inference_steps=steps), with_diffusers(small, steps=steps)
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


@pytest.mark.slow
def test_optimum_draws_what_our_chain_draws(pipeline: Any, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    assert main(["--ckpt", str(small / "adapter.safetensors"), "--library", "none", "--out", str(out)]) == 0
    request = DrawRequest(tuple(PROMPTS), (0, 1), references=0, noise=noise().numpy())
    with Pipeline.load(Bundle.load(out), device="cpu", threads=1) as chain:
        ours = chain.draw(request).images
    theirs = (with_optimum(pipeline, num_inference_steps=1) * 255).round()
    assert np.abs(ours - theirs).max() <= 1


def test_it_draws_with_guidance_too(pipeline: Any) -> None:
    """Then the U-Net's batch is twice the prompts'."""
    with noise_of_others():
        drawn = pipeline("a boat", guidance_scale=4.0, num_inference_steps=2, output_type="np").images
    assert drawn.shape == (1, 128, 128, 3)
    assert np.isfinite(drawn).all()


@torch.inference_mode()
def test_the_encoder_gives_the_posterior_of_the_vae(pipeline: Any, small: Path) -> None:
    pixels = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ours = pipeline.vae.encode(pixels).latent_dist
    theirs = load_family(small).vae.encode(pixels).latent_dist
    torch.testing.assert_close(ours.mode(), theirs.mode(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.std, theirs.std, rtol=1e-3, atol=1e-3)


def test_weights_lie_page_by_page_beside_the_graphs(exported: Path) -> None:
    for name in GRAPHS:
        model = onnx.load(exported / name / "model.onnx", load_external_data=False)
        where = [{entry.key: entry.value for entry in t.external_data} for t in model.graph.initializer]
        outside = [one for one in where if one]
        assert outside
        assert all(int(one["offset"]) % 4096 == 0 and one["location"] == "model.onnx.data" for one in outside)


def test_nothing_of_the_last_text_layer_is_written(exported: Path, small: Path) -> None:
    clip = load_family(small).text.clip
    kept = sum(value.numel() for name, value in clip.named_parameters() if "resblocks.2." not in name)
    model = onnx.load(exported / "text_encoder" / "model.onnx")
    assert sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer) < kept + 77 * 77 + 1000
    assert json.loads((exported / "text_encoder" / "config.json").read_text())["num_hidden_layers"] == 2


def test_it_says_what_it_was_made_from_and_not_where(exported: Path, small: Path) -> None:
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]
    written = json.loads((exported / "ragturbo.json").read_text())
    assert family_hashes(small).items() <= written["family"]["hashes"].items()
    assert set(written["parity"]) == set(GRAPHS)
    for path in exported.rglob("*"):
        assert path.is_dir() or str(small.parent).encode() not in path.read_bytes(), path


def test_the_tokenizer_gives_open_clips_ids(exported: Path) -> None:
    theirs, ours = (
        open_clip.SimpleTokenizer(context_length=77),
        CLIPTokenizer.from_pretrained(exported / "tokenizer"),
    )
    prompts = [
        *PROMPTS, "", "wow ! what a cat!!", "Ünïcode &amp; ’s  three   spaces\n", "日本語 🙂 ½ ² 12345",
        "it's the DOG'S don't", "many " * 90, "x" * 500,
    ]  # fmt: skip
    options: dict[str, Any] = {
        "padding": "max_length",
        "max_length": ours.model_max_length,
        "truncation": True,
    }
    for prompt in prompts:
        assert ours(prompt, **options).input_ids == theirs([prompt])[0].tolist(), prompt


def test_another_folder_is_not_replaced_and_its_own_is(small: Path, tmp_path: Path, capsys: Any) -> None:
    """A base's folder has a model_index.json or a unet/ too: none of that makes it ours."""
    base = Path(shutil.copytree(small, tmp_path / "base"))
    (base / "model_index.json").write_text("{}")
    assert main(["--layout", "optimum", "--base", str(small), "--out", str(base)]) == 2
    assert "exists and is no pipeline that --layout optimum wrote" in capsys.readouterr().err
    assert family_hashes(base) == family_hashes(small)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
