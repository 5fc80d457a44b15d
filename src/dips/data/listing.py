"""What every reader of a layout hands over, and how it becomes a :class:`~dips.types.DataSet`.

Readers know class *names*; only here do they become labels, so that the rules about classes, the background and true boxes
are the same for all layouts.
"""

from __future__ import annotations

import dataclasses
import itertools
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dips.errors import DataError
from dips.system.files import as_text
from dips.types import DataSet, FloatArray, Problem, Sample

__all__ = [
    "Entry",
    "Listing",
    "align_classes",
    "assemble",
    "boxes_array",
    "class_counts",
    "class_name",
    "find_background",
    "no_boxes",
    "require_trainable",
    "some",
    "split_name",
]

BACKGROUND_NAMES = frozenset({"none", "background"})
SPLITS = ("train", "val", "test")
SPLIT_ALIASES = {"valid": "val", "validation": "val", "dev": "val", "training": "train", "testing": "test"}


@dataclass(slots=True)
class Entry:
    """One photo as its layout describes it: a :class:`~dips.types.Sample` whose class is still a name."""

    path: Path
    id: str
    name: str | None = None
    boxes: FloatArray | None = None
    frame: tuple[int, int] | None = None
    masks: tuple[Path, ...] = ()
    ignore: Path | None = None


@dataclass(slots=True)
class Listing:
    """The photos of one split; ``classes`` in label order, ``has_boxes`` where a source of true boxes was read."""

    root: Path
    layout: str
    entries: list[Entry]
    classes: list[str]
    split: str = "all"
    has_boxes: bool = False
    problems: list[Problem] = field(default_factory=list)


def no_boxes() -> FloatArray:
    """The boxes of a photo that is known to show no object: ``(0, 4) float32``."""
    return np.zeros((0, 4), dtype=np.float32)


def boxes_array(boxes: Iterable[Sequence[float]]) -> FloatArray:
    """Boxes as ``(K, 4) float32``, also when there is none."""
    return np.asarray(list(boxes), dtype=np.float32).reshape(-1, 4)


def some(names: Iterable[str], most: int = 5) -> str:
    """The first names and the number of the rest, for messages."""
    given = list(names)
    rest = len(given) - most
    return ", ".join(given[:most]) + (f" and {rest} more" if rest > 0 else "")


def split_name(name: str) -> str:
    """``train``, ``val`` or ``test`` for the names in use for them, any case; other names as they are."""
    low = name.lower()
    return SPLIT_ALIASES.get(low, low if low in SPLITS else name)


def assemble(listing: Listing, background_class: str) -> DataSet:
    """Labels for names, the background class found, photos sorted by id.

    Raises:
        DataError: no photo, the same photo twice, class names that differ in case only, an unknown background class.
    """
    if not listing.entries:
        more = "".join(f"\n  {problem.path}: {problem.message}" for problem in listing.problems[:5])
        raise DataError(
            f"{listing.root}: no photos found (jpg, jpeg, png, bmp, webp, tif, tiff); give a folder with one folder of photos "
            f"per class{more}"
        )
    _check_class_names(listing)
    index = {name: label for label, name in enumerate(listing.classes)}
    background = find_background(listing.classes, background_class, listing.root)
    samples = []
    for entry in sorted(listing.entries, key=lambda entry: entry.id):
        label = None if entry.name is None else index[entry.name]
        boxes = entry.boxes
        if boxes is None and listing.has_boxes and label is not None and label == background:
            boxes = no_boxes()  # the annotations cover this split, and photos of this class have nothing to annotate
        samples.append(
            Sample(
                path=entry.path,
                id=entry.id,
                label=label,
                boxes=boxes,
                frame=entry.frame,
                masks=entry.masks,
                ignore=entry.ignore,
            )
        )
    for before, after in itertools.pairwise(samples):
        if before.id == after.id:
            raise DataError(f"{listing.root}: the photo {after.id} is listed twice; remove one of the two lines")
    return DataSet(
        root=listing.root,
        classes=tuple(listing.classes),
        samples=tuple(samples),
        split=listing.split,
        background=background,
        layout=listing.layout,
        problems=tuple(listing.problems),
    )


