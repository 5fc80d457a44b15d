"""The class and the boxes of a photo by its annotations."""

from __future__ import annotations

from pathlib import Path

from dips.data.objects import Objects, several_classes


def test_the_class_that_covers_most() -> None:
    objects = Objects()
    assert objects.main_class("none") == "none"
    boxes = objects.boxes_of(["none"])
    assert boxes is not None and boxes.shape == (0, 4)
    objects.lose("crowd", 900)
    objects.lose("other", 30)
    assert objects.main_class("none") == "crowd" and objects.boxes_of(["crowd"]) is None and objects.boxes_of() is None
    objects.add("bird", (0, 0, 2, 2))
    objects.add("tower", (0, 0, 3, 1))
    objects.add("tower", (3, 3, 3, 9))
    assert objects.main_class("none") == "bird" and objects.classes == ["bird", "tower"], "boxes come before what was lost"
    kept = objects.boxes_of(["tower"])
    assert kept is not None and kept.tolist() == [[0, 0, 3, 1]], "one without area is lost"
    assert several_classes(Path("x.json"), [("a.jpg", "bird", objects)])[0].message.count("(a.jpg: bird, not tower)") == 1


def test_an_object_of_unknown_class_may_be_of_any() -> None:
    objects = Objects()
    objects.add(None, (0, 0, 2, 2))
    assert objects.main_class("none") is None and objects.boxes_of(["tower"]) is None
    known = objects.boxes_of([None])
    assert known is not None and known.tolist() == [[0, 0, 2, 2]]
    lost = Objects()
    lost.lose(None, 5)
    assert lost.main_class("none") is None and lost.boxes_of(["tower"]) is None
    one, other = Objects(), Objects()
    one.add("tower", (0, 0, 2, 2))
    other.lose("bird")
    rest = other.boxes_of(["tower"])
    assert rest is not None and len(rest) == 0, "what was lost is of another class"
    assert not several_classes(Path("x.json"), [("a.jpg", "tower", one), ("b.jpg", "bird", other)])
