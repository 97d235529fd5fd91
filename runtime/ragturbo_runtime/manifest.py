"""manifest.json: what a bundle holds, as frozen dataclasses.

The manifest is the whole contract between the exporter and the runtime: nothing about a model family is
written anywhere else. Reading is strict - a missing or mistyped key is refused by name - and unknown keys are
ignored, so that a later 1.x exporter may add some.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragturbo_runtime.errors import BundleCorruptError, BundleVersionError
from ragturbo_runtime.json_fields import JsonFields
from ragturbo_runtime.library.layout import RECORDS_FILE
from ragturbo_runtime.manifest_text import MANIFEST_FILE, read_document

__all__ = ["MANIFEST_FILE", "Manifest", "parse_manifest", "read_manifest"]

SCHEMA_VERSION = 1
REQUIRED_GRAPHS = ("text_encoder", "unet_encoder", "adapter", "unet_decoder", "vae_decoder")
"""What drawing needs; ``vae_encoder``, for indexing, and ``image_encoder``, for search by picture, are optional."""
ADAPTER_MODES = ("attention", "slerp")
"""How references get into h; bundles from before there were two do not say."""

Dim = int | str
"""One dimension of a shape: a number, or the name of a dynamic axis."""


@dataclass(frozen=True)
class FamilyInfo:
    """The model family the graphs were exported from."""

    name: str
    """For example ``"emoji"``."""
    hashes: Mapping[str, str]
    """sha256 of the weights, hex, by part: unet, text_encoder, vae, adapter, vae_decoder; of what there is."""


@dataclass(frozen=True)
class LatentSpec:
    """Shape and scale of the latents."""

    channels: int
    height: int
    """Rows of latent cells, not pixels."""
    width: int
    """Columns of latent cells, not pixels."""
    scaling_factor: float
    """Model space = VAE space * scaling_factor; already inside the VAE graphs, recorded for reference."""


@dataclass(frozen=True)
class AdapterSpec:
    """What the adapter graph reads, and how similarities become weights."""

    channels: int
    """C of the h-space."""
    tokens: int
    """T = hh * hw / reference_pool**2 tokens of one reference, row-major."""
    default_references: int
    max_references: int
    similarity_low: float
    """Cosine that gives weight 0 (0.0 in the paper)."""
    similarity_high: float
    """Cosine that gives weight 1 (1.0 in the paper)."""
    reference_timestep: int
    """Train timestep at which the reference features were taken."""
    reference_caption: str
    """``"caption"`` or ``"empty"``: the text the reference features were taken with."""
    reference_pool: int
    """Side of the square of h-space cells whose mean is one token; 1 keeps every cell."""
    feature_codec: str
    """How features are stored: ``"int8"``, symmetric with one scale per channel, or ``"float16"``."""
    mode: str = "attention"
    """How references get into h: ``"attention"``, learned, or ``"slerp"``, without any weights."""
    slerp_share: float | None = None
    """Of ``"slerp"``: the share of the injected side at strength 1 and lambda 1."""


@dataclass(frozen=True)
class TextSpec:
    """Sizes of the text encoder."""

    width: int
    """D of the prompt embeddings."""
    embed_dim: int
    """E of the retrieval keys."""
    context_length: int
    """Tokens of a prompt, start and end included (77)."""


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle."""

    file: str
    """Path inside the bundle, forward slashes."""
    sha256: str
    """64 hexadecimal digits."""
    bytes: int


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph."""

    name: str
    dtype: str
    """numpy's name: float32, float16, int64, int8."""
    shape: tuple[Dim, ...]


@dataclass(frozen=True)
class Parity:
    """How near a graph, or the whole chain, came to torch when it was exported."""

    max_abs_diff: float | None
    psnr_db: float | None
    atol: float | None
    """The tolerance that had to be met; None for the chain, which is judged by PSNR."""


