"""What is said about a review."""

from __future__ import annotations

import pytest

from dips.evaluate.gain import ReviewGain, Tally


@pytest.mark.parametrize(
    ("without", "half", "most", "words"),
    [
        (12, 14, 16, "F1 60 -> 80%); more are worth it"),
        (12, 16, 16, "F1 60 -> 80%); as many more would bring little"),
        (12, 12, 10, "F1 60 -> 50%); they do not help"),
        (0, 0, 0, "F1 0 -> 0%); as many more would bring little"),
    ],
)
def test_words(without: int, half: int, most: int, words: str) -> None:
    gain = ReviewGain(photos=15, **{
        name: Tally(right=right, boxes=20, objects=20) for name, right in (("without", without), ("half", half), ("most", most))
    })  # fmt: skip
    assert words in gain.words() and f"finds {most} of 20 objects with 20 boxes, {without} with 20 before" in gain.words()
    assert gain.words().startswith("review: tried on 15 reviewed photos that it had not seen")


def test_no_box_at_all() -> None:
    assert Tally(right=0, boxes=0, objects=0).f1 == 0
