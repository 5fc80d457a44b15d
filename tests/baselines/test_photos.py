"""Photos as squares: read once, in batches and crops; what cannot be read is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dips.baselines.photos import SQUARE_SIDE, Photos, store_photos
from dips.data.depth import Depth
from dips.errors import ImageError
from dips.harvest import squares
from dips.harvest.store import Store
from dips.types import Sample

CPU = torch.device("cpu")


def test_photos_of_more_than_8_bits_are_stored_as_they_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((20, 30), 7500, np.uint16)).save(path)
    for scale, grey in (((7000.0, 8000.0), 128), ((7000.0, 7500.0), 255)):
        photos, _ = store_photos([Sample(path, "a.png", 0)], Store(tmp_path / "store"), Depth(scales=(scale,), rule="fixed"))
        assert int(photos.square(0).max()) == grey


def test_read_once(tmp_path: Path, make_photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [Sample(make_photo(tmp_path / f"{i}.png", seed=i), f"{i}.png", i) for i in range(3)]
    first, _ = store_photos(samples, Store(tmp_path / "store"))
    monkeypatch.setattr(squares, "read_sample", lambda *given, **named: pytest.fail("it is in the store"))
    second, problems = store_photos(samples, Store(tmp_path / "store"))
    assert not problems and second.digests == first.digests
    assert (second.square(1) == first.square(1)).all() and first.square(1).shape == (SQUARE_SIDE, SQUARE_SIDE, 3)


def test_a_damaged_and_a_missing_photo_are_left_out(tmp_path: Path, make_photo: Callable[..., Path]) -> None:
    good = make_photo(tmp_path / "good.png")
    bad, gone = tmp_path / "bad.png", tmp_path / "gone.png"
    bad.write_bytes(b"no photo")
    found, problems = store_photos([Sample(p, p.name, 0) for p in (bad, good, gone)], Store(tmp_path / "store"))
    assert [sample.path for sample in found.samples] == [good] and len(found.digests) == 1
    assert {problem.path for problem in problems} == {bad, gone} and all(problem.message for problem in problems)


def test_photos_of_equal_bytes_share_a_square_and_keep_their_labels(tmp_path: Path, make_photo: Callable[..., Path]) -> None:
    paths = [make_photo(tmp_path / name / "0.png", seed=1) for name in "ab"]
    found, problems = store_photos([Sample(p, p.name, i) for i, p in enumerate(paths)], Store(tmp_path / "store"))
    assert not problems and found.digests[0] == found.digests[1] and [found.label(i) for i in range(2)] == [0, 1]


def test_batches_and_crops(made_photos: tuple[Photos, Photos]) -> None:
    train, _ = made_photos
    images, labels = train.batch([4, 0], 64, CPU)
    assert images.shape == (2, 3, 64, 64) and 0 <= images.min() <= images.max() <= 1 and labels.tolist() == [1, 0]
    square = torch.from_numpy(train.square(4)).permute(2, 0, 1) / 255
    torch.testing.assert_close(train.batch([4], SQUARE_SIDE, CPU)[0][0], square, msg="a batch is of whole photos")


def test_crops_are_drawn_by_the_generator(made_photos: tuple[Photos, Photos]) -> None:
    train, _ = made_photos
    (first, labels), (again, _), (other, _) = (
        train.crops([5, 0], 100, CPU, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert first.shape == (2, 3, 100, 100) and 0 <= first.min() <= first.max() <= 1 and labels.tolist() == [2, 0]
    assert torch.equal(first, again) and not torch.equal(first, other)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(3)
    drawn = [train.crops([5, 0], 100, CPU, generator)[0] for _ in range(2)]
    assert torch.equal(drawn[0], first) and not torch.equal(drawn[1], first), "the generator alone, which goes on"


def test_photos_larger_than_the_squares_are_as_sharp_as_measured_ones(tmp_path: Path) -> None:
    """Stripes one pixel wide in a photo of 512: in a square of 256 they would be one grey."""
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    path = tmp_path / "stripes.png"
    Image.fromarray(stripes).save(path)
    photos, _ = store_photos([Sample(path, path.name, 1)], Store(tmp_path / "store"))
    images, labels = photos.batch([0], 512, CPU)
    assert labels.tolist() == [1]
    torch.testing.assert_close(images[0], torch.from_numpy(stripes).permute(2, 0, 1) / 255)
    answers, _ = photos.answers(lambda batch: batch.std((1, 2, 3)), 512, CPU)
    assert answers > 0.4
    assert photos.batch([0], 256, CPU)[0].std() < 0.1
    path.unlink()
    with pytest.raises(ImageError, match=r"stripes\.png"):
        photos.batch([0], 512, CPU)
