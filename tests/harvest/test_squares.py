"""Photos become squares in the store, each read from its file once; what cannot be read is reported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dips.data.images import read_image, resize_image
from dips.errors import StoreError
from dips.harvest.squares import SquareReader, decode_square, encode_square, read_square
from dips.harvest.store import Store
from dips.types import Sample


@pytest.fixture
def samples(tmp_path: Path, make_photo: Callable[..., Path]) -> list[Sample]:
    """Five photos, the last a copy of the first."""
    paths = [make_photo(tmp_path / "photos" / f"{i}.png", (40, 30), seed=i) for i in range(4)]
    paths.append(Path(shutil.copy(paths[0], paths[0].with_name("copy.png"))))
    return [Sample(path, path.name, 0) for path in paths]


def test_squares_keep_every_pixel() -> None:
    square = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    assert np.array_equal(decode_square(encode_square(square)), square)
    with pytest.raises(StoreError, match="remove the store's 'squares' folder"):
        decode_square(np.zeros(10, np.uint8))
    with pytest.raises(StoreError, match="damaged"):
        decode_square(np.zeros(0, np.uint8))


def test_photos_are_read_in_order_and_stored_on_the_way(samples: list[Sample], tmp_path: Path) -> None:
    reader = SquareReader(samples, Store(tmp_path / "store"), 16)
    assert len(reader) == 4 and reader.digests[4] == reader.digests[0]
    batches = list(reader.read(reader.digests[:4], batch=3, side=24, title="photos"))
    assert [digests for digests, _ in batches] == [reader.digests[:3], reader.digests[3:4]]
    images = [image for _, group in batches for image in group]
    for sample, digest, image in zip(samples, reader.digests, images, strict=False):
        photo = read_image(sample.path)
        assert np.array_equal(image, resize_image(photo, (24, 24)))
        assert reader.squares is not None
        assert np.array_equal(read_square(reader.squares, digest), resize_image(photo, (16, 16)))


def test_what_is_stored_is_not_read_again(samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SquareReader(samples, Store(tmp_path / "store"), 16).fill(batch=2, side=16)
    monkeypatch.setattr("dips.harvest.squares.read_image", lambda *_, **__: pytest.fail("it is in the store"))
    reader = SquareReader(samples, Store(tmp_path / "store"), 16)
    reader.fill(batch=2, side=16)
    assert reader.readable() == (tuple(samples), tuple(reader.digests), ())


def test_unreadable_photos_are_named_once(samples: list[Sample], tmp_path: Path) -> None:
    samples[1].path.write_text("no photo")
    samples[2].path.unlink()
    reader = SquareReader(samples, Store(tmp_path / "store"), 16)
    for _ in range(2):
        reader.fill(batch=2, side=16)
    left, digests, problems = reader.readable()
    assert left == (samples[0], samples[3], samples[4]) and len(digests) == 3
    assert {problem.path for problem in problems} == {samples[1].path, samples[2].path}
    assert len(problems) == 2 and all(problem.message.startswith("is left out, as it ") for problem in problems)


def test_each_copy_of_an_unreadable_photo_is_named(samples: list[Sample], tmp_path: Path) -> None:
    for sample in (samples[0], samples[4]):
        sample.path.write_text("no photo")
    reader = SquareReader(samples, Store(tmp_path / "store"), 16)
    reader.fill(batch=2, side=16)
    _, _, problems = reader.readable()
    assert [problem.path for problem in problems] == [samples[0].path, samples[4].path]
    assert len({problem.message for problem in problems}) == 1, "neither names the other"


def test_without_a_side_no_square_is_stored(samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    reader = SquareReader(samples, store)
    assert reader.side is None and reader.squares is None
    ((digests, images),) = reader.read(reader.digests[:2], batch=3, side=24, title="photos")
    assert digests == reader.digests[:2]
    for sample, image in zip(samples, images, strict=False):
        assert np.array_equal(image, resize_image(read_image(sample.path), (24, 24)))
    monkeypatch.setattr("dips.harvest.squares.read_image", lambda *_, **__: pytest.fail("there is nothing to store"))
    reader.fill(batch=2, side=24)
    assert reader.readable() == (tuple(samples), tuple(reader.digests), ())
    assert not list(store.folder.glob("squares*"))
