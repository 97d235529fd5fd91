"""Libraries that say what is not so. Hashes are made to fit, so that only what is read tells."""

from __future__ import annotations

import io
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from tests.faults.case import Case, edit_manifest, put
from tests.faults.graph_damage import bless
from tests.faults.small_bundle import RECORDS

_KEYS, _FEATURES = "library/keys-000001.f16", "library/features-000001.i8"
_META: dict[str, tuple[object, ...]] = {
    "format": (0, "1", "3", None, "9" * 400),
    "generation": ("2", "-1", 10**12, b"1"),
    "rows": ("0", "31", "33", str(2**40), str(2**63), "1e3", "32 "),
    "indexed": ("33", "-1", "x"),
    "embed_dim": ("0", "23", "65536", str(10**9)),
    "tokens": ("0", "17", "65536"),
    "channels": ("0", "33", "65536", "٣٢"),
    "key_dtype": ("int8", "float64", "object"),
    "feature_codec": ("float16", "pickle"),
    "scale": (
        b"",
        b"123",
        bytes(128),
        np.full(32, np.nan, "<f4").tobytes(),
        np.full(32, -1, "<f4").tobytes(),
    ),
    "key_space_id": ("0" * 64, b"1"),
    "h_space_id": ("0" * 64, 7),
}
_SQL: dict[str, str] = {
    "no records": "DELETE FROM records",
    "no table of records": "DROP TABLE records",
    "no meta": "DELETE FROM meta",
    "no table of meta": "DROP TABLE meta",
    "records are a view": "ALTER TABLE records RENAME TO r; CREATE VIEW records AS SELECT * FROM r",
    "records without end": "ALTER TABLE records RENAME TO r; CREATE VIEW records AS WITH RECURSIVE n(row) AS "
    "(SELECT 1 UNION ALL SELECT row + 1 FROM n WHERE row < 1e18) "
    "SELECT max(row) AS row, 'a' AS id, 'b' AS caption, '' AS source, '' AS licence, 1 AS crc FROM n",
    "all rows removed": "INSERT OR IGNORE INTO removed SELECT row FROM records; DELETE FROM records",
    "other rows": "UPDATE records SET row = row + 1000",
    "captions of bytes": "UPDATE records SET caption = x'00ff00ff'",
    "captions that are no UTF-8": "UPDATE records SET caption = CAST(x'ff00fe' AS TEXT)",
    "ids of numbers": "UPDATE records SET id = row + 0.5",
    "no thumbnails": "DELETE FROM thumbnails",
    "thumbnails of text": "UPDATE thumbnails SET png = 'text'",
    "thumbnails of terabytes": "UPDATE thumbnails SET png = 1000000000000",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON records BEGIN DELETE FROM records; END",
    "records computed by a virtual table": "CREATE VIRTUAL TABLE v USING fts5(x)",
    "empty thumbnails": "UPDATE thumbnails SET png = x''",
}


def library_cases(seed: int) -> Iterator[Case]:
    """Records, their numbers, their pictures, arrays, and files beside them."""
    for name, values in _META.items():
        for value in values:
            damage = partial(_sql, "UPDATE meta SET value = ? WHERE name = ?", (value, name))
            yield Case(f"library: {name} is {str(value)[:20]}", damage, "always")
    for name, script in _SQL.items():
        yield Case(f"library: {name}", partial(_script, script), "harmless")
    for name, png in _THUMBNAILS.items():
        damage = partial(_thumbnails, png)
        yield Case(f"library: thumbnails are {name}", damage, "harmless")
    for value in (np.nan, np.inf, 0.0, 60_000.0):
        yield Case(f"library: keys of {value}", partial(_fill, _KEYS, "<f2", value), "nothing")
    yield Case("library: features of -128", partial(_fill, _FEATURES, "i1", -128), "nothing")
    yield Case("library: a log beside the records", _log, "fast", draws_another=True)
    yield Case("library: a journal beside the records", _journal, "fast", draws_another=True)
    for file in ("records.sqlite", "keys-000001.f16", "features-000001.i8"):
        yield Case(f"library: {file} unlisted", partial(_unlist, f"library/{file}"), "always")


def _sql(statement: str, values: tuple[object, ...], bundle: Path) -> None:
    with closing(sqlite3.connect(bundle / RECORDS)) as records, records:
        if values[0] is None:
            records.execute("DELETE FROM meta WHERE name = ?", values[1:])
        else:
            records.execute(statement, values)
    bless(bundle, RECORDS)


def _script(script: str, bundle: Path) -> None:
    with closing(sqlite3.connect(bundle / RECORDS)) as records:
        records.executescript(script)
    bless(bundle, RECORDS)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def _png(width: int, height: int, packed: bytes, *more: bytes) -> bytes:
    head = _chunk(b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _tiff() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "TIFF")
    return file.getvalue()


_THUMBNAILS: dict[str, Callable[[], bytes]] = {
    "cut": lambda: _png(32, 32, zlib.compress(bytes(97 * 32)))[:60],
    "of 10 gigapixels": lambda: _png(100_000, 100_000, zlib.compress(bytes(10_000))),
    "of 2**31 columns": lambda: _png(2**31, 1, b""),
    "of no size": lambda: _png(0, 0, b""),
    "of 100 megapixels": lambda: _png(10_000, 10_000, zlib.compress(bytes(1_000))),
    "with a text that unpacks to 100 MB": lambda: _png(
        32, 32, zlib.compress(bytes(97 * 32)), _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000)))
    ),
    "no zlib": lambda: _png(32, 32, b"nothing"),
    "TIFF": _tiff,
}


def _thumbnails(png: Callable[[], bytes], bundle: Path) -> None:
    with closing(sqlite3.connect(bundle / RECORDS)) as records, records:
        records.execute("UPDATE thumbnails SET png = ?", [png()])
    bless(bundle, RECORDS)


def _fill(file: str, dtype: str, value: float, bundle: Path) -> None:
    array = np.fromfile(bundle / file, dtype)
    put(bundle / file, np.full_like(array, value).tobytes())
    bless(bundle, file)


def _other_scale(records: sqlite3.Connection) -> None:
    records.execute("UPDATE meta SET value = ? WHERE name = 'scale'", [np.full(32, 9, "<f4").tobytes()])


def _log(bundle: Path) -> None:
    """Put a change into SQLite's log, which is read as if it stood in the records; their hash stays right."""
    path, made = bundle / RECORDS, bundle.parent / f"{bundle.name}.sqlite"
    with closing(sqlite3.connect(path)) as records:
        records.execute("PRAGMA journal_mode = WAL")
    bless(bundle, RECORDS)
    shutil.copy(path, made)
    with closing(sqlite3.connect(made)) as records:
        records.execute("PRAGMA wal_autocheckpoint = 0")
        with records:
            _other_scale(records)
        shutil.copy(f"{made}-wal", f"{path}-wal")


def _journal(bundle: Path) -> None:
    """Put a journal there that SQLite rolls back: it writes a change into the records."""
    path, made = bundle / RECORDS, bundle.parent / f"{bundle.name}.sqlite"
    shutil.copy(path, made)
    with closing(sqlite3.connect(made, isolation_level=None)) as records:
        _other_scale(records)
        records.execute("PRAGMA cache_size = 1")
        records.execute("BEGIN")
        _other_scale(records)
        records.execute("UPDATE thumbnails SET png = zeroblob(90000)")
        shutil.copy(f"{made}-journal", f"{path}-journal")


def _unlist(file: str, bundle: Path) -> None:
    edit_manifest(bundle, lambda document: document["library"]["files"].pop(file))
