"""What is in the sdist and in the wheel that is built from it."""

from __future__ import annotations

import tarfile
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ragturbo_sdk._version import __version__
from tests.packaging.conftest import Distributions

pytestmark = [pytest.mark.slow, pytest.mark.network]

# The package index takes files up to 100 MB unless one asks for more.
LARGEST_FILE = 100_000_000
RUNTIME = {"numpy", "tokenizers", "pillow", "ftfy", "scann"}


def wheel_names(distributions: Distributions) -> set[str]:
    with zipfile.ZipFile(distributions.wheel) as archive:
        assert archive.testzip() is None
        return {name for name in archive.namelist() if not name.endswith("/")}


def in_wheel(distributions: Distributions, name: str) -> str:
    with zipfile.ZipFile(distributions.wheel) as archive:
        return archive.read(f"ragturbo_sdk-{__version__}.dist-info/{name}").decode()


def metadata(distributions: Distributions) -> Message:
    return HeaderParser().parsestr(in_wheel(distributions, "METADATA"))


def tree_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_wheel_has_two_packages_and_nothing_else(distributions: Distributions) -> None:
    tops = {PurePosixPath(name).parts[0] for name in wheel_names(distributions)}
    assert tops == {"ragturbo_sdk", "ragturbo_runtime", f"ragturbo_sdk-{__version__}.dist-info"}


def test_wheel_has_every_file_of_the_two_packages(distributions: Distributions) -> None:
    """A wheel from a source archive is where packages lose their sub-packages and their data."""
    tree = distributions.tree
    expected = {f"ragturbo_sdk/{name}" for name in tree_files(tree / "ragturbo_sdk")}
    expected |= {f"ragturbo_runtime/{name}" for name in tree_files(tree / "runtime" / "ragturbo_runtime")}
    shipped = {name for name in wheel_names(distributions) if ".dist-info/" not in name}
    assert shipped == expected
    assert {"ragturbo_sdk/py.typed", "ragturbo_runtime/py.typed"} <= shipped
    assert "ragturbo_sdk/bundles/emoji/manifest.json" in shipped


def test_sdist_is_a_development_checkout(distributions: Distributions) -> None:
    with tarfile.open(distributions.sdist) as archive:
        names = {PurePosixPath(member.name) for member in archive.getmembers() if member.isfile()}
    top = f"ragturbo_sdk-{__version__}"
    assert {name.parts[0] for name in names} == {top}
    inside = {name.relative_to(top).as_posix() for name in names}
    missing = tree_files(distributions.tree) - inside
    left_out = (".egg-info/", "training/weights/")  # the weights alone would fill the index's limit
    assert not {name for name in missing if not any(part in name for part in left_out)}, (
        "MANIFEST.in forgets them"
    )


def test_sizes_fit_the_package_index(distributions: Distributions) -> None:
    sizes = {path.name: path.stat().st_size for path in (distributions.wheel, distributions.sdist)}
    assert all(size < LARGEST_FILE for size in sizes.values()), sizes


def test_wheel_runs_on_any_platform(distributions: Distributions) -> None:
    assert distributions.wheel.name == f"ragturbo_sdk-{__version__}-py3-none-any.whl"
    assert "Root-Is-Purelib: true" in in_wheel(distributions, "WHEEL")


def test_metadata_says_what_it_is(distributions: Distributions) -> None:
    header = metadata(distributions)
    assert header["Name"] == "ragturbo-sdk"
    assert header["Version"] == __version__
    assert header["License-Expression"] == "Apache-2.0 AND MIT"
    assert set(header.get_all("License-File", [])) == {"LICENSE", "NOTICE"}
    assert header["Description-Content-Type"] == "text/markdown"
    pythons = SpecifierSet(header["Requires-Python"])
    assert [v for v in ("3.10", "3.11", "3.12", "3.13") if v in pythons] == ["3.11", "3.12", "3.13"]
    assert "ragturbo = ragturbo_sdk.cli.main:main" in in_wheel(distributions, "entry_points.txt")


def test_metadata_asks_for_the_runtime_alone(distributions: Distributions) -> None:
    requirements = [Requirement(line) for line in metadata(distributions).get_all("Requires-Dist", [])]
    always = {r.name for r in requirements if not (r.marker and "extra" in str(r.marker))}
    by_extra = {
        extra: {str(r.name) for r in requirements if r.marker and f'extra == "{extra}"' in str(r.marker)}
        for extra in metadata(distributions).get_all("Provides-Extra", [])
    }
    assert always == RUNTIME
    assert by_extra == {
        "cpu": {"onnxruntime"},
        "cuda": {"onnxruntime-gpu"},
        "faiss": {"faiss-cpu"},
        "playground": {"gradio"},
        "telemetry": {"opentelemetry-api"},
    }


@pytest.mark.parametrize(
    ("name", "wanted", "refused"),
    [
        ("onnxruntime", "1.32.0", "1.24.1"),
        ("onnxruntime", "1.24.2", "1.24.0"),
        ("onnxruntime-gpu", "1.32.0", "1.26.0"),
    ],
)
def test_onnxruntime_releases_that_cannot_work_are_refused(
    distributions: Distributions, name: str, wanted: str, refused: str
) -> None:
    requirements = [Requirement(line) for line in metadata(distributions).get_all("Requires-Dist", [])]
    (specifier,) = (r.specifier for r in requirements if r.name == name)
    assert wanted in specifier
    assert refused not in specifier


def test_scann_is_asked_for_only_where_it_has_wheels(distributions: Distributions) -> None:
    requirements = [Requirement(line) for line in metadata(distributions).get_all("Requires-Dist", [])]
    (marker,) = (r.marker for r in requirements if r.name == "scann")
    assert marker is not None
    assert marker.evaluate({"sys_platform": "linux", "python_version": "3.13"})
    assert not marker.evaluate({"sys_platform": "darwin", "python_version": "3.13"})
    assert not marker.evaluate({"sys_platform": "win32", "python_version": "3.12"})
    assert not marker.evaluate({"sys_platform": "linux", "python_version": "3.14"})
