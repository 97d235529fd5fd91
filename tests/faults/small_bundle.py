"""The smallest bundle there is: the nano bundle with a tokenizer of single letters, one graph's weights beside it.

It loads in some hundredths of a second, so that hundreds of damaged ones can be tried.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import onnx

from ragturbo_runtime.files import file_entry
from ragturbo_runtime.manifest import read_manifest
from ragturbo_runtime.manifest_json import write_manifest
from tests.nano.build_nano_bundle import build_nano_bundle
from training.family.tokenizer_json import tokenizer_json

LARGE = "unet_decoder"
"""The graph whose weights are in a file of their own."""
DATA = f"{LARGE}/model.onnx.data"
RECORDS = "library/records.sqlite"
_LETTERS = 512
"""The vocabulary's first tokens: every byte, within a word and at its end."""


def build_small_bundle(path: Path) -> Path:
    """Write it into a new folder."""
    build_nano_bundle(path, write_tokenizer=_write_letters)
    model = onnx.load(path / LARGE / "model.onnx")
    (path / LARGE / "model.onnx").unlink()
    onnx.save(
        model,
        path / LARGE / "model.onnx",
        save_as_external_data=True,
        location=Path(DATA).name,
        size_threshold=1024,
    )
    manifest = read_manifest(path)
    graph = manifest.graphs[LARGE]
    apart = replace(graph, file=file_entry(path, graph.file.file), data=file_entry(path, DATA))
    write_manifest(path, replace(manifest, graphs={**manifest.graphs, LARGE: apart}))
    return path


def linked_copy(bundle: Path, target: Path) -> Path:
    """Copy a bundle by hard links: whoever changes a file must put another in its place. SQLite gets a real copy."""
    shutil.copytree(bundle, target, copy_function=_link)
    return target


def _link(source: str, target: str) -> None:
    shutil.copy(source, target) if source.endswith(".sqlite") else os.link(source, target)


def _write_letters(path: Path) -> Path:
    whole = json.loads(tokenizer_json())
    kept = {
        token: number
        for token, number in whole["model"]["vocab"].items()
        if number < _LETTERS or token.startswith("<start_of") or token.startswith("<end_of")
    }
    whole["model"] |= {"vocab": kept, "merges": []}
    path.write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
    return path
