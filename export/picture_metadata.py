"""Reads the list of a folder of pictures: metadata.csv or metadata.jsonl, in UTF-8.

Reading is strict where a mistake would pass unseen: a comma that nobody quoted moves every later column, and
the library would then hold half a caption and a wrong licence.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from export.errors import ExportError


def read_rows(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the list of a folder.

    Args:
        folder: Holds metadata.csv or metadata.jsonl; the first is taken if both are there.

    Yields:
        The place of each row, as ``metadata.csv:7`` with the folder before it, and its values by column.

    Raises:
        ExportError: There is neither file, it is not UTF-8, or a row is damaged.
    """
    table, lines = folder / "metadata.csv", folder / "metadata.jsonl"
    if table.is_file():
        yield from _table_rows(table)
    elif lines.is_file():
        # Not splitlines(): a JSON text may hold U+2028 and other letters that it takes for the end of a line.
        for number, line in enumerate(_read_text(lines).split("\n"), start=1):
            if line.strip():
                yield f"{lines}:{number}", _json_row(line, f"{lines}:{number}")
    else:
        raise ExportError(
            f"{folder}: no metadata.csv and no metadata.jsonl in it; list the pictures there, "
            "with the columns file_name and text"
        )


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ExportError(
            f"{path}:{line}: byte 0x{error.object[error.start]:02x} is not UTF-8; "
            "save the file as UTF-8 (in Excel: 'CSV UTF-8')"
        ) from error
    except OSError as error:
        raise ExportError(
            f"{path}: cannot be read ({error.strerror or error}); make it a readable file"
        ) from error


def _table_rows(table: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(_read_text(table), newline=""), strict=True)
    try:
        columns = next(reader, [])
        for values in reader:
            if values:
                place = f"{table}:{reader.line_num}"
                yield place, _table_row(columns, values, place)
    except csv.Error as error:  # a quote that never ends, for one: the rest of the file would be one text
        raise ExportError(
            f"{table}:{reader.line_num}: not CSV ({error}); "
            'put a text that holds a comma or a quote between double quotes, and double those inside: "a 5"" disk"'
        ) from error


def _table_row(columns: list[str], values: list[str], place: str) -> dict[str, Any]:
    if len(values) != len(columns):
        raise ExportError(
            f"{place}: {len(values)} values for {len(columns)} columns ({', '.join(columns)}); "
            "put a text that holds a comma between double quotes, and leave no column out"
        )
    return dict(zip(columns, values, strict=True))


def _json_row(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ExportError(f"{place}: not JSON ({error}); write one JSON object a line") from error
    if not isinstance(row, dict):
        raise ExportError(f"{place}: expected a JSON object, found {type(row).__name__}")
    return row
