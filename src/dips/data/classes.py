"""Classes of unequal size: problems of classes with too few photos, and accuracy as the mean over classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dips.data.labels import class_counts
from dips.system.console import counted
from dips.system.names import as_text, some
from dips.system.records import Record
from dips.types import DataSet, Problem, Severity

__all__ = ["ClassAccuracy", "class_accuracy", "class_problems"]

FEW_PHOTOS = 10
"""A class with fewer training photos is a problem."""

LARGEST_RATIO = 20
"""More than this many photos of one class for each photo of another are a problem."""

_NAMED = 5  # classes that a message names
_VALIDATION = "validation photos are set aside to choose and test with"


class ClassAccuracy(Record, frozen=True, kw_only=True):
    """Accuracy with the same weight for each class; the plain accuracy hides a rare class that is never recognized.

    Attributes:
        mean: mean over the classes with photos, in percent; also called balanced accuracy, or mean per-class accuracy.
        worst: name of the class with the lowest accuracy.
        lowest: its accuracy in percent, over ``photos`` photos.

    >>> class_accuracy([0, 0, 0, 1], [0, 0, 0, 0], ["none", "tower"]).words()
    "mean over classes 50.0%, worst 'tower': 0.0% of 1 photo"
    """

    mean: float
    worst: str
    lowest: float
    photos: int

    def words(self, unit: str = "photo") -> str:
        """Return the numbers as part of a sentence; ``unit`` names what was classified."""
        worst = f", worst '{self.worst}': {self.lowest:.1f}% of {counted(self.photos, unit)}"
        return f"mean over classes {self.mean:.1f}%{worst if self.lowest < self.mean else ''}"


def class_accuracy(labels: Iterable[int], predicted: Iterable[int], classes: Sequence[str]) -> ClassAccuracy:
    """Return the accuracy as the mean over the classes that have photos.

    Args:
        labels: true labels of at least one photo, below the number of classes.
        predicted: predicted labels of the same photos.
        classes: names in label order.
    """
    right = dict[int, list[bool]]()
    for label, other in zip(labels, predicted, strict=True):
        right.setdefault(label, []).append(label == other)
    percent = {label: 100 * sum(right[label]) / len(right[label]) for label in sorted(right)}
    worst = min(percent, key=lambda label: percent[label])
    return ClassAccuracy(
        mean=sum(percent.values()) / len(percent),
        worst=as_text(classes[worst]),
        lowest=percent[worst],
        photos=len(right[worst]),
    )


def class_problems(train: DataSet, val: DataSet, *, whole: DataSet | None = None, balance: float = 1.0) -> list[Problem]:
    """Return problems with the number of photos per class: too few, many times more of another, none in validation.

    Args:
        train, val: labelled photos; classes are matched by name.
        whole: the training photos before ``val`` was split off, if it was.
        balance: the setting ``classifier.balance``, in [0, 1].
    """
    cut = train if whole is None else whole
    numbers = dict.fromkeys(cut.classes, 0) | {cut.classes[n]: count for n, count in class_counts(cut).items()}
    validated = {val.classes[label] for label in class_counts(val)}
    absent = [name for name, number in numbers.items() if number and name not in validated]
    few = sorted((name for name, number in numbers.items() if number < FEW_PHOTOS), key=lambda name: numbers[name])
    where = "" if whole is not None else f" to {val.root}"
    messages = [
        _few(few, numbers, [name for name in absent if name in few]),
        _rare(numbers, balance),
        _unvalidated([name for name in absent if name not in few], where),
    ]
    return [Problem(cut.root, message, Severity.SPOILS) for message in messages if message]


def _few(few: list[str], numbers: dict[str, int], absent: list[str]) -> str:
    if not few:
        return ""
    names = some((f"'{name}' ({numbers[name]})" for name in few), _NAMED)
    what = "a class has" if len(few) == 1 else f"{len(few)} classes have"
    which = "" if len(few) == 1 else f" for {_quoted(absent)}"
    untold = f", and none to validate with{which} ({_VALIDATION})" if absent else ""
    return (
        f"{what} fewer than {FEW_PHOTOS} training photos: {names}, too few to be recognized well{untold}; training is still "
        f"possible; add different photos until {'it has' if len(few) == 1 else 'each has'} {FEW_PHOTOS} or more"
    )


def _rare(numbers: dict[str, int], balance: float) -> str:
    present = {name: number for name, number in numbers.items() if number}
    most = max(present, key=lambda name: present[name])
    rare = [name for name, number in present.items() if number * LARGEST_RATIO < present[most]]
    if not rare:
        return ""
    names = some((f"'{name}' ({present[name]})" for name in sorted(rare, key=lambda name: present[name])), _NAMED)
    if balance == 1:
        risk = "training makes all classes equally likely (classifier.balance), but a rare one may be missed; add"
    else:
        risk = f"with classifier.balance={balance:g} a rare class counts less and may be missed; set it to 1, add"
    return (
        f"more than {LARGEST_RATIO} photos of '{most}' ({present[most]}) for each of {names}: {risk} photos of it, or leave "
        "out some of the others"
    )


def _unvalidated(absent: list[str], where: str) -> str:
    if not absent:
        return ""
    return (
        f"no validation photo ({_VALIDATION}) shows {_quoted(absent)}, so nothing tells how well such photos are recognized; "
        f"add different photos of {'it' if len(absent) == 1 else 'each'}{where}"
    )


def _quoted(names: list[str]) -> str:
    return some((f"'{name}'" for name in names), _NAMED)
