"""Records in a part, whatever pieces it comes in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dips.errors import RunError
from dips.shards.frames import frame, frames
from dips.system.records import Record


class Thing(Record, frozen=True):
    name: str
    data: bytes


@given(st.lists(st.builds(Thing, st.text(max_size=9), st.binary(max_size=300)), max_size=9), st.integers(1, 99))
def test_records_come_back(things: list[Thing], cut: int) -> None:
    data = b"".join(map(frame, things))
    assert list(frames([data], Thing, source="p")) == things
    assert list(frames([data[start : start + cut] for start in range(0, len(data), cut)], Thing, source="p")) == things


def test_what_is_cut_or_no_record_is_refused() -> None:
    data = frame(Thing("a", b"12"))
    for bad in (data[:-1], data[:3], data + b"x", data[:8] + b"\x00" * (len(data) - 8)):
        with pytest.raises(RunError, match=r"p is damaged \(.*\); remove the folder"):
            list(frames([bad], Thing, source="p"))
