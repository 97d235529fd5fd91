"""The chain of graphs on the nano bundle: what must hold for every bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import (
    BundleCorruptError,
    InferenceError,
    InvalidInputError,
    RetrievalError,
)
from ragturbo_runtime.image import to_pixels
from ragturbo_runtime.noise import batch_noise
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.providers import cpu_device
from ragturbo_runtime.reference_weights import outer_weight
from ragturbo_runtime.requests import DrawRequest
from ragturbo_runtime.sampler import Schedule
from ragturbo_runtime.session import GraphSession, SessionOptions
from ragturbo_runtime.stopwatch import STAGES
from ragturbo_runtime.tokenizer import Tokenizer
from tests.nano.nano_graphs import LATENTS

PROMPT = "a red circle left of two blue stars"
PROMPTS = (PROMPT, "a green square", "a purple triangle above a white star and a brown circle", PROMPT)
SEEDS = (7, 8, 9, 10)


@pytest.fixture(scope="session")
def pipeline(nano_bundle: Path) -> Iterator[Pipeline]:
    with Pipeline.load(Bundle.load(nano_bundle), threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def graphs(nano_bundle: Path) -> dict[str, GraphSession]:
    bundle = Bundle.load(nano_bundle)
    options = SessionOptions(device=cpu_device(), threads=1)
    return {
        name: GraphSession(name, bundle.graph_file(name), spec, options)
        for name, spec in bundle.manifest.graphs.items()
    }


def edit_manifest(bundle: Path, **changes: Any) -> Bundle:
    """Change keys of a bundle's manifest; nested ones as ``adapter__similarity_low``."""
    path = bundle / "manifest.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    for name, value in changes.items():
        *parents, key = name.split("__")
        target = data
        for part in parents:
            target = target[part]
        target[key] = value
    path.write_text(json.dumps(data), encoding="utf-8")
    return Bundle.load(bundle)


def test_no_references_is_the_base_bit_for_bit(pipeline: Pipeline, graphs: dict[str, GraphSession]) -> None:
    for steps in (1, 2, 4):
        drawn = pipeline.draw(DrawRequest((PROMPT,), (7,), steps=steps, references=0))
        schedule = Schedule.from_manifest(pipeline.bundle.manifest.scheduler)
        tokens = Tokenizer.load(pipeline.bundle.path / "tokenizer.json").encode([PROMPT])
        text = graphs["text_encoder"].run({"input_ids": tokens.input_ids, "eos_index": tokens.eos_index})
        timesteps = schedule.timesteps(steps)
        sample = schedule.initial_sample(batch_noise([7], LATENTS), timesteps[0])
        for t, next_t in zip(timesteps, (*timesteps[1:], None), strict=True):
            condition = {
                "timestep": np.array([t]),
                "encoder_hidden_states": text["last_hidden_state"],
            }
            hidden = graphs["unet_encoder"].run({"sample": sample, **condition})
            output = graphs["unet_decoder"].run({**hidden, **condition})["out_sample"]
            sample = schedule.step(sample, output, t, next_t)
        assert drawn.latents.tobytes() == sample.tobytes()
        decoded = graphs["vae_decoder"].run({"latent_sample": sample})["sample"]
        np.testing.assert_array_equal(drawn.images, to_pixels(decoded))
        assert drawn.references == [[]]
        assert drawn.timings["adapter"] == drawn.timings["search"] == 0.0


def test_references_change_the_picture_as_the_adapter_says(
    pipeline: Pipeline, graphs: dict[str, GraphSession]
) -> None:
    drawn = pipeline.draw(DrawRequest((PROMPT,), (7,), references=3, strength=0.7))
    encoding = pipeline.encode_prompts([PROMPT])
    found = pipeline.retrieve(PROMPT, encoding.keys[0], references=3)
    assert [r.row for r in drawn.references[0]] == [r.row for r in found]
    library = pipeline.library
    assert library is not None
    condition = {"timestep": np.array([999]), "encoder_hidden_states": encoding.prompt_embeds}
    hidden = graphs["unet_encoder"].run({"sample": batch_noise([7], LATENTS), **condition})
    fused = graphs["adapter"].run(
        {
            "h": hidden["h"],
            "reference_h": library.features(np.array([[r.row for r in found]])),
            "reference_scale": library.scale,
            "reference_weight": np.array([[r.weight for r in found]], dtype=np.float32),
            "strength": np.array([0.7], dtype=np.float32),
        }
    )["fused_h"]
    output = graphs["unet_decoder"].run({**hidden, "h": fused, **condition})["out_sample"]
    assert drawn.latents.tobytes() == (-output).tobytes()  # zero terminal SNR: x_0 = -v
    base = pipeline.draw(DrawRequest((PROMPT,), (7,), references=0))
    assert np.abs(drawn.latents - base.latents).max() > 0.1


