from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dips.data.packed_rows import PackedRows

rows = st.lists(st.tuples(st.sampled_from("abcde"), st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))))


@given(rows, st.lists(st.sampled_from("abcdef"), unique=True))
def test_rows_are_a_dict_of_lists(given_rows: list[tuple[str, tuple[float, float]]], known: list[str]) -> None:
    packed = PackedRows({name: number for number, name in enumerate(known)}, 2)
    plain: dict[str, list[tuple[float, ...]]] = {}
    for name, row in given_rows:
        packed.add(name, row)
        plain.setdefault(name, []).append(row)
        assert packed[name] == plain[name], "also between two rows"
    assert dict(packed) == plain and len(packed) == len(plain)
    for name in "abcdefg":
        assert (name in packed) == (name in plain) and packed.get(name) == plain.get(name)
    with pytest.raises(KeyError):
        packed["g"]


def test_names_share_their_numbers() -> None:
    numbering = {"a": 0}
    first, second = PackedRows(numbering, 1), PackedRows(numbering, 1)
    first.add("b", (1.0,))
    second.add("b", (2.0,))
    assert numbering == {"a": 0, "b": 1} and first["b"] == [(1.0,)] and second["b"] == [(2.0,)]
    assert not PackedRows({}, 4) and list(first) == ["b"]
