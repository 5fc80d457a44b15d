"""The files of WSOL metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.data.metadata import read_metadata
from dips.errors import DataError

from .conftest import FIRST, LINES


def test_metadata_with_masks(open_images: Path) -> None:
    data = read_metadata(open_images / "metadata" / "val")
    assert data.masks[FIRST] == ["val/0138tl/d6fc_m1.png", "val/0138tl/d6fc_m2.png"] and not data.boxes and not data.sizes
    assert data.ignore == {FIRST: "val/0138tl/d6fc_ignore.png"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{FIRST},a.png", r"line 4: expected id,mask,ignored"),
        (f"{FIRST},,a.png", r"line 4: expected id,mask,ignored"),
        (",a.png,", r"line 4: expected id,mask,ignored"),
        (f"{FIRST},1,2,3,4", r"line 4: expected id,mask,ignored"),
        (f"{FIRST},a.png,other.png", r"line 4: .*d6fc\.jpg has two ignored regions, .*d6fc_ignore\.png and other\.png"),
    ],
)
def test_malformed_lines(open_images: Path, line: str, message: str) -> None:
    folder = open_images / "metadata" / "val"
    (folder / "localization.txt").write_text(f"{LINES}{line}\n")
    with pytest.raises(DataError, match=rf"localization\.txt, {message}"):
        read_metadata(folder)
    (folder / "localization.txt").write_text(f"{FIRST},1,2,3,4\n{FIRST},a.png,\n")
    with pytest.raises(DataError, match=r"localization\.txt, line 2: expected 4 numbers"):
        read_metadata(folder)
