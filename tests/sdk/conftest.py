"""One open generator on the nano bundle for the tests that only draw."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragturbo_sdk import Generator


@pytest.fixture(scope="session")
def generator(nano_bundle: Path) -> Iterator[Generator]:
    """Shared: drawing changes nothing in a generator."""
    with Generator(nano_bundle, device="cpu", threads=1) as opened:
        yield opened
