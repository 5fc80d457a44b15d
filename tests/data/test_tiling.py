"""Large photos become tiles with their part of the boxes; what cannot be cut stays whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dips.data.depth import Depth
from dips.data.images import read_image
from dips.data.outlines import coverage
from dips.data.tiling import in_tiles, read_sample, tile_side
from dips.errors import ConfigError, ImageError
from dips.types import DataSet, Outline, Sample

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
    boxes = np.array([[60, 20, 100, 60], [64, 0, 80, 20], [80, 0, 160, 80]], np.float32)
    left, right = in_tiles(data_of(Sample(path, "a.png", 1, boxes, (160, 80))), 40, 0).samples
    assert left.boxes is not None and right.boxes is not None
    assert left.boxes.tolist() == [[30, 10, 40, 30], [32, 0, 40, 10]]
    assert right.boxes.tolist() == [[0, 10, 10, 30], [0, 0, 40, 40]]
    both = Sample(path, "a.png", 1, boxes, (160, 80), others=(2,), box_labels=(1, 1, 2))
    assert [tile.box_labels for tile in in_tiles(data_of(both), 40, 0).samples] == [(1, 1), (1, 2)]
    (empty, _) = in_tiles(data_of(Sample(path, "a.png", 0, np.zeros((0, 4), np.float32))), 40, 0).samples
    assert empty.boxes is not None and not empty.boxed


def test_a_tile_has_the_outlines_of_its_boxes(tmp_path: Path, make_photo: MakePhoto) -> None:
    path = make_photo(tmp_path / "a.png", (80, 40))
    boxes = np.array([[60, 20, 100, 60], [64, 0, 80, 20], [0, 0, 20, 20]], np.float32)
    left_half = Outline((160, 80), (np.array([[60, 20], [80, 20], [80, 60], [60, 60]], np.float32),))
    sample = Sample(path, "a.png", 1, boxes, (160, 80), reviewed=True, outlines=(left_half, None, None))
    left, right = in_tiles(data_of(sample), 40, 0).samples
    assert left.boxes is not None and len(left.boxes) == len(left.outlines) == 3 and left.outlines[1:] == (None, None)
    assert right.boxes is not None and len(right.boxes) == len(right.outlines) == 1
    shown, beyond = left.outlines[0], right.outlines[0]
    assert shown is not None and beyond is not None and not coverage(beyond, (40, 40)).any()
    expected = np.zeros((40, 40))
    expected[10:30, 30:] = 1
    np.testing.assert_allclose(coverage(shown, (40, 40)), expected, atol=0.1)


def test_a_tile_that_shows_a_crumb_of_a_box_is_neither_empty_nor_certain(tmp_path: Path, make_photo: MakePhoto) -> None:
    path = make_photo(tmp_path / "a.png", (120, 40))
    reviewed = Sample(path, "a.png", 1, np.array([[10, 10, 44, 30]], np.float32), (120, 40), reviewed=True)
    left, middle, right = in_tiles(data_of(reviewed), 40, 0).samples
    assert left.reviewed and left.boxes is not None and left.boxes.tolist() == [[10, 10, 40, 30]]
    assert not middle.reviewed and middle.boxes is None and middle.label == 1
    assert right.reviewed and right.boxes is not None and right.boxes.shape == (0, 4), "certain background"
    for limit, known in ((40.5, True), (40.9, False)):  # a fifth, and more than a fiftieth of the tile's side
        boxes = np.array([[10, 10, limit, 30]], np.float32)
        _, middle, _ = in_tiles(data_of(Sample(path, "a.png", 1, boxes, (120, 40), reviewed=True)), 40, 0).samples
        assert middle.reviewed == known
    measured = Sample(path, "a.png", 1, np.array([[10, 10, 44, 30]], np.float32), (120, 40))
    assert [tile.boxes is None for tile in in_tiles(data_of(measured), 40, 0).samples] == [False, True, False]


def test_a_crumb_beside_an_object_is_no_background(tmp_path: Path, make_photo: MakePhoto) -> None:
    path = make_photo(tmp_path / "a.png", (80, 40))
    boxes = np.array([[10, 10, 44, 30], [50, 5, 70, 25]], np.float32)
    for reviewed in (True, False):
        _, right = in_tiles(data_of(Sample(path, "a.png", 1, boxes, (80, 40), reviewed=reviewed)), 40, 0).samples
        assert right.boxes is not None and right.reviewed == reviewed
        assert right.boxes.tolist() == [*([[0, 10, 4, 30]] if reviewed else []), [10, 5, 30, 25]]


def test_photos_that_need_no_tiles_or_cannot_be_read_stay_whole(tmp_path: Path, make_photo: MakePhoto) -> None:
    small = Sample(make_photo(tmp_path / "small.png", (40, 30)), "small.png", 1)
    broken = Sample(tmp_path / "broken.png", "broken.png", 1)
    broken.path.write_bytes(b"no photo")
    missing = Sample(tmp_path / "missing.png", "missing.png", 0)
    assert in_tiles(data_of(small, broken, missing), 40, 0.25).samples == (small, broken, missing)
    with pytest.raises(ImageError, match=r"broken\.png"):
        read_sample(broken, max_side=20, depth=Depth())


@pytest.mark.parametrize(
    ("setting", "seen", "expected"), [(0, 80, 0), (64, 80, 64), (-1, 80, 61), (-1, 122, 61), (-1, 50, 50), (-1, 125, 0)]
)
def test_the_side_is_what_is_asked_for_or_a_quarter_of_the_photos(
    setting: int, seen: int, expected: int, tmp_path: Path, make_photo: MakePhoto
) -> None:
    large = [Sample(make_photo(tmp_path / f"{i}.png", (300, 200)), f"{i}.png", i % 2) for i in range(3)]
    assert tile_side(data_of(*large), setting, seen) == expected
    if expected:
        with pytest.raises(ConfigError, match=r"train\.tile needs photos that show no object.*'none'"):
            tile_side(data_of(*large, background=None), setting, seen)


def test_photos_that_may_be_better_seen_in_tiles_are_told(
    tmp_path: Path, make_photo: MakePhoto, capsys: pytest.CaptureFixture[str]
) -> None:
    data = data_of(Sample(make_photo(tmp_path / "a.png", (320, 200)), "a.png", 1))
    assert tile_side(data, 0, 80) == 0
    assert (
        "3.2 times as wide and high as what the networks see" in (said := capsys.readouterr().err) and "train.tile=-1" in said
    )
    assert tile_side(data, 0, 128) == tile_side(data, -1, 128) == 0 and tile_side(data, 64, 80) == 64
    assert tile_side(data, 0, 120) == 0 and tile_side(data, -1, 120) == 63, "large enough for tiles, not to ask for them"
    assert capsys.readouterr().err == ""


def test_photos_that_the_networks_see_well_are_no_case_for_tiles(tmp_path: Path, make_photo: MakePhoto) -> None:
    samples = [Sample(make_photo(tmp_path / f"{i}.png", (300, 200)), f"{i}.png", 1) for i in range(3)]
    samples.append(Sample(tmp_path / "missing.png", "missing.png", 1))
    assert tile_side(data_of(*samples, background=None), -1, 130) == 0
    assert tile_side(data_of(samples[-1], background=None), -1, 100) == 0
