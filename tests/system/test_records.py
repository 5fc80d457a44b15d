"""Records on disk: what was written is read back; everything else ends in one kind of error that names file and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dips.errors import DataError, RunError
from dips.system.records import Record, parse_object, parse_record, read_record, to_json, write_json


class Box(Record, frozen=True, kw_only=True):
    corners: tuple[float, float, float, float]


class Photo(Record, frozen=True, kw_only=True):
    schema_version: int = 2
    name: str
    boxes: tuple[Box, ...] = ()
    label: str | None = None


@given(st.text(), st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 4), max_size=3))
def test_what_was_written_is_read_back(name: str, boxes: list[tuple[float, float, float, float]]) -> None:
    photo = Photo(name=name, boxes=tuple(Box(corners=box) for box in boxes))
    assert parse_record(to_json(photo), Photo, source="x", remedy="y") == photo


def test_the_version_is_the_first_key_and_a_name_that_is_no_text_is_escaped(tmp_path: Path) -> None:
    file = tmp_path / "photo.json"
    write_json(file, Photo(name="\udcff"))
    assert file.read_bytes().startswith(b'{\n  "schema_version": 2,\n  "name": "\\udcff"') and file.read_bytes().endswith(
        b"}\n"
    )
    assert read_record(file, Photo, remedy="y") == Photo(name="\udcff")
    with pytest.raises(RunError, match="another version"):
        parse_record(file.read_text().replace(": 2", ": 3"), Photo, source="x", remedy="y")
    with pytest.raises(RunError, match="x is damaged"):
        parse_record('{"name": "\\udcff"', Photo, source="x", remedy="y")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is damaged (Input data was truncated)"),
        (b"\xff\xfe", "is damaged"),
        (b"[" * 200_000, "is damaged"),
        (b'{"name": "a", "deep": ' + b'{"a":' * 100_000, "is damaged"),
        (b"[]", "is damaged (Expected `object`, got `array`)"),
        (b'{"schema_version": 2}', "is damaged (Object missing required field `name`)"),
        (b'{"schema_version": 2, "name": 3}', "is damaged (Expected `str`, got `int` - at `$.name`)"),
        (b'{"schema_version": 2, "name": "a", "boxes": [{"corners": [1, 2]}]}', "`$.boxes[0].corners`"),
        (b'{"schema_version": 3, "name": "a"}', "was written by another version of DiPS (schema 3, this one reads 2)"),
        (b'{"schema_version": 3}', "was written by another version of DiPS (schema 3, this one reads 2)"),
    ],
)
def test_anything_else_names_the_file_and_the_remedy(tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "photo.json"
    file.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_record(file, Photo, remedy="predict again", error=DataError)
    assert (
        words in str(caught.value)
        and str(caught.value).startswith(f"{file} ")
        and str(caught.value).endswith("; predict again")
    )


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot read .*none.json .*No such file.*; look elsewhere"):
        read_record(tmp_path / "none.json", Photo, remedy="look elsewhere")


def test_keys_of_a_newer_version_do_no_harm() -> None:
    assert parse_record(b'{"schema_version": 2, "name": "a", "new": [1]}', Photo, source="x", remedy="y").name == "a"


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"name":' * 100_000, '{"schema_version":2,"name":"a","boxes":' + "[" * 5_000, "9" * 5_000]
)
def test_what_is_nested_to_death_is_damaged(text: str) -> None:
    for data in (text, text.encode()):
        with pytest.raises(RunError, match=r"p\.json is damaged .*; remove it"):
            parse_record(data, Photo, source="p.json", remedy="remove it")
        with pytest.raises(RunError, match=r"p\.json is damaged .*; remove it"):
            parse_object(data, source="p.json", remedy="remove it")
