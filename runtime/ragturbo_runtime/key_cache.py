"""Keys of phrases that were encoded before: prompts share words, and one prompt is drawn from many seeds."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np

from ragturbo_runtime.arrays import Keys

LARGEST = 1024
"""Phrases that are kept: 4 MB of ViT-H-14's keys."""


class KeyCache:
    """The last keys by phrase. Several threads may use it at once."""

    def __init__(self) -> None:
        """Start empty."""
        self._keys: OrderedDict[str, Keys] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, phrases: Sequence[str], encode: Callable[[Sequence[str]], Keys]) -> list[Keys]:
        """Look keys up, and make those that are missing.

        Args:
            phrases: Any number of texts.
            encode: M missing phrases -> (M, E) keys; not called without any.

        Returns:
            One key (E,) per phrase.
        """
        with self._lock:
            found = {phrase: self._keys[phrase] for phrase in phrases if phrase in self._keys}
        missing = [phrase for phrase in dict.fromkeys(phrases) if phrase not in found]
        if missing:
            made = map(np.array, encode(missing))  # copies: a view would hold its whole batch
            found |= dict(zip(missing, made, strict=True))
        self._keep(found)
        return [found[phrase] for phrase in phrases]

    def _keep(self, found: dict[str, Keys]) -> None:
        with self._lock:
            for phrase, key in found.items():
                self._keys[phrase] = key
                self._keys.move_to_end(phrase)
            while len(self._keys) > LARGEST:
                self._keys.popitem(last=False)
