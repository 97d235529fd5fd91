"""What a host may import is written down here twice on purpose: a change of it is a decision."""

from __future__ import annotations

import inspect
import re
from difflib import unified_diff
from pathlib import Path

import pytest

import ragturbo_sdk
from ragturbo_sdk import (
    GenerationResult,
    Generator,
    GeneratorInfo,
    Library,
    LibraryInfo,
    LoadProgress,
    Reference,
)
from tests.sdk.signatures import FILE, signature_text, surface

PUBLIC = [
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


def test_the_surface() -> None:
    assert ragturbo_sdk.__all__ == PUBLIC
    assert dir(ragturbo_sdk) == PUBLIC
    for name in PUBLIC:
        assert getattr(ragturbo_sdk, name) is not None


def test_every_signature() -> None:
    """Names, kinds, defaults and annotations; each change is one of the interface: docs/compatibility.md."""
    difference = "\n".join(
        unified_diff(FILE.read_text("utf-8").splitlines(), surface().splitlines(), lineterm="")
    )
    assert not difference, f"if it is meant: python -m tests.sdk.signatures\n{difference}"


def test_signatures_are_told_apart() -> None:
    """The test above is only as good as this."""

    def changed(a: int, /, b: str = "x", *c: int, d: float = 1.0, **e: int) -> None: ...

    assert signature_text(changed) == "(a: int, /, b: str = 'x', *c: int, d: float = 1.0, **e: int) -> None"
    assert "**" not in "".join(line for line in surface().splitlines() if "Warning" not in line)


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match=r"module 'ragturbo_sdk' has no attribute 'generate'"):
        ragturbo_sdk.generate  # type: ignore[attr-defined]  # noqa: B018


def test_the_version_is_one_that_packaging_reads() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", ragturbo_sdk.__version__)


def test_options_are_keyword_only() -> None:
    assert str(inspect.signature(Generator.generate)).startswith(
        "(self, prompt: 'str | Sequence[str]', *, seed:"
    )
    assert str(inspect.signature(Generator)).startswith("(bundle: 'str | Path | None' = None, *, library:")


@pytest.mark.parametrize(
    "kind", [Generator, GenerationResult, GeneratorInfo, Library, LibraryInfo, LoadProgress, Reference]
)
def test_every_public_function_says_what_it_does(kind: type) -> None:
    for name, member in inspect.getmembers(kind):
        if name.startswith("_") or not (inspect.isfunction(member) or isinstance(member, property)):
            continue
        assert inspect.getdoc(member), f"{kind.__name__}.{name}"


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(ragturbo_sdk.__file__).parent / "py.typed").exists()
