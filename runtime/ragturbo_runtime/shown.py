"""A value as a message shows it: one short line, whatever it is."""

from __future__ import annotations


def shown(value: object, *, longest: int = 60) -> str:
    """Return a value as one line that can be printed.

    Args:
        value: Anything, also what raises when it is asked for its name.
        longest: Letters, 4 or more.

    Returns:
        Its ``repr``, in ASCII where it is a text, cut where it is long.
    """
    try:
        seen = ascii(str.__str__(value)[: longest + 1]) if isinstance(value, str) else repr(value)
    except Exception:  # an int of more digits than Python prints, or a class of the caller's
        seen = f"{type(value).__name__} that cannot be shown"
    line = " ".join(seen.split())  # arrays span lines
    return line if len(line) <= longest else f"{line[: longest - 3]}..."
