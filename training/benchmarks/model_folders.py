"""Folders of models that the user brought: what must lie in them, and which they are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ragturbo_runtime.files import hash_file

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Names of weights in transformers' layout."""


def require_files(folder: Path, files: Sequence[Sequence[str]], *, option: str, public: str) -> None:
    """Check that a folder is laid out as its loader wants it.

    Args:
        folder: The user's.
        files: Per needed file, the names that do.
        option: The command's, for the message.
        public: Where a public one comes from, for the message.

    Raises:
        FileNotFoundError: A file is missing; says which layout is wanted and where the public model is found.
    """
    missing = [names for names in files if not any((folder / name).is_file() for name in names)]
    if missing:
        listed = ", ".join(" or ".join(names) for names in files)
        lacks = "it lacks " + ", ".join(" or ".join(names) for names in missing)
        raise FileNotFoundError(
            f"{option} {folder}: {lacks if folder.is_dir() else 'there is no such folder'}; wanted is a local folder "
            f"with {listed}, for example a download of {public}. Nothing is fetched from a network here"
        )


def load_whole(kind: Any, folder: Path, *, option: str, public: str, unused: str = "-") -> Any:  # noqa: ANN401 - transformers' own classes
    """Read a model in transformers' layout, and refuse one that transformers would fill up with random weights.

    Args:
        kind: The model's class.
        folder: The user's.
        option: The command's, for the message.
        public: Where a public one comes from, for the message.
        unused: Weights with this in their name may be missing.

    Returns:
        The model.

    Raises:
        ValueError: It cannot be read, or weights are missing: it is another kind of model.
    """
    try:
        model, info = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except Exception as error:  # what the readers of all these files raise has no common base
        raise ValueError(f"{option} {folder}: cannot be loaded ({error}); download it again") from error
    if missing := sorted(key for key in info["missing_keys"] if unused not in key):
        raise ValueError(
            f"{option} {folder}: {len(missing)} weights are not in it ({missing[0]}, ...), so it is no "
            f"{kind.__name__}; take for example {public}"
        )
    return model


def load_tokenizer(folder: Path) -> Any:  # noqa: ANN401 - transformers' own class
    """Read a model's tokenizer.

    Raises:
        ValueError: It cannot be read.
    """
    from transformers import AutoTokenizer

    loader: Any = AutoTokenizer
    try:
        return loader.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # what the readers of all these files raise has no common base
        raise ValueError(f"{folder}: its tokenizer cannot be read ({error}); download it again") from error


def hash_folder(folder: Path) -> str:
    """Identify a model by its files.

    Args:
        folder: Its files count, but for hidden ones and what lies deeper.

    Returns:
        sha256 over names and contents, 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != "."):
        digest.update(f"{path.name} {hash_file(path)}\n".encode())
    return digest.hexdigest()
