"""Rules that hold for every layout: class names, the background, what training and a model need."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.data import align_classes, load_data, require_trainable
from dips.errors import DataError

from .conftest import MakePhoto, class_names


@pytest.mark.parametrize("pair", [("Tower", "tower"), ("caf\u00e9", "cafe\u0301")])
def test_duplicate_class_names(tmp_path: Path, make_photo: MakePhoto, pair: tuple[str, str]) -> None:
    for name in pair:
        make_photo(tmp_path / name / "1.jpg")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system takes both names for one")
    with pytest.raises(DataError, match="differ only in case"):
        load_data(tmp_path)


def test_background_class(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("Background", "empty", "tower"):
        make_photo(tmp_path / name / "1.jpg")
    assert load_data(tmp_path).background == 0
    assert load_data(tmp_path, background_class="").background is None
    assert load_data(tmp_path, background_class="Empty").background == 1
    with pytest.raises(DataError, match=r"no class is called 'nothing'.*Background, empty, tower"):
        load_data(tmp_path, background_class="nothing")
    make_photo(tmp_path / "none" / "1.jpg")
    with pytest.raises(DataError, match="'Background' and 'none' could both"):
        load_data(tmp_path)


def test_align_classes(class_folders: Path, make_photo: MakePhoto) -> None:
    make_photo(class_folders / "test" / "crane" / "1.jpg")
    aligned = align_classes(load_data(class_folders / "test"), ("tower", "none", "pole"), background=1)
    assert class_names(aligned) == {"crane/1.jpg": None, "none/0.jpg": "none", "tower/0.jpg": "tower", "tower/1.jpg": "tower"}
    assert aligned.background == 1 and aligned.classes == ("tower", "none", "pole")
    assert any("no class 'crane' (its classes are tower, none, pole)" in p.message for p in aligned.problems)
    assert len(require_trainable(aligned)) == 3
    with pytest.raises(DataError, match="none of the model's"):
        align_classes(load_data(class_folders), ("cat", "dog"))
