"""Opening a bundle folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import (
    BundleCorruptError,
    BundleNotFoundError,
    BundleVersionError,
    InvalidInputError,
)


@pytest.mark.parametrize("verify", ["full", "fast", "off"])
def test_a_sound_bundle_opens(nano_bundle: Path, verify: Any) -> None:
    bundle = Bundle.load(str(nano_bundle), verify=verify, sdk_version="0.2.0")
    assert bundle.manifest.name == "nano"
    assert bundle.path == nano_bundle.resolve()
    assert bundle.graph_file("adapter") == nano_bundle / "adapter" / "model.onnx"
    assert bundle.file(bundle.manifest.tokenizer).is_file()


def test_a_relative_path_does_not_depend_on_the_directory_later(
    nano_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(nano_bundle.parent)
    bundle = Bundle.load(nano_bundle.name)
    monkeypatch.chdir(tmp_path)
    assert bundle.graph_file("adapter").is_file()


def test_an_unknown_graph_is_not_found(nano_bundle: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="no graph 'upscaler', it has text_encoder, unet_encoder"):
        Bundle.load(nano_bundle).graph_file("upscaler")


def test_arguments_are_checked(nano_bundle: Path) -> None:
    with pytest.raises(InvalidInputError, match="verify is 'slow', expected 'full', 'fast' or 'off'"):
        Bundle.load(nano_bundle, verify="slow")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="bundle is 3, expected a folder's path"):
        Bundle.load(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["~no-such-user-of-ragturbo", "a\0b", "a\ud800b", "x" * 300])
def test_what_can_be_no_folder_is_not_found(name: str) -> None:
    with pytest.raises(
        BundleNotFoundError, match=r"no folder that can be opened \(.+\); pass a folder that"
    ) as caught:
        Bundle.load(name)
    assert caught.value.path == Path(name)
    assert str(caught.value).isprintable()


def test_a_name_that_no_file_can_have_is_refused(nano_bundle: Path) -> None:
    bundle = Bundle.load(nano_bundle)
    with pytest.raises(BundleCorruptError, match=r"cannot be read .*surrogates not allowed"):
        bundle.file(replace(bundle.manifest.tokenizer, file="\ud800.json"))


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need rights elsewhere")
def test_links_in_a_circle_are_refused(nano_bundle_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(BundleNotFoundError, match="circle': no folder that can be opened"):
        Bundle.load(tmp_path / "circle")
    graph = nano_bundle_copy / "adapter" / "model.onnx"
    graph.unlink()
    graph.symlink_to(graph)
    with pytest.raises(
        BundleCorruptError, match=r"adapter/model\.onnx: cannot be read \(.+; download or export"
    ):
        Bundle.load(nano_bundle_copy)


@pytest.mark.parametrize(
    ("versions", "version", "fits"),
    [
        (">=0.1.0,<0.2.0", "0.1.0", True),
        (">=0.1.0,<0.2.0", "0.1.9.dev3", True),
        (">=0.1.0,<0.2.0", "0.2.0", False),
        (">=0.1.0,<0.2.0", "0.0.9", False),
        (">=0.1", "0.10", True),
        ("==1.2", "1.2.0", True),
        (">1.2, <=1.3, !=1.2.5", "1.2.5", False),
    ],
)
def test_sdk_range(nano_bundle: Path, versions: str, version: str, fits: bool) -> None:
    opened = Bundle.load(nano_bundle)
    bundle = Bundle(opened.path, replace(opened.manifest, sdk=versions))
    if fits:
        bundle.require_sdk(version)
    else:
        with pytest.raises(BundleVersionError, match=f"this is {version}; pip install 'ragturbo-sdk"):
            bundle.require_sdk(version)


def test_a_range_that_cannot_be_read_is_refused(nano_bundle: Path) -> None:
    opened = Bundle.load(nano_bundle)
    with pytest.raises(BundleCorruptError, match="sdk is 'newest', expected a range"):
        Bundle(opened.path, replace(opened.manifest, sdk="newest")).require_sdk("0.1.0")


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need rights elsewhere")
def test_a_link_out_of_the_bundle_is_refused(nano_bundle_copy: Path, tmp_path: Path) -> None:
    graph = nano_bundle_copy / "adapter" / "model.onnx"
    outside = tmp_path / "outside.onnx"
    graph.rename(outside)
    graph.symlink_to(outside)
    with pytest.raises(BundleCorruptError, match=r"adapter/model\.onnx: leads out of the bundle"):
        Bundle.load(nano_bundle_copy)
    with pytest.raises(BundleCorruptError, match="leads out of the bundle"):
        Bundle.load(nano_bundle_copy, verify="off").graph_file("adapter")


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need rights elsewhere")
def test_a_library_folder_outside_is_refused(nano_bundle_copy: Path, tmp_path: Path) -> None:
    library = nano_bundle_copy / "library"
    library.rename(tmp_path / "elsewhere")
    library.symlink_to(tmp_path / "elsewhere")
    bundle = Bundle.load(nano_bundle_copy, verify="off")
    assert bundle.manifest.library is not None
    with pytest.raises(BundleCorruptError, match="library: leads out of the bundle"):
        bundle.library_directory(bundle.manifest.library)
