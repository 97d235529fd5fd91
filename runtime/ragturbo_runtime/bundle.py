"""A bundle folder: the only thing that crosses from torch to numpy."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from ragturbo_runtime.consistency import require_consistent
from ragturbo_runtime.errors import (
    BundleCorruptError,
    BundleNotFoundError,
    BundleVersionError,
    InvalidInputError,
)
from ragturbo_runtime.files import hash_file
from ragturbo_runtime.library.layout import RECORDS_FILE
from ragturbo_runtime.manifest import MANIFEST_FILE, FileEntry, LibraryPart, Manifest, read_manifest
from ragturbo_runtime.manifest_text import verify_checksum
from ragturbo_runtime.shown import shown
from ragturbo_runtime.weight_files import require_weights

Verify = Literal["full", "fast", "off"]
"""How much to check: sha256 of every file, existence and size, or nothing but the manifest."""

_HINT = "download or export the bundle again"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its folder and its manifest. Holds no file open.

    Attributes:
        path: The bundle folder, absolute.
        manifest: What manifest.json says.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def load(cls, path: str | Path, *, verify: Verify = "fast", sdk_version: str | None = None) -> Bundle:
        """Open a bundle folder and check it.

        Args:
            path: The folder that holds manifest.json.
            verify: ``"full"`` compares the sha256 of every file, ``"fast"`` existence and size (well under a
                millisecond a file), ``"off"`` reads the manifest alone.
            sdk_version: The version to hold against the bundle's ``sdk`` range; None skips that check.

        Returns:
            The bundle.

        Raises:
            InvalidInputError: ``path`` or ``verify`` is not one of the above.
            BundleNotFoundError: There is no such folder, the path cannot be one, or no manifest.json is in it.
            BundleVersionError: It was made for another schema or SDK version.
            BundleCorruptError: The manifest, or a file that it names, is not what it should be.
        """
        if not isinstance(verify, str) or verify not in get_args(Verify):
            raise InvalidInputError(
                f"verify is {shown(verify)}, expected 'full', 'fast' or 'off'",
                argument="verify",
                hint="leave it out for 'fast'",
            )
        if not isinstance(path, str | Path):
            raise InvalidInputError(
                f"bundle is {shown(path)}, expected a folder's path",
                argument="bundle",
                hint="pass a str or a pathlib.Path",
            )
        folder = _absolute(path)
        bundle = cls(path=folder, manifest=read_manifest(folder))
        if sdk_version is not None:
            bundle.require_sdk(sdk_version)
        require_consistent(bundle.manifest, folder / MANIFEST_FILE)
        if verify != "off":
            bundle.verify(full=verify == "full")
        return bundle

    def file(self, entry: FileEntry) -> Path:
        """Return the path of a file of the bundle.

        Args:
            entry: One entry of the manifest.

        Returns:
            The absolute path, symbolic links followed.

        Raises:
            BundleCorruptError: A symbolic link leads out of the bundle, or it is no plain file.
        """
        path = self._inside(entry.file)
        if path.exists() and not path.is_file():  # opening a pipe waits for ever
            raise BundleCorruptError(f"{entry.file}: not a plain file", path=path, hint=_HINT)
        return path

    def library_directory(self, part: LibraryPart) -> Path:
        """Return the folder of the library.

        Args:
            part: The manifest's ``library``.

        Returns:
            The absolute path, symbolic links followed.

        Raises:
            BundleCorruptError: A symbolic link of it, or of one of its files, leads out of the bundle.
        """
        directory = self._inside(part.directory)
        for entry in part.files:
            self.file(entry)
        return directory

    def graph_file(self, name: str) -> Path:
        """Return the path of a graph's ONNX file.

        Args:
            name: For example ``"text_encoder"``.

        Returns:
            The absolute path.

        Raises:
            BundleNotFoundError: The bundle has no such graph.
            BundleCorruptError: The path leads out of the bundle, or the graph takes its weights from a file that the
                manifest does not name.
        """
        graph = self.manifest.graphs.get(name)
        if graph is None:
            known = ", ".join(self.manifest.graphs)
            raise BundleNotFoundError(f"{self.path}: no graph {name!r}, it has {known}", path=self.path)
        path = self.file(graph.file)
        weights = None if graph.data is None else self.file(graph.data)
        require_weights(path, weights, name=graph.file.file)
        return path

    def verify(self, *, full: bool) -> None:
        """Compare every file with the manifest.

        Args:
            full: Also compare the sha256 (reads every byte), the manifest's own included.

        Raises:
            BundleCorruptError: A file is missing, of another size or content, or outside the bundle.
        """
        for error in self.faults(full=full):
            raise error

    def faults(self, *, full: bool = True) -> Iterator[BundleCorruptError]:
        """Compare every file with the manifest, and go on where one differs.

        Args:
            full: As for ``verify``.

        Yields:
            What ``verify`` would raise, for each file.
        """
        checks: list[Callable[[], None]] = [partial(verify_checksum, self.path)] if full else []
        checks += [partial(self._verify_file, entry, full=full) for entry in self.manifest.files()]
        if self.manifest.library is not None:
            checks.append(partial(self._refuse_logs, self.manifest.library))
        for check in checks:
            try:
                check()
            except BundleCorruptError as error:
                yield error

    def require_sdk(self, version: str) -> None:
        """Refuse a bundle that was made for other SDK versions.

        Args:
            version: This SDK's version, for example ``"0.2.0"``.

        Raises:
            BundleVersionError: The version is outside the manifest's ``sdk`` range.
            BundleCorruptError: The range cannot be read.
        """
        for clause in self.manifest.sdk.split(","):
            match = re.fullmatch(r"\s*(>=|<=|==|!=|<|>)\s*(\d{1,9}(?:\.\d{1,9})*)\s*", clause)
            if match is None:
                raise BundleCorruptError(
                    f"manifest.json: sdk is {self.manifest.sdk[:60]!r}, expected a range such as '>=0.2.0,<0.3.0'",
                    path=self.path,
                    hint=_HINT,
                )
            if not _satisfies(_release(version), match[1], _release(match[2])):
                raise BundleVersionError(
                    f"{self.path}: made for ragturbo-sdk {self.manifest.sdk}, this is {version}",
                    path=self.path,
                    hint=f"pip install 'ragturbo-sdk{self.manifest.sdk}', or export the bundle again",
                )

    def _inside(self, relative: str) -> Path:
        try:
            path = (self.path / relative).resolve()
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path.stat()  # what cannot be looked at cannot be read; that nothing is there is for its reader to say
        except (OSError, RuntimeError, ValueError) as exc:  # links in a circle, letters that no path can hold
            raise BundleCorruptError(
                f"{relative[:80]}: cannot be read ({str(exc)[:200]})", path=self.path / relative, hint=_HINT
            ) from exc
        if not path.is_relative_to(self.path):
            raise BundleCorruptError(
                f"{relative}: leads out of the bundle to {path}", path=self.path / relative, hint=_HINT
            )
        return path

    def _refuse_logs(self, part: LibraryPart) -> None:
        """SQLite takes changes from a log beside the records, and no hash of the records would tell."""
        for suffix in ("-wal", "-journal"):
            log = self._inside(f"{part.directory}/{RECORDS_FILE}{suffix}")
            if log.exists() and log.stat().st_size:
                raise BundleCorruptError(
                    f"{part.directory}/{log.name}: not in the manifest, and SQLite would change the records by it",
                    path=log,
                    hint=f"delete it, or {_HINT}",
                )

    def _verify_file(self, entry: FileEntry, *, full: bool) -> None:
        path = self.file(entry)
        try:
            size = path.stat().st_size
            if size != entry.bytes:
                raise BundleCorruptError(
                    f"{entry.file}: {size} bytes, expected {entry.bytes}", path=path, hint=_HINT
                )
            found = hash_file(path) if full else entry.sha256
        except OSError as exc:
            raise BundleCorruptError(
                f"{entry.file}: cannot be read ({exc.strerror})", path=path, hint=_HINT
            ) from exc
        if found != entry.sha256:
            raise BundleCorruptError(
                f"{entry.file}: sha256 {found}, expected {entry.sha256}", path=path, hint=_HINT
            )


def _absolute(path: str | Path) -> Path:
    """Resolve a folder's path; that there is no manifest in it is for read_manifest to say."""
    try:
        folder = Path(path).expanduser().resolve()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            folder.stat()  # from Python 3.13 on, resolve() lets links in a circle pass
    except (OSError, RuntimeError, ValueError) as exc:  # no such user, links in a circle, a NUL
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise BundleNotFoundError(
            f"{str(path)!r}: no folder that can be opened ({reason})",
            path=path,
            hint="pass a folder that python -m export.onnx wrote, or no bundle at all for the bundled model",
        ) from exc
    return folder


def _release(version: str) -> tuple[int, ...]:
    """Return the release numbers, padded to four; a suffix such as ``.dev0`` or ``rc1`` is not compared."""
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    parts = [int(part) for part in numbers[0].split(".")] if numbers else []
    return tuple([*parts, 0, 0, 0, 0][:4])


def _satisfies(version: tuple[int, ...], operator: str, bound: tuple[int, ...]) -> bool:
    return {
        ">=": version >= bound,
        "<=": version <= bound,
        "==": version == bound,
        "!=": version != bound,
        "<": version < bound,
        ">": version > bound,
    }[operator]
