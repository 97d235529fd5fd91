"""The chain of graphs: prompts in, pictures out.

::

    prompts -> text_encoder -> prompt_embeds, keys -> search -> references -> features
    noise -> unet_encoder -> h, skips -> adapter(h, features) -> unet_decoder -> step -> vae_decoder -> pixels

References are looked up in a thread of their own while the U-Net's encoder runs, which needs none of them; where the
graphs leave no core for it, before.
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
from ragturbo_runtime.cancellation import CancelToken, cancellable
from ragturbo_runtime.cores import leaves_no_core, usable_cores
from ragturbo_runtime.denoiser import denoise
from ragturbo_runtime.graphs import Graphs
from ragturbo_runtime.image import to_pixels
from ragturbo_runtime.indexing.encoder import PictureEncoder
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.library.record import Reference
from ragturbo_runtime.loading import Parts, Progress, open_own_library, open_parts
from ragturbo_runtime.lookup import Found, Lookup
from ragturbo_runtime.noise import batch_noise
from ragturbo_runtime.picture_graphs import PictureGraphs
from ragturbo_runtime.progress import DrawProgress, DrawReport
from ragturbo_runtime.requests import DrawRequest, DrawResult, PromptEncoding
from ragturbo_runtime.retriever import Calibration
from ragturbo_runtime.shared import Shared
from ragturbo_runtime.stopwatch import Stopwatch
from ragturbo_runtime.tensors import to_float32
from ragturbo_runtime.text import TextEncoder


class Pipeline:
    """A bundle, loaded. Several threads may draw with one pipeline at once.

    Attributes:
        bundle: What it was loaded from.
        device: ``"cpu"`` or ``"cuda:0"``: where the graphs really run.
        library: The references, or None where the bundle has none.
        threads: Of each graph on the CPU; None: one per physical core.
    """

    def __init__(self, bundle: Bundle, parts: Parts, origin: Pipeline | None = None) -> None:
        """Wire opened parts together; ``Pipeline.load`` and ``Pipeline.clone`` are the ways in."""
        spec = bundle.manifest.adapter
        self.bundle = bundle
        self.device: str = parts.options.device.name
        self.threads: int | None = parts.options.threads
        self._parts, self._schedule = parts, parts.schedule
        self._graphs = Graphs(parts.graphs)
        self._text = TextEncoder(self._graphs, parts.tokenizer, bundle.manifest.text.embed_dim)
        self._library = None if parts.library is None else _held(parts.library, origin)
        self.library: Library | None = parts.library
        calibration = Calibration(spec.similarity_low, spec.similarity_high)
        self._lookup = Lookup(parts.library, calibration, self._text, bundle.path)
        self._beside = Beside(
            inline=parts.options.device.kind == "cpu"
            and leaves_no_core(bundle.manifest.is_large, self.threads, usable_cores())
        )
        self._pictures: Shared[PictureGraphs] = (
            Shared(PictureGraphs(bundle, parts)) if origin is None else origin._pictures.held()
        )
        self._turns: AbstractContextManager[object] = nullcontext() if origin is None else origin._turns
        if origin is None and parts.options.cuda_graphs:
            # Recorded graphs leave their outputs in the same place at each call.
            self._turns = threading.RLock()

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

    def clone(self, library: Path | None = None) -> Pipeline:
        """Return another pipeline on the same graphs; each is closed on its own.

        Args:
            library: As for ``load``; None for the one that this pipeline has, which both then share.

        Raises:
            RetrievalError: The library cannot be read, or was made for another model.
        """
        parts = self._parts
        if library is not None:
            parts = replace(parts, library=open_own_library(self.bundle, library))
        return Pipeline(self.bundle, parts, self)

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
        self._parts = replace(self._parts, graphs={}, library=None)
        self._pictures.release()
        self._beside.close()
        if self._library is not None:
            self._library.release()

    def picture_encoder(self) -> PictureEncoder:
        """Return what makes rows of a library out of pictures: see ``PictureGraphs.encoder``."""
        return self._pictures.value.encoder()

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
        return self._lookup.nearest(self._pictures.value.keys.encode(read), count)

    def draw(
        self,
        request: DrawRequest,
        *,
        cancel: CancelToken | None = None,
        progress: Callable[[DrawProgress], object] | None = None,
    ) -> DrawResult:
        """Draw pictures.

        Args:
            request: Prompts, seeds and options.
            cancel: Stops it from another thread.
            progress: Called in this thread after each stage; what it raises ends the drawing.

        Returns:
            Pictures, latents, references, timings.

        Raises:
            InvalidInputError: An option is out of range.
            RetrievalError: References were asked for and there is no library, or it cannot be read.
            InferenceError: A graph failed or drew no picture.
            GenerationCancelledError: It was cancelled.
        """
        latents = self.bundle.manifest.latents
        shape = (latents.channels, latents.height, latents.width)
        request.check(max_references=self.bundle.manifest.adapter.max_references, latent_shape=shape)
        timesteps = self._schedule.timesteps(int(request.steps))
        noise = request.noise if request.noise is not None else batch_noise(request.seeds, shape)
        report = (
            None
            if progress is None
            else DrawReport(progress, steps=len(timesteps), adapter=request.references > 0)
        )
        watch = Stopwatch(None if report is None else report.stage_done)
        with cancellable(cancel), self._turns:
            return self._draw(request, timesteps, noise, watch)

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

    def _draw(
        self, request: DrawRequest, timesteps: tuple[int, ...], noise: Latents, watch: Stopwatch
    ) -> DrawResult:
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
        references, intervals = found.result().references, tuple(watch.intervals)
        return DrawResult(images, sample, references, watch.timings(), cut, intervals)

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


def _held(library: Library, origin: Pipeline | None) -> Shared[Library]:
    """Share the library with the pipeline that it comes from."""
    if origin is not None and origin._library is not None and origin._library.value is library:
        return origin._library.held()
    return Shared(library)
