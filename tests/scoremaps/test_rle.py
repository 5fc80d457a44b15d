"""Run lengths: the same strings as COCO's own tools, from whole masks and from parts of a photo, and back."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from dips.errors import DataError
from dips.scoremaps.rle import area, bounds, decode, encode, run_lengths

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@settings(max_examples=300)
@given(masks)
def test_the_strings_are_cocos_own(mask: np.ndarray) -> None:
    theirs = coco.encode(np.asfortranarray(mask, np.uint8))
    counts = encode(mask)
    assert counts == theirs["counts"].decode()
    size = (mask.shape[1], mask.shape[0])
    assert np.array_equal(decode(counts, size), mask) and area(counts) == mask.sum() == coco.area(theirs)


@settings(max_examples=200)
@given(masks, st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_a_part_is_encoded_like_the_photo(mask: np.ndarray, left: int, top: int, right: int, bottom: int) -> None:
    photo = np.pad(mask, ((top, bottom), (left, right)))
    size = (photo.shape[1], photo.shape[0])
    counts = encode(mask, corner=(left, top), size=size)
    assert counts == encode(photo)
    assert np.array_equal(decode(counts, size, box=(left, top, left + mask.shape[1], top + mask.shape[0])), mask)


@settings(max_examples=300)
@given(masks, st.data())
def test_a_part_is_decoded_like_the_photo(mask: np.ndarray, data: st.DataObject) -> None:
    height, width = mask.shape
    x0, x1 = sorted((data.draw(st.integers(0, width)), data.draw(st.integers(0, width))))
    y0, y1 = sorted((data.draw(st.integers(0, height)), data.draw(st.integers(0, height))))
    assert np.array_equal(decode(encode(mask), (width, height), box=(x0, y0, x1, y1)), mask[y0:y1, x0:x1])


@settings(max_examples=200)
@given(st.lists(st.integers(1, 2**40), min_size=1, max_size=12), st.booleans())
def test_numbers_of_every_length(runs: list[int], from_one: bool) -> None:
    # what no test could hold as a mask: counts alone, written by the rule of the format, one by one
    lengths = [0, *runs] if from_one else runs
    text = ""
    for index, length in enumerate(lengths):
        value = length - lengths[index - 2] if index > 2 else length
        while True:
            bits, value = value & 31, value >> 5
            end = value == (-1 if bits & 16 else 0)
            text += chr((bits if end else bits | 32) + 48)
            if end:
                break
    from dips.scoremaps import rle

    assert rle._compressed(np.array(lengths, np.int64)) == text
    assert rle._expanded(text).tolist() == lengths and area(text) == sum(lengths[1::2])


def test_lengths_by_hand() -> None:
    mask = np.array([[0, 1, 0], [1, 1, 0]], bool)  # down the columns: 0 1 | 1 1 | 0 0
    assert run_lengths(mask).tolist() == [1, 3, 2]
    assert run_lengths(~mask).tolist() == [0, 1, 3, 2]
    assert run_lengths(np.zeros((2, 2), bool)).tolist() == [4] and run_lengths(np.ones((2, 2), bool)).tolist() == [0, 4]


def test_large_photos() -> None:
    blob = np.ones((3000, 2000), bool)
    counts = encode(blob, corner=(9000, 4000), size=(12000, 8000))
    assert area(counts) == 6_000_000 and len(counts) < 20_000
    assert coco.toBbox({"size": [8000, 12000], "counts": counts.encode()}).tolist() == [9000, 4000, 2000, 3000]
    # a hundred thousand megapixels: nothing of the size of the photo is made
    huge = (400_000, 250_000)
    small = encode(np.eye(3, dtype=bool), corner=(399_000, 249_000), size=huge)
    assert np.array_equal(decode(small, huge, box=(399_000, 249_000, 399_003, 249_003)), np.eye(3, dtype=bool))


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ("~", "does not occur"),
        ("6ü", "'ü' does not occur"),
        ("6 ", "does not occur"),
        ("P", "middle of a number"),
        ("5", "not a mask of 3 x 2"),
        ("", "not a mask of 3 x 2"),
        ("P" * 20 + "0", "no photo has"),
        ("0O7", "not a mask of 3 x 2"),
    ],
)
def test_damage_is_told(counts: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode(counts, (3, 2))


@settings(max_examples=300)
@given(masks)
def test_bounds_are_those_of_the_mask(mask: np.ndarray) -> None:
    size = (mask.shape[1], mask.shape[0])
    rows, columns = np.nonzero(mask)
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if mask.any() else None
    assert bounds(encode(mask), size) == bounds(run_lengths(mask).tolist(), size) == expected
    with pytest.raises(DataError, match="are not a mask of"):
        bounds([*run_lengths(mask).tolist(), 1], size)
