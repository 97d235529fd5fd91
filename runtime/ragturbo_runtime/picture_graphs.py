"""Graphs that read pictures, beside a pipeline's own: opened when they are first needed."""

from __future__ import annotations

import threading
from dataclasses import replace

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import InferenceError
from ragturbo_runtime.image_keys import ImageKeys
from ragturbo_runtime.indexing.encoder import PictureEncoder
from ragturbo_runtime.indexing.opening import encoder_beside
from ragturbo_runtime.loading import Parts

_SHARED = ("text_encoder", "unet_encoder")
"""Graphs that drawing and encoding pictures both need."""


class PictureGraphs:
    """What makes library rows and queries out of pictures. Several threads may use it at once.

    Attributes:
        keys: The image tower, for search by picture.
    """

    def __init__(self, bundle: Bundle, parts: Parts) -> None:
        """Open nothing yet.

        Args:
            bundle: The bundle.
            parts: What drawing has opened of it.
        """
        self._bundle, self._tokenizer = bundle, parts.tokenizer
        self._options = replace(parts.options, cuda_graphs=False)
        # A recorded graph is bound to its shapes, and to one caller at a time.
        self._graphs = {} if parts.options.cuda_graphs else {name: parts.graphs[name] for name in _SHARED}
        self.keys: ImageKeys = ImageKeys(bundle, self._options)
        self._encoder: PictureEncoder | None = None
        self._closed = False
        self._lock = threading.Lock()

    def encoder(self) -> PictureEncoder:
        """Return what makes rows of a library out of pictures.

        Raises:
            RetrievalError: The bundle has no such graph.
            BundleCorruptError: It is not what the manifest says.
            InferenceError: It was closed.
        """
        with self._lock:
            if self._closed:
                raise InferenceError(
                    "vae_encoder: the pipeline was closed", graph="vae_encoder", hint="load it again"
                )
            if self._encoder is None:
                self._encoder = encoder_beside(self._bundle, self._options, self._tokenizer, self._graphs)
            return self._encoder

    def close(self) -> None:
        """Let go of the graphs."""
        with self._lock:
            self._closed, self._encoder, self._graphs = True, None, {}
        self.keys.close()
