from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dips.report.doubts import DOUBTS, Predicted, choose_doubtful, doubts_of, filling, low_limit, most_doubtful_first


@pytest.mark.parametrize(
    ("photo", "doubts"),
    [
        (Predicted("owl", "hawk", boxes=1), ("class",)),
        (Predicted("owl", "none", True, boxes=0), ("class",)),
        (Predicted("none", "none", True, boxes=0), ()),
        (Predicted("", "none", True, boxes=0), ()),
        (Predicted("", "owl", boxes=0), ("no_box",)),
        (Predicted("owl", "owl", boxes=2, share=0.81), ("full",)),
        (Predicted("owl", "owl", boxes=2, share=0.79), ()),
        (Predicted("owl", "owl", probability=0.49, boxes=1), ("unsure",)),
        (Predicted("owl", "hawk", probability=0.3, boxes=0), ("class", "no_box", "unsure")),
        (Predicted(), ()),
    ],
)
def test_what_is_odd_about_a_photo(photo: Predicted, doubts: tuple[str, ...]) -> None:
    assert doubts_of([photo]) == [doubts]
    assert set(doubts) <= set(DOUBTS)


def test_low_scores_are_those_of_the_lowest_tenth() -> None:
    """Scores of right and of wrong boxes are close together, but they rank."""
    photos = [Predicted("owl", "owl", boxes=1, score=0.8 + i / 1000) for i in range(40)]
    found = doubts_of(photos)
    assert found[:4] == [("low",)] * 4 and found[4:] == [()] * 36
    assert doubts_of(photos[:9]) == [()] * 9, "among a few the lowest means nothing"
    assert doubts_of([Predicted("owl", "owl", boxes=1, score=0.9)] * 40) == [()] * 40, "none is lower than others"


def test_scores_far_below_the_others_come_before_merely_low_ones() -> None:
    photos = [Predicted("owl", "owl", boxes=1, score=0.9 + i / 1000) for i in range(40)]
    photos += [Predicted("owl", "owl", boxes=1, score=0.3), Predicted("owl", "owl", boxes=2, score=0.5, share=0.9)]
    found = doubts_of(photos)
    assert found[40:] == [("far",), ("far", "full")] and low_limit(photos) == 0.72
    assert found[:4] == [("low",)] * 2 + [()] * 2, "the lowest tenth is of all"
    assert most_doubtful_first(photos, found)[:3] == [41, 40, 0]
    assert low_limit(photos[:40]) is None and low_limit([]) is None


@pytest.mark.parametrize(
    "reviewed",
    [
        Predicted("owl", "hawk", boxes=1, score=0.9),
        Predicted("owl", "owl", boxes=0),
        Predicted("owl", "", boxes=0),
        Predicted("owl", "owl", boxes=1, score=0.2, share=0.95),
        Predicted("owl", "owl", probability=0.1, boxes=2, score=1.0),
    ],
)
def test_nothing_about_a_reviewed_photo_is_in_doubt_and_it_changes_no_limit(reviewed: Predicted) -> None:
    photos = [Predicted("owl", "owl", boxes=1, score=0.72 + i / 1000) for i in range(12)]
    mixed = photos + [reviewed._replace(reviewed=True)] * 20
    found = doubts_of(mixed)
    assert found == doubts_of(photos) + [()] * 20 and low_limit(mixed) == low_limit(photos) is None
    assert most_doubtful_first(mixed, found)[:12] == most_doubtful_first(photos, doubts_of(photos))
    assert filling([photo._replace(reviewed=True) for photo in [FULL] * 20], None) == ""
    assert "10 of 10 photos" in filling([FULL] * 10 + [PART._replace(reviewed=True)] * 30, None)


FULL, PART, EMPTY = (
    Predicted("owl", "owl", boxes=1, score=0.9, share=0.95),
    Predicted("owl", "owl", boxes=1, score=0.9, share=0.4),
    Predicted("none", "none", True, boxes=0),
)


@pytest.mark.parametrize(
    ("photos", "words"),
    [
        ([FULL] * 10, "10 of 10 photos"),
        ([FULL] * 6 + [PART] * 5, "6 of 11 photos"),
        ([FULL] * 20 + [EMPTY] * 80, "20 of 20 photos"),
        ([FULL] * 5 + [PART] * 5, ""),
        ([FULL] * 9, ""),
        ([FULL] * 9 + [EMPTY] * 9, ""),
        ([FULL] * 6 + [Predicted("owl", "owl", boxes=0)] * 6, ""),
        ([Predicted("owl", "owl")] * 20, ""),
        ([EMPTY] * 20, ""),
        ([], ""),
    ],
)
def test_boxes_that_fill_most_photos_are_told(photos: list[Predicted], words: str) -> None:
    line = filling(photos, None)
    assert bool(line) == bool(words) and f"in {words}" in f"in {line}"
    if line:
        assert "inverted" in line and "at least 30 photos" in line and "in a folder none/" in line and "\n" not in line
        assert "in a folder sky/" in filling(photos, "sky")


PHOTOS = st.builds(
    Predicted,
    st.sampled_from(["owl", "none", ""]),
    st.sampled_from(["owl", "none"]),
    st.booleans(),
    st.none() | st.floats(0, 1),
    st.none() | st.integers(0, 3),
    st.none() | st.floats(0, 1),
    st.none() | st.floats(0, 1),
)


@given(st.lists(PHOTOS, max_size=40), st.integers(0, 50))
def test_doubtful_photos_are_chosen_first_and_others_with_them(photos: list[Predicted], count: int) -> None:
    chosen = choose_doubtful(photos, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(photos))
    doubts = doubts_of(photos)
    doubtful = sum(map(bool, doubts))
    order = most_doubtful_first(photos, doubts)
    assert sorted(order) == list(range(len(photos)))
    first = min(doubtful, 2 * count // 3)
    assert chosen[:first] == order[:first]
    if count >= 3 and doubtful < len(photos):
        assert any(not doubts[index] for index in chosen) or len(photos) == doubtful


def test_the_gravest_doubt_comes_first() -> None:
    photos = [Predicted("a", "a", probability=0.1), Predicted("a", "a", boxes=0), Predicted("a", "b"), Predicted("a", "a")]
    assert most_doubtful_first(photos, doubts_of(photos)) == [2, 1, 0, 3]
