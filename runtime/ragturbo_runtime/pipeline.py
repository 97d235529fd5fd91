"""The chain of graphs: prompts in, pictures out.

::

    prompts -> text_encoder -> prompt_embeds, keys -> search -> references -> features
    noise -> unet_encoder -> h, skips -> adapter(h, features) -> unet_decoder -> step -> vae_decoder -> pixels

References are looked up in a thread of their own while the U-Net's encoder runs, which needs none of them.
Without references the adapter graph does not run at all: the picture is the base model's, bit for bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Keys, Latents, Pixels
from ragturbo_runtime.beside import Beside
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.denoiser import denoise
from ragturbo_runtime.graphs import Graphs
from ragturbo_runtime.image import to_pixels
from ragturbo_runtime.image_keys import ImageKeys
from ragturbo_runtime.indexing.encoder import PictureEncoder
from ragturbo_runtime.indexing.opening import encoder_beside
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.library.record import Reference
from ragturbo_runtime.loading import Parts, Progress, open_parts
from ragturbo_runtime.lookup import Found, Lookup
from ragturbo_runtime.noise import batch_noise
from ragturbo_runtime.requests import DrawRequest, DrawResult, PromptEncoding
from ragturbo_runtime.retriever import Calibration
from ragturbo_runtime.stopwatch import Stopwatch
from ragturbo_runtime.tensors import to_float32
from ragturbo_runtime.text import TextEncoder

_SHARED = ("text_encoder", "unet_encoder")
"""Graphs that drawing and encoding pictures both need."""


class Pipeline:
    """A bundle, loaded. Several threads may draw with one pipeline at once.

    Attributes:
        bundle: What it was loaded from.
        device: ``"cpu"`` or ``"cuda:0"``: where the graphs really run.
        library: The references, or None where the bundle has none.
    """

    def __init__(self, bundle: Bundle, parts: Parts) -> None:
        """Wire opened parts together; ``Pipeline.load`` is the way in."""
        spec = bundle.manifest.adapter
        self.bundle = bundle
        self.device: str = parts.options.device.name
        self.library: Library | None = parts.library
        self._options, self._tokenizer = parts.options, parts.tokenizer
        self._schedule = parts.schedule
        self._graphs = Graphs(parts.graphs)
        self._text = TextEncoder(self._graphs, parts.tokenizer, bundle.manifest.text.embed_dim)
        calibration = Calibration(spec.similarity_low, spec.similarity_high)
        self._lookup = Lookup(parts.library, calibration, self._text, bundle.path)
        self._image_keys = ImageKeys(bundle, replace(parts.options, cuda_graphs=False))
        self._encoder: PictureEncoder | None = None
        self._encoder_lock = threading.Lock()
        self._beside = Beside(inline=bundle.manifest.is_large and parts.options.device.kind == "cpu")
        # Recorded graphs leave their outputs in the same place at each call.
        self._turns: AbstractContextManager[object] = (
            threading.RLock() if parts.options.cuda_graphs else nullcontext()
        )

    @classmethod
    def load(
        cls,
        bundle: Bundle,
        *,
        device: str = "auto",
        threads: int | None = None,
        spinning: bool = True,
        memory_limit: int | None = None,
        cuda_graphs: bool = False,
        progress: Progress | None = None,
        library: Path | None = None,
    ) -> Pipeline:
        """Load the graphs, the tokenizer and the library of a bundle.

        Args:
            bundle: An opened bundle.
            device: ``"auto"`` (CUDA if it works here, else the CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
            threads: Threads per graph on the CPU; None: one per physical core.
            spinning: Whether these threads wait awake for the next node while a graph runs.
            memory_limit: The most bytes of a card for weights and tensors; None for all there are. CUDA only.
            cuda_graphs: Record each set of shapes once, and replay it. CUDA only; calls take turns.
            progress: Called in this thread for each graph that is loaded.
            library: Folder of a library of the caller's, made for this bundle's encoders; None for the bundle's own.

        Returns:
            The pipeline.

        Raises:
            InvalidInputError: The device's name cannot be read, an option is for CUDA and the graphs would run on
                the CPU, or the weights alone take more than ``memory_limit``.
            ProviderUnavailableError: The device was asked for by name and cannot be used, or the graphs were made
                for CUDA and there is none.
            BundleCorruptError: A file is not what the manifest says.
            RetrievalError: The library cannot be read, or was made for another model.
        """
        parts = open_parts(
            bundle,
            device=device,
            threads=threads,
            spinning=spinning,
            memory_limit=memory_limit,
            cuda_graphs=cuda_graphs,
            progress=progress,
            library=library,
        )
        return cls(bundle, parts)

    def __enter__(self) -> Pipeline:
        """Return the pipeline itself."""
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the pipeline."""
        self.close()

    def close(self) -> None:
        """Close the library and let go of the graphs; drawing afterwards raises InferenceError."""
        self._graphs.close()
        self._encoder = None
        self._image_keys.close()
        self._beside.close()
        if self.library is not None:
            self.library.close()

    def picture_encoder(self) -> PictureEncoder:
        """Return what makes rows of a library out of pictures; the graph that only it needs is opened at first use.

        Raises:
            RetrievalError: The bundle has no such graph.
            BundleCorruptError: It is not what the manifest says.
            InferenceError: The pipeline was closed.
        """
        with self._encoder_lock:
            if self._encoder is None:
                options = self._options
                # A recorded graph is bound to its shapes, and to one caller at a time.
                shared = {} if options.cuda_graphs else {name: self._graphs[name] for name in _SHARED}
                self._encoder = encoder_beside(
                    self.bundle, replace(options, cuda_graphs=False), self._tokenizer, shared
                )
            return self._encoder

    def encode_prompts(self, prompts: Sequence[str]) -> PromptEncoding:
        """Run the text encoder on whole prompts, at the full context length: see ``TextEncoder.encode``."""
        return self._text.encode(prompts)

    def encode_phrases(self, phrases: Sequence[str]) -> Keys:
        """Run the text encoder for retrieval keys alone: see ``TextEncoder.encode_phrases``."""
        return self._text.encode_phrases(phrases)

    def retrieve(
        self, prompt: str, key: Keys, *, references: int, retrieval_threshold: float = 0.0
    ) -> list[Reference]:
        """Look up the references of one prompt: see ``Lookup.retrieve``."""
        return self._lookup.retrieve(
            prompt, key, references=references, retrieval_threshold=retrieval_threshold
        )

    def nearest(self, text: str, count: int) -> list[Reference]:
        """Return the references nearest to a text as one query: see ``Lookup.nearest``."""
        return self._lookup.nearest(self._text.encode_phrases([text])[0], count)

    def nearest_to_picture(self, read: Callable[[int], Pixels], count: int) -> list[Reference]:
        """Return the references whose captions are nearest to a picture: see ``ImageKeys.encode``."""
        return self._lookup.nearest(self._image_keys.encode(read), count)

    def draw(self, request: DrawRequest) -> DrawResult:
        """Draw pictures.

        Args:
            request: Prompts, seeds and options.

        Returns:
            Pictures, latents, references, timings.

        Raises:
            InvalidInputError: An option is out of range.
            RetrievalError: References were asked for and there is no library, or it cannot be read.
            InferenceError: A graph failed or drew no picture.
        """
        latents = self.bundle.manifest.latents
        shape = (latents.channels, latents.height, latents.width)
        request.check(max_references=self.bundle.manifest.adapter.max_references, latent_shape=shape)
        timesteps = self._schedule.timesteps(int(request.steps))
        noise = request.noise if request.noise is not None else batch_noise(request.seeds, shape)
        with self._turns:
            return self._draw(request, timesteps, noise)

    def warm_up(self, pictures: int = 1) -> None:
        """Draw once with references and once without: the first run of each graph is slower than the others.

        The prompt names things that are in the library, so that everything runs: the phrases' keys, the search, the
        adapter.

        Args:
            pictures: Of one call, 1 to 64: with a GPU each number is warmed on its own.

        Raises:
            InferenceError: A graph failed or drew no picture.
            RetrievalError: The library cannot be read.
        """
        default = self.bundle.manifest.adapter.default_references
        caption = "" if self.library is None else self.library.any_caption()
        prompt = f"{caption} and a red apple"
        for references in (0 if self.library is None else default, 0):
            self.draw(DrawRequest((prompt,) * pictures, tuple(range(pictures)), references=references))

    def _draw(self, request: DrawRequest, timesteps: tuple[int, ...], noise: Latents) -> DrawResult:
        watch = Stopwatch()
        distinct = list(dict.fromkeys(request.prompts))
        order = [distinct.index(prompt) for prompt in request.prompts]
        with watch.stage("text_encoder"):
            condition = self._text.condition(distinct, order)
        sample = self._schedule.initial_sample(noise, timesteps[0])
        # Last: Python's lock is free for the lookups only while a graph runs, and until then they would hold it up.
        found = self._look_up_beside(distinct, order, condition.keys, request)
        sample = denoise(self._graphs, self._schedule, sample, condition.embeds, timesteps, found, watch)
        with watch.stage("vae_decoder"):
            images = to_pixels(self._decode(sample))
        watch.add(found.result().watch)
        cut = tuple(condition.cut[i] for i in order)
        return DrawResult(images, sample, found.result().references, watch.timings(), cut)

    def _decode(self, latents: Latents) -> NDArray[np.float32]:
        return to_float32(self._graphs["vae_decoder"].run_on_device({"latent_sample": latents})["sample"])

    def _look_up_beside(
        self, prompts: list[str], order: list[int], keys: Keys, request: DrawRequest
    ) -> Future[Found]:
        """Start looking up the references of a batch; without references it is done at once."""
        if request.references == 0:
            nothing: Future[Found] = Future()
            nothing.set_result(Found([[] for _ in order], None, Stopwatch()))
            return nothing
        self._lookup.require_library()
        return self._beside.run(lambda: self._lookup.of_batch(prompts, order, keys, request))
