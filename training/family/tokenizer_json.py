r"""tokenizer.json from open_clip's own vocabulary.

open_clip splits text with the ``regex`` package, the runtime with the ``tokenizers`` library (Oniguruma). The
two know different versions of Unicode and fold case differently (``regex`` lets the long s stand for an s,
and its ``\p{L}`` under IGNORECASE is its own), so the classes are asked from ``regex``, code point by code
point, and written out as ranges: the split is then the same for every string.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from functools import lru_cache
from pathlib import Path

import regex
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from ragturbo_runtime.files import write_bytes
from ragturbo_runtime.tokenizer import END_OF_TEXT, START_OF_TEXT

_VOCABULARY_FILE = "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 49152 - 256 - 2  # open_clip/tokenizer.py, SimpleTokenizer.__init__
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_LETTERS, _NUMBERS, _OTHERS = r"[\p{L}]+", r"[\p{N}]+", r"[^\s\p{L}\p{N}]+"


def write_tokenizer_json(path: Path) -> Path:
    """Write the tokenizer.json that the runtime reads.

    Args:
        path: The file; its folder exists.

    Returns:
        The path.

    Raises:
        FileNotFoundError: open_clip_torch is not installed.
        OutputError: The file cannot be written.
    """
    return write_bytes(path, tokenizer_json().encode())


@lru_cache(maxsize=1)
def tokenizer_json() -> str:
    """Return the content of tokenizer.json: BPE over bytes, split by open_clip's pattern, no normalizer.

    Returns:
        Compact JSON, about 2 MB, the same for the same versions of open_clip and regex.

    Raises:
        FileNotFoundError: open_clip_torch is not installed.
    """
    merges = read_merges()
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary(merges), merges=merges, end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split_pattern()), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))


def read_merges() -> list[tuple[str, str]]:
    """Read the byte-pair merges out of the installed open_clip, without importing it (it imports torch).

    Returns:
        48,894 pairs, most frequent first.

    Raises:
        FileNotFoundError: open_clip_torch is not installed.
    """
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"no {_VOCABULARY_FILE}: open_clip is not installed; pip install open_clip_torch"
        )
    path = Path(spec.submodule_search_locations[0]) / _VOCABULARY_FILE
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    pairs = [line.split() for line in lines[1 : _MERGES + 1]]
    return [(first, second) for first, second in pairs]


@lru_cache(maxsize=1)
def split_pattern() -> str:
    """Return open_clip's split pattern for Oniguruma, with every class written out as ranges.

    Returns:
        Alternatives in open_clip's order: special tokens, contractions, letters, one number, anything else.
    """
    everything = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
    literals = "|".join(_literal(text) for text in (START_OF_TEXT, END_OF_TEXT, *_CONTRACTIONS))
    letters, numbers, others = (_ranges(p, everything) for p in (_LETTERS, _NUMBERS, _OTHERS))
    return f"{literals}|[{letters}]+|[{numbers}]|[{others}]+"


def vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """Return the token ids that open_clip gives: bytes, bytes at the end of a word, merges, start and end."""
    alphabet = _byte_alphabet()
    tokens = alphabet + [char + "</w>" for char in alphabet] + ["".join(pair) for pair in merges]
    return {token: i for i, token in enumerate([*tokens, START_OF_TEXT, END_OF_TEXT])}


def _byte_alphabet() -> list[str]:
    """The 256 printable characters that stand for bytes (GPT-2), those that stand for themselves first."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printable] + [chr(0x100 + i) for i in range(256 - len(printable))]


def _literal(text: str) -> str:
    """Write out which characters ``regex`` lets stand for each one, IGNORECASE included."""
    return "".join(f"[{_ranges(regex.escape(char), _CASED)}]" for char in text)


# No character outside the Basic Multilingual Plane folds to ASCII.
_CASED = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x10000))))


def _ranges(pattern: str, characters: str) -> str:
    """Write the characters that ``pattern`` matches as ranges of an Oniguruma class."""
    spans = []
    for match in regex.finditer(pattern, characters, regex.IGNORECASE):
        spans.extend(_consecutive(match[0]))
    return "".join(f"\\x{{{a:X}}}" if a == b else f"\\x{{{a:X}}}-\\x{{{b:X}}}" for a, b in spans)


def _consecutive(run: str) -> list[tuple[int, int]]:
    """Split a run of ascending characters where the surrogates (which no string holds) are left out."""
    first, last = ord(run[0]), ord(run[-1])
    if last - first + 1 == len(run):
        return [(first, last)]
    return [(first, 0xD7FF), (0xE000, last)]
