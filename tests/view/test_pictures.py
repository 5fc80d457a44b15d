"""Photos as the page shows them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dips.errors import ImageError, RunError
from dips.view import pictures
from dips.view.pictures import LARGE_SIDE, SMALL_SIDE, Pictures
from dips.view.predictions import Photo, read_predictions


def with_photo(
    predicted: Path, make_photo: Callable[..., Path], name: str, size: tuple[int, int], upright: tuple[int, int], **save: Any
) -> Photo:
    """The first photo of the folder, another picture in its place."""
    path = make_photo(predicted.parent / name, size, box=(0, 0, size[0] // 4, size[1] // 4), **save)
    record = predicted / "json" / "a.json"
    content = {**json.loads(record.read_text()), "path": str(path), "width": upright[0], "height": upright[1], "boxes": []}
    record.write_text(json.dumps(content))
    return next(photo for photo in read_predictions(predicted).photos if photo.record == record)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def test_a_rotated_photo_stands_upright(predicted: Path, make_photo: Callable[..., Path]) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # the left side of the file is the top of the photo
    photo = with_photo(predicted, make_photo, "turned.jpg", (80, 40), (40, 80), exif=turned)
    image = opened(Pictures(predicted).jpeg(photo, LARGE_SIDE))
    assert image.size == (40, 80)
    red, green, blue = np.asarray(image)[3, 37]  # the bright corner, from the upper left to the upper right
    assert red > 200 and green > 180 and blue < 120


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize(("side", "size"), [(LARGE_SIDE, (2048, 512)), (SMALL_SIDE, (160, 40))])
def test_a_large_photo_is_scaled_down(
    predicted: Path, make_photo: Callable[..., Path], suffix: str, side: int, size: tuple[int, int]
) -> None:
    photo = with_photo(predicted, make_photo, f"large.{suffix}", (4000, 1000), (4000, 1000))
    assert opened(Pictures(predicted).jpeg(photo, side)).size == size


def test_a_thermal_photo_is_shown_as_the_model_saw_it(predicted: Path, tmp_path: Path) -> None:
    path, record = tmp_path / "thermal.png", predicted / "json" / "a.json"
    Image.fromarray(np.full((20, 30), 7600, np.uint16)).save(path)
    content = {
        **json.loads(record.read_text()),
        "path": str(path),
        "width": 30,
        "height": 20,
        "boxes": [],
        "scale": [7000, 8000],
    }
    record.write_text(json.dumps(content))
    photo = next(photo for photo in read_predictions(predicted).photos if photo.record == record)
    assert abs(np.asarray(opened(Pictures(predicted).jpeg(photo, LARGE_SIDE)))[5, 5, 0].astype(int) - 153) <= 2
    for scale in ([8000, 7000], [1], "x"):
        record.write_text(json.dumps({**content, "scale": scale}))
        with pytest.raises(RunError, match="is damaged"):
            read_predictions(predicted)


def test_a_small_or_narrow_photo_keeps_a_pixel(predicted: Path, make_photo: Callable[..., Path]) -> None:
    photo = with_photo(predicted, make_photo, "narrow.png", (5000, 4), (5000, 4))
    assert opened(Pictures(predicted).jpeg(photo, SMALL_SIDE)).size == (160, 1)
    assert opened(Pictures(predicted).jpeg(photo, LARGE_SIDE)).size == (2048, 2)


def test_what_was_read_is_kept_up_to_a_limit(predicted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = read_predictions(predicted).photos
    kept = Pictures(predicted)
    first = kept.jpeg(photos[0], LARGE_SIDE)
    (predicted.parent / "photos" / "a.jpg").unlink()
    assert kept.jpeg(photos[0], LARGE_SIDE) is first
    monkeypatch.setattr(pictures, "MAX_CACHE_BYTES", len(first) + 1)
    kept.jpeg(photos[1], LARGE_SIDE)
    with pytest.raises(ImageError, match="does not exist"):
        kept.jpeg(photos[0], LARGE_SIDE)


def test_a_file_that_is_no_photo_gives_nothing_away(predicted: Path) -> None:
    path = predicted.parent / "photos" / "a.jpg"
    path.write_text("my words")
    with pytest.raises(ImageError, match="is not a photo that can be read") as told:
        Pictures(predicted).jpeg(read_predictions(predicted).photos[0], LARGE_SIDE)
    assert "my words" not in str(told.value)
