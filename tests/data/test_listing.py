"""Rules about listings that hold for every layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.data import load_data
from dips.errors import DataError

from .conftest import MakePhoto


@pytest.mark.parametrize("pair", [("Tower", "tower"), ("caf\u00e9", "cafe\u0301")])
def test_duplicate_class_names(tmp_path: Path, make_photo: MakePhoto, pair: tuple[str, str]) -> None:
    for name in pair:
        make_photo(tmp_path / name / "1.jpg")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system takes both names for one")
    with pytest.raises(DataError, match="differ only in case"):
        load_data(tmp_path)
