"""Whether a library and a bundle belong together."""

from __future__ import annotations

from pathlib import Path

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import BundleCorruptError
from ragturbo_runtime.library.layout import Layout
from ragturbo_runtime.spaces import Spaces, require_spaces


def spaces_of(bundle: Bundle) -> Spaces:
    """Return the encoders of a bundle."""
    return Spaces(bundle.manifest.key_space_id, bundle.manifest.h_space_id)


def require_fit(bundle: Bundle, layout: Layout, directory: Path) -> None:
    """Refuse a library that this bundle's graphs cannot read, or would read as something else than it is.

    Args:
        bundle: The bundle.
        layout: What the library's records say.
        directory: The library's folder, for messages.

    Raises:
        RetrievalError: It was made by other encoders.
        BundleCorruptError: By the same ones, and yet of another shape.
    """
    manifest = bundle.manifest
    require_spaces(layout.spaces, spaces_of(bundle), directory)
    adapter = manifest.adapter
    found = (layout.embed_dim, layout.tokens, layout.channels, layout.feature_codec)
    expected = (manifest.text.embed_dim, adapter.tokens, adapter.channels, adapter.feature_codec)
    if found != expected:
        raise BundleCorruptError(
            f"{directory}: key width, tokens, channels, codec are {found}, the model's are {expected}",
            path=directory,
            hint="build the library again with this model's encoders",
        )
