"""Values that no argument may take, or that only look as if: whatever a host passes on unseen."""

from __future__ import annotations

import decimal
import fractions
import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

_ITSELF: list[Any] = []
_ITSELF.append(_ITSELF)


class Rude:
    """Raises whatever it is asked."""

    def __index__(self) -> int:
        raise ZeroDivisionError("asked for a number")

    def __repr__(self) -> str:
        raise KeyError("asked for its name")

    def __bool__(self) -> bool:
        raise LookupError("asked whether it is true")

    def __len__(self) -> int:
        raise AttributeError("asked for its length")


class RudeText(str):
    """A text whose methods raise."""

    def strip(self, *_: object) -> str:
        raise KeyError("asked to strip")

    def encode(self, *_: object) -> bytes:
        raise KeyError("asked for bytes")

    def __repr__(self) -> str:
        raise KeyError("asked for its name")


class RudeNumber(float):
    """A number that raises when it is compared or converted."""

    def __float__(self) -> float:
        raise KeyError("asked for a float")

    def __le__(self, other: object) -> bool:
        raise KeyError("compared")

    def __ge__(self, other: object) -> bool:
        raise KeyError("compared")


class Lying(Sequence[str]):
    """Says that it has three texts, and has none."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: Any) -> Any:
        raise IndexError(index)


class Endless(Sequence[str]):
    """Says that it has one text, and never ends."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any) -> Any:
        return "a cat"


HUGE = 10**5000
"""Python refuses to print it: more than 4300 digits."""
NO_NUMBERS: dict[str, Any] = {
    "a text": "7",
    "bytes": b"7",
    "a list": [7],
    "a dict": {7: 7},
    "a complex number": 7j,
    "NaN": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "a Decimal": decimal.Decimal("NaN"),
    "an array of two": np.array([1, 2]),
    "an array of none": np.array([]),
    "an array of objects": np.array([None]),
    "a date": np.datetime64("2020-01-01"),
    "True": True,
    "numpy's True": np.bool_(True),
    "an object": object(),
    "a class": int,
    "a function": len,
    "a huge number": HUGE,
    "a huge number below 0": -HUGE,
    "a huge fraction": fractions.Fraction(HUGE, 3),
    "ten to the 400": 10**400,
    "what raises": Rude(),
    "what holds itself": _ITSELF,
}
FRACTIONS: dict[str, Any] = {"1.0": 1.0, "numpy's 1.0": np.float32(1), "a fraction": fractions.Fraction(2, 3)}
"""No whole numbers."""
NO_PROMPTS: dict[str, Any] = {
    "None": None,
    "a number": 7,
    "NaN": math.nan,
    "True": True,
    "bytes": b"a cat",
    "a bytearray": bytearray(b"a cat"),
    "a memoryview": memoryview(b"a cat"),
    "a dict": {"a cat": 1},
    "a set": {"a cat"},
    "a function": len,
    "an object": object(),
    "what raises": Rude(),
    "an iterator": iter(["a cat"]),
    "a generator": (text for text in ["a cat"]),
    "an array of texts": np.array(["a cat", "a dog"]),
    "an array of objects": np.array(["a cat", None], dtype=object),
    "a range": range(3),
    "an empty list": [],
    "an empty text": "",
    "spaces": " \t\n\r\x0b\x0c\u2003\u3000",
    "a list of None": [None],
    "a list of lists": [["a cat"]],
    "a list of bytes": ["a cat", b"a dog"],
    "a list that holds itself": _ITSELF,
    "a list of an empty text": ["a cat", ""],
    "a lone surrogate": "a \ud800 cat",
    "surrogates the wrong way round": "\udc00\ud800",
    "a surrogate alone": "\udfff",
    "a million prompts": ["a cat"] * 10**6,
    "66 prompts": ["a cat"] * 66,
    "a sequence that lies": Lying(),
    "a sequence without end": Endless(),
    "a deque of numbers": deque([1, 2]),
}
STRANGE_PROMPTS: dict[str, Any] = {
    "a control character": "\x01",
    "a NUL": "\0",
    "all control characters": "".join(map(chr, [*range(32), *range(127, 160)])),
    "nothing that is seen": "\u200b\u200c\u2060\ufeff",
    "right to left": "\u202ea cat\u202c",
    "no character": "\uffff\ufffe\U0010ffff",
    "private use": "\ue000\U000f0000",
    "special tokens": "<start_of_text>" * 500 + "<end_of_text>" * 500,
    "entities": "&amp;" * 4_000,
    "entities in entities": "&" + "amp;" * 4_000,
    "20,000 accents": "e" + "\u0301" * 19_999,
    "20,000 emoji": "\U0001f431" * 20_000,
    "10,000 commas": "a," * 10_000,
    "20,000 quotes": "'" * 20_000,
    "3,000 'and's": "a and " * 3_000,
    "a million letters": "a" * 10**6,
    "a million words": "cat " * 250_000,
    "a million spaces": " " * 10**6 + "a cat",
    "mojibake": "Ã©â€™Ã±" * 2_500,
    "a text of numpy": np.str_("a cat"),
    "a text whose methods raise": RudeText("a cat"),
    "a text subclass": type("Text", (str,), {})("a cat"),
    "a deque": deque(["a cat"]),
    "a tuple": ("a cat",),
}
"""Whatever comes of them, no foreign exception."""
NO_FOLDERS: dict[str, Any] = {
    "a number": 7,
    "bytes": b"/tmp",
    "a list": ["/tmp"],
    "True": True,
    "an object": object(),
    "what raises": Rude(),
    "NUL": "a\0b",
    "a surrogate": "\ud800",
    "5000 letters": "x" * 5000,
    "300 letters": "x" * 300,
    "nobody's home": "~no-such-user-of-ragturbo/x",
    "a device": "/dev/null",
    "the kernel's": "/proc/self",
    "the root": "/",
    "nothing there": "/no/such/folder",
}


def whole_numbers() -> Iterator[tuple[str, Any]]:
    """What is no whole number of a small range."""
    yield from NO_NUMBERS.items()
    yield from FRACTIONS.items()
    yield "-1", -1
