"""A library knows which encoders it came from, and no other bundle opens it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.library.layout import RECORDS_FILE
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.loading import open_parts
from ragturbo_runtime.manifest import Manifest
from ragturbo_runtime.spaces import Spaces, require_spaces
from tests.nano.build_nano_bundle import build_nano_bundle

OURS = Spaces("a1" * 32, "b2" * 32)


def refused(bundle: Bundle) -> str:
    """What opening says; it must be a refusal."""
    with pytest.raises(RetrievalError) as caught:
        open_parts(bundle, device="cpu", threads=1)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("build the library again for this bundle")
    return caught.value.message


def said(manifest: Manifest) -> str:
    return f"key space {manifest.key_space_id[:12]}, h space {manifest.h_space_id[:12]}"


def alter(library: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(library / RECORDS_FILE)) as records, records:
        records.execute(statement)


def test_a_library_says_where_it_comes_from(nano_bundle: Path) -> None:
    manifest = Bundle.load(nano_bundle).manifest
    assert manifest.library is not None
    with contextlib.closing(Library(nano_bundle / "library")) as library:
        assert library.spaces == Spaces(manifest.key_space_id, manifest.h_space_id)


def test_the_library_of_another_bundle_is_refused(nano_bundle_copy: Path, tmp_path: Path) -> None:
    """All shapes agree, and so do the sizes: nothing else tells that these numbers mean something else."""
    other = build_nano_bundle(tmp_path / "other", seed=1)
    shutil.rmtree(nano_bundle_copy / "library")
    shutil.copytree(other / "library", nano_bundle_copy / "library")
    bundle, theirs = Bundle.load(nano_bundle_copy, verify="off"), Bundle.load(other).manifest
    message = refused(bundle)
    assert message == (
        f"{bundle.path / 'library'}: its keys and features are of {said(theirs)}, "
        f"this bundle's are of {said(bundle.manifest)}"
    )


@pytest.mark.parametrize("field", ["key_space_id", "h_space_id"])
def test_either_encoder_alone_makes_another_library(nano_bundle: Path, field: str) -> None:
    opened = Bundle.load(nano_bundle)
    bundle = Bundle(opened.path, replace(opened.manifest, **{field: "0" * 64}))
    message = refused(bundle)
    assert message.endswith(f"are of {said(opened.manifest)}, this bundle's are of {said(bundle.manifest)}")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM meta WHERE name = 'h_space_id'",
        "UPDATE meta SET value = x'00' WHERE name = 'key_space_id'",
    ],
)
def test_a_library_that_does_not_say_is_refused(nano_bundle_copy: Path, statement: str) -> None:
    """One that an earlier version wrote has no such table."""
    alter(nano_bundle_copy / "library", statement)
    message = refused(Bundle.load(nano_bundle_copy, verify="off"))
    assert "are of key space unknown, h space unknown, this bundle's are of key space " in message


def test_a_table_of_another_kind_is_a_damaged_library(nano_bundle_copy: Path) -> None:
    alter(nano_bundle_copy / "library", "ALTER TABLE meta RENAME COLUMN value TO worth")
    with pytest.raises(RetrievalError, match=r"records\.sqlite: cannot be read \(no such column"):
        open_parts(Bundle.load(nano_bundle_copy, verify="off"), device="cpu", threads=1)


def test_both_ids_are_compared_whole(tmp_path: Path) -> None:
    require_spaces(OURS, Spaces(OURS.key_space_id, OURS.h_space_id), tmp_path)
    with pytest.raises(RetrievalError, match="key space a1a1a1a1a1a1, h space b2b2b2b2b2b2"):
        require_spaces(OURS, replace(OURS, h_space_id=OURS.h_space_id[:-1] + "0"), tmp_path)
