"""Says in one line what differs between two descriptions, short enough to be read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_LONG_LIST = 8
_HASH = re.compile(r"[0-9a-f]{40,}")


def differences(there: Mapping[str, object], here: Mapping[str, object]) -> str:
    """Name every value that differs, by the whole way to it.

    Args:
        there: What was found, JSON values.
        here: What is wanted, JSON values.

    Returns:
        For example ``"batch: 8 there, 16 here; optimiser.steps: 10 there, 20 here"``: of a long list only what one
        side alone has, of a hash its first digits. Empty where nothing differs.
    """
    return "; ".join(_lines("", there, here))


def _lines(where: str, there: object, here: object) -> Iterator[str]:
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in sorted({*there, *here}):
            if there.get(key) != here.get(key):
                yield from _lines(f"{where}.{key}" if where else key, there.get(key), here.get(key))
    elif isinstance(there, list) and isinstance(here, list) and max(len(there), len(here)) > _LONG_LIST:
        yield f"{where}: {_of_lists(there, here)}"
    else:
        yield f"{where}: {_shown(there)} there, {_shown(here)} here"


def _of_lists(there: list[object], here: list[object]) -> str:
    lost, new = [x for x in there if x not in here], [x for x in here if x not in there]
    if not lost and not new:
        return "in another order, or some of it more than once"
    return f"{lost} only there, {new} only here"


def _shown(value: object) -> str:
    return _HASH.sub(lambda found: f"{found[0][:12]}...", repr(value))
