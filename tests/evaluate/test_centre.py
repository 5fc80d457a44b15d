from __future__ import annotations

import numpy as np
import pytest

from dips.errors import ProtocolError
from dips.evaluate import boxes_at_thresholds, centre_map


def test_it_lies_in_the_middle() -> None:
    score_map = centre_map()
    assert score_map.shape == (224, 224) and score_map.dtype == np.float32 and score_map.max() == 1
    assert np.array_equal(score_map, score_map[::-1]) and np.array_equal(score_map, score_map.T)
    assert np.argwhere(score_map == 1).tolist() == [[111, 111], [111, 112], [112, 111], [112, 112]]


def test_its_boxes_are_centred_squares() -> None:
    boxes = boxes_at_thresholds(centre_map(sigma=40)).boxes
    inner = boxes[boxes[:, 2] < 223]
    assert len(inner) > 50
    assert (inner[:, 0] == inner[:, 1]).all() and (inner[:, 2] == inner[:, 3]).all()
    assert (inner[:, 0] + inner[:, 2] == 224).all()


@pytest.mark.parametrize(("frame", "sigma"), [(0, 1.0), (5, 0.0), (5, float("nan"))])
def test_sizes_are_positive(frame: int, sigma: float) -> None:
    with pytest.raises(ProtocolError):
        centre_map(frame, sigma)
