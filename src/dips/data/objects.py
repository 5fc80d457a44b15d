"""What an annotation file says about the objects of one photo -> its class and its boxes, which may be unknown.

An annotation that cannot be used for measuring (a crowd, a box without area) never counts as "shows nothing": the photo has its
class and unknown boxes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from dips.data.listing import Entry, boxes_array
from dips.types import FloatArray, Outline

__all__ = ["Box", "Described", "Objects", "has_area"]

Box = tuple[float, float, float, float]


@dataclass(slots=True)
class Objects:
    """The annotated objects of a photo by the name of their class; None if the class is unknown.

    Attributes:
        boxes: boxes ``x0 y0 x1 y1`` in pixels, end exclusive, all with an area.
        outlines: outlines of these boxes in the same order, None if nothing more than the box is known.
        lost: area in square pixels, as far as it is known, of annotations that cannot be used and are left out.

    >>> objects = Objects()
    >>> objects.add("tower", (0, 0, 9, 9))
    >>> objects.lose("crane", 400)
    >>> objects.class_names(), objects.boxes_of(["tower"]).tolist(), objects.boxes_of(["crane"])
    (['tower'], [[0.0, 0.0, 9.0, 9.0]], None)
    """

    boxes: dict[str | None, list[Box]] = field(default_factory=dict)
    outlines: dict[str | None, list[Outline | None]] = field(default_factory=dict)
    lost: dict[str | None, float] = field(default_factory=dict)

    def add(self, name: str | None, box: Box, outline: Outline | None = None) -> None:
        """Add a box; one without an area counts as lost."""
        if has_area(box):
            self.boxes.setdefault(name, []).append(box)
            self.outlines.setdefault(name, []).append(outline)
        else:
            self.lose(name)

    def lose(self, name: str | None, area: float = 0.0) -> None:
        """Record that there is an object without a usable box."""
        self.lost[name] = self.lost.get(name, 0.0) + area

    def class_names(self) -> list[str]:
        """Return the classes with boxes, or else those of left-out objects, by decreasing area."""
        areas = {name: sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) for name, boxes in self.boxes.items()}
        for found in (areas, self.lost):
            if named := {name: area for name, area in found.items() if name is not None}:
                return sorted(named, key=lambda name: (-named[name], name))
        return []

    def boxes_of(self, names: Collection[str | None] | None = None) -> FloatArray | None:
        """Return the boxes ``(K, 4)`` of the classes ``names``, None meaning all; return None if there may be unknown boxes.

        This is the case if no box remains, and some are left out or of unknown class.
        """
        kept = [box for name, boxes in self.boxes.items() if names is None or name in names for box in boxes]
        if not kept and (None in self.boxes or any(names is None or name is None or name in names for name in self.lost)):
            return None
        return boxes_array(kept)

    def outlines_of(self) -> tuple[Outline | None, ...]:
        """Return the outlines of all boxes, in the order of :meth:`boxes_of`; empty if there are only boxes."""
        found = tuple(outline for outlines in self.outlines.values() for outline in outlines)
        return found if any(outline is not None for outline in found) else ()

    def box_names(self, names: Collection[str]) -> list[str]:
        """Return the class of each box that :meth:`boxes_of` returns for the classes ``names``."""
        return [name for name, boxes in self.boxes.items() if name is not None and name in names for _ in boxes]


@dataclass(slots=True)
class Described:
    """What an annotation file says about one photo; each of its lines may be about one object.

    Attributes:
        entry: the photo; :meth:`settle` sets its classes and boxes.
        objects: objects with a box, or whose box is left out.
        named: classes that are listed without a box.
        empty: whether the file says that the photo shows nothing.
    """

    entry: Entry
    objects: Objects = field(default_factory=Objects)
    named: dict[str, None] = field(default_factory=dict)
    empty: bool = False

    def settle(self, background: str, frame: tuple[int, int] | None = None) -> None:
        """Set the photo's classes and boxes; boxes take precedence over lines without one.

        Args:
            background: the class of photos that show nothing.
            frame: ``(width, height)`` of the photo that the boxes were drawn on.
        """
        objects, entry = self.objects, self.entry
        if objects.boxes or objects.lost:
            names = objects.class_names()
            entry.set_classes([*names, *self.named])
            entry.set_boxes(objects.boxes_of(names or [None]), frame, objects.box_names(names))
        elif self.named:
            entry.set_classes(self.named)
        elif self.empty:
            entry.set_classes([background])
            entry.set_boxes(boxes_array(()), frame)


def has_area(box: Box) -> bool:
    """Return whether a box ``x0 y0 x1 y1`` ends after it starts."""
    return box[2] > box[0] and box[3] > box[1]
