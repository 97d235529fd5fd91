"""Reads TOML tables into frozen dataclasses, and refuses what they do not know."""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from pathlib import Path
from typing import TypeVar

Config = TypeVar("Config")


def read_toml(path: Path) -> dict[str, object]:
    """Read a TOML file.

    Raises:
        ValueError: It is no TOML; the message names the file and the place.
        FileNotFoundError: It is not there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; configs to copy lie in training/configs")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not valid TOML: {error}") from error


def parse_table(kind: type[Config], table: typing.Mapping[str, object], where: str) -> Config:
    """Make a dataclass of a TOML table.

    Args:
        kind: A dataclass of numbers, strings, booleans and tuples of them.
        table: What the file says. Missing keys keep their defaults.
        where: How errors call the table, e.g. ``"emoji.toml [vae]"``.

    Raises:
        ValueError: An unknown key, a missing one without a default, a value of another type, or one that the dataclass
            itself refuses.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(table) - set(fields)):
        raise ValueError(f"{where}: unknown keys {unknown}; allowed are {sorted(fields)}")
    missing = [
        n
        for n, f in fields.items()
        if n not in table and f.default is f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{where}: missing keys {missing}")
    hints = typing.get_type_hints(kind)
    values = {key: _convert(hints[key], value, f"{where} {key}") for key, value in table.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _convert(hint: object, value: object, where: str) -> object:
    """Accept what the annotation allows: an int where a float is wanted, a list where a tuple is."""
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        if not isinstance(value, list):
            raise ValueError(
                f"{where}: is {value!r} ({type(value).__name__}); allowed is a list of {item.__name__}"
            )
        return tuple(_convert(item, entry, where) for entry in value)
    if hint is float and type(value) is int:
        return float(value)
    allowed = typing.get_args(hint) or (hint,)
    literal = typing.get_origin(hint) is typing.Literal
    if (value in allowed) if literal else any(type(value) is kind for kind in allowed):
        return value
    names = ", ".join(str(kind) if literal else getattr(kind, "__name__", str(kind)) for kind in allowed)
    raise ValueError(f"{where}: is {value!r} ({type(value).__name__}); allowed is {names}")
