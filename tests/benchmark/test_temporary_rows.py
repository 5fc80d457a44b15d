"""Measured photos on their way through a file."""

from __future__ import annotations

import tempfile

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dips.benchmark.temporary_rows import Spool
from dips.evaluate import Measured, measure_boxes
from dips.evaluate.result import ImageRow


def photo(seed: int) -> Measured:
    random = np.random.default_rng(seed)
    score_map = np.kron(random.random((4, 4)), np.ones((8, 8))) if seed % 5 else np.zeros((32, 32))
    boxes = [None, [], [[1, 2, 20, 30]], [[0, 0, 5, 5], [3.5, 9, 31, 31]]][seed % 4]
    said = random.permutation(9)[: seed % 7]
    label = None if seed % 3 == 0 else seed % 9
    return measure_boxes(score_map, boxes, label=label, predicted=said, id=f"ü {seed}\n,\udcff\"'.jpg", thresholds=40)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 60), max_size=8), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_what_comes_out_is_what_went_in(seeds: list[int], taus: list[float]) -> None:
    tau = dict(zip(("v1", "30", "50", "70"), taus, strict=True))
    photos = [photo(seed) for seed in seeds]
    with tempfile.TemporaryFile() as file:
        spool = Spool(file)
        for one in photos:
            spool.add(one)
        rows = list(spool.rows(tau))
        assert rows == [one.row(tau) for one in photos]
        zero = dict.fromkeys(tau, 0.0)
        assert list(spool.rows(zero)) == [one.row(zero) for one in photos], "it can be read again"


def test_photos_without_boxes_keep_their_classes() -> None:
    with tempfile.TemporaryFile() as file:
        spool = Spool(file)
        spool.add(Measured("a.jpg", 3, (1, 3)))
        spool.add(Measured("b.jpg", None, ()))
        assert list(spool.rows({})) == [ImageRow("a.jpg", 3, 1, 0), ImageRow("b.jpg", None, None, 0)]
