"""Photos as squares in the store: each photo is read from its file once, however often it is needed later.

In: samples and a store. Out: the shelf ``squares`` with a record ``png`` per photo and, if requested, the photos at another
side in the same pass. Photos that cannot be read are skipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.data.depth import Depth
from dips.data.images import ByteImage, decode_image, encode_image, resize_image
from dips.data.problems import left_out
from dips.data.tiling import read_sample, read_tiles
from dips.errors import ImageError, StoreError
from dips.harvest.store import Shelf, Store
from dips.system.console import track
from dips.types import Problem, Sample

__all__ = ["SquareReader", "decode_square", "encode_square", "read_square"]

_THREADS = 4
_TILES_AT_ONCE = 32  # of one photo, in memory


def encode_square(image: ByteImage) -> NDArray[np.uint8]:
    """Return ``(S, S, 3) uint8`` RGB encoded as the bytes ``(N,) uint8`` of a PNG."""
    return np.frombuffer(encode_image(image, ".png", cv2.IMWRITE_PNG_COMPRESSION, 1), np.uint8)


def decode_square(data: NDArray[np.uint8]) -> ByteImage:
    """Return the ``(S, S, 3) uint8`` RGB that :func:`encode_square` encoded.

    Raises:
        StoreError: the bytes are damaged.
    """
    image = decode_image(data, cv2.IMREAD_COLOR)
    if image is None:
        raise StoreError("a photo in the store is damaged; remove the store's 'squares' folder, and it will be rebuilt")
    return np.ascontiguousarray(image[:, :, ::-1], dtype=np.uint8)


def read_square(shelf: Shelf, digest: str) -> ByteImage:
    """Return a stored photo as ``(S, S, 3) uint8`` RGB.

    Raises:
        StoreError: it is missing or damaged.
    """
    return decode_square(shelf.require(digest)["png"])


class SquareReader:
    """Reads the photos of a data set and stores them as squares.

    Attributes:
        side: side S of the stored squares; None = no squares are stored.
        decoded: side of the square for which JPEGs are decoded, see ``max_side`` of :func:`~dips.data.images.read_image`: the
            squares depend on it, so it is fixed, and part of their key.
        depth: how values of more than 8 bits are brought to 8.
        squares: the shelf of the squares, if they are stored.
        samples: photos whose files could be identified, in the data set's order.
        digests: their keys in the store; copies of a photo share one.
        files: the SHA-256 of each photo's file, by key; it is the key itself, except for tiles.
        unreadable: why a photo could not be decoded, by digest; grows while photos are read.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        store: Store,
        side: int | None = None,
        *,
        decoded: int | None = None,
        depth: Depth | None = None,
    ) -> None:
        """Identify all photos by their content; ``decoded`` is ``side`` by default.

        Raises:
            StoreError: the store cannot be written, or is damaged.
        """
        self.side, self.depth = side, depth or Depth()
        self.decoded = max(side or 0, decoded or 0)
        settings = {"side": side, "decoded": self.decoded, "depth": self.depth.key}
        self.squares = None if side is None else store.shelf("squares", settings)
        self.samples: list[Sample] = []
        self.digests: list[str] = []
        self.files: dict[str, str] = {}
        self.unreadable: dict[str, str] = {}
        self._problems: list[Problem] = []
        digests = store.digests(sample.path for sample in track(samples, "looking at files", len(samples)))
        for sample, digest in zip(samples, digests, strict=True):
            if isinstance(digest, str):
                self.samples.append(sample)
                self.digests.append(key := _key(digest, sample))
                self.files[key] = digest
            else:
                self._problems.append(left_out(sample.path, f"{sample.path} cannot be read: {digest.strerror or digest}"))
        self._samples = dict(zip(self.digests, self.samples, strict=True))

    def __len__(self) -> int:
        """Return the number of different photos."""
        return len(self._samples)

    def fill(self, *, batch: int) -> None:
        """Store the squares that are still missing, ``batch`` photos per write."""
        if self.squares is not None and self.side is not None:
            for _ in self.read(self.squares.missing(self.digests), batch=batch, side=self.side, title="photos"):
                pass

    def read(self, digests: Sequence[str], *, batch: int, side: int, title: str) -> Iterator[tuple[list[str], list[ByteImage]]]:
        """Yield photos from their files, reading the next batch ahead; missing squares are stored on the way.

        Tiles of a photo stay together.

        Args:
            digests: keys of the photos; those known to be unreadable are skipped.
            batch: maximum number of photos at once.
            side: side of the yielded squares ``(side, side, 3) uint8`` RGB, in pixels. If it is above ``decoded``, photos are
                decoded for it, and no square is stored.
            title: title of the progress bar.
        """
        digests = [digest for digest in digests if digest not in self.unreadable]
        absent = set() if self.squares is None or side > self.decoded else set(self.squares.missing(digests))

        def read(unit: Sequence[str]) -> list[tuple[ByteImage, NDArray[np.uint8] | None] | str]:
            samples = [self._samples[digest] for digest in unit]
            path, windows = samples[0].path, [sample.window for sample in samples if sample.window is not None]
            try:
                if windows:
                    photos = read_tiles(path, windows, self.depth)
                else:
                    photos = [read_sample(samples[0], max_side=max(side, self.decoded), depth=self.depth)]
            except ImageError as error:
                return [str(error).removeprefix(f"{path} ")] * len(unit)  # copies of the photo have other paths
            return [square(digest, photo) for digest, photo in zip(unit, photos, strict=True)]

        def square(digest: str, photo: ByteImage) -> tuple[ByteImage, NDArray[np.uint8] | None]:
            image = resize_image(photo, (side, side))
            if digest not in absent or self.side is None:
                return image, None
            return image, encode_square(image if side == self.side else resize_image(photo, (self.side, self.side)))

        groups = self._groups(digests, batch)
        with ThreadPoolExecutor(_THREADS) as pool:
            ahead = [pool.submit(read, unit) for unit in groups[0]] if groups else []
            for group, following in track(zip(groups, [*groups[1:], []], strict=False), title, len(groups)):
                results = [result for future in ahead for result in future.result()]
                ahead = [pool.submit(read, unit) for unit in following]
                readable, images, pngs = [], [], {}
                for digest, result in zip((digest for unit in group for digest in unit), results, strict=True):
                    if isinstance(result, str):
                        self.unreadable[digest] = result
                        continue
                    readable.append(digest)
                    images.append(result[0])
                    if result[1] is not None:
                        pngs[digest] = {"png": result[1]}
                if readable:
                    if self.squares is not None:
                        self.squares.put(pngs)
                    for start in range(0, len(readable), batch):
                        yield readable[start : start + batch], images[start : start + batch]

    def _groups(self, digests: Sequence[str], batch: int) -> list[list[list[str]]]:
        """Return units to be decoded at once, each a photo or some tiles of one, in groups of up to ``batch`` digests; a longer
        unit is a group by itself."""

        def photo(digest: str) -> tuple[object, ...]:
            sample = self._samples[digest]
            return (digest,) if sample.window is None else (sample.path, None)

        photos: dict[tuple[object, ...], list[str]] = {}
        for digest in digests:
            photos.setdefault(photo(digest), []).append(digest)
        units = [
            tiles[start : start + _TILES_AT_ONCE] for tiles in photos.values() for start in range(0, len(tiles), _TILES_AT_ONCE)
        ]
        groups: list[list[list[str]]] = []
        room = 0
        for unit in units:
            if not groups or len(unit) > room:
                groups.append([])
                room = batch
            groups[-1].append(unit)
            room -= len(unit)
        return groups

    def readable(self) -> tuple[tuple[Sample, ...], tuple[str, ...], tuple[Problem, ...]]:
        """Return samples and digests of the photos that could be read, and the problems of the others."""
        pairs = list(zip(self.samples, self.digests, strict=True))
        problems = [left_out(s.path, f"{s.path} {self.unreadable[d]}") for s, d in pairs if d in self.unreadable]
        good = [(s, d) for s, d in pairs if d not in self.unreadable]
        once = tuple(dict.fromkeys((*self._problems, *problems)))  # one per photo, whatever its number of tiles
        return tuple(s for s, _ in good), tuple(d for _, d in good), once


def _key(digest: str, sample: Sample) -> str:
    """Return the key of a sample in the store, given its file's digest."""
    if sample.window is None:
        return digest
    return hashlib.sha256(f"{digest}:{','.join(map(str, sample.window))}".encode()).hexdigest()
