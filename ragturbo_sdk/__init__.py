"""ragturbo: pictures from text in one step, made better by looking things up.

Everything a host needs is importable from here::

    from ragturbo_sdk import Generator

    generator = Generator()  # the bundled model, offline
    result = generator.generate("a cat left of two pizzas", seed=7)
    result.save("cat.png")

Names are loaded when they are first used, so that importing this package costs a host next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ragturbo_sdk._version import __version__

if TYPE_CHECKING:
    from ragturbo_runtime.cancellation import CancelToken
    from ragturbo_runtime.collection.entry import SkippedPicture
    from ragturbo_runtime.indexing.building import BuildProgress, BuildReport
    from ragturbo_runtime.library.verification import LibraryProblem
    from ragturbo_runtime.loading import LoadProgress
    from ragturbo_runtime.progress import DrawProgress
    from ragturbo_sdk.errors import (
        BundleCorruptError,
        BundleError,
        BundleNotFoundError,
        BundleVersionError,
        GenerationCancelledError,
        GeneratorClosedError,
        InferenceError,
        InvalidInputError,
        LibraryLockedError,
        OutputError,
        PromptTruncatedWarning,
        ProviderUnavailableError,
        RagTurboError,
        RetrievalError,
        WrongProcessError,
    )
    from ragturbo_sdk.generator import Generator
    from ragturbo_sdk.info import GeneratorInfo
    from ragturbo_sdk.library import Library, LibraryInfo
    from ragturbo_sdk.png import read_metadata
    from ragturbo_sdk.reference import Reference
    from ragturbo_sdk.result import GenerationResult

__all__ = [
    "BuildProgress",
    "BuildReport",
    "BundleCorruptError",
    "BundleError",
    "BundleNotFoundError",
    "BundleVersionError",
    "CancelToken",
    "DrawProgress",
    "GenerationCancelledError",
    "GenerationResult",
    "Generator",
    "GeneratorClosedError",
    "GeneratorInfo",
    "InferenceError",
    "InvalidInputError",
    "Library",
    "LibraryInfo",
    "LibraryLockedError",
    "LibraryProblem",
    "LoadProgress",
    "OutputError",
    "PromptTruncatedWarning",
    "ProviderUnavailableError",
    "RagTurboError",
    "Reference",
    "RetrievalError",
    "SkippedPicture",
    "WrongProcessError",
    "__version__",
    "read_metadata",
]

_HOMES = {
    "BuildProgress": "ragturbo_runtime.indexing.building",
    "BuildReport": "ragturbo_runtime.indexing.building",
    "CancelToken": "ragturbo_runtime.cancellation",
    "DrawProgress": "ragturbo_runtime.progress",
    "GenerationResult": "ragturbo_sdk.result",
    "Generator": "ragturbo_sdk.generator",
    "GeneratorInfo": "ragturbo_sdk.info",
    "Library": "ragturbo_sdk.library",
    "LibraryInfo": "ragturbo_sdk.library",
    "LibraryProblem": "ragturbo_runtime.library.verification",
    "LoadProgress": "ragturbo_runtime.loading",
    "Reference": "ragturbo_sdk.reference",
    "SkippedPicture": "ragturbo_runtime.collection.entry",
    "read_metadata": "ragturbo_sdk.png",
}


if not TYPE_CHECKING:  # a type checker would take every misspelt name for one that this function knows

    def __getattr__(name: str) -> object:
        """Load a public name when it is first used (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOMES.get(name, "ragturbo_sdk.errors")), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """The public names, loaded or not, for completion."""
    return sorted(__all__)
