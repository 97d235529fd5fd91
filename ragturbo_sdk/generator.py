"""Generator: the one class that a host needs."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.image import to_images
from ragturbo_runtime.loading import LoadProgress
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.requests import DrawRequest, DrawResult
from ragturbo_sdk._version import __version__
from ragturbo_sdk.checks import (
    MAX_STEPS,
    check_callable,
    check_flag,
    check_images,
    check_integer,
    check_library,
    check_memory_limit,
    check_prompts,
    check_seed,
    check_strength,
    check_threads,
)
from ragturbo_sdk.errors import (
    GeneratorClosedError,
    PromptTruncatedWarning,
    ProviderUnavailableError,
    RetrievalError,
)
from ragturbo_sdk.info import GeneratorInfo, describe
from ragturbo_sdk.library import Library
from ragturbo_sdk.reference import keep
from ragturbo_sdk.result import GenerationResult

logger: logging.Logger = logging.getLogger(__name__)

BUNDLED_MODEL = Path(__file__).resolve().parent / "bundles" / "emoji"


class Generator:
    """A loaded model that draws pictures from text.

    Loading takes a moment, drawing milliseconds: make one and keep it. Several threads may share it; their
    calls are drawn one after the other, since each already uses every core. Nothing comes from a network.
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
        _require_onnxruntime(device)
        opened = Bundle.load(
            BUNDLED_MODEL if bundle is None else bundle, verify=verify, sdk_version=__version__
        )
        self._pipeline: Pipeline | None = Pipeline.load(
            opened,
            device=device,
            threads=threads,
            spinning=spinning,
            memory_limit=memory_limit,
            cuda_graphs=cuda_graphs,
            progress=progress,
            library=own,
        )
        found = self._pipeline.library
        self._library = None if found is None else Library(self._pipeline, found, writable=own is not None)
        self._info = describe(opened, self._pipeline.device, self._library)
        self._lock = threading.RLock()
        logger.info("loaded %s %s on %s", self._info.name, self._info.bundle_version, self._info.device)

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

        Returns:
            The pictures (RGB, ``info.height`` x ``info.width``), their references, seeds and timings.

        Raises:
            InvalidInputError: An argument is of the wrong type or out of range.
            RetrievalError: References were asked for and there is no library, or it cannot be read.
            InferenceError: A graph failed, or what it drew is no picture.
            GeneratorClosedError: The generator was closed.
        """
        request = self._request(
            prompt, seed, num_images, references, strength, num_inference_steps, retrieval
        )
        with self._lock:
            drawn = self._open_pipeline().draw(request)
            result = self._result(request, drawn)
        _warn_of_cuts(request.prompts, drawn.cut)
        return result

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
        pictures = check_images(1, num_images)
        with self._lock:
            self._open_pipeline().warm_up(pictures)

    def close(self) -> None:
        """Free the model, after the call that is being drawn, if any. Closing twice does nothing."""
        with self._lock:
            if self._pipeline is not None:
                self._pipeline.close()
            self._pipeline = None

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
        prompts = check_prompts(prompt)
        per_prompt = check_images(len(prompts), num_images)
        count = len(prompts) * per_prompt
        first_seed = check_seed(seed, count=count)
        wanted = self._check_references(references)
        return DrawRequest(
            prompts=tuple(text for text in prompts for _ in range(per_prompt)),
            seeds=tuple(range(first_seed, first_seed + count)),
            steps=check_integer(
                "num_inference_steps",
                num_inference_steps,
                1,
                MAX_STEPS,
                hint="1 is what the model is made for",
            ),
            references=wanted if check_flag("retrieval", retrieval) else 0,
            strength=check_strength(strength),
        )

    def _check_references(self, references: object) -> int:
        info = self._info
        if references is None:
            return info.default_references
        if self._library is None and references != 0:
            hint = "pass references=0, or build a library and load it with library=folder"
            raise RetrievalError(
                f"references is {references!r}, and bundle {info.name!r} has no library", hint=hint
            )
        hint = "pass None for the model's default"
        return check_integer("references", references, 0, info.max_references, hint=hint)

    def _open_pipeline(self) -> Pipeline:
        if self._pipeline is None:
            raise GeneratorClosedError("the generator was closed", hint="make a new Generator")
        return self._pipeline

    def _result(self, request: DrawRequest, drawn: DrawResult) -> GenerationResult:
        return GenerationResult(
            images=tuple(to_images(drawn.images)),
            prompts=request.prompts,
            seeds=request.seeds,
            references_of=tuple(tuple(keep(used) for used in references) for references in drawn.references),
            timings=dict(drawn.timings),
            num_inference_steps=request.steps,
            strength=request.strength,
            bundle=self._info.name,
            bundle_version=self._info.bundle_version,
        )


def _require_onnxruntime(device: str) -> None:
    """Say which extra is missing: ``pip install ragturbo-sdk`` alone brings no ONNX Runtime."""
    try:
        import onnxruntime  # noqa: F401 - only whether it can be
    except ImportError as error:
        message = f"ONNX Runtime cannot be imported ({error})"
        hint = "pip install 'ragturbo-sdk[cpu]', or 'ragturbo-sdk[cuda]' for a GPU, but not both"
        raise ProviderUnavailableError(message, requested=str(device), available=(), hint=hint) from error


def _warn_of_cuts(prompts: Sequence[str], cuts: Sequence[Sequence[str]]) -> None:
    """Name the words that the text encoder did not see, once per prompt."""
    for prompt, words in dict(zip(prompts, cuts, strict=True)).items():
        if words:
            start = prompt if len(prompt) <= 40 else f"{prompt[:37]}..."
            message = f"prompt {start!r} is longer than the text encoder reads; these words were cut: "
            warnings.warn(
                message + ", ".join(repr(word) for word in words), PromptTruncatedWarning, stacklevel=3
            )
