from __future__ import annotations

import json

import numpy as np
import pytest

from dips.errors import ProtocolError
from dips.evaluate import BoxAccumulator, BoxResult


def result(**changes: object) -> BoxResult:
    """Ten thresholds 0, 0.1, ... with a known best one for every number."""
    v2 = np.array(
        [
            [10, 20, 90, 90, 90, 80, 90, 40, 30, 20],
            [10, 20, 30, 60, 70, 70, 40, 30, 20, 10],
            [0, 0, 10, 20, 30, 40, 20, 10, 0, 0],
        ],
        float,
    )
    values: dict[str, object] = {
        "n_images": 12,
        "n_boxed": 10,
        "n_boxes": 14,
        "n_classified": 12,
        "n_boxed_classified": 10,
        "taus": np.arange(10) / 10,
        "v1": v2[1] / 2,
        "v2": v2,
        "top1": v2[1] * 0.5,
        "top5": v2[1] * 0.9,
        "kinds": np.full((6, 10), 100 / 6),
        "class_top1": 50.0,
        "class_top5": 90.0,
        **changes,
    }
    return BoxResult(**values)  # type: ignore[arg-type]


def test_every_iou_has_its_own_best_threshold() -> None:
    numbers = result()
    assert numbers.max_box_acc_at == {"30": 90.0, "50": 70.0, "70": 40.0}
    assert numbers.max_box_acc_v2 == pytest.approx(200 / 3)
    assert numbers.max_box_acc == 35.0
    assert numbers.gt_known == 70.0


def test_the_middle_of_the_longest_run_is_chosen() -> None:
    # 30: two runs of best values, 2-4 and 6; 50: 4-5, the lower middle; v2: mean is best at 4 and 5 (190, 190)
    assert result().best_tau == {"v1": 0.4, "30": 0.3, "50": 0.4, "70": 0.5, "v2": 0.4}


def test_label_numbers_use_the_threshold_of_gt_known() -> None:
    top1 = np.array([99, 0, 0, 0, 33, 0, 0, 0, 0, 0], float)  # its own best one would give 99
    assert result(top1=top1).top1_loc == 33.0
    assert result().top5_loc == pytest.approx(63.0)


def test_one_threshold_for_everything() -> None:
    numbers = result().at_tau(0.52)
    assert numbers.tau == {"v1": 0.5, "30": 0.5, "50": 0.5, "70": 0.5}
    assert numbers.box_acc_at == {"30": 80.0, "50": 70.0, "70": 40.0}
    assert numbers.box_acc_v2 == pytest.approx(190 / 3)
    assert (numbers.box_acc, numbers.gt_known, numbers.top1_loc) == (35.0, 70.0, 35.0)


def test_thresholds_of_another_split() -> None:
    numbers = result().at_tau({"30": 0.1, "50": 0.3, "70": 0.4})
    assert numbers.box_acc_at == {"30": 20.0, "50": 60.0, "70": 30.0}
    assert numbers.box_acc == 30.0  # v1 takes the threshold of 50
    with pytest.raises(ProtocolError, match="70"):
        result().at_tau({"30": 0.1, "50": 0.3})
    with pytest.raises(ProtocolError, match="between 0 and 1"):
        result().at_tau(1.2)


def test_own_best_thresholds_give_the_oracle() -> None:
    numbers = result()
    assert numbers.at_tau(numbers.best_tau).box_acc_v2 == numbers.max_box_acc_v2
    assert numbers.at_tau(numbers.best_tau).box_acc == numbers.max_box_acc


def test_no_other_threshold_beats_the_oracle() -> None:
    numbers = result()
    assert all(numbers.at_tau(tau).box_acc_v2 <= numbers.max_box_acc_v2 for tau in np.linspace(0, 1, 21))


def test_records_are_json() -> None:
    record = json.loads(json.dumps(result().record(), allow_nan=False))
    assert record["max_box_acc_at"] == {"30": 90.0, "50": 70.0, "70": 40.0}
    assert record["curves"]["70"][5] == 40.0 and len(record["curves"]["tau"]) == 10
    assert "curves" not in result().record(curves=False)
    empty = BoxAccumulator().result()
    record = json.loads(json.dumps(empty.record(), allow_nan=False))
    assert record["max_box_acc_v2"] is None and record["best_tau"] is None and "curves" not in record
    assert json.loads(json.dumps(empty.at_tau(0.5).record(), allow_nan=False))["box_acc_v2"] is None
