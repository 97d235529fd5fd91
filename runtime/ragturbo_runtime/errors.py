"""Every exception that leaves ragturbo.

::

    RagTurboError(Exception)                        .hint
    ├─ BundleError                                  .path
    │  ├─ BundleNotFoundError(FileNotFoundError)    no such folder, or no manifest in it
    │  ├─ BundleCorruptError                        hash, size, protobuf, missing key
    │  └─ BundleVersionError                        made for another SDK or manifest schema
    ├─ ProviderUnavailableError                     .requested .available
    ├─ InvalidInputError(ValueError)                .argument
    ├─ RetrievalError                               no library, wrong dimensions, broken index
    │  └─ LibraryLockedError                        another writer is at work
    ├─ InferenceError                               .graph
    ├─ GenerationCancelledError                     CancelToken.cancel() was called
    └─ OutputError(OSError)                         .path, a file that cannot be written

    PromptTruncatedWarning(UserWarning)             a prompt longer than the text encoder reads

No exception of ONNX Runtime, SQLite or ScaNN passes through: they are chained as ``__cause__``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


class RagTurboError(Exception):
    """Base of every error of ragturbo.

    Attributes:
        message: What was wrong, the value seen and what is allowed.
        hint: What the caller can do about it, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """Keep the message and the hint; ``str(error)`` is both, joined by a semicolon."""
        super().__init__(message if hint is None else f"{message}; {hint}")
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Return message and hint (OSError would print its errno fields instead)."""
        return self.message if self.hint is None else f"{self.message}; {self.hint}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by attributes: the keyword-only arguments would otherwise be lost between processes."""
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def _rebuild(cls: type[RagTurboError], args: tuple[Any, ...], attributes: dict[str, Any]) -> RagTurboError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class BundleError(RagTurboError):
    """A bundle folder cannot be used.

    Attributes:
        path: The bundle folder, or the file in it that is at fault.
    """

    def __init__(self, message: str, *, path: str | Path, hint: str | None = None) -> None:
        """Keep the path beside the message."""
        super().__init__(message, hint=hint)
        self.path: Path = Path(path)


class BundleNotFoundError(BundleError, FileNotFoundError):
    """There is no bundle at the path."""


class BundleCorruptError(BundleError):
    """A file of the bundle is missing, damaged or does not say what the manifest says."""


class BundleVersionError(BundleError):
    """The bundle was made for another version of ragturbo."""


class ProviderUnavailableError(RagTurboError):
    """The device that was asked for cannot be used.

    Attributes:
        requested: The device as asked for, for example ``"cuda:0"``.
        available: The execution providers that this installation of ONNX Runtime has.
    """

    def __init__(
        self, message: str, *, requested: str, available: Sequence[str], hint: str | None = None
    ) -> None:
        """Keep what was asked for and what there is."""
        super().__init__(message, hint=hint)
        self.requested = requested
        self.available: tuple[str, ...] = tuple(available)


class InvalidInputError(RagTurboError, ValueError):
    """An argument is of the wrong type, shape or range.

    Attributes:
        argument: The name of the argument.
    """

    def __init__(self, message: str, *, argument: str, hint: str | None = None) -> None:
        """Keep the argument's name."""
        super().__init__(message, hint=hint)
        self.argument = argument


class RetrievalError(RagTurboError):
    """The reference library is absent, does not fit the model or cannot be read."""


class LibraryLockedError(RetrievalError):
    """Another writer changes the library; readers are not concerned."""


class InferenceError(RagTurboError):
    """A graph failed, or returned values that are not a picture.

    Attributes:
        graph: The name of the graph, for example ``"unet_encoder"``.
    """

    def __init__(self, message: str, *, graph: str, hint: str | None = None) -> None:
        """Keep the graph's name."""
        super().__init__(message, hint=hint)
        self.graph = graph


class GenerationCancelledError(RagTurboError):
    """A drawing was stopped by its CancelToken; no picture was made."""


class OutputError(RagTurboError, OSError):
    """A file cannot be written.

    Attributes:
        path: The file.
    """

    def __init__(self, message: str, *, path: str | Path, hint: str | None = None) -> None:
        """Keep the path beside the message."""
        super().__init__(message, hint=hint)
        self.path: Path = Path(path)


class PromptTruncatedWarning(UserWarning):
    """A prompt is longer than the text encoder reads; the message names the words that were cut."""
