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
from dips.data.tiling import in_tiles, read_tiles
from dips.errors import StoreError
from dips.harvest.squares import SquareReader, decode_square, encode_square, read_square
from dips.harvest.store import Store
from dips.types import DataSet, Sample


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
    monkeypatch.setattr("dips.harvest.squares.read_sample", lambda *_, **__: pytest.fail("it is in the store"))
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
    monkeypatch.setattr("dips.harvest.squares.read_sample", lambda *_, **__: pytest.fail("there is nothing to store"))
    reader.fill(batch=2)
    assert reader.readable() == (tuple(samples), tuple(reader.digests), ())
    assert not list(store.folder.glob("squares*"))


def test_tiles_have_keys_of_their_own_and_a_photo_is_decoded_once_for_all(
    tmp_path: Path, make_photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [make_photo(tmp_path / f"{i}.png", (90, 50), seed=i) for i in range(3)]
    broken = tmp_path / "broken.png"
    broken.write_bytes(photos[0].read_bytes()[:200])
    whole = [Sample(path, path.name, 0) for path in (*photos, broken)]
    samples = in_tiles(DataSet(tmp_path, ("a",), tuple(whole)), 40, 0.25).samples
    assert len(samples) == 24
    decoded: list[Path] = []

    def read(path: Path, windows: list[tuple[int, int, int, int]], depth: Depth) -> list[ByteImage]:
        decoded.append(path)
        return read_tiles(path, windows, depth)

    monkeypatch.setattr("dips.harvest.squares.read_tiles", read)
    reader = SquareReader(samples, Store(tmp_path / "store"), 16)
    assert len(set(reader.digests)) == 24 and len(set(reader.files.values())) == 4
    asked = sorted(reader.digests)  # as they are chosen for a fit
    batches = list(reader.read(asked, batch=4, side=16, title="photos"))
    assert sorted(decoded) == sorted([*photos, broken]) and max(len(group) for group, _ in batches) == 4
    windows = dict(zip(reader.digests, samples, strict=True))
    seen = {digest: image for group, images in batches for digest, image in zip(group, images, strict=True)}
    assert set(seen) == {digest for digest, sample in windows.items() if sample.path != broken}
    for digest, image in seen.items():
        x0, y0, x1, y1 = windows[digest].window or (0, 0, 0, 0)
        expected = resize_image(np.ascontiguousarray(read_image(windows[digest].path)[y0:y1, x0:x1]), (16, 16))
        assert np.array_equal(image, expected)
        assert reader.squares is not None and np.array_equal(read_square(reader.squares, digest), expected)
    readable, _, problems = reader.readable()
    assert len(readable) == 18 and [problem.path for problem in problems] == [broken]


def test_many_tiles_of_a_photo_are_read_in_parts(tmp_path: Path, make_photo: Callable[..., Path]) -> None:
    path = make_photo(tmp_path / "wide.png", (1000, 20))
    samples = in_tiles(DataSet(tmp_path, ("a",), (Sample(path, "wide.png", 0),)), 20, 0).samples
    reader = SquareReader(samples, Store(tmp_path / "store"))
    batches = [digests for digests, _ in reader.read(reader.digests, batch=16, side=8, title="photos")]
    assert len(samples) == 50 and [digest for group in batches for digest in group] == reader.digests
    assert max(map(len, batches)) == 16
