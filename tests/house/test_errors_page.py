"""docs/errors.md has a section for every error, and every message in it is one that a user can meet."""

from __future__ import annotations

import builtins
import doctest
import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ragturbo_runtime.library.writer import LibraryWriter
from ragturbo_sdk import CancelToken, Generator, errors
from tests.house.markdown import ROOT, blocks

PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
SECTIONS = {
    part.splitlines()[0]: [block.body for block in blocks(part) if block.language == "text"]
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
}
BUNDLED = Path(errors.__file__).parent / "bundles" / "emoji"


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(device="cpu", threads=1, spinning=False)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the bundled model that may be damaged."""
    return shutil.copytree(BUNDLED, tmp_path / "bundle")


def cut_off(bundle: Path) -> None:
    with (bundle / "unet_encoder" / "model.onnx").open("r+b") as file:
        file.truncate(1000)
    Generator(bundle, device="cpu")


def worn_out(bundle: Path, **options: str) -> None:
    """As a bad block of a disk leaves it: the size is right, some weights are not."""
    file = bundle / "vae_decoder" / "model.onnx"
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = b"\xff" * 1000
    file.write_bytes(content)
    Generator(bundle, device="cpu", **options).generate("a cat", seed=1)  # type: ignore[arg-type]


def of_the_future(bundle: Path) -> None:
    file = bundle / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema_version": 99}))
    Generator(bundle, device="cpu")


def without_cuda(_: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("needs the CPU build of ONNX Runtime")
    Generator(device="cuda")


def no_records(_: Path) -> None:
    Path("no-records").mkdir()
    Generator(device="cpu", library="no-records")


def own(generator: Generator) -> Generator:
    generator.library.copy("my-library")
    return Generator(device="cpu", library="my-library")


def locked(generator: Generator) -> None:
    changed = own(generator)
    with LibraryWriter(Path("my-library")):
        changed.library.remove("mug")


def closed() -> None:
    with Generator(device="cpu", threads=1) as generator:
        pass
    generator.generate("a cat")


def cancelled(generator: Generator) -> None:
    token = CancelToken()
    token.cancel()
    generator.generate("a cat", cancel=token)


# What a user did, one for each message of the section, in its order.
CAUSES: dict[str, list[Callable[[Generator, Path], object]]] = {
    "InvalidInputError": [
        lambda generator, _: generator.generate("a cat", strength=9),
        lambda *_: Generator(device="cpu", memory_limit=4 * 2**30),
        lambda generator, _: own(generator).library.add("mug.jpg", "my red mug"),
    ],
    "BundleNotFoundError": [lambda *_: Generator("no-such-bundle")],
    "BundleCorruptError": [
        lambda _, bundle: cut_off(bundle),
        lambda _, bundle: worn_out(bundle, verify="full"),
    ],
    "BundleVersionError": [lambda _, bundle: of_the_future(bundle)],
    "ProviderUnavailableError": [lambda _, bundle: without_cuda(bundle)],
    "RetrievalError": [
        lambda *_: Generator(device="cpu", library="no-library"),
        lambda _, bundle: no_records(bundle),
    ],
    "LibraryLockedError": [lambda generator, _: locked(generator)],
    "InferenceError": [lambda _, bundle: worn_out(bundle)],
    "OutputError": [
        lambda generator, _: generator.generate("a cat", seed=1).save("no-folder/cat.png"),
        lambda generator, _: generator.generate("a cat", seed=1).save("cat.jpg"),
    ],
    "GenerationCancelledError": [lambda generator, _: cancelled(generator)],
    "GeneratorClosedError": [
        lambda *_: closed(),
        lambda generator, _: generator.generate("a cat", progress=lambda _: generator.warmup()),
    ],
    "WrongProcessError": [lambda generator, _: pickle.dumps(generator)],
    "PromptTruncatedWarning": [lambda generator, _: generator.generate("a cat and " * 25 + "two pizzas")],
}
CASES = [(name, number) for name, causes in CAUSES.items() for number in range(len(causes))]


def test_every_error_has_a_section() -> None:
    assert sorted(SECTIONS) == sorted(errors.__all__)


def test_every_message_has_a_cause() -> None:
    quoted = {name: len(messages) for name, messages in SECTIONS.items() if messages}
    assert quoted == {name: len(causes) for name, causes in CAUSES.items()}


@pytest.mark.parametrize(("name", "number"), CASES, ids=lambda value: str(value))
def test_messages_are_what_a_user_sees(
    name: str,
    number: int,
    generator: Generator,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(getattr(errors, name)) as caught:
        CAUSES[name][number](generator, bundle)
    assert name == "InvalidInputError" or type(caught.value).__name__ == name
    as_text = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE  # the page breaks long lines
    seen = f"{caught.value}\n"
    assert doctest.OutputChecker().check_output(SECTIONS[name][number], seen, as_text), seen


@pytest.mark.parametrize("name", errors.__all__)
def test_what_else_an_error_is(name: str) -> None:
    """`except OSError` catches an OutputError, and so on: the page says so of each where it is so."""
    (text,) = (part for part in PAGE.split("\n## ") if part.startswith(f"{name}\n"))
    said = {getattr(builtins, kind, None) for kind in re.findall(r"Also an? `(\w+)`", text)} - {None}
    foreign = {base for base in getattr(errors, name).__bases__ if base.__module__ == "builtins"}
    assert said == foreign - {Exception, UserWarning}
