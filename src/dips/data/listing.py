"""The photos of one split as every reader of a layout returns them -> :class:`~dips.types.DataSet`.

Readers only know class *names*. Labels are assigned here, so that the rules about classes, the background and ground-truth
boxes are the same for all layouts.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dips.data.labels import find_background, without_contradictions
from dips.data.problems import reasons
from dips.data.signatures import KINDS
from dips.errors import DataError
from dips.system.console import counted
from dips.system.names import some
from dips.types import DataSet, FloatArray, Problem, Sample

__all__ = ["SPLITS", "SPLIT_ALIASES", "Entry", "Listing", "assemble", "boxes_array", "missing_photos", "split_name"]

SPLITS = ("train", "val", "test")
SPLIT_ALIASES = {"valid": "val", "validation": "val", "dev": "val", "training": "train", "testing": "test"}


@dataclass(slots=True)
class Entry:
    """One photo as its layout describes it: a :class:`~dips.types.Sample` whose class is still a name.

    Attributes:
        path, id, boxes, frame, masks, ignore: as in :class:`~dips.types.Sample`.
        class_name: its class, the first one of several; None if it is unknown.
        unsure: whether some of its objects were left out, so that its boxes are unknown even if its class is the background.
        others: its other classes.
        box_names: the class of each box; empty if all are of the class ``class_name``.

    >>> Entry(Path("data/tower/1.jpg"), "tower/1.jpg", "tower").sample({"none": 0, "tower": 1}).label
    1
    """

    path: Path
    id: str
    class_name: str | None = None
    boxes: FloatArray | None = None
    frame: tuple[int, int] | None = None
    masks: tuple[Path, ...] = ()
    ignore: Path | None = None
    unsure: bool = False
    others: tuple[str, ...] = ()
    box_names: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """All its classes, beginning with ``class_name``."""
        return () if self.class_name is None else (self.class_name, *self.others)

    @property
    def boxed(self) -> bool:
        """Whether it has at least one box."""
        return self.boxes is not None and len(self.boxes) > 0

    def set_classes(self, names: Iterable[str]) -> None:
        """Set the photo's classes; no names means that they are unknown."""
        first, *others = dict.fromkeys(names) or (None,)
        self.class_name, self.others = first, tuple(filter(None, others))

    def set_boxes(self, boxes: FloatArray | None, frame: tuple[int, int] | None, names: Sequence[str] = ()) -> None:
        """Set boxes ``x0 y0 x1 y1`` in pixels of ``frame``; None means that some boxes could not be used."""
        self.boxes, self.frame, self.unsure = boxes, frame, boxes is None
        self.box_names = tuple(names) if set(names) - {self.class_name} else ()

    def sample(self, labels: Mapping[str, int]) -> Sample:
        """Return the entry as a sample; ``labels`` maps all its class names to labels."""
        return Sample(
            self.path,
            self.id,
            None if self.class_name is None else labels[self.class_name],
            self.boxes,
            self.frame,
            self.masks,
            self.ignore,
            others=tuple(labels[name] for name in self.others),
            box_labels=tuple(labels[name] for name in self.box_names),
        )


@dataclass(slots=True)
class Listing:
    """The photos of one split.

    Attributes:
        root: folder that ids are relative to.
        layout, split, problems: as in :class:`~dips.types.DataSet`.
        entries: the photos, in any order.
        classes: class names in label order.
        has_boxes: whether the layout lists ground-truth boxes, so that background photos are known to have none.

    >>> entries = [Entry(Path("data/b/1.jpg"), "b/1.jpg", "b"), Entry(Path("data/a/1.jpg"), "a/1.jpg", "a")]
    >>> assemble(Listing(Path("data"), "folder", entries, ["a", "b"]), "auto").samples[0].id
    'a/1.jpg'
    """

    root: Path
    layout: str
    entries: list[Entry]
    classes: list[str]
    split: str = "all"
    has_boxes: bool = False
    problems: list[Problem] = field(default_factory=list)


def missing_photos(source: Path, root: Path, names: Sequence[str]) -> list[Problem]:
    """Report that ``source`` lists photos ``names`` that do not exist in ``root``; return nothing without ``names``."""
    message = (
        f"{counted(len(names), 'listed photo', 'does')} not exist in {root}, left out: {some(names, 3)}; put "
        f"{'it there, or correct its name' if len(names) == 1 else 'them there, or correct their names'}"
    )
    return [Problem(source, message)] if names else []


def boxes_array(boxes: Iterable[Sequence[float]]) -> FloatArray:
    """Return boxes as ``(K, 4) float32``, even if there are none."""
    return np.asarray(list(boxes), dtype=np.float32).reshape(-1, 4)


def split_name(name: str) -> str:
    """Return ``train``, ``val`` or ``test`` for any of their usual names, ignoring case; other names are unchanged."""
    low = name.lower()
    return SPLIT_ALIASES.get(low, low if low in SPLITS else name)


def assemble(listing: Listing, background_class: str) -> DataSet:
    """Turn a listing into a data set: names become labels, the background class is found, photos are sorted by id.

    Raises:
        DataError: there are no photos, a photo is listed twice, class names differ in case only, or the background class is
            unknown.
    """
    if not listing.entries:
        if listing.layout in ("coco", "csv", "labelstudio"):
            what = "none of the photos that its annotations list was found; put them there, or correct their names in the file"
        else:
            what = f"no photos found ({KINDS}); give a folder with one folder of photos per class"
        raise DataError(f"{listing.root}: {what}{reasons(listing.problems, listing.root)}")
    _check_class_names(listing)
    labels = {name: label for label, name in enumerate(listing.classes)}
    background = find_background(listing.classes, background_class, listing.root)
    samples = []
    for entry in sorted(listing.entries, key=lambda entry: entry.id):
        blank = background is not None and entry.class_names == (listing.classes[background],)
        if entry.boxes is None and not entry.unsure and listing.has_boxes and blank:
            entry.boxes = boxes_array(())  # the annotations cover this split, and there is nothing to annotate in its photos
        samples.append(entry.sample(labels))
    for one, other in itertools.pairwise(samples):
        if one.id == other.id:
            raise DataError(f"{listing.root}: the photo {one.id} is listed twice; remove one of the two lines")
    dataset = DataSet(
        root=listing.root,
        classes=tuple(listing.classes),
        samples=tuple(samples),
        split=listing.split,
        background=background,
        layout=listing.layout,
        problems=tuple(listing.problems),
    )
    return without_contradictions(dataset)


def _check_class_names(listing: Listing) -> None:
    names: dict[str, str] = {}
    for name in listing.classes:
        key = unicodedata.normalize("NFC", name).casefold()
        if key in names:
            raise DataError(
                f"{listing.root}: the class names '{names[key]}' and '{name}' differ only in case or in the encoding of "
                "accents; rename or merge them"
            )
        names[key] = name
