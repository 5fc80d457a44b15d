"""Photos of another kind are told by their scores, and photos of the model's own kind are left alone."""

from __future__ import annotations

import numpy as np
import pytest

from dips.predict.low_scores import LEAST_PHOTOS, LowScores
from dips.scoremaps.calibration import Calibration

STEEP = Calibration(slope=4.0, offset=-4.0, gate=0.0, typical=0.5, cautious=0.9)
ALIKE = [0.9 + 0.002 * (number % 20) for number in range(60)]
SKEWED = [0.94 - 0.2 * (number / 60) ** 3 for number in range(60)]  # as insulators have them: a long tail of right boxes


def counted_scores(*photos: list[float]) -> LowScores:
    scores = LowScores()
    for number, boxes in enumerate(photos):
        scores.add(boxes, f"{number}.jpg")
    return scores


@pytest.mark.parametrize("own", [ALIKE, SKEWED], ids=["alike", "skewed"])
@pytest.mark.parametrize("others", [[], [0.2], [0.6, 0.65, 0.3], [0.1 + 0.04 * number for number in range(12)]], ids=len)
def test_photos_far_below_are_found_and_no_other(own: list[float], others: list[float]) -> None:
    scores = counted_scores(*([score] for score in own + others))
    limit = scores.limit
    assert (limit is None) == (not others)
    if limit is not None:
        assert max(others) < limit <= min(own)
        assert f"{len(others)} photo" in scores.remark() and f"no box that scores {limit:g} or more" in scores.remark()


@pytest.mark.parametrize(
    "scores",
    [
        [],
        [0.9],
        [0.95] * (LEAST_PHOTOS - 2) + [0.1],
        [0.9] * 50,
        [0.0] * 50,
        [1.0] * 50,
        [0.2] * 40 + [0.9] * 20,  # the higher ones are the few
        np.linspace(0.1, 0.9, 50).tolist(),  # of a model that is sure of nothing
        [0.15] * 30 + [0.0],  # nothing can be far below
    ],
)
def test_nothing_is_said_where_no_score_is_far_below(scores: list[float]) -> None:
    found = counted_scores(*([score] for score in scores), [], [])
    assert found.limit is None and found.remark() == ""


@pytest.mark.parametrize("slope", [1.0, 2.5, 5.0])
def test_chances_are_compared_by_the_means_that_they_were_made_of(slope: float) -> None:
    """Chances crowd near 1, so that their own distances say little."""
    calibration = Calibration(slope=slope, offset=-2.0 * slope, gate=0.0, typical=0.5, cautious=0.9)
    means, chances = LowScores(), LowScores()
    for number, mean in enumerate([*SKEWED, 0.3, 0.2]):
        means.add([mean], f"{number}.jpg")
        chances.add([float(calibration.chance(mean))], f"{number}.jpg", calibration=calibration)
    assert means.limit is not None and chances.limit is not None
    assert chances.limit == pytest.approx(float(calibration.chance(means.limit)), rel=0.01)
    assert ": 61.jpg, 60.jpg. Look" in chances.remark() and f"--min-score {chances.limit:g} leaves" in chances.remark()


def test_the_line_names_the_lowest_and_counts_what_would_go() -> None:
    scores = counted_scores(*[[0.92, 0.75, 0.4]] * 2, *[[0.92]] * 20, [0.3, 0.2], [0.1], [0.5], [0.4, 0.3, 0.3], [])
    line = scores.remark()
    assert line.startswith("4 photos have no box that scores 0.72 or more, far below the other photos (about 0.92): ")
    assert ": 23.jpg, 22.jpg, 25.jpg and 1 more. Look" in line and "24.jpg" not in line and "\n" not in line
    assert line.endswith("--min-score 0.72 leaves out their 7 boxes, and 2 boxes of other photos")
    assert counted_scores(*[[0.92]] * 20, [0.3]).remark("frame").startswith("1 frame has no box")
    assert counted_scores(*[[0.92]] * 20, [0.3]).remark().endswith("leaves out their 1 box")


def test_the_limit_divides_as_the_setting_does() -> None:
    """A score equal to --min-score stays."""
    for hundredths in range(30, 99):
        top = hundredths / 100
        limit = round(top - 0.2, 2)
        assert counted_scores(*[[top]] * 20, [limit]).limit is None
        assert counted_scores(*[[top]] * 20, [limit - 0.002]).limit == limit


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"owl": [0.9] * 60, "wren": [0.62] * 40}, "40 of 40 of class wren; perhaps that class scores lower"),
        ({"owl": [0.9] * 60, "wren": [0.62] * 9 + [0.9] * 3}, "9 of 12 of class wren; perhaps that class scores lower"),
        (
            {"owl": [0.9] * 60, "wren": [0.6] * 12, "jay": [0.3] * 11},
            "11 of 11 of class jay, 12 of 12 of class wren; perhaps those",
        ),
        ({"owl": [0.9] * 60, "wren": [0.62] * 8 + [0.9] * 4}, ""),
        ({"owl": [0.9] * 60, "wren": [0.62] * 9}, ""),
        ({"owl": [0.9] * 60 + [0.3] * 20}, ""),
    ],
)
def test_a_class_that_scores_lower_as_a_whole_is_named(labels: dict[str, list[float]], words: str) -> None:
    scores, chances = LowScores(), LowScores()
    for label, own in labels.items():
        for number, score in enumerate(own):
            scores.add([score], f"{label} {number}.jpg", label=label)
            chances.add([float(STEEP.chance(score))], f"{label} {number}.jpg", label=label, calibration=STEEP)
    assert scores.limit == 0.7 and scores.classes() == chances.classes()
    assert (words in scores.remark() and words in scores.classes()) if words else scores.classes() == ""
    assert ("of class" in scores.remark()) == bool(words)
