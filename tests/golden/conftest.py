"""The flag that writes the pictures anew: ``pytest tests/golden --regenerate-golden``."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known when pytest is started on this folder; in a run of the whole suite it stays off."""
    parser.addoption(
        "--regenerate-golden",
        action="store_true",
        help="write the golden pictures from what is drawn now; look at them before you commit",
    )


@pytest.fixture(scope="session")
def regenerate(pytestconfig: pytest.Config) -> bool:
    """Whether to write the pictures instead of comparing with them."""
    return bool(pytestconfig.getoption("--regenerate-golden", default=False))
