"""Makes a bundle, whole or not at all: everything is written beside its place and put there at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx
from tqdm import tqdm

from export.bundled_library import build_library
from export.chain import compare_chain, load_on_cpu
from export.flavours import Flavour, find_flavour
from export.graphs import CONTEXT_LENGTH, OPSET, GraphSpec, graph_specs
from export.manifest import make_manifest
from export.models import Models
from export.staging import staging
from export.stored import Stored
from export.torch_sessions import TorchSession, torch_pipeline
from export.trace import trace
from ragturbo_runtime.collection.entry import Entry
from ragturbo_runtime.files import file_entry
from ragturbo_runtime.indexing.encoder import Runner
from ragturbo_runtime.manifest import MANIFEST_FILE, GraphEntry, Manifest, Parity
from ragturbo_runtime.manifest_json import write_manifest
from ragturbo_runtime.providers import cpu_device
from ragturbo_runtime.session import GraphSession, SessionOptions
from ragturbo_runtime.tokenizer import Tokenizer
from training.family.tokenizer_json import write_tokenizer_json

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
        flavour: A name in `export.flavours.FLAVOURS`.

    Returns:
        The folder.

    Raises:
        ParityError: A graph, or the chain, does not compute what torch computes. Nothing is left on the disk.
        ExportError: Something cannot be exported, or `out` holds something else than a bundle.
        RagTurboError: The runtime refuses what was made, or a file cannot be written.
    """
    way = find_flavour(flavour)
    with staging(out, kind="bundle", marker=MANIFEST_FILE) as folder:
        specs = graph_specs(models)
        stored = {
            spec.name: _write_graph(folder, spec, way, report)
            for spec in tqdm(specs, desc="graphs", unit="graph")
        }
        manifest = _assemble(folder, models, entries, specs, stored, way)
        write_manifest(folder, manifest)
        load = load_on_cpu if way.on_cpu else torch_pipeline(specs, stored)
        parity = compare_chain(
            folder,
            models,
            entries,
            load=load,
            minimum=way.chain_psnr_db,
            torch_made_library=not way.on_cpu,
        )
        write_manifest(folder, dataclasses.replace(manifest, parity=parity))
        report(describe_parity("chain", parity, unit=" of 255"))
    return out


def _assemble(
    folder: Path,
    models: Models,
    entries: Sequence[Entry],
    specs: Sequence[GraphSpec],
    stored: Mapping[str, Stored],
    way: Flavour,
) -> Manifest:
    """Add tokenizer and library to the graphs, and describe all of it."""
    graphs = {name: _describe(folder, name, way, one) for name, one in stored.items()}
    write_tokenizer_json(folder / TOKENIZER_FILE)
    library = None
    if entries:
        tokenizer = Tokenizer.load(folder / TOKENIZER_FILE, CONTEXT_LENGTH)
        in_torch = {spec.name: TorchSession(spec) for spec in specs}
        encoders = _on_cpu(folder, graphs) if way.on_cpu else in_torch
        library = build_library(folder, entries, models, encoders, tokenizer)
    licence = ", ".join(sorted({entry.licence for entry in entries}))
    return make_manifest(models, graphs, file_entry(folder, TOKENIZER_FILE), library, licence)


def describe_parity(name: str, parity: Parity, *, unit: str = "") -> str:
    """Return one line for people: how near a graph, or the chain, is to torch."""
    difference, ratio = parity.max_abs_diff or 0.0, parity.psnr_db or 0.0
    allowed = "" if parity.atol is None else f" (allowed {parity.atol:.1e})"
    return f"{name:13} max difference from torch {difference:.2e}{unit}{allowed}, PSNR {ratio:.1f} dB"


def _write_graph(folder: Path, spec: GraphSpec, way: Flavour, report: Callable[[str], None]) -> Stored:
    stored = way.store(trace(spec, way.translations()), spec, folder / spec.name)
    report(f"{describe_parity(spec.name, stored.parity)}, {stored.bytes / 1e6:.1f} MB{_kind(stored)}")
    return stored


def _describe(folder: Path, name: str, way: Flavour, stored: Stored) -> GraphEntry:
    entry = file_entry(folder, f"{name}/{stored.path.name}")
    weights = None if stored.data is None else file_entry(folder, f"{name}/{stored.data.name}")
    kept = () if stored.precision is None else stored.precision.fp32
    return GraphEntry(entry, OPSET, way.name, stored.inputs, stored.outputs, stored.parity, weights, kept)


def _kind(stored: Stored) -> str:
    """How the graph computes, or how its weights are stored, where that is not plain float32."""
    if stored.precision is not None:
        kept = stored.precision.fp32
        return ", float16" + (f" but for {', '.join(kept)}" if kept else "")
    model = onnx.load(stored.path, load_external_data=False)
    large = {
        tensor.data_type
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.ByteSize() > 1024
    }
    kinds = {
        onnx.TensorProto.FLOAT16: "float16",
        onnx.TensorProto.UINT8: "int8",
        onnx.TensorProto.INT8: "int8",
    }
    found = sorted({kinds[kind] for kind in large if kind in kinds})
    return f", {' and '.join(found)} weights" if found else ""


def _on_cpu(folder: Path, graphs: Mapping[str, GraphEntry]) -> dict[str, Runner]:
    options = SessionOptions(cpu_device())
    return {
        name: GraphSession(name, folder / graphs[name].file.file, graphs[name], options) for name in _ENCODERS
    }
