"""A family of random weights, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.family.random_family import random_family


@pytest.fixture(scope="session")
def nano_family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as training writes it."""
    return random_family(tmp_path_factory.mktemp("family") / "nano")
