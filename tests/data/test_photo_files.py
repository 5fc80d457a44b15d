"""Which files below a folder are photos."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.data.photo_files import gather_images, list_images, unreadable_kinds
from dips.errors import DataError

from .conftest import MakePhoto


def test_list_images(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("b/ü 1.JPG", "b/a.png", "a.jpeg", ".hidden/x.jpg", "b/._a.png", "__MACOSX/a.jpg", "c d/e/z.Tif"):
        make_photo(tmp_path / name, (2, 2))
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "b" / "up").symlink_to(tmp_path, target_is_directory=True)
    names = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert names == ["a.jpeg", "b/a.png", "b/ü 1.JPG", "c d/e/z.Tif"]
    with pytest.raises(DataError, match="not a folder"):
        list_images(tmp_path / "a.jpeg")


def test_gather_images(tmp_path: Path, make_photo: MakePhoto) -> None:
    photo, other = make_photo(tmp_path / "in" / "a.jpg", (2, 2)), make_photo(tmp_path / "b.jpg", (2, 2))
    assert gather_images(str(photo)) == [photo] and gather_images([tmp_path / "in", other]) == [photo, other]
    with pytest.raises(DataError, match="no photo in an empty list"):
        gather_images([])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no photo in .*empty; give photos"):
        gather_images(tmp_path / "empty")


def test_kinds_that_are_not_read(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "a.jpg", (2, 2))
    for name in ("c.MP4", "b.heic", "notes.txt", ".hidden.nef"):
        (tmp_path / name).touch()
    assert unreadable_kinds(tmp_path) == ["b.heic", "c.MP4"]
