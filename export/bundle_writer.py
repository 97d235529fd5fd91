"""Makes a bundle, whole or not at all: everything is written beside its place and put there at the end."""

from __future__ import annotations

import dataclasses
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
from tqdm import tqdm

from export.chain import compare_chain
from export.errors import ExportError
from export.graphs import CONTEXT_LENGTH, OPSET, GraphSpec, graph_specs
from export.library import build_library
from export.manifest import make_manifest
from export.models import Models
from export.pictures import Entry
from export.storage import store
from export.trace import trace
from ragturbo_runtime.files import file_entry, replace_directory, sync_directory
from ragturbo_runtime.manifest import MANIFEST_FILE, GraphEntry, LibraryPart, Parity
from ragturbo_runtime.manifest_json import write_manifest
from ragturbo_runtime.providers import cpu_device
from ragturbo_runtime.session import GraphSession, SessionOptions
from ragturbo_runtime.tokenizer import Tokenizer
from training.family.tokenizer_json import write_tokenizer_json

FLAVOURS = ("portable",)
TOKENIZER_FILE = "tokenizer.json"
_ENCODERS = ("text_encoder", "vae_encoder", "unet_encoder")


def write_bundle(
    models: Models,
    out: Path,
    entries: Sequence[Entry],
    *,
    report: Callable[[str], None],
    flavour: str = "portable",
) -> Path:
    """Export and check every graph, encode the library, check the whole chain, and only then put it in place.

    Args:
        models: What to export.
        out: The bundle's folder; a bundle that is there is replaced.
        entries: The library's pictures; empty for a bundle without a library.
        report: Called with one line per graph and one for the chain.
        flavour: "portable": runs on any execution provider.

    Returns:
        The folder.

    Raises:
        ParityError: A graph, or the chain, does not compute what torch computes. Nothing is left on the disk.
        ExportError: Something cannot be exported, or `out` holds something else than a bundle.
        RagTurboError: The runtime refuses what was made, or a file cannot be written.
    """
    if flavour not in FLAVOURS:
        raise ExportError(f"flavour is {flavour!r}; known: {', '.join(FLAVOURS)}")
    with _staging(out) as folder:
        specs = tqdm(graph_specs(models), desc="graphs", unit="graph")
        graphs = {spec.name: _write_graph(folder, spec, flavour, report) for spec in specs}
        write_tokenizer_json(folder / TOKENIZER_FILE)
        library = _write_library(folder, entries, models, graphs) if entries else None
        licence = ", ".join(sorted({entry.licence for entry in entries}))
        tokenizer = file_entry(folder, TOKENIZER_FILE)
        manifest = make_manifest(models, graphs, tokenizer, library, licence)
        write_manifest(folder, manifest)
        parity = compare_chain(folder, models, entries)
        write_manifest(folder, dataclasses.replace(manifest, parity=parity))
        report(describe_parity("chain", parity))
    return out


def describe_parity(name: str, parity: Parity) -> str:
    """Return one line for people: how near a graph, or the chain, is to torch."""
    difference, ratio = parity.max_abs_diff or 0.0, parity.psnr_db or 0.0
    allowed = "" if parity.atol is None else f" (allowed {parity.atol:.1e})"
    unit = " of 255" if parity.atol is None else ""
    return f"{name:13} max difference from torch {difference:.2e}{unit}{allowed}, PSNR {ratio:.1f} dB"


def _write_graph(folder: Path, spec: GraphSpec, flavour: str, report: Callable[[str], None]) -> GraphEntry:
    path, data, parity = store(trace(spec), spec, folder / spec.name)
    entry = file_entry(folder, f"{spec.name}/{path.name}")
    weights = None if data is None else file_entry(folder, f"{spec.name}/{data.name}")
    size = entry.bytes + (0 if weights is None else weights.bytes)
    report(f"{describe_parity(spec.name, parity)}, {size / 1e6:.1f} MB{_stored(path)}")
    return GraphEntry(entry, OPSET, flavour, spec.inputs, spec.outputs, parity, weights)


def _stored(path: Path) -> str:
    """How the weights are stored, where that is not plain float32."""
    model = onnx.load(path, load_external_data=False)
    large = {tensor.data_type for tensor in model.graph.initializer if tensor.ByteSize() > 1024}
    return ", float16 weights" if onnx.TensorProto.FLOAT16 in large else ""


def _write_library(
    folder: Path, entries: Sequence[Entry], models: Models, graphs: Mapping[str, GraphEntry]
) -> LibraryPart:
    options = SessionOptions(cpu_device())
    sessions = {
        name: GraphSession(name, folder / graphs[name].file.file, graphs[name], options) for name in _ENCODERS
    }
    tokenizer = Tokenizer.load(folder / TOKENIZER_FILE, CONTEXT_LENGTH)
    return build_library(folder, entries, models, sessions, tokenizer)


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place if all goes well, and is gone otherwise."""
    if out.exists() and not (out / MANIFEST_FILE).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out}: exists and is no bundle; choose another --out, or an empty folder")
    folder = out.with_name(f".{out.name}.{secrets.token_hex(4)}.partial")
    try:
        folder.mkdir(parents=True)
        yield folder
        for path in folder.rglob("*"):
            if path.is_dir():
                sync_directory(path)
        sync_directory(folder)
        replace_directory(folder, out)
    except OSError as error:
        raise ExportError(f"{out}: cannot be written: {error}; choose a writable folder with room") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
