"""Cells that no spreadsheet computes, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dips.system.spreadsheet import as_cell, from_cell


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=HYPERLINK(1).jpg", "'=HYPERLINK(1).jpg"),
        ("@SUM(A1)/b.jpg", "'@SUM(A1)/b.jpg"),
        ("+1.jpg", "'+1.jpg"),
        ("-1", "'-1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("a;=1+1.jpg", "a;'=1+1.jpg"),
        ("\t=1", "\t'=1"),
        ("a\r\n@b", "a\r\n'@b"),
        ("'=1", "''=1"),
        ("owl-1/a=b+c@d.jpg", "owl-1/a=b+c@d.jpg"),
        ("'quoted'", "'quoted'"),
        ("", ""),
    ],
)
def test_a_formula_is_text(text: str, cell: str) -> None:
    assert as_cell(text) == cell and from_cell(cell) == text


@given(st.text(alphabet="a=+-@';\t\r\n\uff1d", max_size=12))
def test_every_text_comes_back(text: str) -> None:
    assert from_cell(as_cell(text)) == text
    assert not as_cell(text).startswith(("=", "+", "-", "@", "\uff1d"))
