"""What an annotation file says about the objects of one photo -> its class, and its boxes or that they are unknown.

An annotation that cannot be measured by (a crowd, a box without area) is never taken for "shows nothing": the photo has its
class and unknown boxes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dips.data.listing import boxes_array, some
from dips.system.console import counted
from dips.types import FloatArray, Outline, Problem

__all__ = ["Box", "Objects", "several_classes"]

Box = tuple[float, float, float, float]


@dataclass(slots=True)
class Objects:
    """The annotated objects of a photo by the name of their class; None where the class is unknown.

    Attributes:
        boxes: boxes ``x0 y0 x1 y1`` in pixels, end exclusive, all with an area.
        outlines: of these boxes in the same order, None where nothing more than the box is known.
        lost: area in square pixels, as far as it is known, of what was annotated in another way and is left out.

    >>> objects = Objects()
    >>> objects.add("tower", (0, 0, 9, 9))
    >>> objects.lose("crane", 400)
    >>> objects.main_class("none"), objects.boxes_of(["tower"]).tolist(), objects.boxes_of(["crane"])
    ('tower', [[0.0, 0.0, 9.0, 9.0]], None)
    """

    boxes: dict[str | None, list[Box]] = field(default_factory=dict)
    outlines: dict[str | None, list[Outline | None]] = field(default_factory=dict)
    lost: dict[str | None, float] = field(default_factory=dict)

    def add(self, name: str | None, box: Box, outline: Outline | None = None) -> None:
        """Add a box; without an area it is lost."""
        if has_area(box):
            self.boxes.setdefault(name, []).append(box)
            self.outlines.setdefault(name, []).append(outline)
        else:
            self.lose(name)

    def lose(self, name: str | None, area: float = 0.0) -> None:
        """Note that something is there that no box says."""
        self.lost[name] = self.lost.get(name, 0.0) + area

    def main_class(self, background: str | None) -> str | None:
        """Return the class whose boxes cover the largest area, or else what is left out; ``background`` if nothing is there.

        It is None where something is there but its class is unknown.
        """
        areas = {name: sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) for name, boxes in self.boxes.items()}
        for found in (areas, self.lost):
            if named := {name: area for name, area in found.items() if name is not None}:
                return max(sorted(named), key=lambda name: named[name])
        return None if areas or self.lost else background

    def boxes_of(self, names: Collection[str | None] | None = None) -> FloatArray | None:
        """Return the boxes ``(K, 4)`` of the classes ``names``, None meaning all; None if there may be others than are known.

        This is where some are left out, or their class is unknown, and no box remains.
        """
        kept = [box for name, boxes in self.boxes.items() if names is None or name in names for box in boxes]
        if not kept and (None in self.boxes or any(names is None or name is None or name in names for name in self.lost)):
            return None
        return boxes_array(kept)

    def outlines_of(self) -> tuple[Outline | None, ...]:
        """Return the outlines of all boxes, in the order of :meth:`boxes_of`; none if there are boxes alone."""
        found = tuple(outline for outlines in self.outlines.values() for outline in outlines)
        return found if any(outline is not None for outline in found) else ()

    @property
    def classes(self) -> list[str]:
        """The classes that have boxes, sorted."""
        return sorted(name for name in self.boxes if name is not None)


def has_area(box: Box) -> bool:
    """Return whether a box ``x0 y0 x1 y1`` ends after it starts."""
    return box[2] > box[0] and box[3] > box[1]


def several_classes(source: Path, photos: Iterable[tuple[str, str | None, Objects]]) -> list[Problem]:
    """Return a problem that counts the photos with boxes of several classes; none if there are none.

    Args:
        source: the annotation file.
        photos: name, class and objects of each.
    """
    mixed = [
        f"{photo}: {name}, not {', '.join(other for other in objects.classes if other != name)}"
        for photo, name, objects in photos
        if len(objects.classes) > 1
    ]
    message = (
        f"{counted(len(mixed), 'photo', 'has')} boxes of several classes; each counts as the class whose boxes "
        f"cover the largest area, and "
        f"its other boxes are left out ({some(mixed, 3)}); if another is meant, leave only its boxes"
    )
    return [Problem(source, message)] if mixed else []
