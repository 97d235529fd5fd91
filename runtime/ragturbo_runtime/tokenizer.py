"""Prompt to token ids, identical to open_clip's tokenizer and without torch.

Python cleans (ftfy, HTML entities, white space, lower case); the ``tokenizers`` library splits and merges by
tokenizer.json, which ``training/family/tokenizer_json.py`` writes from open_clip's own vocabulary.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import InputIds
from ragturbo_runtime.errors import BundleCorruptError, InvalidInputError

if TYPE_CHECKING:
    import tokenizers

START_OF_TEXT = "<start_of_text>"
END_OF_TEXT = "<end_of_text>"

_LONGEST_WORD = 20
# Text of these characters alone passes ftfy and html.unescape unchanged: no entity, no control character.
_PLAIN = re.compile(r"[\t\n\f\r -%'-~]*")


@dataclass(frozen=True)
class TokenBatch:
    """Tokens of several texts.

    Attributes:
        input_ids: (B, L) int64; start, the text's tokens, end, then 0 up to the context length.
        eos_index: (B,) int64, the column of each text's end token.
        cut: Per text, the words that did not fit, cleaned; a word cut in the middle is among them.
    """

    input_ids: InputIds
    eos_index: NDArray[np.int64]
    cut: tuple[tuple[str, ...], ...]

    def shortened(self) -> TokenBatch:
        """Drop the columns that are padding in every text: (B, L) becomes (B, max(eos_index) + 1)."""
        length = int(self.eos_index.max()) + 1
        return TokenBatch(np.ascontiguousarray(self.input_ids[:, :length]), self.eos_index, self.cut)


class Tokenizer:
    """open_clip's byte-pair tokenizer. Several threads may use it at once.

    Attributes:
        context_length: Tokens of a text, start and end included.
    """

    def __init__(self, encoder: tokenizers.Tokenizer, context_length: int, *, path: Path) -> None:
        """Wrap a ``tokenizers`` tokenizer; ``Tokenizer.load`` reads one from its file.

        Args:
            encoder: Splits and merges cleaned text; adds no special tokens.
            context_length: Tokens of a text, 3 or more.
            path: Where it came from, for messages.

        Raises:
            BundleCorruptError: The vocabulary has no start-of-text or end-of-text token.
        """
        start, end = encoder.token_to_id(START_OF_TEXT), encoder.token_to_id(END_OF_TEXT)
        if start is None or end is None:
            raise BundleCorruptError(
                f"{path.name}: no {START_OF_TEXT} or {END_OF_TEXT} in the vocabulary",
                path=path,
                hint="export the bundle again",
            )
        self.context_length = context_length
        self._encoder = encoder
        self._special = {START_OF_TEXT: start, END_OF_TEXT: end}

    @classmethod
    def load(cls, path: Path, context_length: int = 77) -> Tokenizer:
        """Read a tokenizer.json.

        Args:
            path: The file.
            context_length: Tokens of a text, start and end included.

        Returns:
            The tokenizer.

        Raises:
            BundleCorruptError: The file is missing or is no tokenizer.json of ours.
        """
        import tokenizers

        try:
            encoder = tokenizers.Tokenizer.from_file(str(path))
        except Exception as exc:  # the library raises Exception itself
            raise BundleCorruptError(
                f"{path.name}: not a tokenizer ({exc})", path=path, hint="download or export the bundle again"
            ) from exc
        return cls(encoder, context_length, path=path)

    def encode(self, texts: Sequence[str]) -> TokenBatch:
        """Encode texts as open_clip's ``SimpleTokenizer`` does.

        Args:
            texts: B strings, any Unicode; empty ones too.

        Returns:
            (B, context_length) ids, the end columns, and the words that were cut.

        Raises:
            InvalidInputError: A text is no string.
        """
        ids = np.zeros((len(texts), self.context_length), dtype=np.int64)
        eos_index = np.zeros(len(texts), dtype=np.int64)
        cut = []
        for row, text in enumerate(texts):
            tokens, left_out = self._encode_one(text)
            ids[row, : len(tokens)] = tokens
            eos_index[row] = len(tokens) - 1
            cut.append(left_out)
        return TokenBatch(ids, eos_index, tuple(cut))

    def _encode_one(self, text: str) -> tuple[list[int], tuple[str, ...]]:
        cleaned = clean(text)
        encoding = self._encoder.encode(cleaned, add_special_tokens=False)
        ids, offsets = encoding.ids, encoding.offsets
        if START_OF_TEXT in cleaned or END_OF_TEXT in cleaned:
            ids, offsets = self._merge_specials(cleaned, encoding)
        room = self.context_length - 2
        left_out: tuple[str, ...] = ()
        if len(ids) > room:
            left_out = _words_from(cleaned, offsets[room][0])
            ids = ids[:room]
        return [self._special[START_OF_TEXT], *ids, self._special[END_OF_TEXT]], left_out

    def _merge_specials(
        self, cleaned: str, encoding: tokenizers.Encoding
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Give a literal special token its own id where the split isolated it, as open_clip does.

        An "added token" of the tokenizers library would be found anywhere, so in ``<<start_of_text>`` too,
        where open_clip's pattern takes ``<<`` first.
        """
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        previous: int | None = None
        for token, word, span in zip(encoding.ids, encoding.word_ids, encoding.offsets, strict=True):
            start, end = encoding.word_to_chars(word) or span
            special = self._special.get(cleaned[start:end])
            if special is None:
                ids.append(token)
                offsets.append(span)
            elif word != previous:
                ids.append(special)
                offsets.append((start, end))
            previous = word
        return ids, offsets


def clean(text: str) -> str:
    """Clean a text as open_clip does before it splits it (its ``clean="lower"``, the default).

    ftfy repairs encoding accidents, HTML entities are resolved twice, white space is collapsed, all is lower
    case.

    Args:
        text: Any string.

    Returns:
        The cleaned text, possibly empty.

    Raises:
        InvalidInputError: It is no string.
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"prompt is {text!r}, expected a string", argument="prompt")
    if _PLAIN.fullmatch(text) is None:
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return " ".join(text.split()).lower()


def _words_from(cleaned: str, position: int) -> tuple[str, ...]:
    """Return the words from the one that holds ``position`` to the end.

    A script without spaces makes one word of a whole sentence: there, what was read is left out.
    """
    start = cleaned.rfind(" ", 0, position) + 1
    return tuple(cleaned[start if position - start <= _LONGEST_WORD else position :].split())
