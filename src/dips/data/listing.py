"""The photos of one split as every reader of a layout returns them -> :class:`~dips.types.DataSet`.

Readers only know class *names*. Labels are assigned here, so that the rules about classes, the background and ground-truth
boxes are the same for all layouts.
"""

from __future__ import annotations

import dataclasses
import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dips.data.signatures import KINDS
from dips.errors import DataError
from dips.system.console import counted
from dips.system.names import as_text
from dips.types import DataSet, FloatArray, Problem, Sample, Severity

__all__ = [
    "BACKGROUND_NAMES",
    "SPLITS",
    "SPLIT_ALIASES",
    "Entry",
    "Listing",
    "align_classes",
    "assemble",
    "boxes_array",
    "class_counts",
    "class_name",
    "find_background",
    "is_background",
    "missing_photos",
    "reasons",
    "relabelled",
    "require_trainable",
    "several_labels",
    "some",
    "split_name",
    "without_contradictions",
]

BACKGROUND_NAMES = frozenset({"none", "background"})
"""Names, in lower case, of a class whose photos show no object."""

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


def some(names: Iterable[str], most: int = 5) -> str:
    """Return the first ``most`` names and the number of the others as text for a message."""
    names = list(names)
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


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


def without_contradictions(dataset: DataSet) -> DataSet:
    """Remove the background label from photos that also have another label; a problem names these photos."""
    background = dataset.background
    odd = {sample.id for sample in dataset.samples if sample.others and background in sample.labels}
    if not odd or background is None:
        return dataset
    name = dataset.classes[background]
    message = (
        f"{counted(len(odd), 'photo', 'is')} labelled '{name}', as if there was no object, and with another class: "
        f"{some(sorted(odd), 3)}; '{name}' is left out there; remove it, or the other class"
    )
    kept = [label for label in range(len(dataset.classes)) if label != background]
    samples = tuple(
        relabelled(sample, dict(zip(kept, kept, strict=True))) if sample.id in odd else sample for sample in dataset.samples
    )
    problem = Problem(dataset.root, message, Severity.SPOILS)
    return dataclasses.replace(dataset, samples=samples, problems=(*dataset.problems, problem))


def relabelled(sample: Sample, labels: Mapping[int, int]) -> Sample:
    """Return a photo with mapped labels; those missing from ``labels`` are dropped, as are their boxes if others remain.

    >>> relabelled(Sample(Path("1.jpg"), "1.jpg", 0, others=(2,)), {2: 5}).labels
    (5,)
    """
    known = [labels[label] for label in sample.labels if label in labels]
    if not known:
        return dataclasses.replace(sample, label=None, others=(), box_labels=())
    boxes, owners = sample.boxes, sample.box_labels or sample.labels[:1] * len(sample.boxes if sample.boxes is not None else ())
    kept = [own in labels for own in owners]
    if boxes is not None and not all(kept):
        boxes = boxes[kept] if any(kept) else None
    box_labels = tuple(labels[own] for own in owners if own in labels)
    return dataclasses.replace(
        sample,
        label=known[0],
        others=tuple(known[1:]),
        boxes=boxes,
        box_labels=box_labels if set(box_labels) - {known[0]} else (),
    )


def reasons(problems: Sequence[Problem], *folders: Path) -> str:
    """Return why there are no photos, as the end of a sentence that names the folders; only the first five problems."""
    return "".join(
        f"; {'' if (problem.path,) == folders else f'{problem.path}: '}{problem.message}" for problem in problems[:5]
    )


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


def is_background(name: str | None) -> bool:
    """Return whether a class has the name of one whose photos show no object.

    >>> is_background("None"), is_background("tower"), is_background(None)
    (True, False, False)
    """
    return name is not None and name.casefold() in BACKGROUND_NAMES


def find_background(classes: Sequence[str], name: str, root: Path) -> int | None:
    """Return the label of the class without object that is called ``name``; None if there is no such class.

    Args:
        classes: names in label order.
        name: ``auto`` for a class called none or background, empty for no such class.
        root: the data set, for error messages.

    Raises:
        DataError: ``auto`` fits two classes, or no class has the name.
    """
    if not name:
        return None
    if name == "auto":
        candidates = [label for label, title in enumerate(classes) if is_background(title)]
        if len(candidates) > 1:
            names = " and ".join(f"'{classes[label]}'" for label in candidates)
            raise DataError(f"{root}: {names} could both be the class without objects; name it with data.background_class")
        return candidates[0] if candidates else None
    if name in classes:
        return classes.index(name)
    if close := [label for label, title in enumerate(classes) if title.casefold() == name.casefold()]:
        return close[0]
    available = f"the classes are {some(classes, 20)}" if classes else "the photos have no classes"
    raise DataError(f"{root}: no class is called '{name}' (data.background_class); {available}")


