"""Photos as a user names them: all that can be read, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dips.adaptation.photos import PhotoSet, read_photos
from dips.data.sources import read_source
from dips.errors import DataError

from ..conftest import MakePhoto


@pytest.fixture
def folder(tmp_path: Path, make_photo: MakePhoto) -> Path:
    for number in range(5):
        make_photo(tmp_path / "photos" / f"{number}.png", size=(60, 40), seed=number)
    return tmp_path / "photos"


def read(*photos: Path, limit: int = 0) -> PhotoSet:
    return read_photos(read_source(photos, leave_out=photos[0].with_name("out.safetensors")), side=64, limit=limit)


def test_photos_become_small(folder: Path, make_photo: MakePhoto) -> None:
    make_photo(folder / "large.png", size=(300, 100), seed=9)
    photos = read(folder)
    assert len(photos) == 6 and photos.skipped == 0 and photos.problems == ()
    assert photos[0].shape == (3, 40, 60) and photos[5].shape == (3, 21, 64)
    assert photos[0].dtype == torch.uint8


def test_one_broken_photo_is_told_and_skipped(folder: Path) -> None:
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:60])
    photos = read(folder)
    assert len(photos) == 4 and photos.skipped == 1
    (problem,) = photos.problems
    assert problem.path == folder / "2.png" and "is left out" in problem.message


def test_deep_photos_share_one_scale(tmp_path: Path) -> None:
    """As in all commands: equal values of thermal photos are equal greys."""
    for name, highest in (("cold.png", 12_000), ("hot.png", 13_000)):
        ramp = np.tile(np.linspace(10_000, highest, 64).astype(np.uint16), (48, 1))
        cv2.imwrite(str(tmp_path / name), ramp)
    photos = read(tmp_path / "cold.png", tmp_path / "hot.png")
    assert photos[1].max() >= 252 and 165 < photos[0].max() < 180, "two thirds of the common range"


def test_the_fingerprint_is_of_the_photos_alone(folder: Path, tmp_path: Path) -> None:
    whole = read(folder)
    (tmp_path / "list.txt").write_text("\n".join(f"photos/{number}.png" for number in (4, 2, 0, 1, 3)))
    assert read(tmp_path / "list.txt").fingerprint == whole.fingerprint
    some = read(folder, limit=3)
    assert len(some) == 3 and some.fingerprint != whole.fingerprint


def test_too_few_photos(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 photo can be read, and an adaptation needs at least 2; give more$"):
        read(folder / "0.png")
    (folder / "1.png").write_text("no photo")
    with pytest.raises(DataError, match=r"^1 photo can be read.*give more; .*1\.png"):
        read(folder / "0.png", folder / "1.png")
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "missing")
