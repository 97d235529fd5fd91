"""The tokenizer of open_clip as the files that transformers' `CLIPTokenizer` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from export.graphs import CONTEXT_LENGTH
from ragturbo_runtime.files import write_bytes
from ragturbo_runtime.tokenizer import END_OF_TEXT, START_OF_TEXT
from training.family.tokenizer_json import read_merges, vocabulary

_NAMES = {START_OF_TEXT: "<|startoftext|>", END_OF_TEXT: "<|endoftext|>"}
"""What transformers calls them; the ids are the same."""
_PAD = "<|pad|>"
"""A second name for id 0, which open_clip pads with. Stable Diffusion 2 names it "!", as a word's inside is named;
then each "!" in a prompt is read as padding, which open_clip, and so the model in its training, never did."""


def write_clip_tokenizer(folder: Path) -> None:
    """Write vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json.

    Args:
        folder: It is made. The ids that are read with it are those of the bundle's tokenizer.json, but where a prompt
            spells out a special token.

    Raises:
        FileNotFoundError: open_clip_torch is not installed.
        OutputError: A file cannot be written.
    """
    merges = read_merges()
    ids = {_NAMES.get(token, token): number for token, number in vocabulary(merges).items()}
    start, end = _NAMES.values()
    special = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": _PAD}
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": CONTEXT_LENGTH,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
    }
    folder.mkdir(parents=True)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    write_bytes(folder / "merges.txt", ("\n".join(lines) + "\n").encode())
    _write_json(folder / "vocab.json", {**ids, _PAD: 0})
    _write_json(folder / "tokenizer_config.json", {**config, **special})
    _write_json(folder / "special_tokens_map.json", special)


def _write_json(path: Path, document: Mapping[str, object]) -> None:
    write_bytes(path, (json.dumps(document, ensure_ascii=False) + "\n").encode())
