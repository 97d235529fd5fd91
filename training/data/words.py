"""Made-up words: names that nobody knows."""

from __future__ import annotations

import numpy as np

_ONSETS = tuple("b bl br d dr f fl g gl k kr l m n p pl r sk sn t tr v w z".split())
_VOWELS = ("a", "e", "i", "o", "u", "oo", "ee")
_CODAS = ("b", "ck", "d", "g", "l", "m", "n", "p", "rt", "st", "t", "x", "zz")


def made_up_word(random: np.random.Generator) -> str:
    """Make a pronounceable word of two syllables that starts with a consonant, such as "blidock".

    Args:
        random: Where it comes from.

    Returns:
        One of about 370,000, lower case, letters only.
    """
    parts = (_ONSETS, _VOWELS, _ONSETS, _VOWELS, _CODAS)
    return "".join(part[int(random.integers(len(part)))] for part in parts)
