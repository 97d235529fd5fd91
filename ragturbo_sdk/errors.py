"""Every exception that a host can see.

The tree is drawn in :mod:`ragturbo_runtime.errors`; those that only a generator can raise join it here::

    RagTurboError
    ├─ GeneratorClosedError(RuntimeError)           used after close()
    └─ WrongProcessError(RuntimeError)              used in a fork, or sent to another process
"""

from __future__ import annotations

from ragturbo_runtime.errors import (
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    BundleVersionError,
    GenerationCancelledError,
    InferenceError,
    InvalidInputError,
    LibraryLockedError,
    OutputError,
    PromptTruncatedWarning,
    ProviderUnavailableError,
    RagTurboError,
    RetrievalError,
)


class GeneratorClosedError(RagTurboError, RuntimeError):
    """A generator was used after it was closed, or would wait for itself."""


class WrongProcessError(RagTurboError, RuntimeError):
    """A generator was used in, or sent to, another process than the one that loaded it."""


__all__ = [
    "BundleCorruptError",
    "BundleError",
    "BundleNotFoundError",
    "BundleVersionError",
    "GenerationCancelledError",
    "GeneratorClosedError",
    "InferenceError",
    "InvalidInputError",
    "LibraryLockedError",
    "OutputError",
    "PromptTruncatedWarning",
    "ProviderUnavailableError",
    "RagTurboError",
    "RetrievalError",
    "WrongProcessError",
]

for _name in __all__:  # tracebacks then show the name that a host imports: ragturbo_sdk.InvalidInputError
    globals()[_name].__module__ = "ragturbo_sdk"
del _name
