"""Photos read in pieces: the same pixels as when read whole, also when they lie on disk meanwhile."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dips.data.images as images_module
import dips.data.windows as windows_module
from dips.data.depth import Depth
from dips.data.images import read_image
from dips.data.windows import open_photo
from dips.errors import ImageError


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Every photo counts as large; the list says of each whether it was decoded into a file."""
    monkeypatch.setattr(windows_module, "MAX_PIXELS_IN_MEMORY", 0)
    monkeypatch.setattr(images_module, "_ROWS", 7)
    on_disk: list[bool] = []
    decode = windows_module._decode_into

    def watched(*arguments: object) -> bool:
        on_disk.append(decode(*arguments))  # type: ignore[arg-type]
        return on_disk[-1]

    monkeypatch.setattr(windows_module, "_decode_into", watched)
    return on_disk


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_windows_are_those_of_the_upright_photo(tmp_path: Path, on_disk: list[bool], turn: int, suffix: str) -> None:
    pixels = np.random.default_rng(turn).integers(0, 256, (30, 44, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, exif=exif)
    whole = read_image(path)
    with open_photo(path) as photo:
        assert photo.size == (whole.shape[1], whole.shape[0]) and on_disk == [True]
        for x0, y0, x1, y1 in ((0, 0, *photo.size), (3, 5, 20, 17), (29, 20, 30, 30)):
            assert np.array_equal(photo.window(x0, y0, x1, y1), whole[y0:y1, x0:x1])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16"])
def test_other_kinds(tmp_path: Path, on_disk: list[bool], mode: str) -> None:
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8))
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    (grey.convert("I").point(lambda v: v * 200).convert("I;16") if mode == "I;16" else grey.convert(mode)).save(path)
    with open_photo(path) as photo:
        assert np.array_equal(photo.window(0, 0, 30, 20), read_image(path))
    assert on_disk == [mode == "L"], "what must be converted as a whole stays in memory"


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve room")
def test_no_room_is_told_before_pixels_are_written(
    tmp_path: Path, on_disk: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png needs .*No space left.* TMPDIR"), open_photo(tmp_path / "a.png"):
        pass


def test_windows_have_the_scale_that_the_whole_photo_had(tmp_path: Path, on_disk: list[bool]) -> None:
    values = (7000 + np.arange(600).reshape(20, 30)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    with open_photo(tmp_path / "a.png", Depth.at((7000.0, 7255.0))) as photo:
        assert photo.window(0, 0, 30, 5)[..., 0].ravel().tolist() == list(range(150))


def test_small_photos_stay_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (30, 20), (1, 2, 3)).save(path)
    with open_photo(path) as photo:
        assert isinstance(photo._pixels, np.ndarray) and photo.window(1, 1, 2, 2).tolist() == [[[1, 2, 3]]]


def test_damage_is_told(tmp_path: Path, on_disk: list[bool]) -> None:
    path = tmp_path / "a.jpg"
    Image.effect_noise((300, 200), 90).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ImageError, match=r"a\.jpg cannot be read"), open_photo(path):
        pass
    with pytest.raises(ImageError, match="does not exist"), open_photo(tmp_path / "none.jpg"):
        pass