def test_references_of_weight_zero_are_a_no_op(pipeline: Pipeline, nano_bundle_copy: Path) -> None:
    bundle = edit_manifest(nano_bundle_copy, adapter__similarity_low=1.5, adapter__similarity_high=2.0)
    with Pipeline.load(bundle, threads=1) as weightless:
        drawn = weightless.draw(DrawRequest(PROMPTS, SEEDS, references=4, steps=2))
    base = pipeline.draw(DrawRequest(PROMPTS, SEEDS, references=0, steps=2))
    assert [len(own) for own in drawn.references] == [4] * 4
    assert all(reference.weight == 0.0 for own in drawn.references for reference in own)
    assert drawn.latents.tobytes() == base.latents.tobytes()
    assert drawn.images.tobytes() == base.images.tobytes()


def test_one_weightless_reference_among_others_changes_nothing(graphs: dict[str, GraphSession]) -> None:
    random = np.random.default_rng(0)
    feeds: dict[str, Any] = {
        "h": random.standard_normal((1, 32, 4, 4), dtype=np.float32),
        "reference_h": random.integers(-127, 128, (1, 3, 16, 32), dtype=np.int8),
        "reference_scale": np.full(32, 0.01, dtype=np.float32),
        "reference_weight": np.array([[0.5, 0.9, 0.0]], dtype=np.float32),
        "strength": np.ones(1, dtype=np.float32),
    }
    with_it = graphs["adapter"].run(feeds)["fused_h"]
    without = graphs["adapter"].run(
        {
            **feeds,
            "reference_h": feeds["reference_h"][:, :2],
            "reference_weight": feeds["reference_weight"][:, :2],
        }
    )["fused_h"]
    np.testing.assert_allclose(with_it, without, atol=1e-6)
    assert outer_weight(feeds["reference_weight"])[0] == pytest.approx((0.25 + 0.81) / 1.4, rel=1e-6)


def test_strength_zero_is_the_base_and_more_strength_moves_further(pipeline: Pipeline) -> None:
    def latents(strength: float, references: int = 4) -> Any:
        return pipeline.draw(DrawRequest((PROMPT,), (7,), references=references, strength=strength)).latents

    base = latents(1.0, references=0)
    assert latents(0.0).tobytes() == base.tobytes()
    distances = [float(np.abs(latents(s) - base).mean()) for s in (0.25, 0.5, 1.0)]
    assert 0 < distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize("references", [0, 4])
def test_a_batch_is_its_pictures_one_by_one(pipeline: Pipeline, references: int) -> None:
    together = pipeline.draw(DrawRequest(PROMPTS, SEEDS, steps=2, references=references))
    for i, (prompt, seed) in enumerate(zip(PROMPTS, SEEDS, strict=True)):
        alone = pipeline.draw(DrawRequest((prompt,), (seed,), steps=2, references=references))
        np.testing.assert_allclose(together.latents[i], alone.latents[0], atol=1e-4)
        difference = np.abs(together.images[i].astype(int) - alone.images[0].astype(int))
        assert difference.max() <= 1
        assert together.references[i] == alone.references[0]


@settings(max_examples=15)
@given(st.integers(0, 2**64), st.sampled_from(PROMPTS), st.integers(1, 4), st.integers(0, 6))
def test_same_seed_same_bytes(
    pipeline: Pipeline, seed: int, prompt: str, steps: int, references: int
) -> None:
    request = DrawRequest((prompt,), (seed,), steps=steps, references=references)
    first, second = pipeline.draw(request), pipeline.draw(request)
    assert first.latents.tobytes() == second.latents.tobytes()
    assert first.images.tobytes() == second.images.tobytes()
    assert first.references == second.references


