"""The class and the boxes of a photo by its annotations."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.data.listing import Entry
from dips.data.objects import Described, Objects


def test_the_class_that_covers_most() -> None:
    objects = Objects()
    assert objects.class_names() == []
    boxes = objects.boxes_of(["none"])
    assert boxes is not None and boxes.shape == (0, 4)
    objects.lose("crowd", 900)
    objects.lose("other", 30)
    assert objects.class_names() == ["crowd", "other"] and objects.boxes_of(["crowd"]) is None and objects.boxes_of() is None
    objects.add("bird", (0, 0, 2, 2))
    objects.add("tower", (0, 0, 3, 1))
    objects.add("tower", (3, 3, 3, 9))
    assert objects.class_names() == ["bird", "tower"], "the largest first; boxes come before what was lost"
    kept = objects.boxes_of(["tower"])
    assert kept is not None and kept.tolist() == [[0, 0, 3, 1]], "one without area is lost"
    every = objects.boxes_of(["tower", "bird"])
    assert every is not None and len(every) == 2 and objects.box_names(["tower", "bird"]) == ["bird", "tower"]
    assert objects.box_names(["tower"]) == ["tower"]


def test_an_object_of_unknown_class_may_be_of_any() -> None:
    objects = Objects()
    objects.add(None, (0, 0, 2, 2))
    assert objects.class_names() == [] and objects.boxes_of(["tower"]) is None
    known = objects.boxes_of([None])
    assert known is not None and known.tolist() == [[0, 0, 2, 2]]
    lost = Objects()
    lost.lose(None, 5)
    assert lost.class_names() == [] and lost.boxes_of(["tower"]) is None
    one, other = Objects(), Objects()
    one.add("tower", (0, 0, 2, 2))
    other.lose("bird")
    rest = other.boxes_of(["tower"])
    assert rest is not None and len(rest) == 0, "what was lost is of another class"


def described(*boxes: str, lost: tuple[str, ...] = (), named: tuple[str, ...] = (), empty: bool = False) -> Entry:
    photo = Described(Entry(Path("a.jpg"), "a.jpg"), named=dict.fromkeys(named), empty=empty)
    for number, name in enumerate(boxes):
        photo.objects.add(name, (0, 0, 9 - number, 5))
    for name in lost:
        photo.objects.lose(name)
    photo.settle("none", (32, 24))
    return photo.entry


@pytest.mark.parametrize(
    ("entry", "classes", "boxes", "of"),
    [
        (described("tower", "crane"), ("tower", "crane"), 2, ("tower", "crane")),
        (described("tower", "tower"), ("tower",), 2, ()),
        (described("tower", lost=("crane",)), ("tower",), 1, ()),
        (described("tower", named=("crane", "tower")), ("tower", "crane"), 1, ()),
        (described("tower", "crane", named=("none",)), ("tower", "crane", "none"), 2, ("tower", "crane")),
        (described(lost=("crane", "tower")), ("crane", "tower"), None, ()),
        (described(named=("tower", "crane")), ("tower", "crane"), None, ()),
        (described(empty=True), ("none",), 0, ()),
        (described(), (), None, ()),
    ],
)
def test_classes_and_boxes_of_a_photo(entry: Entry, classes: tuple[str, ...], boxes: int | None, of: tuple[str, ...]) -> None:
    assert entry.class_names == classes and entry.box_names == of
    assert (None if entry.boxes is None else len(entry.boxes)) == boxes
