"""What is said about a review."""

from __future__ import annotations

import pytest

from dips.data.gain import ReviewGain, Tally


@pytest.mark.parametrize(
    ("without", "half", "most", "words"),
    [
        (12, 14, 16, "overlap by 80% (mean IoU), 60% before; 19 of 20 objects are found, 19 before; more are worth it"),
        (12, 16, 16, "by 80% (mean IoU), 60% before; 19 of 20 objects are found, 19 before; as many more would bring little"),
        (12, 12, 10, "by 50% (mean IoU), 60% before; 19 of 20 objects are found, 19 before; they do not help: are all objects"),
    ],
)
def test_words(without: float, half: float, most: float, words: str) -> None:
    tallies = [Tally(overlap=overlap, right=19, boxes=22, objects=20) for overlap in (without, half, most)]
    gain = ReviewGain(photos=25, without=tallies[0], half=tallies[1], most=tallies[2])
    assert words in gain.words() and gain.words().startswith("on 25 reviewed photos, each tried with a map that had not")


@pytest.mark.parametrize(("photos", "blamed"), [(2, False), (9, False), (19, False), (20, True), (200, True)])
def test_a_loss_on_a_few_photos_may_be_chance(photos: int, blamed: bool) -> None:
    without, most = (Tally(overlap=overlap, right=8, boxes=11, objects=12) for overlap in (8.1, 7.9))
    words = ReviewGain(photos=photos, without=without, half=without, most=most).words()
    assert ("boxed alike?" in words) == blamed == ("so few tell little" not in words)


def test_nothing_at_all() -> None:
    assert Tally(overlap=0, right=0, boxes=0, objects=0).mean_iou == 0
