"""A manifest says most sizes twice, for the pipeline and for each graph. Where the two differ nothing is made.

Each graph is compared with the manifest when it is loaded; with this, so are the latents, tokens and keys that are made
for it, before any memory is taken for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ragturbo_runtime.errors import BundleCorruptError
from ragturbo_runtime.manifest import Dim, Manifest


def require_consistent(manifest: Manifest, path: Path) -> None:
    """Refuse a manifest whose sizes are not those of its graphs.

    Args:
        manifest: What was read.
        path: manifest.json, for messages.

    Raises:
        BundleCorruptError: A graph has another shape, or lacks a tensor that the pipeline needs.
    """
    for graph, tensor, expected in _sizes(manifest):
        entry = manifest.graphs[graph]
        shape = next((item.shape for item in (*entry.inputs, *entry.outputs) if item.name == tensor), None)
        if shape is None or len(shape) != len(expected) or not all(map(_fits, shape, expected)):
            raise BundleCorruptError(
                f"{path.name}: graphs.{graph}: {tensor} is {_shown(shape)}, the rest of the manifest needs "
                f"{_shown(expected)}",
                path=path,
                hint="download or export the bundle again",
            )


def _sizes(manifest: Manifest) -> Iterator[tuple[str, str, tuple[Dim | None, ...]]]:
    """Graph, tensor, and its shape as the pipeline makes or reads it; None: any."""
    text, adapter, latents = manifest.text, manifest.adapter, manifest.latents
    sample = (None, latents.channels, latents.height, latents.width)
    prompt = (None, text.context_length, text.width)
    yield "text_encoder", "last_hidden_state", (None, None, text.width)
    yield "text_encoder", "text_embeds", (None, text.embed_dim)
    yield "unet_encoder", "sample", sample
    yield "unet_encoder", "encoder_hidden_states", prompt
    yield "unet_encoder", "h", (None, adapter.channels, None, None)
    yield "adapter", "reference_h", (None, None, adapter.tokens, adapter.channels)
    yield "adapter", "fused_h", (None, adapter.channels, None, None)
    yield "unet_decoder", "encoder_hidden_states", prompt
    yield "unet_decoder", "out_sample", sample
    yield "vae_decoder", "latent_sample", sample
    yield "vae_decoder", "sample", (None, 3, manifest.picture_height, manifest.picture_width)


def _fits(found: Dim, expected: Dim | None) -> bool:
    """A name stands for any size."""
    return expected is None or isinstance(found, str) or found == expected


def _shown(shape: tuple[Dim | None, ...] | None) -> str:
    if shape is None:
        return "missing"
    return "(" + ", ".join("any" if dim is None else str(dim)[:20] for dim in shape) + ")"
