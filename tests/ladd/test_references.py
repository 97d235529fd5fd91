"""Which references a pair gets: the runtime's rule, without the target itself, and what masking does to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ragturbo_runtime.index.exact import ExactIndex
from ragturbo_runtime.library.feature_rows import encode_int8, reference_tokens, scale_of
from ragturbo_runtime.phrases import split_phrases
from ragturbo_runtime.retriever import Retriever
from training.ladd.batches import Batcher
from training.ladd.config import MaskingConfig, RetrievalConfig
from training.ladd.library import (
    ReferenceFeatures,
    TrainingLibrary,
    bottleneck_tokens,
    encode_keys,
    round_to_int8,
)
from training.ladd.neighbours import calibrate, find_neighbours, measure_calibration, picture_cosines
from training.ladd.pairs import Pairs
from training.ladd.setup import Parts
from training.models.split_unet import encode


def test_neighbours_are_what_the_runtime_finds(parts: Parts) -> None:
    """Same phrases, same search, same order, same lambdas."""
    neighbours, library = parts.training.neighbours, parts.library
    assert library.lent > 0
    near = picture_cosines(parts.training.pairs.latents, library.latents) >= 0.9
    assert not near.any(), "random weights: no target looks like a library entry"
    own_keys = library.keys[: library.own].numpy().astype(np.float16)
    retriever = Retriever(ExactIndex(own_keys), neighbours.calibration)
    lent = set(parts.family.world.lent)
    known = [
        i
        for i, p in enumerate(parts.training.pairs.prompts)
        if not lent & set(parts.training.masker.found(p))
    ]
    assert len(known) >= 12
    for place in known:
        prompt = parts.training.pairs.prompts[place]
        queries = encode_keys(parts.family.text, [prompt, *split_phrases(prompt)]).numpy()
        found = retriever.retrieve(queries, references=2, retrieval_threshold=-1.0)
        assert neighbours.rows[place, :2].tolist() == found.rows.tolist()
        np.testing.assert_allclose(neighbours.cosines[place, :2].numpy(), found.similarities, atol=1e-5)
        weights = neighbours.weights(neighbours.cosines[place, :2]).numpy()
        np.testing.assert_allclose(weights, found.weights, atol=1e-3)


def find(parts: Parts, library: TrainingLibrary, pairs: Pairs, *, near_duplicate: float) -> torch.Tensor:
    """The rows of four neighbours a pair."""
    return find_neighbours(
        parts.family.text,
        library,
        pairs,
        candidates=4,
        near_duplicate=near_duplicate,
        calibration=parts.training.neighbours.calibration,
        masker=parts.training.masker,
    ).rows


def test_the_target_itself_is_never_a_reference(parts: Parts) -> None:
    """Pairs whose targets are library entries, with the entries' own captions: the first hit would be the target."""
    library = parts.library
    rows = list(range(0, library.own, 2))
    pairs = Pairs(
        tuple(library.captions[row] for row in rows), torch.arange(len(rows)), library.latents[rows] + 0.01
    )
    found = find(parts, library, pairs, near_duplicate=0.9)
    assert (found >= 0).all()
    for row, references in zip(rows, found.tolist(), strict=True):
        assert row not in references
    free = find(parts, library, pairs, near_duplicate=2.0)
    assert all(row in references for row, references in zip(rows, free.tolist(), strict=True))


def test_neighbours_do_not_repeat(parts: Parts) -> None:
    for references in parts.training.neighbours.rows.tolist():
        real = [row for row in references if row >= 0]
        assert len(set(real)) == len(real)


def test_an_empty_library_is_refused(parts: Parts) -> None:
    empty = TrainingLibrary((), parts.library.latents[:0], parts.library.keys[:0])
    with pytest.raises(ValueError, match="the library is empty"):
        find(parts, empty, parts.training.pairs, near_duplicate=0.9)
    with pytest.raises(ValueError, match="the library is empty"):
        calibrate(parts.family.text, empty, ["a cat"], (50.0, 50.0))


def test_calibration_lies_between_random_captions_and_first_hits() -> None:
    keys = torch.nn.functional.normalize(
        torch.randn(400, 16, generator=torch.Generator().manual_seed(0)), dim=1
    )
    calibration = measure_calibration(keys[:200], keys[200:], np.full(200, 0.8, np.float32), (50.0, 50.0))
    assert calibration.low == pytest.approx(0.0, abs=0.05)
    assert calibration.high == pytest.approx(0.8)
    with pytest.raises(ValueError, match="do not tell"):
        measure_calibration(
            keys[:1].expand(9, -1), keys[:1].expand(9, -1), np.ones(9, np.float32), (50.0, 50.0)
        )


def test_a_step_deals_the_same_batch_every_time(parts: Parts) -> None:
    first, again, other = (parts.training.training(step, 4) for step in (3, 3, 4))
    assert first.prompts == again.prompts
    assert first.shown == again.shown
    assert torch.equal(first.rows, again.rows)
    assert torch.equal(first.noise, again.noise)
    assert not torch.equal(first.noise, other.noise)


def test_an_epoch_shows_every_pair_once(parts: Parts) -> None:
    steps = len(parts.training.pairs) // 4
    shown = torch.cat([parts.training.training(step, 4).target for step in range(steps)])
    latents = parts.training.pairs.latents
    for target in latents:  # two variants of a scene may be the same picture
        assert sum(torch.equal(target, one) for one in shown) == sum(
            torch.equal(target, one) for one in latents
        )