def align_classes(dataset: DataSet, classes: Sequence[str], background: int | None = None) -> DataSet:
    """Return the same photos with the labels of ``classes`` (those of a model), matched by name.

    Photos of a class that is not among ``classes`` get the label None, or keep their other labels, and are reported as a
    problem; photos without a class stay unchanged.

    Raises:
        DataError: none of the photos' classes is among ``classes``.
    """
    if tuple(classes) == dataset.classes:
        return without_contradictions(dataclasses.replace(dataset, background=background))
    labels = {name: label for label, name in enumerate(classes)}
    present = [dataset.classes[label] for label in class_counts(dataset)]
    unknown = [name for name in present if name not in labels]
    if present and len(unknown) == len(present):
        raise DataError(
            f"{dataset.root}: the classes {some(present)} are none of the model's ({some(classes)}); rename the folders or "
            "choose another model"
        )
    known = {label: labels[name] for label, name in enumerate(dataset.classes) if name in labels}
    samples = tuple(relabelled(sample, known) for sample in dataset.samples)
    mixed = {dataset.classes[label] for sample in dataset.samples if sample.others for label in sample.labels}
    problems = tuple(
        Problem(
            dataset.root,
            f"the model has no class '{name}' (its classes are {some(classes)}): its photos are taken without a class"
            f"{', or with the other classes that they have' if name in mixed else ''}; rename it, or remove them",
        )
        for name in unknown
    )
    aligned = dataclasses.replace(
        dataset, classes=tuple(classes), samples=samples, background=background, problems=dataset.problems + problems
    )
    return without_contradictions(aligned)


def class_counts(dataset: DataSet) -> dict[int, int]:
    """Return the number of photos of each label, in label order; labels without photos are left out.

    A photo with several labels counts for each of them.
    """
    return dict(sorted(Counter(label for sample in dataset.samples for label in sample.labels).items()))


def several_labels(samples: Iterable[Sample]) -> int:
    """Return how many photos have several labels."""
    return sum(bool(sample.others) for sample in samples)


def require_trainable(dataset: DataSet) -> DataSet:
    """Return the photos that training can use, that is, those with a label; a problem counts the others.

    Raises:
        DataError: fewer than two classes have photos; the message says what is missing.
    """
    counts = class_counts(dataset)
    if not counts:
        raise DataError(
            f"{dataset.root}: none of the photos has a class; training needs one folder of photos per class, "
            f"for example tower/ and none/{reasons(dataset.problems, dataset.root)}"
        )
    if len(counts) < 2:
        name = dataset.classes[next(iter(counts))]
        nested = any(sample.id.count("/") > 1 for sample in dataset.samples) and dataset.layout == "folder"
        remedy = (
            f"add a folder of photos without it beside {name}/, called none/, or, if the folders below {name}/ are the "
            f"classes, give {dataset.root / name}"
            if nested
            else "add a folder of photos that show something else, for example none/"
        )
        raise DataError(
            f"{dataset.root}: all photos are of one class, '{name}', training needs two or more; {remedy}"
            f"{reasons(dataset.problems, dataset.root)}"
        )
    if len({frozenset(sample.labels) for sample in dataset.samples if sample.labels}) < 2:
        names = some((f"'{dataset.classes[label]}'" for label in counts), 10)
        raise DataError(
            f"{dataset.root}: all photos have the same labels, {names}, so that nothing tells these apart; add photos that "
            f"show only some of them, or none{reasons(dataset.problems, dataset.root)}"
        )
    without = [sample.id for sample in dataset.samples if sample.label is None]
    one = len(without) == 1
    message = (
        f"{counted(len(without), 'photo', 'has')} no class and {'is' if one else 'are'} not used for training: "
        f"{some(without, 3)}; label or remove {'it' if one else 'them'}"
    )
    return dataclasses.replace(
        dataset,
        samples=tuple(sample for sample in dataset.samples if sample.label is not None),
        problems=(*dataset.problems, *([Problem(dataset.root, message)] if without else [])),
    )


def class_name(label: int | None, classes: Sequence[str]) -> str:
    """Return the name of a label as text: its number if it has no name, an empty string if the label is None."""
    return "" if label is None else as_text(classes[label]) if 0 <= label < len(classes) else str(label)
