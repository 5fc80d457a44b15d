"""Scores of validation photos become chances that hold on others, and thresholds that do what they say."""

from __future__ import annotations

import numpy as np
import pytest

from dips.evaluate.reliability import Reliability
from dips.fitting.calibrate import LEAST_BOXES, JudgedPhoto, calibrate, judge
from dips.scoremaps.calibration import Calibration


def photos(count: int, *, seed: int = 0, label: str = "owl", shift: float = 0.0, share: float = 1.0) -> list[JudgedPhoto]:
    """Photos with a box each; the higher its mean the likelier it is right, by a sigmoid; ``share`` of them show an object."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        mean = random.uniform(0.3, 0.99)
        shows = random.random() < share
        right = shows and random.random() < 1 / (1 + np.exp(-3 * np.log(mean / (1 - mean)) + 3 + shift))
        made.append(JudgedPhoto(label, int(shows), np.array([mean], np.float32), np.array([right])))
    return made


def reliability_of(calibration: Calibration, judged: list[JudgedPhoto]) -> Reliability:
    reliability = Reliability({"cautious": calibration.cautious, "typical": calibration.typical})
    for photo in judged:
        reliability.add(calibration.chance(photo.means), photo.right)
    return reliability


@pytest.mark.parametrize("shift", [-2.0, 0.0, 2.0])
def test_chances_hold_on_other_photos(shift: float) -> None:
    calibration = calibrate(photos(300, shift=shift))
    assert calibration is not None
    others = photos(2000, seed=1, shift=shift)
    raw = Reliability({})
    for photo in others:
        raw.add(photo.means, photo.right)
    assert reliability_of(calibration, others).ece < 0.05 < raw.ece


def test_the_cautious_threshold_is_precise_and_the_typical_one_finds_more() -> None:
    calibration = calibrate(photos(400))
    assert calibration is not None and 0 < calibration.typical < calibration.cautious < 1
    others = photos(2000, seed=1)
    told = reliability_of(calibration, others).record(objects=len(others))
    assert told["cautious"]["precision"] > 92 and told["typical"]["recall"] > told["cautious"]["recall"]


def test_where_no_score_is_safe_the_cautious_threshold_is_one() -> None:
    mixed = [JudgedPhoto("owl", 1, np.array([0.5 + 0.02 * (i // 3)], np.float32), np.array([i % 3 != 0])) for i in range(60)]
    calibration = calibrate([*mixed, *(JudgedPhoto("owl", 0, np.array([0.2], np.float32), np.array([False])) for _ in mixed)])
    assert calibration is not None and calibration.cautious == 1 and 0 < calibration.typical < 1


def test_photos_without_object_lie_below_the_gate() -> None:
    random = np.random.default_rng(0)
    shown = [JudgedPhoto("owl", 1, random.uniform(0.8, 0.95, 1).astype(np.float32), np.array([True])) for _ in range(50)]
    empty = [JudgedPhoto("none", 0, random.uniform(0.1, 0.4, 1).astype(np.float32), np.array([False])) for _ in range(50)]
    calibration = calibrate([*shown, *empty])
    assert calibration is not None
    assert all(calibration.chance(photo.means[0]) >= calibration.gate for photo in shown)
    assert not any(calibration.chance(photo.means[0]) >= calibration.gate for photo in empty)


@pytest.mark.parametrize("case", ["too few", "none right", "the wrong way round", "no photos"])
def test_no_calibration_is_better_than_a_wrong_one(case: str) -> None:
    judged = {
        "too few": photos(LEAST_BOXES - 1),
        "none right": photos(50, share=0.0),
        "the wrong way round": [
            JudgedPhoto("owl", 1, np.array([i / 50], np.float32), np.array([i < 20])) for i in range(1, 50)
        ],
        "no photos": [],
    }[case]
    assert calibrate(judged) is None


def test_boxes_that_are_all_right_are_not_called_sure() -> None:
    judged = [JudgedPhoto("owl", 1, np.array([0.8 + i / 200], np.float32), np.array([True])) for i in range(30)]
    calibration = calibrate(judged)
    assert calibration is None or float(calibration.chance(0.99)) < 0.9999


def test_classes_with_enough_boxes_have_their_own_thresholds() -> None:
    calibration = calibrate([*photos(200), *photos(200, seed=1, label="hawk", shift=3.0), *photos(9, label="kite")])
    assert calibration is not None and set(calibration.classes) == {"owl", "hawk"}
    assert calibration.of("owl") != calibration.of("hawk") and calibration.of("kite") is calibration


def test_a_class_that_is_not_alone_has_its_own_thresholds() -> None:
    own, other = photos(200), photos(19, seed=1, label="kite", shift=4.0)
    alone, both = calibrate([*own, *photos(30, label="none", share=0.0)]), calibrate([*own, *other])
    assert alone is not None and alone.classes == {} and alone.of("owl") is alone
    assert both is not None and set(both.classes) == {"owl"} and both.of("owl") != both.of("kite") == both


def test_a_map_is_judged_by_its_boxes() -> None:
    score_map = np.zeros((30, 40), np.float32)
    score_map[5:15, 5:15], score_map[20:28, 25:38] = 0.8, 0.9
    judged = judge("owl", score_map, [[5, 5, 15, 16]], 0.5, min_area=0.0, max_boxes=9)
    assert judged.objects == 1 and judged.right.tolist() == [False, True]
    np.testing.assert_allclose(judged.means, [0.9, 0.8], rtol=1e-6)
    assert judge("none", score_map, np.zeros((0, 4)), 0.5, min_area=0.0, max_boxes=9).right.tolist() == [False, False]


def test_photos_with_several_labels_count_for_no_single_class() -> None:
    found = calibrate([*photos(60, label=""), *photos(60, label="crane", seed=1), *photos(60, label="owl", seed=2)])
    assert found is not None and sorted(found.classes) == ["crane", "owl"]
