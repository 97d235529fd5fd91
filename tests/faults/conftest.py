"""One small bundle for all that damage it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.small_bundle import build_small_bundle


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read it, copy it by `linked_copy`, never write into it."""
    return build_small_bundle(tmp_path_factory.mktemp("small") / "bundle")
