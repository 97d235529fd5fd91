"""Neighbours of many pairs at a time, and what is kept of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ragturbo_runtime.retriever import round_robin
from training.ladd import neighbours as neighbours_module
from training.ladd.config import LaddConfig
from training.ladd.neighbour_cache import neighbours_key
from training.ladd.neighbour_search import best, deal
from training.ladd.neighbours import find_neighbours
from training.ladd.setup import Parts, assemble


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(1, 6), st.integers(0, 1 << 30))
def test_many_prompts_are_dealt_out_as_one_is(queries: list[int], count: int, seed: int) -> None:
    """Against the runtime's own rule, with ties, repeats and queries that find too little."""
    random = np.random.default_rng(seed)
    whose = np.repeat(np.arange(len(queries)), queries)
    cosines = torch.from_numpy(random.integers(-3, 4, (len(whose), 9)).astype(np.float32))
    cosines[torch.from_numpy(random.random(cosines.shape) < 0.4)] = -torch.inf
    ids, values = best(cosines, count)
    for row, found in zip(cosines.numpy(), ids, strict=True):
        order = [place for place in np.argsort(-row, kind="stable") if np.isfinite(row[place])][:count]
        assert found[found >= 0].tolist() == order
    rows, dealt = deal(ids, values, whose, len(queries), count)
    for prompt in range(len(queries)):
        expected, similar = round_robin(ids[whose == prompt], values[whose == prompt], count + 1)
        real = expected >= 0
        expected, similar = expected[real][:count], similar[real][:count]
        assert rows[prompt, : len(expected)].tolist() == expected.tolist()
        assert dealt[prompt, : len(expected)].tolist() == similar.tolist()
        assert (rows[prompt, len(expected) :] == -1).all()
        assert (dealt[prompt, len(expected) :] == 0).all()


def test_the_number_of_pairs_at_a_time_changes_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = parts.training.neighbours
    monkeypatch.setattr(neighbours_module, "CELLS", 1)  # one pair at a time
    again = find_neighbours(
        parts.family.text,
        parts.library,
        parts.training.pairs,
        candidates=4,
        near_duplicate=0.9,
        calibration=expected.calibration,
        masker=parts.training.masker,
        lent=lent_of(parts),
    )
    assert torch.equal(again.rows, expected.rows)
    torch.testing.assert_close(again.cosines, expected.cosines)


def lent_of(parts: Parts) -> Sequence[str]:
    from training.data.inventions import concept_of
    from training.ladd.config import RealConfig
    from training.ladd.strangers import strangers_of

    settings = RealConfig(scenes=4, lent_variants=1, held_out=4, steps=1, library=12)
    return tuple(concept_of(name).name for name in strangers_of(settings, parts.family.world))


def test_a_second_run_reads_what_the_first_one_found(
    config: LaddConfig, family_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.ladd import setup

    asked = []
    real = setup.find_neighbours

    def counted(*arguments: object, **options: object) -> object:
        asked.append(1)
        return real(*arguments, **options)

    monkeypatch.setattr(setup, "find_neighbours", counted)
    fresh = replace(config, work_dir=str(tmp_path))
    first = assemble(fresh, family_path, retrieves=True, device=torch.device("cpu"))
    assert len(asked) == 3  # training, held-out and unknown pairs
    again = assemble(fresh, family_path, retrieves=True, device=torch.device("cpu"))
    assert len(asked) == 3
    for one, other in ((first.training, again.training), (first.held_out, again.held_out)):
        assert torch.equal(one.neighbours.rows, other.neighbours.rows)
        assert torch.equal(one.neighbours.cosines, other.neighbours.cosines)
        assert torch.equal(one.neighbours.prompt_keys, other.neighbours.prompt_keys)
        assert one.neighbours.calibration == other.neighbours.calibration
    more = replace(fresh, retrieval=replace(fresh.retrieval, candidates=3))
    assemble(more, family_path, retrieves=True, device=torch.device("cpu"))
    assert len(asked) == 6  # another setting is another search
    kept = sorted((tmp_path / "neighbours").iterdir())
    assert len(kept) == 6
    for file in kept:
        data = bytearray(file.read_bytes())
        data[-3] ^= 1
        file.write_bytes(data)
    with pytest.raises(ValueError, match=r"safetensors: no neighbours .*delete it, and they are found anew"):
        assemble(fresh, family_path, retrieves=True, device=torch.device("cpu"))


def test_all_that_neighbours_depend_on_is_in_their_name(parts: Parts) -> None:
    library, pairs, masker = parts.library, parts.training.pairs, parts.training.masker

    def key(**changed: object) -> str:
        given = {
            "text": "a",
            "library": library,
            "pairs": pairs,
            "lent": ("x",),
            "candidates": 4,
            "near": 0.9,
        }
        given |= changed
        return neighbours_key(
            given["text"], given["library"], given["pairs"], masker, given["lent"],
            candidates=given["candidates"], near_duplicate=given["near"],
        )  # fmt: skip

    keys = {
        key(),
        key(text="b"),
        key(library=replace(library, captions=("other", *library.captions[1:]))),
        key(library=replace(library, latents=library.latents + 1)),
        key(library=replace(library, keys=-library.keys)),
        key(library=replace(library, lent=0)),
        key(pairs=replace(pairs, prompts=("other", *pairs.prompts[1:]))),
        key(pairs=replace(pairs, latents=pairs.latents * 2)),
        key(lent=()),
        key(candidates=5),
        key(near=0.8),
    }
    assert len(keys) == 11
    assert key() == key()
