"""Run lengths: the same strings as COCO's own tools, from whole masks and from parts of a photo."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from dips.errors import DataError
from dips.rle import area, decode, encode, run_lengths

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@settings(deadline=None, max_examples=300)
@given(masks)
def test_the_strings_are_cocos_own(mask: np.ndarray) -> None:
    theirs = coco.encode(np.asfortranarray(mask, np.uint8))
    counts = encode(mask)
    assert counts == theirs["counts"].decode()
    size = (mask.shape[1], mask.shape[0])
    assert np.array_equal(decode(counts, size), mask) and area(counts) == mask.sum() == coco.area(theirs)


@settings(deadline=None, max_examples=200)
@given(masks, st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_a_part_is_encoded_like_the_photo(mask: np.ndarray, left: int, top: int, right: int, bottom: int) -> None:
    photo = np.pad(mask, ((top, bottom), (left, right)))
    assert encode(mask, corner=(left, top), size=(photo.shape[1], photo.shape[0])) == encode(photo)


def test_lengths_by_hand() -> None:
    mask = np.array([[0, 1, 0], [1, 1, 0]], bool)  # down the columns: 0 1 | 1 1 | 0 0
    assert run_lengths(mask) == [1, 3, 2]
    assert run_lengths(~mask) == [0, 1, 3, 2]
    assert run_lengths(np.zeros((2, 2), bool)) == [4] and run_lengths(np.ones((2, 2), bool)) == [0, 4]


def test_large_photos() -> None:
    blob = np.ones((3000, 2000), bool)
    counts = encode(blob, corner=(9000, 4000), size=(12000, 8000))
    assert area(counts) == 6_000_000 and len(counts) < 20_000
    assert coco.toBbox({"size": [8000, 12000], "counts": counts.encode()}).tolist() == [9000, 4000, 2000, 3000]


@pytest.mark.parametrize(("counts", "words"), [("~", "does not occur"), ("P", "middle of a number"), ("5", "no mask of 3 x 2")])
def test_damage_is_told(counts: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decode(counts, (3, 2))