@dataclass(frozen=True)
class GraphEntry:
    """One ONNX graph of the bundle."""

    file: FileEntry
    opset: int
    flavour: str
    """``"portable"`` (any provider) or ``"cuda-fp16"``."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parity: Parity
    data: FileEntry | None = None
    """The weights, where the graph does not hold them itself; beside it, under the name that it says."""
    fp32_ops: tuple[str, ...] = ()
    """Of a float16 graph: groups of operators that compute in float32, as docs/bundle.md lists them."""


@dataclass(frozen=True)
class LibraryPart:
    """The reference library of the bundle."""

    directory: str
    """Folder inside the bundle."""
    count: int
    """Number of references."""
    key_dtype: str
    """``"float16"``, or ``"int8"`` where there are many."""
    files: tuple[FileEntry, ...]


@dataclass(frozen=True)
class Manifest:
    """Everything that manifest.json says."""

    name: str
    bundle_version: str
    sdk: str
    """The range of SDK versions that can read it, for example ``">=0.2.0,<0.3.0"``."""
    family: FamilyInfo
    licences: Mapping[str, str]
    key_space_id: str
    """Hash of the text encoder: keys of another one must not be compared with its own."""
    h_space_id: str
    """Hash of the U-Net encoder: features of another one must not be fed to the adapter."""
    picture_height: int
    """Pixels."""
    picture_width: int
    """Pixels."""
    latents: LatentSpec
    scheduler: Mapping[str, Any]
    """As in scheduler_config.json; read by ragturbo_runtime.sampler.Schedule.from_manifest."""
    adapter: AdapterSpec
    text: TextSpec
    tokenizer: FileEntry
    graphs: Mapping[str, GraphEntry]
    parity: Parity
    """Of the whole chain."""
    library: LibraryPart | None

    @property
    def is_large(self) -> bool:
        """Whether a graph that drawing needs is so large that its weights have a file of their own."""
        return any(self.graphs[name].data is not None for name in REQUIRED_GRAPHS)

    def files(self) -> tuple[FileEntry, ...]:
        """Return every file that the manifest names, the library's included."""
        graphs = tuple(graph.file for graph in self.graphs.values())
        weights = tuple(graph.data for graph in self.graphs.values() if graph.data is not None)
        library = self.library.files if self.library is not None else ()
        return (self.tokenizer, *graphs, *weights, *library)


def read_manifest(bundle: Path) -> Manifest:
    """Read and check a bundle's manifest.json.

    Args:
        bundle: The bundle folder.

    Returns:
        The manifest.

    Raises:
        BundleNotFoundError: There is no such folder, or no manifest.json in it.
        BundleVersionError: The schema is newer or older than this runtime.
        BundleCorruptError: The file is no JSON object, or a key is missing, mistyped or leads out of the
            bundle.
    """
    return parse_manifest(read_document(bundle), path=bundle / MANIFEST_FILE)


def parse_manifest(data: object, *, path: Path) -> Manifest:
    """Build a Manifest from decoded JSON.

    Args:
        data: What ``json.loads`` returned.
        path: The file it came from, for messages.

    Returns:
        The manifest.

    Raises:
        BundleVersionError: ``schema_version`` is not 1.
        BundleCorruptError: A key is missing, mistyped or leads out of the bundle.
    """
    if not isinstance(data, dict):
        raise BundleCorruptError(f"{path}: expected a JSON object, found {type(data).__name__}", path=path)
    fields = JsonFields(data, "", path)
    _check_schema(fields)
    family, picture = fields.nested("family"), fields.nested("picture")
    return Manifest(
        name=fields.text("name"),
        bundle_version=fields.text("bundle_version"),
        sdk=fields.text("sdk"),
        family=FamilyInfo(family.text("name"), family.nested("hashes").texts()),
        licences=fields.nested("licences").texts(),
        key_space_id=fields.text("key_space_id"),
        h_space_id=fields.text("h_space_id"),
        picture_height=picture.integer("height", minimum=1),
        picture_width=picture.integer("width", minimum=1),
        latents=_latents(fields.nested("latents")),
        scheduler=dict(fields.nested("scheduler").data),
        adapter=_adapter(fields.nested("adapter")),
        text=_text(fields.nested("text")),
        tokenizer=_file(fields.nested("tokenizer")),
        graphs=_graphs(fields.nested("graphs")),
        parity=_chain_parity(fields.nested("parity")),
        library=_library(fields),
    )


def _check_schema(fields: JsonFields) -> None:
    version = fields.integer("schema_version")
    if version != SCHEMA_VERSION:
        newer = version > SCHEMA_VERSION
        raise BundleVersionError(
            f"{fields.path}: schema_version {version}, this version of ragturbo reads {SCHEMA_VERSION}",
            path=fields.path.parent,
            hint="upgrade ragturbo-sdk" if newer else "export the bundle again",
        )