def test_noise_of_ones_own_takes_the_place_of_the_seeds(pipeline: Pipeline) -> None:
    own = batch_noise([7], LATENTS)
    by_seed = pipeline.draw(DrawRequest((PROMPT,), (7,)))
    by_noise = pipeline.draw(DrawRequest((PROMPT,), (0,), noise=own))
    assert by_seed.latents.tobytes() == by_noise.latents.tobytes()
    assert own.tobytes() == batch_noise([7], LATENTS).tobytes()


def test_threads_share_one_pipeline(pipeline: Pipeline) -> None:
    requests = [
        DrawRequest((PROMPTS[i % 3],), (i,), references=4 * (i % 2), steps=1 + i % 2) for i in range(24)
    ]
    alone = [pipeline.draw(request) for request in requests]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(pipeline.draw, requests))
    for one, other in zip(alone, together, strict=True):
        assert one.latents.tobytes() == other.latents.tobytes()
        assert one.references == other.references


def test_every_phrase_finds_its_reference(pipeline: Pipeline) -> None:
    key = pipeline.encode_prompts([PROMPTS[2]]).keys[0]
    found = pipeline.retrieve(PROMPTS[2], key, references=4)
    captions = [reference.caption for reference in found]
    # The whole prompt's nearest first, then each phrase's own caption, which is in the library word for word.
    assert set(captions) >= {"a purple triangle", "a white star", "a brown circle"}
    exact = [r for r in found[1:] if r.caption in ("a purple triangle", "a white star", "a brown circle")]
    assert all(reference.similarity > 0.99 for reference in exact)
    assert all(reference.weight == pytest.approx(min(reference.similarity, 1.0)) for reference in found)


def test_a_threshold_leaves_out_references(pipeline: Pipeline) -> None:
    drawn = pipeline.draw(DrawRequest(("a green square",), (1,), references=8, retrieval_threshold=0.9))
    assert 0 < len(drawn.references[0]) < 8
    assert all(reference.similarity >= 0.9 for reference in drawn.references[0])


def test_phrase_keys_do_not_depend_on_the_length_they_are_encoded_at(pipeline: Pipeline) -> None:
    phrases = ["a red circle", "two big blue stars in the snow", "x"]
    np.testing.assert_allclose(
        pipeline.encode_phrases(phrases), pipeline.encode_prompts(phrases).keys, atol=1e-6
    )
    many = [f"a circle number {i}" for i in range(70)]
    assert pipeline.encode_phrases(many).shape == (70, 24)
    assert pipeline.encode_phrases([]).shape == (0, 24)


