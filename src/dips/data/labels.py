"""Rules about labels and the background class, the same for all layouts.

In: :class:`~dips.types.DataSet`, or names of classes. Out: the same photos with other labels, and problems that say what was
left out.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dips.data.problems import reasons
from dips.errors import DataError
from dips.system.console import counted
from dips.system.names import as_text, some
from dips.types import DataSet, Problem, Sample, Severity

__all__ = [
    "BACKGROUND_NAMES",
    "align_classes",
    "class_counts",
    "class_name",
    "find_background",
    "is_background",
    "relabelled",
    "require_trainable",
    "several_labels",
    "without_contradictions",
]

BACKGROUND_NAMES = frozenset({"none", "background"})
"""Names, in lower case, of a class whose photos show no object."""


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
