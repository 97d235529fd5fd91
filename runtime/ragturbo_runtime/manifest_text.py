"""manifest.json as text: read with limits, strictly, and held against its own checksum.

A folder may come from anywhere. Nothing here waits for a pipe, reads without end, or takes what two JSON readers would
read differently.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragturbo_runtime.errors import BundleCorruptError, BundleNotFoundError

MANIFEST_FILE = "manifest.json"
MAX_BYTES = 16 << 20
"""A manifest has some ten thousand bytes; a library's files are its longest part."""
CHECKSUM = "checksum"
"""The key under which the manifest holds its own; absent in bundles from before there was one."""


def read_document(bundle: Path) -> dict[str, Any]:
    """Read a bundle's manifest.json as JSON.

    Args:
        bundle: The bundle folder.

    Returns:
        The JSON object.

    Raises:
        BundleNotFoundError: There is no such folder, or no manifest.json in it.
        BundleCorruptError: It is no plain file of the folder, too long, or no JSON object.
    """
    path = bundle / MANIFEST_FILE
    try:
        document = json.loads(_text(path), object_pairs_hook=_once, parse_constant=_no_number)
    except (FileNotFoundError, NotADirectoryError) as exc:
        what = f"{bundle}: no {MANIFEST_FILE} in it" if bundle.is_dir() else f"{bundle}: no such folder"
        hint = "pass a folder that python -m export.onnx wrote, or no bundle at all for the bundled model"
        raise BundleNotFoundError(what, path=bundle, hint=hint) from exc
    except OSError as exc:
        raise _damaged(path, f"cannot be read ({exc.strerror})") from exc
    except ValueError as exc:
        raise _damaged(path, f"not JSON ({exc})") from exc
    except RecursionError as exc:
        raise _damaged(path, "not JSON of ours (nested too deep)") from exc
    if not isinstance(document, dict):
        raise _damaged(path, f"expected a JSON object, found {type(document).__name__}")
    return document


def checksum(document: Mapping[str, Any]) -> str:
    """Return what a manifest says of itself: a digit that has changed in it is no error to any reader.

    Args:
        document: The JSON object; its own ``checksum`` does not count.

    Returns:
        sha256 of all other keys as compact JSON, keys sorted: 64 hexadecimal digits.
    """
    rest = {key: value for key, value in document.items() if key != CHECKSUM}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def verify_checksum(bundle: Path) -> None:
    """Hold a manifest against its own checksum; one without passes.

    Args:
        bundle: The bundle folder.

    Raises:
        BundleCorruptError: The two differ.
    """
    document = read_document(bundle)
    said = document.get(CHECKSUM)
    if said is not None and said != (found := checksum(document)):
        raise _damaged(bundle / MANIFEST_FILE, f"its checksum is {found}, it says {str(said)[:64]!r}")


def _damaged(path: Path, what: str) -> BundleCorruptError:
    return BundleCorruptError(f"{path}: {what}", path=path, hint="download or export the bundle again")


def _text(path: Path) -> str:
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(os.path.realpath(path.parent)):
        raise _damaged(path, f"leads out of the bundle to {target}")
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise _damaged(path, "cannot be read (not a plain file)")
    if found.st_size > MAX_BYTES:
        raise _damaged(path, f"cannot be read ({found.st_size} bytes, expected at most {MAX_BYTES})")
    return path.read_text(encoding="utf-8")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its keys; of a key that is there twice, another reader might take the other value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:40]!r} is there twice")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
