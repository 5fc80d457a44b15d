from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dips.report.doubts import DOUBTS, Predicted, choose_doubtful, doubts_of, most_doubtful_first


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