def test_the_result_is_complete(pipeline: Pipeline) -> None:
    long = "a red circle " + "and another thing " * 60
    drawn = pipeline.draw(DrawRequest((PROMPT, long), (1, 2)))
    assert drawn.images.shape == (2, 32, 32, 3)
    assert drawn.images.dtype == np.uint8
    assert drawn.latents.shape == (2, *LATENTS)
    assert drawn.latents.dtype == np.float32
    assert set(drawn.timings) == {*STAGES, "total"}
    assert all(drawn.timings[stage] > 0 for stage in STAGES)
    assert all(drawn.timings[stage] <= drawn.timings["total"] for stage in STAGES)
    assert drawn.cut[0] == ()
    assert drawn.cut[1][-1] == "thing"
    assert pipeline.device == "cpu"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": (), "seeds": ()}, "prompts is 0, expected 1 to 64 pictures a call"),
        ({"prompts": ("x",) * 65, "seeds": (0,) * 65}, "prompts is 65"),
        ({"prompts": ("",)}, "prompt is '', expected a string that is not empty"),
        ({"prompts": (" \n",)}, "prompt is"),
        ({"prompts": (3,)}, "prompt is 3"),
        ({"seeds": (1, 2)}, r"seeds is \(1, 2\), expected one per prompt \(1\)"),
        ({"seeds": (-1,)}, "seed is -1, expected an integer of 0 or more"),
        ({"steps": 0}, "num_inference_steps is 0, expected 1 to 4"),
        ({"steps": 5}, "num_inference_steps is 5, expected 1 to 4"),
        ({"steps": 1.0}, "steps is 1.0, expected an integer"),
        ({"references": -1}, "references is -1, expected an integer from 0 to 16"),
        ({"references": 17}, "references is 17, expected an integer from 0 to 16"),
        ({"references": True}, "references is True"),
        ({"strength": -0.1}, "strength is -0.1, expected a number from 0 to 2"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"strength": "1"}, "strength is '1'"),
        ({"retrieval_threshold": 1.5}, "retrieval_threshold is 1.5, expected a number from -1 to 1"),
        (
            {"noise": np.zeros((1, 4, 8, 8))},
            r"noise is 'float64 \(1, 4, 8, 8\)', expected float32 \(1, 4, 8, 8\)",
        ),
        ({"noise": np.zeros((2, 4, 8, 8), np.float32)}, r"noise is 'float32 \(2, 4, 8, 8\)'"),
        ({"noise": "x"}, "noise is"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_requests_name_their_argument(pipeline: Pipeline, change: dict[str, Any], message: str) -> None:
    request = replace(DrawRequest((PROMPT,), (7,)), **change)
    with pytest.raises(InvalidInputError, match=message):
        pipeline.draw(request)


def test_a_bundle_without_library_draws_without_references_only(nano_bundle_copy: Path) -> None:
    with Pipeline.load(edit_manifest(nano_bundle_copy, library=None), threads=1) as bare:
        assert bare.library is None
        assert bare.draw(DrawRequest((PROMPT,), (7,), references=0)).references == [[]]
        with pytest.raises(RetrievalError, match=r"no library to retrieve from; draw with references=0"):
            bare.draw(DrawRequest((PROMPT,), (7,)))


def test_a_library_of_another_model_is_refused(nano_bundle_copy: Path) -> None:
    bundle = edit_manifest(nano_bundle_copy, adapter__feature_codec="float16")
    with pytest.raises(
        BundleCorruptError, match=r"\(24, 16, 32, 'int8'\), the model's are \(24, 16, 32, 'float16'\)"
    ):
        Pipeline.load(bundle)


def test_a_schedule_that_cannot_be_read_is_the_bundles_fault(nano_bundle_copy: Path) -> None:
    bundle = edit_manifest(nano_bundle_copy, scheduler__prediction_type="sample")
    with pytest.raises(BundleCorruptError, match=r"manifest\.json: scheduler: prediction_type is 'sample'"):
        Pipeline.load(bundle)


def test_a_fault_of_the_lookup_reaches_the_caller(nano_bundle: Path) -> None:
    """References are looked up in another thread: what goes wrong there is raised by the call."""
    with Pipeline.load(Bundle.load(nano_bundle), device="cpu", threads=1) as pipeline:
        assert pipeline.library is not None
        pipeline.library.close()
        with pytest.raises(RetrievalError, match="the library was closed; open it again"):
            pipeline.draw(DrawRequest((PROMPT,), (1,)))
        assert pipeline.draw(DrawRequest((PROMPT,), (1,), references=0)).images.any()


def test_a_closed_pipeline_raises(nano_bundle: Path) -> None:
    with Pipeline.load(Bundle.load(nano_bundle), threads=1) as closed:
        reference = closed.draw(DrawRequest((PROMPT,), (7,))).references[0][0]
        assert reference.thumbnail()
    closed.close()
    with pytest.raises(InferenceError, match="the pipeline was closed; load it again"):
        closed.draw(DrawRequest((PROMPT,), (7,)))
    with pytest.raises(RetrievalError, match="the library was closed; open it again"):
        reference.thumbnail()


def test_importing_the_pipeline_loads_nothing_heavy() -> None:
    code = (
        "import sys, ragturbo_runtime.pipeline, ragturbo_runtime.library.whole\n"
        "heavy = {'torch', 'onnxruntime', 'tokenizers', 'scann', 'ftfy', 'PIL', 'onnx', 'tensorflow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    paths = f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parents[2] / 'runtime')!r})\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", paths + code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
