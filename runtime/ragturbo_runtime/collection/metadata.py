"""Reads the list of a folder of pictures: metadata.csv or metadata.jsonl, in UTF-8.

Reading is strict where a mistake would pass unseen: a comma that nobody quoted moves every later column, and
the library would then hold half a caption and a wrong licence.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ragturbo_runtime.errors import InvalidInputError

TABLE, LINES = "metadata.csv", "metadata.jsonl"


def read_rows(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the list of a folder.

    Args:
        folder: Holds metadata.csv or metadata.jsonl; the first is taken if both are there.

    Yields:
        The place of each row, as ``metadata.csv:7`` with the folder before it, and its values by column.

    Raises:
        InvalidInputError: There is neither file, it is not UTF-8, or a row is damaged.
    """
    table, lines = folder / TABLE, folder / LINES
    if table.is_file():
        yield from _table_rows(table)
    elif lines.is_file():
        # Not splitlines(): a JSON text may hold U+2028 and other letters that it takes for the end of a line.
        for number, line in enumerate(_read_text(lines).split("\n"), start=1):
            if line.strip():
                yield f"{lines}:{number}", _json_row(line, f"{lines}:{number}")
    else:
        raise _refusal(
            f"{folder}: no {TABLE} and no {LINES} in it",
            "list the pictures there, with the columns file_name and text",
        )


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object that somebody else wrote.

    Raises:
        ValueError: It is not JSON, or something else than an object.
    """
    try:
        parsed = json.loads(text)
    except RecursionError as error:
        raise ValueError("not JSON (it is nested too deeply)") from error
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"expected a JSON object, found {type(parsed).__name__}")
    return parsed


def _refusal(message: str, hint: str) -> InvalidInputError:
    return InvalidInputError(message, argument="collection", hint=hint)


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _refusal(
            f"{path}:{line}: byte 0x{error.object[error.start]:02x} is not UTF-8",
            "save the file as UTF-8 (in Excel: 'CSV UTF-8')",
        ) from error
    except OSError as error:
        raise _refusal(f"{path}: cannot be read ({error.strerror or error})", "make it readable") from error


def _table_rows(table: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(_read_text(table), newline=""), strict=True)
    try:
        columns = next(reader, [])
        _check_columns(columns, f"{table}:1")
        for values in reader:
            if values:
                place = f"{table}:{reader.line_num}"
                yield place, _table_row(columns, values, place)
    except csv.Error as error:  # a quote that never ends, for one: the rest of the file would be one text
        raise _refusal(
            f"{table}:{reader.line_num}: not CSV ({error})",
            "put a text that holds a comma or a quote between double quotes, "
            'and double those inside: "a 5"" disk"',
        ) from error


def _check_columns(columns: Sequence[str], place: str) -> None:
    """Without these no row could be used, and a name that stands twice would lose one of its columns."""
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if "file_name" not in columns or not {"text", "caption"} & set(columns) or twice:
        seen = ", ".join(map(repr, columns)) or "nothing"
        raise _refusal(
            f"{place}: needs the columns file_name and text (or caption), and each once; found {seen}",
            "name the columns in the first line, with commas between and no spaces",
        )


def _table_row(columns: Sequence[str], values: Sequence[str], place: str) -> dict[str, Any]:
    if len(values) != len(columns):
        raise _refusal(
            f"{place}: {len(values)} values for {len(columns)} columns ({', '.join(columns)})",
            "put a text that holds a comma between double quotes, and leave no column out",
        )
    return dict(zip(columns, values, strict=True))


def _json_row(line: str, place: str) -> dict[str, Any]:
    try:
        return json_object(line)
    except ValueError as error:
        raise _refusal(f"{place}: {error}", "write one JSON object a line") from error
