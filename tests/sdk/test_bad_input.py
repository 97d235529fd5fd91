"""Whatever is wrong with an argument, the error is ours, names the argument and says the way out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ragturbo_sdk
from ragturbo_sdk import (
    BundleError,
    BundleNotFoundError,
    Generator,
    InvalidInputError,
    ProviderUnavailableError,
    RagTurboError,
    RetrievalError,
)

NAN = float("nan")
BAD = [
    ("prompt", "", "at least one word"),
    ("prompt", " \n\t", "at least one word"),
    ("prompt", None, "expected text"),
    ("prompt", 7, "expected text"),
    ("prompt", b"a cat", "expected text"),
    ("prompt", [], "at least one text"),
    ("prompt", ["a cat", ""], "at least one word"),
    ("prompt", ["a cat", 7], "prompt is 7"),
    ("prompt", {"a cat": 1}, "expected text"),
    ("prompt", "a \udce9clair", "valid Unicode"),
    ("prompt", ["a cat"] * 65, "65 prompts"),
    ("seed", -1, "from 0 to"),
    ("seed", 1.0, "whole number"),
    ("seed", "7", "whole number"),
    ("seed", True, "whole number"),
    ("seed", 2**64, "from 0 to"),
    ("num_images", 0, "from 1 to 64"),
    ("num_images", 65, "from 1 to 64"),
    ("num_images", 2.0, "whole number"),
    ("num_images", None, "whole number"),
    ("references", -1, "from 0 to"),
    ("references", 10_000, "from 0 to"),
    ("references", 1.5, "whole number"),
    ("references", np.ones((2, 2)), "whole number"),
    ("strength", -0.1, "from 0 to 2"),
    ("strength", 2.1, "from 0 to 2"),
    ("strength", NAN, "from 0 to 2"),
    ("strength", float("inf"), "from 0 to 2"),
    ("strength", "1", "from 0 to 2"),
    ("strength", True, "from 0 to 2"),
    ("strength", None, "from 0 to 2"),
    ("num_inference_steps", 0, "from 1 to 4"),
    ("num_inference_steps", 5, "from 1 to 4"),
    ("retrieval", "no", "True or False"),
    ("retrieval", 1, "True or False"),
]


@pytest.mark.parametrize(("argument", "value", "allowed"), BAD)
def test_a_bad_argument_is_named(generator: Generator, argument: str, value: Any, allowed: str) -> None:
    arguments: dict[str, Any] = {"prompt": "a cat", argument: value}
    with pytest.raises(InvalidInputError) as caught:
        generator.generate(**arguments)
    assert caught.value.argument == argument
    assert allowed in caught.value.message
    assert caught.value.hint
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 220


def test_too_many_pictures_of_several_prompts(generator: Generator) -> None:
    with pytest.raises(InvalidInputError, match="2 prompts with 33 pictures each are more than 64") as caught:
        generator.generate(["a cat", "a dog"], num_images=33)
    assert caught.value.argument == "num_images"


def test_the_last_seed_leaves_room_for_the_batch(generator: Generator) -> None:
    assert generator.generate("a cat", seed=2**64 - 2, num_images=2).seeds[1] == 2**64 - 1
    with pytest.raises(InvalidInputError, match="seed is"):
        generator.generate("a cat", seed=2**64 - 2, num_images=3)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_bad_threads(nano_bundle: Path, threads: Any) -> None:
    with pytest.raises(InvalidInputError, match="threads is") as caught:
        Generator(nano_bundle, threads=threads)
    assert caught.value.argument == "threads"


@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [
        ("spinning", "no", "True or False"),
        ("spinning", 0, "True or False"),
        ("cuda_graphs", 1, "True or False"),
        ("memory_limit", 0, "whole number from 1"),
        ("memory_limit", -1, "whole number from 1"),
        ("memory_limit", 1e9, "whole number from 1"),
        ("memory_limit", "4G", "whole number from 1"),
        ("memory_limit", True, "whole number from 1"),
        ("progress", 7, "a function, or None"),
        ("memory_limit", 2**30, "the graphs run on the CPU"),
        ("cuda_graphs", True, "the graphs run on the CPU"),
    ],
)
def test_bad_options_of_loading(nano_bundle: Path, argument: str, value: Any, allowed: str) -> None:
    options: dict[str, Any] = {"device": "cpu", argument: value}
    with pytest.raises(InvalidInputError) as caught:
        Generator(nano_bundle, **options)
    assert caught.value.argument == argument
    assert allowed in caught.value.message
    assert caught.value.hint


def test_warming_up_for_too_many_pictures(generator: Generator) -> None:
    with pytest.raises(InvalidInputError, match="num_images is 65"):
        generator.warmup(num_images=65)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "", "CPU", 0, None])
def test_unknown_device(nano_bundle: Path, device: Any) -> None:
    with pytest.raises(InvalidInputError, match="device is") as caught:
        Generator(nano_bundle, device=device)
    assert caught.value.argument == "device"


def test_a_device_that_is_not_there(nano_bundle: Path) -> None:
    """Card 999 is in no machine, and on most there is no CUDA provider either."""
    with pytest.raises(ProviderUnavailableError) as caught:
        Generator(nano_bundle, device="cuda:999")
    assert caught.value.requested == "cuda:999"
    assert caught.value.hint


def test_unknown_verify(nano_bundle: Path) -> None:
    bad: Any = "sometimes"
    with pytest.raises(InvalidInputError, match="verify is 'sometimes'"):
        Generator(nano_bundle, verify=bad)


def test_a_folder_that_is_missing_or_foreign(tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "model.onnx").write_bytes(b"something else")
    for folder in (tmp_path / "missing", tmp_path / "foreign", tmp_path / "foreign" / "model.onnx"):
        with pytest.raises(BundleNotFoundError) as caught:
            Generator(folder)
        assert str(folder) in caught.value.message
        assert caught.value.path == folder.resolve()
        assert caught.value.hint
        assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("bundle", [7, b"folder", ["folder"]])
def test_a_bundle_that_is_no_path(bundle: Any) -> None:
    with pytest.raises(InvalidInputError, match="bundle is") as caught:
        Generator(bundle)
    assert caught.value.argument == "bundle"


@pytest.mark.parametrize("file", ["unet_encoder", "adapter", "vae_decoder"])
def test_a_damaged_file_is_named(nano_bundle: Path, tmp_path: Path, file: str) -> None:
    copy = shutil.copytree(nano_bundle, tmp_path / "bundle")
    entry = json.loads((copy / "manifest.json").read_text())["graphs"][file]["file"]
    (copy / entry).write_bytes((copy / entry).read_bytes()[:-100])
    with pytest.raises(BundleError, match=entry):
        Generator(copy)


@pytest.fixture
def without_library(nano_bundle: Path, tmp_path: Path) -> Path:
    """The nano bundle, exported without a library."""
    copy = shutil.copytree(nano_bundle, tmp_path / "bundle")
    manifest = json.loads((copy / "manifest.json").read_text())
    shutil.rmtree(copy / manifest["library"]["directory"])
    (copy / "manifest.json").write_text(json.dumps({**manifest, "library": None}))
    return copy


def test_without_a_library_nothing_is_looked_up(without_library: Path, generator: Generator) -> None:
    with Generator(without_library, device="cpu", threads=1) as plain:
        result = plain.generate("a cat", seed=7)
        assert result.references == ()
        assert (plain.info.library_size, plain.info.default_references) == (0, 0)
        same = generator.generate("a cat", seed=7, retrieval=False)
        assert result.image.tobytes() == same.image.tobytes()
        with pytest.raises(RetrievalError, match="has no library") as caught:
            plain.generate("a cat", references=2)
        assert caught.value.hint


def test_every_error_is_in_one_tree() -> None:
    errors = [name for name in ragturbo_sdk.__all__ if name.endswith("Error")]
    assert len(errors) >= 10
    for name in errors:
        error = getattr(ragturbo_sdk, name)
        assert issubclass(error, RagTurboError)
        assert error.__module__ == "ragturbo_sdk", "tracebacks show the name that a host imports"
