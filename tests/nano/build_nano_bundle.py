"""A bundle of random weights, kilobytes of graphs, built in a second without torch.

Everything in it is real but small: six ONNX graphs with the public signatures, open_clip's tokenizer, and a
library of 32 drawn pictures whose keys and features were computed by those graphs, through the runtime
itself.

    python -m tests.nano.build_nano_bundle FOLDER
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ragturbo_runtime.files import file_entry
from ragturbo_runtime.library.record import LibraryItem
from ragturbo_runtime.library.whole import write_library
from ragturbo_runtime.manifest import (
    AdapterSpec,
    FamilyInfo,
    FileEntry,
    GraphEntry,
    LatentSpec,
    LibraryPart,
    Manifest,
    Parity,
    TextSpec,
)
from ragturbo_runtime.manifest_json import write_manifest
from ragturbo_runtime.providers import cpu_device
from ragturbo_runtime.session import GraphSession, SessionOptions
from ragturbo_runtime.spaces import Spaces
from ragturbo_runtime.tokenizer import Tokenizer
from tests.nano.nano_graphs import (
    CHANNELS,
    CONTEXT,
    EMBED,
    LATENTS,
    OPSET,
    PICTURE,
    SIGNATURES,
    TOKENS,
    WIDTH,
    build_graph,
    signature,
)
from training.family.tokenizer_json import write_tokenizer_json

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "white", "brown")
SHAPES = ("circle", "square", "triangle", "star")
SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def build_nano_bundle(
    path: Path,
    *,
    seed: int = 0,
    half: bool = False,
    write_tokenizer: Callable[[Path], Path] = write_tokenizer_json,
) -> Path:
    """Write a nano bundle.

    Args:
        path: The bundle folder; created, and must not hold a bundle yet.
        seed: Decides the weights.
        half: Whether tensors between graphs are float16.
        write_tokenizer: Writes tokenizer.json.

    Returns:
        The folder.
    """
    path.mkdir(parents=True)
    for name in SIGNATURES:
        (path / name).mkdir()
        (path / name / "model.onnx").write_bytes(build_graph(name, seed=seed, half=half))
    write_tokenizer(path / "tokenizer.json")
    graphs = {name: _graph_entry(path, name, half) for name in SIGNATURES}
    library = _write_nano_library(path, graphs)
    write_manifest(path, _manifest(path, graphs, library, seed))
    return path


def reference_captions() -> list[str]:
    """Return the 32 captions of the library, in the order of its rows."""
    return [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]


def _graph_entry(path: Path, name: str, half: bool) -> GraphEntry:
    inputs, outputs = signature(name, half=half)
    file = file_entry(path, f"{name}/model.onnx")
    return GraphEntry(file, OPSET, "portable", inputs, outputs, Parity(0.0, None, 1e-4))


def _write_nano_library(path: Path, graphs: Mapping[str, GraphEntry]) -> LibraryPart:
    captions = reference_captions()
    pictures = [_draw(caption) for caption in captions]
    keys, features = _encode(path, graphs, captions, np.stack([np.asarray(p) for p in pictures]))
    items = [
        LibraryItem(f"nano-{row:02d}", caption, _png(picture), source="drawn by a test", licence="CC0-1.0")
        for row, (caption, picture) in enumerate(zip(captions, pictures, strict=True))
    ]
    return write_library(path / "library", items, keys, features, spaces=_spaces(graphs))


def _spaces(graphs: Mapping[str, GraphEntry]) -> Spaces:
    return Spaces(graphs["text_encoder"].file.sha256, graphs["unet_encoder"].file.sha256)


def _encode(
    path: Path, graphs: Mapping[str, GraphEntry], captions: list[str], pixels: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Keys (N, E) and features (N, T, C) of captioned pictures, as the exporter computes them."""

    def run(name: str, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        options = SessionOptions(device=cpu_device(), threads=1)
        return GraphSession(name, path / name / "model.onnx", graphs[name], options).run(feeds)

    tokens = Tokenizer.load(path / "tokenizer.json").encode(captions)
    text = run("text_encoder", {"input_ids": tokens.input_ids, "eos_index": tokens.eos_index})
    sample = pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - np.float32(1.0)
    latents = run("vae_encoder", {"sample": np.ascontiguousarray(sample)})["latent_sample"]
    hidden = run(
        "unet_encoder",
        {
            "sample": latents,
            "timestep": np.zeros(len(captions), dtype=np.int64),
            "encoder_hidden_states": text["last_hidden_state"],
        },
    )["h"]
    tokens_first = hidden.astype(np.float32).reshape(len(captions), CHANNELS, TOKENS).transpose(0, 2, 1)
    return text["text_embeds"], tokens_first


def _draw(caption: str) -> Image.Image:
    _, colour, shape = caption.split()
    image = Image.new("RGB", (PICTURE, PICTURE), "gray")
    draw = ImageDraw.Draw(image)
    box = (6, 6, PICTURE - 7, PICTURE - 7)
    if shape == "circle":
        draw.ellipse(box, fill=colour)
    elif shape == "square":
        draw.rectangle(box, fill=colour)
    else:
        sides = 3 if shape == "triangle" else 5
        draw.regular_polygon((PICTURE // 2, PICTURE // 2, 12), sides, fill=colour)
    return image


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _manifest(path: Path, graphs: Mapping[str, GraphEntry], library: LibraryPart, seed: int) -> Manifest:
    tokenizer: FileEntry = file_entry(path, "tokenizer.json")
    spaces = _spaces(graphs)
    return Manifest(
        name="nano",
        bundle_version="0.2.0",
        sdk=">=0.2.0,<0.3.0",
        family=FamilyInfo(
            "nano", {part: f"{seed:064x}" for part in ("unet", "text_encoder", "vae", "adapter")}
        ),
        licences={"weights": "Apache-2.0", "library": "CC0-1.0"},
        key_space_id=spaces.key_space_id,
        h_space_id=spaces.h_space_id,
        picture_height=PICTURE,
        picture_width=PICTURE,
        latents=LatentSpec(*LATENTS, scaling_factor=1.0),
        scheduler=SCHEDULER,
        adapter=AdapterSpec(
            channels=CHANNELS,
            tokens=TOKENS,
            default_references=4,
            max_references=16,
            similarity_low=0.0,
            similarity_high=1.0,
            reference_timestep=0,
            reference_caption="caption",
            reference_pool=1,
            feature_codec="int8",
        ),
        text=TextSpec(width=WIDTH, embed_dim=EMBED, context_length=CONTEXT),
        tokenizer=tokenizer,
        graphs=graphs,
        parity=Parity(0.0, None, None),
        library=library,
    )


if __name__ == "__main__":
    sys.stdout.write(f"{build_nano_bundle(Path(sys.argv[1]))}\n")
