"""Guesses the names of things from captions: what may be masked where no world says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ragturbo_runtime.phrases import split_phrases

SEEN = 2
"""A name must close so many object phrases: a word that is there once is often no name."""
KEPT = 5000
"""More names, the most frequent ones, than a masker needs."""


def guess_names(captions: Iterable[str]) -> dict[str, str]:
    """Take the last word of every object phrase: "a small red bus" names a bus.

    Args:
        captions: Of a library.

    Returns:
        Plural by singular name, as `training.ladd.masking.Masker` wants it; both alike where only one form was seen.
    """
    heads = Counter(phrase.split()[-1] for caption in captions for phrase in split_phrases(caption))
    names = {
        word for word, count in heads.most_common(KEPT) if count >= SEEN and word.isalpha() and len(word) > 2
    }
    plural_of = {
        name: next((form for form in _plurals(name) if form in names), None) for name in sorted(names)
    }
    plurals = set(plural_of.values())
    return {name: plural or name for name, plural in plural_of.items() if name not in plurals}


def _plurals(name: str) -> tuple[str, ...]:
    """The regular plurals that a noun may have."""
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return (f"{name[:-1]}ies",)
    return (f"{name}es", f"{name}s") if name.endswith(("s", "x", "z", "ch", "sh", "o")) else (f"{name}s",)
