"""What model.predict takes, and what it says about everything else."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dips.data.depth import Depth
from dips.data.images import read_image, read_shown
from dips.errors import DataError, ImageError
from dips.predict.inputs import Picture, gather_photos, url_path

MakePhoto = Callable[..., Path]


def pixels_of(photo: Any) -> Any:
    (found,) = gather_photos(photo, is_told=False)
    assert isinstance(found, Picture) and found.path == Path("picture-0")
    pixels, _ = found.read(None, Depth())
    assert found.size() == (pixels.shape[1], pixels.shape[0]) and pixels.dtype == np.uint8
    return pixels


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "LA"])
def test_a_picture_is_as_its_file(tmp_path: Path, make_photo: MakePhoto, mode: str) -> None:
    path = make_photo(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), (40, 30), mode=mode)
    expected = read_image(path)
    np.testing.assert_array_equal(pixels_of(Image.open(path)), expected)
    for data in (path.read_bytes(), bytearray(path.read_bytes()), memoryview(path.read_bytes())):
        np.testing.assert_array_equal(pixels_of(data), expected)
    np.testing.assert_array_equal(pixels_of(expected), expected)


def test_turned_and_grey_pictures(tmp_path: Path, make_photo: MakePhoto) -> None:
    exif = Image.Exif()
    exif[274] = 6
    path = make_photo(tmp_path / "a.jpg", (40, 30), exif=exif)
    expected = read_image(path)
    assert expected.shape == (40, 30, 3)
    np.testing.assert_array_equal(pixels_of(Image.open(path)), expected)
    np.testing.assert_array_equal(pixels_of(path.read_bytes()), expected)
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for array in (grey, grey[:, :, None]):
        np.testing.assert_array_equal(pixels_of(array), np.repeat(grey[:, :, None], 3, axis=2))


def test_names_are_places(tmp_path: Path, make_photo: MakePhoto) -> None:
    path = make_photo(tmp_path / "p" / "a.jpg")
    picture = np.zeros((4, 5, 3), np.uint8)
    photos: list[Any] = [str(path), picture, path.parent, path.read_bytes()]
    for given in (photos, iter(photos), (photo for photo in photos)):
        found = [item.path if isinstance(item, Picture) else item for item in gather_photos(given, is_told=False)]
        assert found == [path, Path("picture-1"), path, Path("picture-3")]


def test_an_iterator_is_followed_as_it_goes() -> None:
    taken = []

    def pictures() -> Any:
        for number in range(5):
            taken.append(number)
            yield np.zeros((4, 5, 3), np.uint8)

    next(iter(gather_photos(pictures(), is_told=False)))
    assert taken == [0]


@pytest.mark.parametrize("photo", [None, 3, 2.5, {"a": 1}, object(), io.BytesIO(b"x"), [None], [[1]], (3, "a.jpg")])
def test_other_types_are_refused(photo: Any) -> None:
    with pytest.raises(DataError, match=r"is of the type \w+, not a photo.*: predict takes paths"):
        gather_photos(photo, is_told=False)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 5, 3), np.float32),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((2, 4, 5, 3), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((4, 5), np.uint16),
        np.zeros(4, np.uint8),
        np.array(["a.jpg"]),
    ],
)
def test_arrays_that_are_no_photo_are_refused(array: Any) -> None:
    with pytest.raises(DataError, match=r"picture-0 is an array \(.*\) of .*; a photo is \(height, width, 3\) of uint8"):
        gather_photos(array, is_told=False)


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    for photos in ("nowhere", Path("nowhere"), ["nowhere"], ("nowhere", "either"), [tmp_path / "a.jpg"]):
        with pytest.raises(DataError, match="does not exist; give photos"):
            gather_photos(photos, is_told=False)
    with pytest.raises(DataError, match="does not exist"):
        gather_photos("nowhere", is_told=True)
    assert gather_photos(["nowhere"], is_told=True) == [Path("nowhere")]
    nothing: list[Any] = [[], tmp_path]
    for empty in nothing:
        with pytest.raises(DataError, match="no photo in"):
            gather_photos(empty, is_told=False)


@pytest.mark.parametrize("data", [b"", b"no photo", b"\xff\xd8\xff\xe0" + b"\0" * 50])
def test_bytes_that_are_no_photo_are_an_unreadable_photo(data: bytes) -> None:
    (found,) = gather_photos(data, is_told=False)
    assert isinstance(found, Picture)
    for ask in (found.size, lambda: found.read(64, Depth())):
        with pytest.raises(ImageError, match="picture-0"):
            ask()


def test_deep_pictures_are_stretched_as_their_files_are(tmp_path: Path) -> None:
    counts = (7000 + 4 * np.arange(64 * 48).reshape(48, 64) % 900).astype(np.uint16)
    Image.fromarray(counts).save(tmp_path / "counts.tif")
    expected, shown = read_shown(tmp_path / "counts.tif")
    assert shown is not None and np.ptp(expected) > 200
    for photo in (Image.fromarray(counts), (tmp_path / "counts.tif").read_bytes()):
        (found,) = gather_photos(photo, is_told=False)
        assert isinstance(found, Picture)
        pixels, its = found.read(None, Depth())
        assert its is not None and its.scale == shown.scale and (pixels == expected).all()


def test_a_picture_behind_a_url(tmp_path: Path, make_photo: MakePhoto) -> None:
    path = make_photo(tmp_path / "a.png", (40, 30))
    picture = Picture.behind("s3://b/a.png", path.read_bytes)
    np.testing.assert_array_equal(picture.read(None, Depth())[0], read_image(path))
    assert picture.size() == (40, 30) and picture.camera() is None and picture.path.as_posix() == "s3:/b/a.png"
    with pytest.raises(ImageError, match=r"^s3://b/b\.png is not a photo"):
        Picture.behind("s3://b/b.png", lambda: b"no photo").size()
    places = ["s3://b/a.png", "s3://b//a.png", "s3://b/./a.png", "gs://b/a.png", "s3://b/c/../a.png"]
    assert len({url_path(place) for place in places}) == len(places)
