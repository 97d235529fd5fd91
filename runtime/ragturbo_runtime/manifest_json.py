"""The way back: a Manifest as the JSON that read_manifest reads."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ragturbo_runtime.files import write_bytes
from ragturbo_runtime.manifest import (
    MANIFEST_FILE,
    SCHEMA_VERSION,
    FileEntry,
    GraphEntry,
    LibraryPart,
    Manifest,
    TensorSpec,
)
from ragturbo_runtime.manifest_text import CHECKSUM, checksum


def manifest_to_json(manifest: Manifest) -> dict[str, Any]:
    """Return the JSON object of a manifest; ``parse_manifest`` of it gives the manifest back.

    Args:
        manifest: The manifest.

    Returns:
        Plain dicts, lists, strings and numbers, in the order of docs/bundle.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "name": manifest.name,
        "bundle_version": manifest.bundle_version,
        "sdk": manifest.sdk,
        "family": {"name": manifest.family.name, "hashes": dict(manifest.family.hashes)},
        "licences": dict(manifest.licences),
        "key_space_id": manifest.key_space_id,
        "h_space_id": manifest.h_space_id,
        "picture": {"height": manifest.picture_height, "width": manifest.picture_width},
        "latents": asdict(manifest.latents),
        "scheduler": dict(manifest.scheduler),
        "adapter": asdict(manifest.adapter),
        "text": asdict(manifest.text),
        "tokenizer": asdict(manifest.tokenizer),
        "graphs": {name: _graph(graph) for name, graph in manifest.graphs.items()},
        "parity": {
            "chain_psnr_db": _finite(manifest.parity.psnr_db),
            "chain_max_abs_diff": _finite(manifest.parity.max_abs_diff),
        },
        "library": None if manifest.library is None else library_to_json(manifest.library),
    }


def library_to_json(part: LibraryPart) -> dict[str, Any]:
    """Return the ``library`` object of the manifest."""
    files = {entry.file: {"sha256": entry.sha256, "bytes": entry.bytes} for entry in part.files}
    return {
        "directory": part.directory,
        "count": part.count,
        "key_dtype": part.key_dtype,
        "files": files,
    }


def write_manifest(bundle: Path, manifest: Manifest) -> Path:
    """Write manifest.json into a bundle folder, whole or not at all.

    Args:
        bundle: The bundle folder; it exists.
        manifest: What to write.

    Returns:
        The path of the file.

    Raises:
        OutputError: The file cannot be written.
    """
    document = manifest_to_json(manifest)
    document[CHECKSUM] = checksum(document)
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    return write_bytes(bundle / MANIFEST_FILE, (text + "\n").encode())


def _graph(graph: GraphEntry) -> dict[str, Any]:
    return {
        **_file(graph.file),
        "opset": graph.opset,
        "flavour": graph.flavour,
        "inputs": [_tensor(spec) for spec in graph.inputs],
        "outputs": [_tensor(spec) for spec in graph.outputs],
        "parity": {key: _finite(value) for key, value in asdict(graph.parity).items()},
        **({} if graph.data is None else {"data": _file(graph.data)}),
        **({"fp32_ops": list(graph.fp32_ops)} if graph.fp32_ops else {}),
    }


def _finite(value: float | None) -> float | None:
    """JSON has no infinity: the PSNR of two equal arrays is written as null."""
    return value if value is not None and math.isfinite(value) else None


def _file(entry: FileEntry) -> dict[str, Any]:
    return {"file": entry.file, "sha256": entry.sha256, "bytes": entry.bytes}


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}
