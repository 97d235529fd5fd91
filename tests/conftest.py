"""What every test room shares: a working bundle of random weights. No torch in here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from tests.nano.build_nano_bundle import build_nano_bundle

# A machine that trains beside the tests makes single examples slow: count examples, not milliseconds.
settings.register_profile("default", deadline=None)
settings.register_profile("long", deadline=None, max_examples=5_000)
settings.register_profile("quick", deadline=None, max_examples=10, derandomize=True)  # tests/mutation
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, and another worker does the rest meanwhile (`make test` keeps this order)."""
    items.sort(key=lambda item: "full_size" not in item.path.parts)


@pytest.fixture(scope="session")
def nano_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nano bundle, shared by the whole run: read it, never write into it."""
    return build_nano_bundle(tmp_path_factory.mktemp("nano") / "bundle")


@pytest.fixture
def nano_bundle_copy(nano_bundle: Path, tmp_path: Path) -> Path:
    """A nano bundle of one's own, to damage."""
    return Path(shutil.copytree(nano_bundle, tmp_path / "bundle"))