def new_batcher(parts: Parts, *, share: float, **retrieval: float) -> Batcher:
    old = parts.training
    settings: RetrievalConfig = replace(old.retrieval, **retrieval)
    return Batcher(
        old.pairs,
        old.neighbours,
        old.library,
        old.masker,
        retrieval=settings,
        masking=MaskingConfig(share),
        seed=1,
    )


def test_masked_names_are_the_same_in_prompt_and_captions(parts: Parts) -> None:
    batcher = new_batcher(parts, share=1.0, drop_share=0.0, wrong_share=0.0)
    masked_captions = 0
    for step in range(6):
        batch = batcher.training(step, 4)
        assert batch.is_masked.all()
        for (place, number), caption in batch.changed.items():
            prompt, shown = batch.prompts[place], batch.shown[place]
            original = parts.library.captions[int(batch.rows[place, number])]
            hidden = set(batcher.masker.found(prompt)) - set(batcher.masker.found(shown))
            assert hidden & set(batcher.masker.found(original))
            assert not hidden & set(batcher.masker.found(caption))
            new_in_caption = set(_words(caption)) - set(_words(original)) - {"a"}
            assert {word.removesuffix("s") for word in new_in_caption} <= {
                word.removesuffix("s") for word in set(_words(shown)) - set(_words(prompt))
            }
            masked_captions += 1
    assert masked_captions > 0


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def test_captions_that_mention_a_masked_name_are_always_changed(parts: Parts) -> None:
    batcher = new_batcher(parts, share=1.0, drop_share=0.0, wrong_share=0.0)
    for step in range(6):
        batch = batcher.training(step, 4)
        for place in range(4):
            hidden = set(batcher.masker.found(batch.prompts[place])) - set(
                batcher.masker.found(batch.shown[place])
            )
            for number, row in enumerate(batch.rows[place].tolist()):
                mentions = hidden & set(batcher.masker.found(parts.library.captions[row]))
                counts = batch.weights[place, number] > 0
                assert ((place, number) in batch.changed) == bool(mentions and counts)


def test_dropped_references_weigh_nothing_and_nothing_is_masked(parts: Parts) -> None:
    batch = new_batcher(parts, share=1.0, drop_share=1.0, wrong_share=0.0).training(0, 4)
    assert (batch.weights == 0).all()
    assert not batch.is_masked.any()


def test_wrong_references_show_nothing_of_the_prompt(parts: Parts) -> None:
    batcher = new_batcher(parts, share=0.0, drop_share=0.0, wrong_share=1.0)
    batch = batcher.training(0, 4)
    for prompt, rows in zip(batch.prompts, batch.rows.tolist(), strict=True):
        for row in rows:
            assert not set(batcher.masker.found(prompt)) & set(
                batcher.masker.found(parts.library.captions[row])
            )


def test_held_out_batches_differ_in_their_references_alone(parts: Parts) -> None:
    right, wrong, none = (
        parts.held_out.held_out([0, 1, 2], kind, masked=True, seed=5) for kind in ("right", "wrong", "none")
    )
    assert right.shown == wrong.shown == none.shown
    assert right.is_masked.all()
    assert torch.equal(right.noise, none.noise)
    assert torch.equal(right.weights, wrong.weights)
    assert not torch.equal(right.rows, wrong.rows)
    assert (none.weights == 0).all()


def test_training_pools_features_as_the_runtime_pools_them(parts: Parts) -> None:
    unet, latents = parts.student.unet, parts.library.latents[:3]
    embeds, _ = parts.family.text.encode(list(parts.library.captions[:3]))
    with torch.no_grad():
        h, _ = encode(unet, latents, 0, embeds)
    for pool in (1, 2):
        tokens = bottleneck_tokens(unet, latents, embeds, 0, pool=pool).numpy()
        np.testing.assert_allclose(tokens, reference_tokens(h.numpy(), pool), rtol=1e-4, atol=1e-5)


def test_a_pool_that_does_not_divide_the_h_space_is_refused(parts: Parts) -> None:
    embeds, _ = parts.family.text.encode([""])
    with pytest.raises(ValueError, match="reference_pool=3 does not divide the h-space of"):
        bottleneck_tokens(parts.student.unet, parts.library.latents[:1], embeds, 0, pool=3)


def test_features_are_rounded_as_the_runtime_rounds_them() -> None:
    features = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(0))
    scale = scale_of(features[:2].numpy())  # the third one is clipped
    expected = encode_int8(features.numpy(), scale).astype(np.float32) * scale
    np.testing.assert_array_equal(round_to_int8(features, torch.from_numpy(scale)).numpy(), expected)


def test_a_changed_caption_gets_features_of_its_own(parts: Parts) -> None:
    rows = torch.tensor([[0, 1], [2, 3]])
    stored = parts.features.read(rows, {})
    fresh = parts.features.read(rows, {(1, 0): "a gromul at night"})
    same = parts.features.read(rows, {(1, 0): parts.library.captions[2]})
    assert not torch.equal(stored[1, 0], fresh[1, 0])
    assert torch.equal(stored[0], fresh[0])
    torch.testing.assert_close(stored, same, atol=float(parts.features.scale.max()), rtol=0)


def test_float16_features_are_the_unrounded_ones_in_eleven_bits(parts: Parts) -> None:
    kept = {
        codec: ReferenceFeatures(
            parts.student.unet, parts.family.text, parts.library, timestep=0, caption="caption", codec=codec
        )
        for codec in ("float32", "float16")
    }
    rows = torch.tensor([[0, 1]])
    whole, halved = (some.read(rows, {(0, 1): "a blidock"}) for some in kept.values())
    assert halved.dtype == torch.float32
    assert torch.equal(halved, whole.half().float())
    assert not torch.equal(halved, whole)
