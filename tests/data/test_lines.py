"""Lines of text files, and errors that name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.data.lines import numbered_lines, parse_numbers
from dips.errors import DataError


def test_blank_lines_count_but_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\ufeff one \n\n  \ntwo", encoding="utf-8")
    assert list(numbered_lines(tmp_path / "a.txt")) == [(1, "one"), (4, "two")]


def test_files_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    for name in ("a.txt", "gone.txt", "."):
        with pytest.raises(DataError, match="cannot be read"):
            list(numbered_lines(tmp_path / name))


@pytest.mark.parametrize("text", ["1", "1,2,3", "1,x", "1,nan", "inf,1", "1e9,1", "1,"])
def test_what_is_not_two_numbers(text: str) -> None:
    with pytest.raises(DataError, match=rf"a\.txt, line 7: expected 2 numbers, found '{text}'; correct the line"):
        parse_numbers(text.split(","), 2, where="a.txt, line 7", text=text)
