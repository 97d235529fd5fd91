"""What the page does, without the page: drawing a prompt twice, and adding pictures."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.library.copying import copy_library
from ragturbo_sdk._version import __version__
from ragturbo_sdk.errors import InvalidInputError, PromptTruncatedWarning, RetrievalError
from ragturbo_sdk.generator import BUNDLED_MODEL, Generator
from ragturbo_sdk.result import GenerationResult

SOURCE = "added in the playground"
"""What the library says of where such a picture comes from."""

T = TypeVar("T")


@dataclass(frozen=True)
class Drawn:
    """A prompt, drawn twice from the same noise."""

    without: GenerationResult
    """Nothing was looked up."""
    retrieved: GenerationResult
    warnings: tuple[str, ...]
    """What the person should know, for example which words were cut."""


class Session:
    """An open generator whose library can be added to. Threads may share it; they take turns at drawing."""

    def __init__(self, generator: Generator, *, temporary: bool) -> None:
        """Keep the generator.

        Args:
            generator: Open, with a library that may be written.
            temporary: Whether the library is gone when the playground ends.
        """
        self.generator: Generator = generator
        self.temporary: bool = temporary
        self._turn = threading.Lock()

    def draw(self, prompt: str, *, seed: int | None, strength: float, references: int) -> Drawn:
        """Draw a prompt with and without retrieval.

        Args:
            prompt: What to draw.
            seed: Decides the noise of both; None for one by chance.
            strength: How strongly the references act, 0 to 2.
            references: How many to look up, 0 to ``info.max_references``.

        Returns:
            Both results.

        Raises:
            InvalidInputError: An argument is out of range.
            RetrievalError: The library cannot be read.
            InferenceError: A graph failed.
        """

        def both() -> tuple[GenerationResult, GenerationResult]:
            draw = self.generator.generate
            retrieved = draw(prompt, seed=seed, strength=strength, references=references)
            return draw(retrieved.prompt, seed=retrieved.seed, retrieval=False), retrieved

        with self._turn:
            (without, retrieved), told = _hearing(both)
        return Drawn(without, retrieved, told)

    def add(self, picture: bytes | None, caption: str) -> str:
        """Add a picture to the library; the next drawing may use it.

        Args:
            picture: A picture file's bytes; None if none was chosen.
            caption: What it shows.

        Returns:
            Its id in the library.

        Raises:
            InvalidInputError: There is no picture, it cannot be read, or the caption is empty.
            LibraryLockedError: Another process writes to the library.
            RetrievalError: The bundle cannot encode pictures.
            OutputError: The library cannot be written.
        """
        if picture is None:
            raise InvalidInputError("no picture was chosen", argument="image", hint="choose a picture file")
        if not caption.strip():  # the library would say `prompt`, and the person has typed a caption
            hint = "say what the picture shows: prompts are compared with it"
            raise InvalidInputError("the caption is empty", argument="caption", hint=hint)
        return self.generator.library.add(picture, caption, source=SOURCE)


@contextmanager
def open_session(
    bundle: str | Path | None,
    *,
    library: str | Path | None,
    copies: Path,
    device: str = "auto",
    threads: int | None = None,
    memory_limit: int | None = None,
    cuda_graphs: bool = False,
) -> Iterator[Session]:
    """Open a generator with a library that can be added to.

    Args:
        bundle: The model's folder; None for the one that came with ragturbo.
        library: A library of the person's own, which keeps what is added; None for a copy of the bundle's.
        copies: An existing folder for that copy.
        device: As for :class:`ragturbo_sdk.Generator`, and so are the others.
        threads: CPU threads.
        memory_limit: In bytes of GPU memory.
        cuda_graphs: Whether work for a GPU is recorded.

    Yields:
        The session; it is closed at the end of the block.

    Raises:
        RagTurboError: What :class:`ragturbo_sdk.Generator` raises, or the bundle has no library.
        OutputError: The copy cannot be written.
    """
    own = _copy_of(bundle, copies / "library") if library is None else library
    with Generator(
        bundle,
        library=own,
        device=device,
        threads=threads,
        memory_limit=memory_limit,
        cuda_graphs=cuda_graphs,
    ) as generator:
        generator.warmup()  # the first run of a graph is slower, and the page shows the times
        yield Session(generator, temporary=library is None)


def _copy_of(bundle: str | Path | None, folder: Path) -> Path:
    """A bundle's library may only be read: its manifest says what is in it."""
    opened = Bundle.load(bundle or BUNDLED_MODEL, sdk_version=__version__)
    if opened.manifest.library is None:
        hint = "build one (ragturbo library build), and name it with --library"
        raise RetrievalError(f"{opened.path}: the bundle has no library", hint=hint)
    return copy_library(opened.library_directory(opened.manifest.library), folder)


def _hearing(work: Callable[[], T]) -> tuple[T, tuple[str, ...]]:
    """Do work, and return what was said of cut words, each once; other warnings go where they would have gone."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", PromptTruncatedWarning)
        done = work()
    ours = [one for one in heard if issubclass(one.category, PromptTruncatedWarning)]
    for one in heard:
        if one not in ours:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return done, tuple(dict.fromkeys(str(one.message) for one in ours))
