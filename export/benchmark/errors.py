"""What can go wrong while rows are measured.

::

    BenchError(Exception)   nothing can be measured: bad input
    RowError(Exception)     one row cannot be measured; the others can
"""

from __future__ import annotations


class BenchError(Exception):
    """Bundle, base or options do not go together. Nothing was measured."""


class RowError(Exception):
    """A row failed; the message is its reason, one line for the table."""


def one_line(error: BaseException) -> str:
    """The first line that says something, 200 characters at most: for a table."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    return said if len(said) <= 200 else said[:197] + "..."
