"""--mode slerp: retrieval for a base that nobody trained an adapter for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from export.manifest import h_space_id
from export.models import load_base
from export.onnx import main
from export.wrappers import AdapterGraph
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.manifest import parse_manifest
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.requests import DrawRequest
from training.models.adapter import outer_weight
from training.models.slerp import DEFAULT_SHARE, SlerpAdapter, combine_references, slerp

SHARE = 0.5
H = (3, 64, 4, 4)


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The nano family, its adapter left aside."""
    out = tmp_path_factory.mktemp("slerp") / "bundle"
    arguments = ["--mode", "slerp", "--base", checkpoint.parent, "--slerp-share", SHARE, "--out", out]
    assert main([str(argument) for argument in arguments]) == 0
    return Bundle.load(out, verify="full")


@pytest.fixture(scope="module")
def graph(bundle: Bundle) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(bundle.graph_file("adapter"), providers=["CPUExecutionProvider"])


def inputs(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "h": torch.randn(H, generator=generator),
        "reference_h": torch.randint(-127, 128, (3, 2, 16, 64), generator=generator, dtype=torch.int8),
        "reference_scale": torch.rand(64, generator=generator) + 0.1,
        "reference_weight": torch.rand(3, 2, generator=generator),
        "strength": torch.tensor([0.5, 1.0, 2.0]),
    }


def run(graph: onnxruntime.InferenceSession, feeds: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.from_numpy(graph.run(None, {name: value.numpy() for name, value in feeds.items()})[0])


@pytest.mark.slow
def test_the_graph_is_slerp_by_strength_times_share_times_lambda(graph) -> None:
    feeds = inputs()
    maps = (feeds["reference_h"] * feeds["reference_scale"]).transpose(2, 3).reshape(3, 2, *H[1:])
    combined = combine_references(maps, feeds["reference_weight"])
    lambda_ = outer_weight(feeds["reference_weight"])
    fused = run(graph, feeds)
    for i, strength in enumerate((0.5, 1.0, 2.0)):
        share = strength * SHARE * float(lambda_[i])
        expected = slerp(feeds["h"][i : i + 1], combined[i : i + 1], share)
        torch.testing.assert_close(fused[i : i + 1], expected, rtol=1e-4, atol=1e-4)


def test_strength_zero_and_lambda_zero_are_the_base_bit_for_bit(graph) -> None:
    feeds = inputs()
    assert torch.equal(run(graph, {**feeds, "strength": torch.zeros(3)}), feeds["h"])
    assert torch.equal(run(graph, {**feeds, "reference_weight": torch.zeros(3, 2)}), feeds["h"])
    some = torch.tensor([[0.0, 0.0], [0.3, 0.0], [0.0, 0.0]])
    fused = run(graph, {**feeds, "reference_weight": some})
    assert torch.equal(fused[0::2], feeds["h"][0::2])
    assert not torch.equal(fused[1], feeds["h"][1])


def test_a_reference_of_weight_zero_is_a_no_op(graph) -> None:
    feeds = inputs()
    feeds["reference_weight"][:, 1] = 0
    alone = {
        **feeds,
        "reference_h": feeds["reference_h"][:, :1],
        "reference_weight": feeds["reference_weight"][:, :1],
    }
    torch.testing.assert_close(run(graph, feeds), run(graph, alone), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", ["nothing", "same", "opposite"])
def test_where_there_is_no_angle_the_graph_is_finite_and_keeps_the_norm(graph, case: str) -> None:
    feeds = {**inputs(), "reference_weight": torch.ones(3, 2), "strength": torch.full((3,), 2.0)}
    reference = feeds["reference_h"][:, :1] * {"nothing": 0, "same": 1, "opposite": -1}[case]
    feeds["reference_h"] = reference.to(torch.int8).expand(-1, 2, -1, -1).contiguous()
    if case != "nothing":
        same = inputs()["reference_h"][:, 0] * feeds["reference_scale"]
        feeds["h"] = same.transpose(1, 2).reshape(H).contiguous()
    fused = run(graph, feeds)
    assert fused.isfinite().all()
    torch.testing.assert_close(
        fused.flatten(1).norm(dim=1), feeds["h"].flatten(1).norm(dim=1), rtol=1e-4, atol=0
    )


def test_more_than_everything_is_the_references_direction() -> None:
    """Strength 2 at a share of 1 is cut to the whole angle, not beyond."""
    feeds = inputs()
    feeds["reference_weight"] = torch.ones(3, 2)
    one, two = (
        AdapterGraph(SlerpAdapter(1.0))(*{**feeds, "strength": torch.full((3,), strength)}.values())
        for strength in (1.0, 2.0)
    )
    assert torch.equal(one, two)


@pytest.mark.slow
def test_the_bundle_says_how_it_was_made(bundle: Bundle, checkpoint: Path, models) -> None:
    adapter = bundle.manifest.adapter
    assert (adapter.mode, adapter.slerp_share) == ("slerp", SHARE)
    assert (adapter.reference_pool, adapter.tokens, adapter.channels) == (1, 16, 64)
    assert (adapter.similarity_low, adapter.similarity_high) == (0, 1)
    assert (adapter.reference_timestep, adapter.reference_caption) == (0, "caption")
    assert set(bundle.manifest.family.hashes) == {"unet", "text_encoder", "vae", "configs"}
    assert bundle.manifest.h_space_id == h_space_id(load_base(checkpoint.parent))
    assert bundle.manifest.key_space_id != bundle.manifest.h_space_id != h_space_id(models)


def test_a_bundle_from_before_there_were_two_modes_has_attention(bundle: Bundle) -> None:
    document = json.loads((bundle.path / "manifest.json").read_text())
    del document["adapter"]["mode"], document["adapter"]["slerp_share"]
    adapter = parse_manifest(document, path=bundle.path).adapter
    assert (adapter.mode, adapter.slerp_share) == ("attention", None)


@pytest.mark.slow
def test_references_change_the_picture_and_strength_zero_does_not(bundle: Bundle) -> None:
    with Pipeline.load(bundle, device="cpu", threads=1) as pipeline:
        drawn = pipeline.draw(DrawRequest(("a cat", "a fox"), (1, 2), references=3))
        without = pipeline.draw(DrawRequest(("a cat", "a fox"), (1, 2), references=0))
        zero = pipeline.draw(DrawRequest(("a cat", "a fox"), (1, 2), references=3, strength=0.0))
    assert all(len(own) == 3 for own in drawn.references)
    assert not np.array_equal(drawn.latents, without.latents)
    assert np.array_equal(zero.latents, without.latents)


def test_the_default_share_is_what_the_help_says(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert f"(default: {DEFAULT_SHARE})" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--mode slerp --ckpt a.safetensors --base b", "leave --ckpt out"),
        ("--mode slerp", "give its folder with --base"),
        ("--base b", "give --ckpt adapter.safetensors, or --mode slerp"),
        ("--mode adapter", "give --ckpt adapter.safetensors, or --mode slerp"),
        ("--ckpt a.safetensors --slerp-share 0.3", "--slerp-share is for --mode slerp alone"),
        ("--mode slerp --base b --slerp-share 1.5", "the share of the references is 1.5; it must be above 0"),
        ("--mode slerp --base b", "b: not a whole base family"),
        ("--layout optimum --mode slerp --base b", "--layout optimum writes no retrieval"),
        ("--layout optimum --base b --library c", "--layout optimum writes no library"),
        ("--layout optimum", "give its folder with --base"),
    ],
)
def test_options_that_contradict_each_other_are_one_line(
    options: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options.split(), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
