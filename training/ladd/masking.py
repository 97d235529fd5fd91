"""Masked prompts: the name of a thing becomes a made-up word, so that only a reference can tell what to draw.

If the prompt alone determines the teacher's picture, an adapter learns to ignore its references. So in a
share of the prompts, and in the captions of their references, an object's name is replaced by a word that
nobody knows, while the target stays what the teacher draws for the true prompt from the same noise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from training.data.words import made_up_word
from training.recipe import digest_of


def _any_of(words: Sequence[str]) -> str:
    """Build a pattern for the longest of some words: "teddy bear" before "teddy".

    The words share their beginnings, as in a trie: with thousands of them an alternation that tries one after the other
    takes milliseconds a caption.
    """
    tails: dict[str, list[str]] = {}
    for word in words:
        tails.setdefault(word[:1], []).append(word[1:])
    is_whole = "" in tails
    branches = [re.escape(first) + _any_of(rest) for first, rest in tails.items() if first]
    if not branches:
        return ""
    joined = f"(?:{'|'.join(branches)})"
    return f"{joined}?" if is_whole else joined


class Masker:
    """Finds names in captions and replaces them.

    Args:
        plurals: Plural by singular name of everything that may be masked, for example {"mouse": "mice"}.

    Raises:
        ValueError: No names.
    """

    def __init__(self, plurals: Mapping[str, str]) -> None:
        if not plurals:
            raise ValueError(
                "there is no name to mask; give names with their plurals ([data] names = FILE for pictures of your own)"
            )
        # A plural that looks like the singular ("sheep") is found as the singular: the count word stays
        # before it.
        self._names = {plural.lower(): (name, True) for name, plural in plurals.items()}
        self._names |= {name.lower(): (name, False) for name in plurals}
        words = _any_of(list(self._names))
        self._pattern = re.compile(rf"(?:\b(?P<article>an?) )?\b(?P<name>{words})\b", re.IGNORECASE)

    @property
    def digest(self) -> str:
        """The SHA-256, hex, of the names: two maskers with the same find the same."""
        return digest_of(
            f"{name}\t{single}\t{plural}" for name, (single, plural) in sorted(self._names.items())
        )

    def found(self, caption: str) -> tuple[str, ...]:
        """Name the things that a caption mentions.

        Args:
            caption: Any text.

        Returns:
            Singular names in the order of their first mention, once each.
        """
        matches = self._pattern.finditer(caption)
        return tuple(dict.fromkeys(self._names[match["name"].lower()][0] for match in matches))

    def choose(self, caption: str, random: np.random.Generator) -> dict[str, str]:
        """Choose which names of a caption to mask, one at least, and a made-up word for each.

        Args:
            caption: Any text.
            random: Where the choice and the words come from.

        Returns:
            Made-up word by singular name; empty if the caption mentions none.
        """
        names = self.found(caption)
        if not names:
            return {}
        chosen = random.permutation(len(names))[: int(random.integers(1, len(names) + 1))]
        return self.words_for([names[place] for place in sorted(chosen)], random)

    def words_for(self, names: Sequence[str], random: np.random.Generator) -> dict[str, str]:
        """Make up a word for each of some names.

        Args:
            names: Singular names.
            random: Where the words come from.

        Returns:
            Made-up word by name; none of them is a name itself.
        """
        return {name: self._fresh_word(random) for name in names}

    def mask(self, caption: str, words: Mapping[str, str]) -> str:
        """Replace names, singular and plural, by made-up words; "an owl" becomes "a blidock", "owls" "blidocks".

        Args:
            caption: Any text.
            words: Made-up word by singular name, from `choose`.

        Returns:
            The caption; unchanged if it mentions none of the names.
        """

        def replaced(match: re.Match[str]) -> str:
            name, is_plural = self._names[match["name"].lower()]
            if name not in words:
                return match[0]
            article = "a " if match["article"] else ""
            return article + words[name] + ("s" if is_plural else "")

        return self._pattern.sub(replaced, caption)

    def _fresh_word(self, random: np.random.Generator) -> str:
        while (word := made_up_word(random)) in self._names:
            pass
        return word