def _latents(fields: JsonFields) -> LatentSpec:
    return LatentSpec(
        channels=fields.integer("channels", minimum=1),
        height=fields.integer("height", minimum=1),
        width=fields.integer("width", minimum=1),
        scaling_factor=fields.number("scaling_factor"),
    )


def _adapter(fields: JsonFields) -> AdapterSpec:
    low, high = fields.number("similarity_low"), fields.number("similarity_high")
    if not low < high:
        raise fields.fault("similarity_high", high, f"a number above similarity_low ({low})")
    maximum = fields.integer("max_references", minimum=1)
    default = fields.integer("default_references")
    if default > maximum:
        raise fields.fault("default_references", default, f"at most max_references ({maximum})")
    return AdapterSpec(
        channels=fields.integer("channels", minimum=1),
        tokens=fields.integer("tokens", minimum=1),
        default_references=default,
        max_references=maximum,
        similarity_low=low,
        similarity_high=high,
        reference_timestep=fields.integer("reference_timestep"),
        reference_caption=fields.choice("reference_caption", ("caption", "empty")),
        reference_pool=fields.integer("reference_pool", minimum=1),
        feature_codec=fields.choice("feature_codec", ("int8", "float16")),
        mode=fields.choice("mode", ADAPTER_MODES) if "mode" in fields.data else ADAPTER_MODES[0],
        slerp_share=fields.optional_number("slerp_share"),
    )


def _text(fields: JsonFields) -> TextSpec:
    return TextSpec(
        width=fields.integer("width", minimum=1),
        embed_dim=fields.integer("embed_dim", minimum=1),
        context_length=fields.integer("context_length", minimum=3),
    )


def _file(fields: JsonFields, *, file: str | None = None) -> FileEntry:
    name = fields.relative_path(fields.text("file") if file is None else file, "file")
    sha256 = fields.text("sha256")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise fields.fault("sha256", sha256, "64 hexadecimal digits")
    return FileEntry(file=name, sha256=sha256, bytes=fields.integer("bytes"))


def _graphs(fields: JsonFields) -> dict[str, GraphEntry]:
    missing = [name for name in REQUIRED_GRAPHS if name not in fields.data]
    if missing:
        fields.nested(missing[0])
    return {name: _graph(fields.nested(name)) for name in fields.data}


def _graph(fields: JsonFields) -> GraphEntry:
    parity = fields.nested("parity")
    return GraphEntry(
        file=_file(fields),
        opset=fields.integer("opset", minimum=1),
        flavour=fields.text("flavour"),
        inputs=tuple(_tensor(item) for item in fields.nested_list("inputs")),
        outputs=tuple(_tensor(item) for item in fields.nested_list("outputs")),
        parity=Parity(*(parity.optional_number(key) for key in ("max_abs_diff", "psnr_db", "atol"))),
        data=_file(fields.nested("data")) if fields.data.get("data") is not None else None,
        fp32_ops=fields.optional_texts("fp32_ops"),
    )


def _tensor(fields: JsonFields) -> TensorSpec:
    shape = fields.data.get("shape")
    if not isinstance(shape, list) or not all(isinstance(d, int | str) for d in shape):
        raise fields.fault("shape", shape, "a list of numbers and axis names")
    return TensorSpec(fields.text("name"), fields.text("dtype"), tuple(shape))


def _chain_parity(fields: JsonFields) -> Parity:
    return Parity(
        max_abs_diff=fields.optional_number("chain_max_abs_diff"),
        psnr_db=fields.optional_number("chain_psnr_db"),
        atol=None,
    )


def _library(fields: JsonFields) -> LibraryPart | None:
    if "library" in fields.data and fields.data["library"] is None:
        return None
    part = fields.nested("library")
    files = part.nested("files")
    directory = part.relative_path(part.text("directory"), "directory")
    for start in (RECORDS_FILE, "keys-", "features-"):  # what is not named is not compared with anything
        if not any(name.startswith(f"{directory}/{start}") for name in files.data):
            raise part.fault("files", list(files.data), f"a file {directory}/{start}...")
    return LibraryPart(
        directory=directory,
        count=part.integer("count", minimum=1),
        key_dtype=part.choice("key_dtype", ("float16", "int8")),
        files=tuple(_file(files.nested(name), file=name) for name in files.data),
    )
