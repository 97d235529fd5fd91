"""Lists of pictures: a damaged one is refused with its line, and never read by halves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragturbo_runtime.collection.metadata import json_object, read_rows
from ragturbo_runtime.errors import InvalidInputError


def rows(folder: Path, table: str | bytes, name: str = "metadata.csv") -> list[dict[str, object]]:
    (folder / name).write_bytes(table.encode() if isinstance(table, str) else table)
    return [row for _, row in read_rows(folder)]


def refusal(folder: Path, table: str | bytes, name: str = "metadata.csv") -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        rows(folder, table, name)
    assert caught.value.argument == "collection"
    assert caught.value.hint
    return caught.value


def test_rows_know_their_places(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text('file_name,text\na.png,"two\nlines"\n\nb.png,b\n')
    assert list(read_rows(tmp_path)) == [
        (f"{tmp_path / 'metadata.csv'}:3", {"file_name": "a.png", "text": "two\nlines"}),
        (f"{tmp_path / 'metadata.csv'}:5", {"file_name": "b.png", "text": "b"}),
    ]


def test_the_table_comes_before_the_lines(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text("oops")
    assert rows(tmp_path, "file_name,caption\na.png,a\n") == [{"file_name": "a.png", "caption": "a"}]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            "",
            r"csv:1: needs the columns file_name and text \(or caption\), and each once; found nothing; name",
        ),
        ("picture,text\nred.png,red\n", "csv:1: needs .*; found 'picture', 'text'"),
        ("file_name,label\nred.png,red\n", "csv:1: needs .*; found 'file_name', 'label'"),
        ("file_name;text\nred.png;red\n", "csv:1: needs .*; found 'file_name;text'"),
        ("file_name, text\nred.png, red\n", "csv:1: needs .*; found 'file_name', ' text'"),
        ("file_name,text,text\na,b,c\n", "csv:1: needs .* each once; found"),
        (
            "file_name,text\nred.png,a red, plain thing\n",
            r"csv:2: 3 values for 2 columns \(file_name, text\); put",
        ),
        ("file_name,text,source\n\nred.png,red\n", "csv:3: 2 values for 3 columns"),
        ('file_name,text\nred.png,"red\nblue.png,blue\n', "csv:3: not CSV .*; put a text"),
        ('file_name,text\nred.png,"r"ed\n', "csv:2: not CSV"),
        (f"file_name,text\nred.png,{'x' * 200_000}\n", "csv:2: not CSV .*limit"),
    ],
)
def test_a_bad_table_names_its_line(tmp_path: Path, table: str, said: str) -> None:
    assert re.search(said, str(refusal(tmp_path, table)))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{oops", "jsonl:2: not JSON .*; write one JSON object a line"),
        ("[1]", "jsonl:2: expected a JSON object, found list"),
        ("null", "jsonl:2: expected a JSON object, found NoneType"),
        ("[" * 100_000, "jsonl:2: not JSON .*nested too deeply"),
        ("9" * 5000, "jsonl:2: not JSON"),
    ],
)
def test_a_bad_line_names_its_number(tmp_path: Path, line: str, said: str) -> None:
    good = '{"file_name": "red.png", "text": "red"}'
    assert re.search(said, str(refusal(tmp_path, f"{good}\n{line}\n", "metadata.jsonl")))


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("latin-1", ":2: byte 0xe2 is not UTF-8; save the file as UTF-8"),
        ("utf-16", ":1: byte 0xff is not UTF-8"),
    ],
)
def test_a_list_in_another_encoding_names_its_line(
    tmp_path: Path, name: str, encoding: str, said: str
) -> None:
    text = "file_name,text\nred.png,une pâtisserie à la crème brûlée\n"
    assert f"{name}{said}" in str(refusal(tmp_path, text.encode(encoding), name))


@pytest.mark.parametrize("mark", [b"", "\ufeff".encode()])
def test_utf8_is_read_with_and_without_a_mark_of_its_own(tmp_path: Path, mark: bytes) -> None:
    read = rows(tmp_path, mark + "file_name,text\r\nred.png,une pâtisserie\r\n".encode())
    assert read == [{"file_name": "red.png", "text": "une pâtisserie"}]


def test_a_json_text_may_hold_unicode_line_separators(tmp_path: Path) -> None:
    row = {"file_name": "red.png", "text": "red\u2028and\x85plain"}
    line = json.dumps(row, ensure_ascii=False)
    assert rows(tmp_path, f"\n{line}\r\n\n", "metadata.jsonl") == [row]


def test_there_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInputError, match=r"no metadata\.csv and no metadata\.jsonl in it; list the pictures"
    ):
        list(read_rows(tmp_path))


@given(st.binary(max_size=200), st.sampled_from(["metadata.csv", "metadata.jsonl"]))
def test_any_bytes_are_rows_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / name.replace(".", "-")
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"file_name,text\n" * (name == "metadata.csv") + data)
    try:
        for _, row in read_rows(folder):
            assert isinstance(row, dict)
    except InvalidInputError:
        pass


@given(st.text(max_size=50))
def test_any_text_is_an_object_or_a_value_error(text: str) -> None:
    try:
        assert isinstance(json_object(text), dict)
    except ValueError:
        pass
