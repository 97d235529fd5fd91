"""Every exception that a host can see.

The tree is drawn in :mod:`ragturbo_runtime.errors`; one that only a generator can raise joins it here::

    RagTurboError
    └─ GeneratorClosedError(RuntimeError)           used after close()
"""

from __future__ import annotations

from ragturbo_runtime.errors import (
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    BundleVersionError,
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
    """A generator was used after it was closed."""


__all__ = [
    "BundleCorruptError",
    "BundleError",
    "BundleNotFoundError",
    "BundleVersionError",
    "GeneratorClosedError",
    "InferenceError",
    "InvalidInputError",
    "LibraryLockedError",
    "OutputError",
    "PromptTruncatedWarning",
    "ProviderUnavailableError",
    "RagTurboError",
    "RetrievalError",
]

for _name in __all__:  # tracebacks then show the name that a host imports: ragturbo_sdk.InvalidInputError
    globals()[_name].__module__ = "ragturbo_sdk"
del _name
