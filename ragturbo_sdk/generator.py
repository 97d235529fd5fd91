"""Generator: the one class that a host needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, NoReturn, Self

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.cancellation import CancelToken
from ragturbo_runtime.image import to_images
from ragturbo_runtime.loading import LoadProgress
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.progress import DrawProgress
from ragturbo_runtime.requests import DrawRequest
from ragturbo_sdk._version import __version__
from ragturbo_sdk.asking import draw_request
from ragturbo_sdk.checks import (
    check_callable,
    check_cancel,
    check_flag,
    check_images,
    check_library,
    check_memory_limit,
    check_threads,
)
from ragturbo_sdk.drawing import Drawing, Drawn
from ragturbo_sdk.errors import (
    RetrievalError,
    WrongProcessError,
)
from ragturbo_sdk.info import GeneratorInfo, describe
from ragturbo_sdk.library import Library
from ragturbo_sdk.onnxruntime_import import require_onnxruntime
from ragturbo_sdk.prompt_cuts import warn_of_cuts
from ragturbo_sdk.result import GenerationResult
from ragturbo_sdk.telemetry import event

logger: logging.Logger = logging.getLogger(__name__)

BUNDLED_MODEL = Path(__file__).resolve().parent / "bundles" / "emoji"


class Generator:
    """A loaded model that draws pictures from text.

    Loading takes a moment, drawing milliseconds: make one and keep it. Several threads may share it: as many
    calls are drawn side by side as fill the cores; of a large model (each uses every core, and gigabytes) one.
    Nothing comes from a network.
    """

    def __init__(
        self,
        bundle: str | Path | None = None,
        *,
        library: str | Path | None = None,
        device: str = "auto",
        threads: int | None = None,
        spinning: bool = True,
        memory_limit: int | None = None,
        cuda_graphs: bool = False,
        progress: Callable[[LoadProgress], object] | None = None,
        verify: Literal["full", "fast", "off"] = "fast",
    ) -> None:
        """Load a model.

        Args:
            bundle: The model's folder, as ``python -m export.onnx`` writes it; None for the one that came
                with ragturbo.
            library: Folder of a library of your own, made for this bundle (``ragturbo library build``, or
                ``generator.library.copy``); None for the bundle's.
            device: ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
            threads: CPU threads, 1 or more; None for one per core.
            spinning: Whether these threads wait awake within a graph, which is faster; they sleep between calls in
                any case. False leaves the cores to the host's other work.
            memory_limit: The most bytes of GPU memory for weights and tensors; None for no limit. CUDA only.
            cuda_graphs: Record the work for each number of pictures once and replay it: less time per call, more
                memory. CUDA only; call ``warmup`` for each number of pictures.
            progress: Called in this thread with a ``LoadProgress`` for each part of the model that is loaded. What
                it raises ends the loading.
            verify: Compare each file's sha256 (``"full"``), its size (``"fast"``), or nothing (``"off"``).

        Raises:
            InvalidInputError: An argument is none of the above, or it is for CUDA and the model would run on the CPU.
            BundleNotFoundError: There is no bundle in the folder.
            BundleCorruptError: A file is missing or damaged.
            BundleVersionError: The bundle is for another version of ragturbo.
            ProviderUnavailableError: The device cannot be used here.
            RetrievalError: The library cannot be read, or was made for another bundle.
        """
        threads, spinning = check_threads(threads), check_flag("spinning", spinning)
        memory_limit, cuda_graphs = check_memory_limit(memory_limit), check_flag("cuda_graphs", cuda_graphs)
        check_callable("progress", progress)
        own = check_library(library)
        require_onnxruntime(device)
        with event(logger, logging.INFO, "load") as loading:
            opened = Bundle.load(
                BUNDLED_MODEL if bundle is None else bundle, verify=verify, sdk_version=__version__
            )
            pipeline = Pipeline.load(
                opened,
                device=device,
                threads=threads,
                spinning=spinning,
                memory_limit=memory_limit,
                cuda_graphs=cuda_graphs,
                progress=progress,
                library=own,
            )
            self._set_up(pipeline, writable=own is not None)
            info = self._info
            loading.about |= {"bundle": info.name, "version": info.bundle_version, "device": info.device}

    def _set_up(self, pipeline: Pipeline, *, writable: bool) -> None:
        found = pipeline.library
        self._drawing = Drawing(pipeline)
        self._library = None if found is None else Library(pipeline, found, writable=writable)
        self._writable = writable
        self._info = describe(pipeline.bundle, pipeline.device, self._library)

    @property
    def info(self) -> GeneratorInfo:
        """Model, device and limits, as they were when it was loaded; still there after ``close()``."""
        return self._info

    @property
    def library(self) -> Library:
        """What references are looked up in; threads may change it while others draw.

        Raises:
            RetrievalError: The bundle has none, and no other was given.
        """
        if self._library is None:
            raise RetrievalError(
                f"bundle {self._info.name!r} has no library",
                hint="build one (ragturbo library build) and load it: Generator(bundle, library=folder)",
            )
        return self._library

    def generate(
        self,
        prompt: str | Sequence[str],
        *,
        seed: int | None = None,
        num_images: int = 1,
        references: int | None = None,
        strength: float = 1.0,
        num_inference_steps: int = 1,
        retrieval: bool = True,
        progress: Callable[[DrawProgress], object] | None = None,
        cancel: CancelToken | None = None,
    ) -> GenerationResult:
        """Draw pictures.

        Args:
            prompt: What to draw, or several such texts. What is beyond 77 tokens is cut, with a warning.
            seed: Decides the noise, 0 or more; None for one by chance. Picture i uses ``seed + i``, and
                is, to rounding, the picture that a call for it alone draws.
            num_images: Pictures of each prompt; 64 in all at most.
            references: How many to look up, 0 to ``info.max_references``; None for the model's default.
            strength: How strongly the references act, 0 to 2; 1 is what the adapter was trained for.
            num_inference_steps: Denoising steps, 1 to 4.
            retrieval: False draws without looking anything up, whatever ``references`` says.
            progress: Called after each stage, in the thread that draws: this one, or with ``cancel`` another. What it
                raises ends the drawing and is raised here.
            cancel: Its ``cancel()``, from any thread, ends this call at once; the graph that runs stops at its next
                operator, and only then does another call take its place.

        Returns:
            The pictures (RGB, ``info.height`` x ``info.width``), their references, seeds and timings.

        Raises:
            InvalidInputError: An argument is of the wrong type or out of range.
            RetrievalError: References were asked for and there is no library, or it cannot be read.
            InferenceError: A graph failed, or what it drew is no picture.
            GenerationCancelledError: ``cancel.cancel()`` was called.
            GeneratorClosedError: The generator was closed.
            WrongProcessError: It was loaded by another process, of which this is a fork.
        """
        request = self._request(
            prompt, seed, num_images, references, strength, num_inference_steps, retrieval
        )
        check_callable("progress", progress)
        drawn = self._drawing.draw(request, check_cancel(cancel), progress)
        warn_of_cuts(request.prompts, drawn.result.cut)
        return self._result(request, drawn)

    async def agenerate(
        self,
        prompt: str | Sequence[str],
        *,
        seed: int | None = None,
        num_images: int = 1,
        references: int | None = None,
        strength: float = 1.0,
        num_inference_steps: int = 1,
        retrieval: bool = True,
        progress: Callable[[DrawProgress], object] | None = None,
        cancel: CancelToken | None = None,
    ) -> GenerationResult:
        """Draw pictures while the event loop goes on: ``await generator.agenerate(...)``.

        Cancelling the task ends the drawing as ``cancel`` does, and raises asyncio's CancelledError.

        Args:
            prompt: As for ``generate``, like all others.
            seed: As for ``generate``.
            num_images: As for ``generate``.
            references: As for ``generate``.
            strength: As for ``generate``.
            num_inference_steps: As for ``generate``.
            retrieval: As for ``generate``.
            progress: As for ``generate``, but always in another thread.
            cancel: As for ``generate``.

        Returns:
            As ``generate``.

        Raises:
            RagTurboError: As ``generate``.
        """
        request = self._request(
            prompt, seed, num_images, references, strength, num_inference_steps, retrieval
        )
        check_callable("progress", progress)
        drawn = await self._drawing.adraw(request, check_cancel(cancel), progress)
        warn_of_cuts(request.prompts, drawn.result.cut)
        return self._result(request, drawn)

    def stream(
        self,
        prompt: str | Sequence[str],
        *,
        seed: int | None = None,
        num_images: int = 1,
        references: int | None = None,
        strength: float = 1.0,
        num_inference_steps: int = 1,
        retrieval: bool = True,
        progress: Callable[[DrawProgress], object] | None = None,
        cancel: CancelToken | None = None,
    ) -> Iterator[GenerationResult]:
        """Draw pictures one after the other, and give each as soon as it is finished.

        The arguments are checked at once. Nothing is drawn before it is asked for: leaving the loop ends the work.

        Args:
            prompt: As for ``generate``, like all others; each result is of one picture.
            seed: As for ``generate``: the pictures are the same.
            num_images: As for ``generate``.
            references: As for ``generate``.
            strength: As for ``generate``.
            num_inference_steps: As for ``generate``.
            retrieval: As for ``generate``.
            progress: As for ``generate``, for each picture anew.
            cancel: As for ``generate``.

        Returns:
            The results, in the order of ``generate``'s pictures.

        Raises:
            RagTurboError: As ``generate``.
        """
        request = self._request(
            prompt, seed, num_images, references, strength, num_inference_steps, retrieval
        )
        check_callable("progress", progress)
        check_cancel(cancel)
        self._drawing.require_usable()
        return self._stream(request, cancel, progress)

    def _stream(
        self,
        request: DrawRequest,
        cancel: CancelToken | None,
        progress: Callable[[DrawProgress], object] | None,
    ) -> Iterator[GenerationResult]:
        for prompt, seed in zip(request.prompts, request.seeds, strict=True):
            one = replace(request, prompts=(prompt,), seeds=(seed,))
            drawn = self._drawing.draw(one, cancel, progress)
            warn_of_cuts(one.prompts, drawn.result.cut)
            yield self._result(one, drawn)

    def clone(self, *, library: str | Path | None = None) -> Generator:
        """Make another generator on the same weights, at next to no cost.

        Both draw side by side, each call with tensors of its own, and each is closed on its own: the weights go with
        the last of them.

        Args:
            library: Folder of another library for it, as in the constructor; None for this generator's.

        Raises:
            InvalidInputError: ``library`` is no path.
            RetrievalError: The library cannot be read, or was made for another bundle.
            GeneratorClosedError: The generator was closed.
            WrongProcessError: It was loaded by another process, of which this is a fork.
        """
        self._drawing.require_usable()
        own = check_library(library)
        other = object.__new__(Generator)
        other._set_up(self._drawing.pipeline.clone(own), writable=self._writable or own is not None)
        return other

    def warmup(self, *, num_images: int = 1) -> None:
        """Draw with and without retrieval: the first run of each graph is slower than the others.

        The prompt names something in the library, so that everything runs. More steps need no warm-up of their own.

        Args:
            num_images: Pictures of the calls to come, 1 to 64; on a GPU, warm up each number that you will use.

        Raises:
            InvalidInputError: ``num_images`` is no whole number from 1 to 64.
            GeneratorClosedError: The generator was closed.
            InferenceError: A graph failed.
            RetrievalError: The library cannot be read.
        """
        self._drawing.warm_up(check_images(1, num_images))

    def close(self) -> None:
        """Free the model, after the calls that are being drawn, if any. Closing twice does nothing.

        Raises:
            GeneratorClosedError: A progress callback closes the generator that calls it.
        """
        self._drawing.close()

    def __enter__(self) -> Self:
        """Return the generator; the end of the ``with`` block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the generator."""
        self.close()

    def __repr__(self) -> str:
        """Name the model and the device."""
        return f"<Generator {self._info.name} {self._info.bundle_version} on {self._info.device}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be sent to another process.

        Raises:
            WrongProcessError: Always.
        """
        raise WrongProcessError(
            "a Generator cannot be pickled, copied or sent to another process: it holds threads and open files",
            hint="make one in that process, or use clone() in this one",
        )

    def _request(
        self,
        prompt: object,
        seed: object,
        num_images: object,
        references: object,
        strength: object,
        num_inference_steps: object,
        retrieval: object,
    ) -> DrawRequest:
        return draw_request(
            self._info,
            has_library=self._library is not None,
            prompt=prompt,
            seed=seed,
            num_images=num_images,
            references=references,
            strength=strength,
            num_inference_steps=num_inference_steps,
            retrieval=retrieval,
        )

    def _result(self, request: DrawRequest, drawn: Drawn) -> GenerationResult:
        return GenerationResult(
            images=tuple(to_images(drawn.result.images)),
            prompts=request.prompts,
            seeds=request.seeds,
            references_of=drawn.references_of,
            timings=dict(drawn.result.timings),
            num_inference_steps=request.steps,
            strength=request.strength,
            bundle=self._info.name,
            bundle_version=self._info.bundle_version,
        )
