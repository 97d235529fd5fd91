"""Pictures into the space of the captions' keys, where the bundle has the image tower of its text encoder."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ragturbo_runtime.arrays import Keys, Pixels
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import RetrievalError
from ragturbo_runtime.finite import require_finite
from ragturbo_runtime.indexing.encoder import to_model
from ragturbo_runtime.session import GraphSession
from ragturbo_runtime.session_options import SessionOptions
from ragturbo_runtime.tensors import to_float32

NAME = "image_encoder"


class ImageKeys:
    """Opens the graph when the first picture is asked about. Several threads may use it at once."""

    def __init__(self, bundle: Bundle, options: SessionOptions) -> None:
        """Keep what opening needs.

        Args:
            bundle: The bundle.
            options: For the session.
        """
        self._bundle, self._options = bundle, options
        self._lock = threading.Lock()
        self._session: GraphSession | None = None

    def encode(self, read: Callable[[int], Pixels]) -> Keys:
        """Encode one picture.

        Args:
            read: Takes a side in pixels, returns (side, side, 3) uint8.

        Returns:
            (E,) float32, a unit vector.

        Raises:
            RetrievalError: The bundle has no image tower.
            BundleCorruptError: It is not what the manifest says.
            InferenceError: The graph failed.
            PictureError: ``read`` raises it.
        """
        entry = self._bundle.manifest.graphs.get(NAME)
        if entry is None:
            raise RetrievalError(
                f"{self._bundle.path}: the bundle has no image tower, so pictures cannot be compared with captions",
                hint="search by text, or export the bundle with --image-encoder",
            )
        pixels = to_model([read(int(entry.inputs[0].shape[-1]))])
        keys = to_float32(self._opened().run({"pixels": pixels})["image_embeds"])
        require_finite(keys, graph=NAME)
        key: Keys = keys[0]
        return key

    def close(self) -> None:
        """Let go of the graph."""
        with self._lock:
            self._session = None

    def _opened(self) -> GraphSession:
        with self._lock:
            if self._session is None:
                entry = self._bundle.manifest.graphs[NAME]
                self._session = GraphSession(NAME, self._bundle.graph_file(NAME), entry, self._options)
            return self._session