def _check_class_names(listing: Listing) -> None:
    seen: dict[str, str] = {}
    for name in listing.classes:
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            raise DataError(
                f"{listing.root}: the classes '{seen[key]}' and '{name}' have the same name but for case or spelling of "
                "accents; rename or merge them"
            )
        seen[key] = name


def find_background(classes: Sequence[str], wanted: str, root: Path) -> int | None:
    if not wanted:
        return None
    if wanted == "auto":
        found = [label for label, name in enumerate(classes) if name.casefold() in BACKGROUND_NAMES]
        if len(found) > 1:
            names = " and ".join(f"'{classes[label]}'" for label in found)
            raise DataError(f"{root}: {names} could both be the class without objects; say which with data.background_class")
        return found[0] if found else None
    if wanted in classes:
        return classes.index(wanted)
    close = [label for label, name in enumerate(classes) if name.casefold() == wanted.casefold()]
    if close:
        return close[0]
    there = f"the classes are {some(classes, 20)}" if classes else "the photos have no classes"
    raise DataError(f"{root}: no class is called '{wanted}' (data.background_class); {there}")


def align_classes(dataset: DataSet, classes: Sequence[str], background: int | None = None) -> DataSet:
    """The same photos with the labels of ``classes`` (those of a model), matched by name.

    Photos of a class that is not among ``classes`` get the label None and are named as problems; photos without a class
    stay as they are.

    Raises:
        DataError: none of the photos' classes is known.
    """
    if tuple(classes) == dataset.classes:
        return dataclasses.replace(dataset, background=background)
    index = {name: label for label, name in enumerate(classes)}
    present = [dataset.classes[label] for label in class_counts(dataset)]
    unknown = [name for name in present if name not in index]
    if present and len(unknown) == len(present):
        raise DataError(
            f"{dataset.root}: the classes {some(present)} are none of the model's ({some(classes)}); rename the folders or "
            "choose another model"
        )
    samples = tuple(
        dataclasses.replace(sample, label=None if sample.label is None else index.get(dataset.classes[sample.label]))
        for sample in dataset.samples
    )
    problems = tuple(Problem(dataset.root, f"the model knows no class '{name}': its photos have no label") for name in unknown)
    return dataclasses.replace(
        dataset, classes=tuple(classes), samples=samples, background=background, problems=dataset.problems + problems
    )


def class_counts(dataset: DataSet) -> dict[int, int]:
    """How many photos every label has, in label order; labels without photos are left out."""
    counts: dict[int, int] = {}
    for sample in dataset.samples:
        if sample.label is not None:
            counts[sample.label] = counts.get(sample.label, 0) + 1
    return dict(sorted(counts.items()))


def require_trainable(dataset: DataSet) -> DataSet:
    """The photos that training can use: those with a label.

    Raises:
        DataError: fewer than two classes have photos; the message says what is missing.
    """
    counts = class_counts(dataset)
    if not counts:
        raise DataError(
            f"{dataset.root}: none of the {len(dataset)} photos has a class; training needs one folder of photos per class, "
            "for example tower/ and none/"
        )
    if len(counts) < 2:
        name = dataset.classes[next(iter(counts))]
        reason = "".join(f"\n  {problem.path}: {problem.message}" for problem in dataset.problems[:5])
        nested = any(sample.id.count("/") > 1 for sample in dataset.samples) and dataset.layout == "folder"
        remedy = (
            f"if the classes are the folders below {name}/, give {dataset.root / name}"
            if nested
            else "add a folder of photos that show something else, for example none/"
        )
        raise DataError(f"{dataset.root}: all photos are of one class, '{name}', training needs two or more; {remedy}{reason}")
    if all(sample.label is not None for sample in dataset.samples):
        return dataset
    return dataclasses.replace(dataset, samples=tuple(sample for sample in dataset.samples if sample.label is not None))


def class_name(label: int | None, classes: Sequence[str]) -> str:
    """Its name as text; the number itself where it has none, nothing where it is unknown."""
    return "" if label is None else as_text(classes[label]) if 0 <= label < len(classes) else str(label)
