"""Photos become squares in the store, each read from its file once; what cannot be read is reported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dips.data.depth import Depth
from dips.data.images import ByteImage, read_image, resize_image
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
    reader = SquareReader(samples, Store(tmp_path / "store"), 16, decoded=24)
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
    SquareReader(samples, Store(tmp_path / "store"), 16).fill(batch=2)
    monkeypatch.setattr("dips.harvest.squares.read_image", lambda *_, **__: pytest.fail("it is in the store"))
    reader = SquareReader(samples, Store(tmp_path / "store"), 16)
    reader.fill(batch=2)
    assert reader.readable() == (tuple(samples), tuple(reader.digests), ())


def test_squares_do_not_depend_on_who_came_first(tmp_path: Path, make_photo: Callable[..., Path]) -> None:
    """A JPEG is decoded smaller for small squares, which gives other pixels: each finds its own in the store."""
    path = make_photo(tmp_path / "a.jpg", (1600, 1200), seed=1, box=(300, 300, 900, 700))
    samples = [Sample(path, path.name, 0)]

    def square(folder: str, side: int, decoded: int | None, reads: int | None = None) -> ByteImage:
        reader = SquareReader(samples, Store(tmp_path / folder), side, decoded=decoded)
        if reads is not None:
            list(reader.read(reader.digests, batch=1, side=reads, title="photos"))
        reader.fill(batch=1)
        assert reader.squares is not None
        return read_square(reader.squares, reader.digests[0])

    asked: list[tuple[int, int | None, int | None]] = [(128, None, None), (128, 700, None), (128, 700, 700)]
    asked += [(128, None, 700), (128, 300, 128), (64, 300, 300)]
    alone = [square(f"store {number}", *how) for number, how in enumerate(asked)]
    for order in (asked, asked[::-1]):
        together = {how: square(f"shared {order[0]}", *how) for how in order}
        for how, expected in zip(asked, alone, strict=True):
            assert np.array_equal(together[how], expected), how
    assert not np.array_equal(alone[0], alone[1]) and np.array_equal(alone[1], alone[2])
    assert np.array_equal(alone[0], alone[3]), "whatever it was read for meanwhile"


def test_squares_belong_to_the_depth(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray((7000 + np.arange(256).reshape(16, 16)).astype(np.uint16)).save(path)
    found = []
    for depth in (Depth(), Depth(rule="full"), Depth(scales=((7000.0, 7510.0),))):
        reader = SquareReader([Sample(path, path.name, 0)], Store(tmp_path / "store"), 16, depth=depth)
        reader.fill(batch=1)
        assert reader.squares is not None
        found.append(int(read_square(reader.squares, reader.digests[0]).max()))
    assert found == [255, 28, 128]


def test_unreadable_photos_are_named_once(samples: list[Sample], tmp_path: Path) -> None:
    samples[1].path.write_text("no photo")
    samples[2].path.unlink()
    reader = SquareReader(samples, Store(tmp_path / "store"), 16)
    for _ in range(2):
        reader.fill(batch=2)
    left, digests, problems = reader.readable()
    assert left == (samples[0], samples[3], samples[4]) and len(digests) == 3
    assert {problem.path for problem in problems} == {samples[1].path, samples[2].path}
    assert len(problems) == 2 and all(problem.message.startswith("is left out, as it ") for problem in problems)


def test_each_copy_of_an_unreadable_photo_is_named(samples: list[Sample], tmp_path: Path) -> None:
    for sample in (samples[0], samples[4]):
        sample.path.write_text("no photo")
    reader = SquareReader(samples, Store(tmp_path / "store"), 16)
    reader.fill(batch=2)
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
    reader.fill(batch=2)
    assert reader.readable() == (tuple(samples), tuple(reader.digests), ())
    assert not list(store.folder.glob("squares*"))
