"""COCO's run lengths: masks as short strings, column by column, as its evaluator and annotation tools read them.

In and out: masks ``(H, W) bool`` and the "compressed" counts of COCO's JSON. An object is encoded from its own box alone, so
that a small object of a huge photo costs little. NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dips.errors import DataError

__all__ = ["area", "decode", "encode", "run_lengths"]

Mask = NDArray[np.bool_]


def encode(mask: Mask, *, corner: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None) -> str:
    """A mask as compressed counts.

    Args:
        mask: ``(h, w)``, part of a photo.
        corner: x and y of its upper left pixel in the photo.
        size: width and height of the photo; by default those of ``mask``.
    """
    return _compressed(run_lengths(mask, corner=corner, size=size))


def run_lengths(mask: Mask, *, corner: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None) -> list[int]:
    """Lengths of the runs of 0 and 1 in turn, down the photo's columns, from 0 on (perhaps none); see :func:`encode`."""
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
    joined = begins[1:] == ends[:-1]  # over the foot of one column to the head of the next
    begins, ends = begins[np.r_[True, ~joined]] if len(begins) else begins, ends[np.r_[~joined, True]] if len(ends) else ends
    edges = np.stack([begins, ends], axis=1).ravel()
    lengths = np.diff(np.concatenate([[0], edges, [full_width * full_height]]))
    if len(edges) and lengths[-1] == 0:
        lengths = lengths[:-1]  # the last run is of 1
    return [int(length) for length in lengths]


def decode(counts: str, size: tuple[int, int]) -> Mask:
    """The mask ``(H, W)`` of compressed counts; ``size`` is width and height of the photo.

    Raises:
        DataError: the counts are damaged or of another size.
    """
    width, height = size
    lengths = _expanded(counts)
    if min(lengths, default=0) < 0 or sum(lengths) != width * height:
        raise DataError(f"run lengths of {sum(lengths)} pixels are no mask of {width} x {height}; predict the photo again")
    values = np.arange(len(lengths)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, lengths).reshape(width, height).T)


def area(counts: str) -> int:
    """Pixels of the mask."""
    return sum(_expanded(counts)[1::2])


def _compressed(lengths: Sequence[int]) -> str:
    """Five bits a character, lowest first; from the fourth on the difference to the length two before."""
    text = bytearray()
    for index, length in enumerate(lengths):
        value = length - lengths[index - 2] if index > 2 else length
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text.append((bits | 32 if more else bits) + 48)
    return text.decode("ascii")


def _expanded(counts: str) -> list[int]:
    lengths: list[int] = []
    value = shift = 0
    for character in counts.encode("ascii", "replace"):
        bits = character - 48
        if not 0 <= bits < 64:
            raise DataError(f"'{chr(character)}' does not occur in run lengths; predict the photo again")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
            value = shift = 0
    if shift:
        raise DataError("run lengths end in the middle of a number; predict the photo again")
    return lengths
