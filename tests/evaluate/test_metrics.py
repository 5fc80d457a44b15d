from __future__ import annotations

import numpy as np
import pytest

from dips.errors import ProtocolError
from dips.evaluate import dissect_errors, max_box_acc, max_box_acc_v2, top_k_localization


def block(x0: int, y0: int, x1: int, y1: int, side: int = 40) -> np.ndarray:
    """A map whose only box is the inclusive ``x0 y0 x1 y1``."""
    score_map = np.zeros((side, side))
    score_map[y0:y1, x0:x1] = 1
    return score_map


MAPS = [block(0, 0, 9, 9), block(0, 0, 9, 9), block(0, 0, 9, 9), block(20, 20, 29, 29)]
TRUE = [[[0, 0, 9, 9]], [[0, 0, 9, 5]], [[0, 0, 9, 3]], [[0, 0, 9, 9]]]  # IoU 1, 0.6, 0.4, 0


def test_the_family_by_hand() -> None:
    assert max_box_acc(MAPS, TRUE) == 50
    assert max_box_acc_v2(MAPS, TRUE) == pytest.approx((75 + 50 + 25) / 3)
    assert max_box_acc_v2(iter(MAPS), iter(TRUE), thresholds=10) == pytest.approx(50)


def test_top_k_by_hand() -> None:
    labels = [1, 2, 3, 4]
    predicted = [[1, 9, 8, 7, 6], [9, 2, 8, 7, 6], [3, 9, 8, 7, 6], [4, 9, 8, 7, 6]]
    assert top_k_localization(MAPS, TRUE, labels, predicted) == 25
    assert top_k_localization(MAPS, TRUE, labels, predicted, k=5) == 50
    with pytest.raises(ProtocolError, match="five predicted classes"):
        top_k_localization(MAPS, TRUE, labels, [*predicted[:3], [4]], k=5)
    assert top_k_localization(MAPS, TRUE, labels, [1, 9, 3, 4]) == 25
    with pytest.raises(ProtocolError, match="k = 1"):
        top_k_localization(MAPS, TRUE, labels, predicted, k=3)


def test_photos_without_boxes_are_left_out() -> None:
    assert max_box_acc([*MAPS, block(0, 0, 3, 3)], [*TRUE, np.zeros((0, 4))]) == 50
    with pytest.raises(ProtocolError, match="no photo has a ground-truth box"):
        max_box_acc(MAPS[:1], [np.zeros((0, 4))])


def test_numbers_must_agree() -> None:
    with pytest.raises(ProtocolError, match="for each map"):
        max_box_acc_v2(MAPS, TRUE[:2])
    with pytest.raises(ProtocolError, match="for each map"):
        top_k_localization(MAPS, TRUE, [1], [1])


def test_errors_by_hand() -> None:
    percent = dissect_errors(MAPS, TRUE, tau=0.5)
    assert percent == {"correct": 50, "several_objects": 0, "part": 0, "more": 25, "other": 25}
    with_classes = dissect_errors(MAPS, TRUE, tau=0.5, labels=[1, 1, 1, 1], predicted=[2, 1, 1, [1, 5]])
    assert with_classes == {"class_wrong": 25, "correct": 25, "several_objects": 0, "part": 0, "more": 25, "other": 25}
    with pytest.raises(ProtocolError, match="both or neither"):
        dissect_errors(MAPS, TRUE, tau=0.5, labels=[1, 1, 1, 1])
    with pytest.raises(ProtocolError, match="between 0 and 1"):
        dissect_errors(MAPS, TRUE, tau=2)
