"""COCO's run lengths: masks as short strings, column by column, as its evaluator and annotation tools read them.

In and out: masks ``(H, W) bool`` and the "compressed" counts of COCO's JSON. An object is encoded and decoded within its own
box, so that a small object in a huge photo costs little. NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dips.errors import DataError

__all__ = ["area", "bounds", "decode", "encode", "run_lengths"]

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
Box = tuple[int, int, int, int]

MAX_CHARACTERS = 12  # of a number: 60 bits


def encode(mask: Mask, *, corner: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None) -> str:
    """Return a mask as compressed counts.

    Args:
        mask: ``(h, w) bool``, part of a photo.
        corner: x and y of its upper left pixel in the photo.
        size: width and height of the photo; by default those of ``mask``.

    >>> counts = encode(np.eye(2, dtype=bool), corner=(3, 1), size=(6, 4))
    >>> area(counts), np.argwhere(decode(counts, (6, 4))).tolist()
    (2, [[1, 3], [2, 4]])
    """
    return _compressed(run_lengths(mask, corner=corner, size=size))


def run_lengths(mask: Mask, *, corner: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None) -> Ints:
    """Return the alternating lengths of runs of 0 and 1, down the photo's columns; the first is of 0 and may have length 0.

    See :func:`encode` for the arguments.
    """
    height, width = mask.shape
    full_width, full_height = (width, height) if size is None else size
    # a border above and below ends every run inside its own column
    framed = np.zeros((width, height + 2), np.int8)
    framed[:, 1:-1] = mask.T
    steps = np.diff(framed, axis=1)
    columns, begins = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    first = (columns + corner[0]).astype(np.int64) * full_height + corner[1]
    begins, ends = first + begins, first + ends
    joined = begins[1:] == ends[:-1]  # from the bottom of one column to the top of the next
    begins, ends = begins[np.r_[True, ~joined]] if len(begins) else begins, ends[np.r_[~joined, True]] if len(ends) else ends
    edges = np.stack([begins, ends], axis=1).ravel()
    lengths = np.diff(np.concatenate([[0], edges, [full_width * full_height]]))
    # a last run of 1 is not followed by one of 0
    return lengths[:-1] if len(edges) and lengths[-1] == 0 else lengths


def decode(counts: str | Sequence[int], size: tuple[int, int], *, box: Box | None = None) -> Mask:
    """Return the mask that counts encode.

    Args:
        counts: compressed (:func:`encode`), or as lengths (:func:`run_lengths`).
        size: width and height of the photo.
        box: ``x0 y0 x1 y1``, end exclusive, inside the photo: decode only this part.

    Returns:
        ``(H, W) bool``, or ``(y1 - y0, x1 - x0)`` for a box.

    Raises:
        DataError: the counts are damaged or of another size.
    """
    width, height = size
    lengths = _checked(counts, size)
    x0, y0, x1, y1 = (0, 0, width, height) if box is None else box
    columns, rows = np.divmod(np.concatenate([[0], np.cumsum(lengths)]), height)
    # the number of the part's pixels before each edge of a run
    before = (columns - x0) * (y1 - y0) + np.clip(rows - y0, 0, y1 - y0)
    before = np.clip(before, 0, (x1 - x0) * (y1 - y0))
    values = np.arange(len(lengths)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, np.diff(before)).reshape(x1 - x0, y1 - y0).T)


def area(counts: str) -> int:
    """Return the number of the mask's pixels.

    Raises:
        DataError: the counts are damaged.
    """
    return int(_expanded(counts)[1::2].sum())


def bounds(counts: str | Sequence[int], size: tuple[int, int]) -> Box | None:
    """Return the box ``x0 y0 x1 y1``, end exclusive, around a mask, without decoding the mask; None if it has no pixel.

    Args:
        counts: compressed (:func:`encode`), or as lengths (:func:`run_lengths`).
        size: width and height of the photo.

    Raises:
        DataError: the counts are damaged or of another size.

    >>> bounds([8, 2, 3, 1, 10], (6, 4)), bounds([24], (6, 4))
    ((2, 0, 4, 2), None)
    """
    height = size[1]
    edges = np.cumsum(_checked(counts, size))
    begins, ends = edges[0:-1:2], edges[1::2]
    begins, ends = begins[ends > begins], ends[ends > begins] - 1
    if len(begins) == 0:
        return None
    across = begins // height != ends // height  # beyond the bottom of a column: both its last and its first row
    top, bottom = (0, height - 1) if across.any() else ((begins % height).min(), (ends % height).max())
    return int(begins[0] // height), int(top), int(ends[-1] // height) + 1, int(bottom) + 1


def _checked(counts: str | Sequence[int], size: tuple[int, int]) -> Ints:
    width, height = size
    lengths = _expanded(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
    if lengths.min(initial=0) < 0 or lengths.sum() != width * height:
        raise DataError(f"run lengths of {lengths.sum()} pixels are not a mask of {width} x {height}; predict the photo again")
    return lengths


def _compressed(lengths: Ints) -> str:
    """Return lengths as text: five bits a character, lowest first; from the fourth on differences to the length two before."""
    rest = lengths.astype(np.int64)
    rest[3:] -= lengths[1:-2]
    written = np.ones(len(rest), bool)
    rows, used = [], []
    while written.any():
        bits = rest & 31
        rest >>= 5
        more = written & (rest != np.where(bits & 16, -1, 0))
        rows.append(np.where(more, bits | 32, bits) + 48)
        used.append(written)
        written = more
    return np.stack(rows, axis=1)[np.stack(used, axis=1)].astype(np.uint8).tobytes().decode("ascii") if rows else ""


def _expanded(counts: str) -> Ints:
    bits = np.frombuffer(counts.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    if len(bits) == 0:
        return bits
    if bits.min() < 0 or bits.max() > 63:
        unknown = next(character for character in counts if not 48 <= ord(character) < 112)
        raise DataError(f"'{unknown}' does not occur in run lengths; predict the photo again")
    last = np.flatnonzero(bits < 32)
    if len(last) == 0 or last[-1] != len(bits) - 1:
        raise DataError("run lengths end in the middle of a number; predict the photo again")
    first = np.concatenate([[0], last[:-1] + 1])
    characters = last - first + 1
    if characters.max() > MAX_CHARACTERS:
        raise DataError("run lengths hold a number that no photo has; predict the photo again")
    digit = np.arange(len(bits)) - np.repeat(first, characters)
    lengths = np.add.reduceat((bits & 31) << (5 * digit), first)
    lengths -= np.where(bits[last] & 16, np.int64(1) << (5 * characters), 0)
    lengths[1::2] = np.cumsum(lengths[1::2])
    lengths[2::2] = np.cumsum(lengths[2::2])
    return lengths
