"""Large photos become tiles with their part of the boxes; what cannot be cut stays whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dips.data.depth import Depth
from dips.data.images import read_image
from dips.data.tiling import in_tiles, read_sample, tile_side
from dips.errors import ConfigError, ImageError
from dips.types import DataSet, Sample

MakePhoto = Callable[..., Path]


def data_of(*samples: Sample, background: int | None = 0) -> DataSet:
    return DataSet(samples[0].path.parent, ("none", "mast"), samples, background=background)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "turned.jpg"])
def test_tiles_are_parts_of_the_upright_photo(name: str, tmp_path: Path, make_photo: MakePhoto) -> None:
    path = make_photo(tmp_path / name, (90, 50), seed=1, box=(30, 10, 60, 40))
    if name == "turned.jpg":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.open(path).save(path, exif=exif)
    photo = read_image(path)
    tiles = in_tiles(data_of(Sample(path, name, 1)), 40, 0.25).samples
    assert len(tiles) == 6 and len({tile.id for tile in tiles}) == 6
    seen = np.zeros(photo.shape[:2], bool)
    for tile in tiles:
        assert tile.window is not None and tile.label == 1 and tile.boxes is None and tile.frame == (40, 40)
        x0, y0, x1, y1 = tile.window
        assert np.array_equal(read_sample(tile, max_side=20, depth=Depth()), photo[y0:y1, x0:x1])
        seen[y0:y1, x0:x1] = True
    assert seen.all()


def test_a_tile_has_the_boxes_that_it_shows(tmp_path: Path, make_photo: MakePhoto) -> None:
    path = make_photo(tmp_path / "a.png", (80, 40))
    # drawn on a photo twice as large: one across the middle, a crumb of it in neither third, and one that fills a whole tile
    boxes = np.array([[60, 20, 100, 60], [64, 0, 84, 20], [80, 0, 160, 80]], np.float32)
    left, right = in_tiles(data_of(Sample(path, "a.png", 1, boxes, (160, 80))), 40, 0).samples
    assert left.boxes is not None and right.boxes is not None
    assert left.boxes.tolist() == [[30, 10, 40, 30], [32, 0, 40, 10]]
    assert right.boxes.tolist() == [[0, 10, 10, 30], [0, 0, 40, 40]]
    both = Sample(path, "a.png", 1, boxes, (160, 80), others=(2,), box_labels=(1, 1, 2))
    assert [tile.box_labels for tile in in_tiles(data_of(both), 40, 0).samples] == [(1, 1), (1, 2)]
    (empty, _) = in_tiles(data_of(Sample(path, "a.png", 0, np.zeros((0, 4), np.float32))), 40, 0).samples
    assert empty.boxes is not None and not empty.boxed


def test_photos_that_need_no_tiles_or_cannot_be_read_stay_whole(tmp_path: Path, make_photo: MakePhoto) -> None:
    small = Sample(make_photo(tmp_path / "small.png", (40, 30)), "small.png", 1)
    broken = Sample(tmp_path / "broken.png", "broken.png", 1)
    broken.path.write_bytes(b"no photo")
    missing = Sample(tmp_path / "missing.png", "missing.png", 0)
    assert in_tiles(data_of(small, broken, missing), 40, 0.25).samples == (small, broken, missing)
    with pytest.raises(ImageError, match=r"broken\.png"):
        read_sample(broken, max_side=20, depth=Depth())


@pytest.mark.parametrize(("setting", "expected"), [(0, 0), (64, 64), (-1, 80)])
def test_the_side_is_what_is_asked_for_or_what_the_networks_see(
    setting: int, expected: int, tmp_path: Path, make_photo: MakePhoto
) -> None:
    large = [Sample(make_photo(tmp_path / f"{i}.png", (300, 200)), f"{i}.png", i % 2) for i in range(3)]
    assert tile_side(data_of(*large), setting, 80) == expected
    if setting:
        with pytest.raises(ConfigError, match=r"train\.tile needs photos that show no object.*'none'"):
            tile_side(data_of(*large, background=None), setting, 80)


def test_photos_that_may_be_better_seen_in_tiles_are_told(
    tmp_path: Path, make_photo: MakePhoto, capsys: pytest.CaptureFixture[str]
) -> None:
    data = data_of(Sample(make_photo(tmp_path / "a.png", (320, 200)), "a.png", 1))
    assert tile_side(data, 0, 80) == 0
    assert (
        "3.2 times as wide and high as what the networks see" in (said := capsys.readouterr().err) and "train.tile=-1" in said
    )
    assert tile_side(data, 0, 128) == tile_side(data, -1, 128) == 0 and tile_side(data, 64, 80) == 64
    assert capsys.readouterr().err == ""


def test_photos_that_the_networks_see_well_are_no_case_for_tiles(tmp_path: Path, make_photo: MakePhoto) -> None:
    samples = [Sample(make_photo(tmp_path / f"{i}.png", (300, 200)), f"{i}.png", 1) for i in range(3)]
    samples.append(Sample(tmp_path / "missing.png", "missing.png", 1))
    assert tile_side(data_of(*samples, background=None), -1, 100) == 0
    assert tile_side(data_of(samples[-1], background=None), -1, 100) == 0
