"""Where an exported library's pictures come from: the family's own scenes, or a collection."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest

from export.errors import ExportError
from export.pictures import collected_entries, generated_entries
from ragturbo_runtime.errors import InvalidInputError
from tests.collection.made import png, samples, shard
from training.data.render import draw
from training.data.splits import scene
from training.data.world import parse_world


def test_what_cannot_be_used_is_warned_of_and_left_out(tmp_path, caplog):
    (tmp_path / "red.png").write_bytes(png())
    (tmp_path / "metadata.csv").write_text("file_name,text\nred.png,red\nnone.png,none\nred.png,\n")
    with caplog.at_level(logging.WARNING):
        (red,) = collected_entries(tmp_path)
    assert (red.id, red.caption) == ("red.png", "red")
    assert (red.read(8) == [255, 0, 0]).all()
    first, second = caplog.messages
    assert first.startswith(f"left out: {tmp_path / 'metadata.csv'}:3: none.png: no such picture inside")
    assert second.endswith(
        "metadata.csv:4: red.png: needs a caption: text (or caption) is empty or not there"
    )


def test_shards_are_a_library_too(tmp_path):
    found = collected_entries(shard(tmp_path / "s.tar", samples("ab")))
    assert [(one.id, one.licence) for one in found] == [("s/a", "unknown"), ("s/b", "unknown")]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "lists no picture; give --library none for a bundle without"),
        (
            "none.png,none\n",
            r"none of its 1 pictures can be used \(the first: .*csv:2: none.png: no such picture",
        ),
    ],
)
def test_a_collection_without_pictures(tmp_path, rows, said):
    (tmp_path / "metadata.csv").write_text(f"file_name,text\n{rows}")
    with pytest.raises(ExportError, match=said):
        collected_entries(tmp_path)


def test_a_damaged_list(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name,text\nred.png,a red, plain thing\n")
    with pytest.raises(InvalidInputError, match="csv:2: 3 values for 2 columns"):
        collected_entries(tmp_path)


def test_generated_entries_are_the_scenes_of_the_library_split(models):
    entries = generated_entries(models.family)
    world = parse_world(models.family.settings["config"]["world"])
    assert len(entries) == 24
    assert len({entry.id for entry in entries}) == 24
    expected = scene(world, "library", 7)
    assert entries[7].caption == expected.caption
    for side in (32, 16):
        np.testing.assert_array_equal(entries[7].read(side), draw(expected, side))


@pytest.mark.parametrize("library", [{}, {"generator": "photos", "split": "library", "count": 3}, None])
def test_a_family_without_a_usable_generator_is_told_what_to_do(models, library):
    settings = models.family.settings | {"library": library}
    with pytest.raises(ExportError, match="library"):
        generated_entries(dataclasses.replace(models.family, settings=settings))
