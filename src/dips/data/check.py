"""``dips check``: decode every photo once, and report how DATA was understood and what is wrong with it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dips.config import Config
from dips.data.background import likely_background
from dips.data.box_problems import Size, box_problems
from dips.data.copies import copy_problems, find_copies
from dips.data.depth import Depth, Shown, common_scale, scale_words
from dips.data.images import read_shown
from dips.data.labels import class_counts, several_labels
from dips.data.load import available_splits, load_data
from dips.data.locate import photo_id
from dips.data.parts import training_parts
from dips.data.problems import left_out, reasons, told
from dips.errors import DataError, ImageError
from dips.system.console import counted, printable, track
from dips.types import DataSet, Problem, Sample, Severity

__all__ = ["DataReport", "SplitReport", "check_data"]

_PHOTOS_AT_A_TIME = 256
_LEGEND = "ERROR must be mended first; !! spoils what is learned or measured; ! left out or odd; - a note"
_NO_BACKGROUND = "no folder of photos without an object (none/): such photos teach what is background"
_LEARNED = {"train", "val", "all"}  # splits; "all" if DATA is not divided
_TINY = 16  # pixels; a photo with a shorter side is a thumbnail or an icon


@dataclass(frozen=True, slots=True)
class SplitReport:
    """The content of one split.

    Attributes:
        name, layout, root: as in :class:`~dips.types.DataSet`.
        photos: number of photos, of which ``readable`` could be decoded; the attributes below refer to these.
        classes: photos per class name.
        unreadable: photos per class name that could not be decoded; only classes with any.
        background: the class without object, if there is one.
        unlabelled: photos without a class.
        several: photos with several labels, which count for each of their classes.
        boxed: photos with known ground-truth boxes, of which ``bare`` are known to have none; ``boxes`` counts the boxes.
        masked: photos with ground-truth masks.
        sizes: ``(width, height)`` of the smallest, the median and the largest photo, by area.
    """

    name: str
    layout: str
    root: Path
    photos: int
    readable: int
    classes: dict[str, int]
    unreadable: dict[str, int]
    background: str | None
    unlabelled: int
    several: int
    boxed: int
    bare: int
    boxes: int
    masked: int
    sizes: tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class DataReport:
    """The result of ``dips check``.

    Attributes:
        path: DATA.
        splits: one report per split that could be read.
        problems: the most severe first.
        untrainable: why training is impossible, though nothing is wrong with the photos; empty if it is possible.

    >>> print(DataReport(Path("data"), (), (Problem(Path("data"), "no photos found", Severity.STOPS),), "").render())
    data
      1 problem (ERROR must be mended first; !! spoils what is learned or measured; ! left out or odd; - a note):
      ERROR data: no photos found
    not usable yet: 0 photos; first mend what is marked ERROR
    """

    path: Path
    splits: tuple[SplitReport, ...]
    problems: tuple[Problem, ...]
    untrainable: str

    @property
    def errors(self) -> tuple[str, ...]:
        """Why a split, or a class, cannot be used at all."""
        return tuple(problem.message for problem in self.problems if problem.severity is Severity.STOPS)

    @property
    def usable(self) -> bool:
        """Whether every split could be read and has readable photos; training may be impossible (``untrainable``)."""
        return not self.errors

    def render(self, *, most: int = 20) -> str:
        """Return the report as plain text, with at most ``most`` classes per split and ``most`` problems."""
        folder = _absolute(self.path)
        if folder.is_file():  # a list, whose photos may lie beside it
            folder = Path(os.path.commonpath([folder.parent, *(split.root for split in self.splits)]))
        lines = [str(self.path)]
        for split in self.splits:
            lines += _render_split(split, folder, most)
        if problems := told(self.problems, most, folder=folder):
            rest = "" if len(problems) == len(self.problems) else "; --problems FILE writes all"
            lines.append(f"  {counted(len(self.problems), 'problem')} ({_LEGEND}{rest}):")
            lines += [f"  {line}" for line in problems]
        lines += self._conclusion()
        return "\n".join(map(printable, lines))

    def _conclusion(self) -> list[str]:
        used = sum(split.readable for split in self.splits)
        broken = sum(split.photos for split in self.splits) - used
        unlabelled = 0 if self.untrainable else sum(split.unlabelled for split in self.splits)
        files = sum(problem.files for problem in self.problems)
        left_out = [f"{counted(broken, 'photo')} that cannot be read"] if broken else []
        left_out += [f"{counted(unlabelled, 'photo')} without a class"] if unlabelled else []
        left_out += [counted(files, "other file")] if files else []
        if self.usable and not self.untrainable:
            learned = sum(split.readable - split.unlabelled for split in self.splits if split.name in _LEARNED)
            line = f"usable for training: {counted(learned, 'photo')}"
            others = used - unlabelled - learned
            line += f", for evaluation: {others}" if others else ""
        else:
            use = "usable for prediction and evaluation" if self.usable else "not usable yet"
            line = f"{use}: {counted(used - unlabelled, 'photo')}"
        line += f"{'; left out: ' if left_out else ''}{', '.join(left_out)}"
        if self.problems and self.problems[0].severity <= Severity.SPOILS:
            line += f"; first {'look at what is marked !!' if self.usable else 'mend what is marked ERROR'}"
        return [line, *([f"not for training: {self.untrainable}"] if self.untrainable else [])]


def check_data(
    path: str | Path, *, background_class: str = "auto", label_column: str = "", workers: int | None = None
) -> DataReport:
    """Read every split of DATA as :func:`~dips.data.load.load_data` does, and decode every photo.

    Args:
        path: DATA.
        background_class, label_column: as for :func:`~dips.data.load.load_data`.
        workers: number of decoding threads; None means one per processor, at most eight.

    Raises:
        DataError: DATA does not exist.
    """
    names = available_splits(path)
    count = workers or min(8, os.cpu_count() or 1)
    splits: list[SplitReport] = []
    problems = list[Problem]()
    parts: dict[str, DataSet] = {}
    untrainable = "" if {"train", "all"} & set(names) else f"there is no training split, only {', '.join(names)}"
    for name in names:
        split = None if name == "all" else name
        try:
            dataset = load_data(path, split=split, background_class=background_class, label_column=label_column, strict=False)
        except DataError as error:
            message = "; ".join(map(str.strip, str(error).splitlines()))
            problems.append(Problem(_absolute(Path(path)), message, Severity.STOPS))
            continue
        problems += dataset.problems
        photos: list[tuple[Sample, Size]] = []
        deep: list[tuple[Path, Shown]] = []  # photos of more than 8 bits
        decoded = track(_decode_all(dataset.samples, count), f"reading {dataset.root.name}", total=len(dataset))
        for sample, result in zip(dataset.samples, decoded, strict=True):
            if isinstance(result, Problem):
                problems.append(result)
                continue
            size, shown = result
            photos.append((sample, size))
            if shown is not None:
                deep.append((sample.path, shown))
        problems += [*box_problems(dataset.root, photos), *_check_depth(dataset.root, deep), *_check_sizes(photos)]
        parts[name] = dataclasses.replace(dataset, samples=tuple(sample for sample, _ in photos))
        splits.append(_summary(dataset, parts[name], [size for _, size in photos]))
        if not photos:
            problems.append(Problem(dataset.root, "none of its photos can be read", Severity.STOPS))
    copies = find_copies(sample.path for part in parts.values() for sample in part.samples)
    train, val = parts.get("train", parts.get("all")), parts.get("val")
    if train is not None and train.samples and (val is None or val.samples):
        config = Config().replace(**{"data.background_class": background_class})
        try:
            problems += training_parts(train, val, copies, config)[0].problems
            if train.background is None and background_class == "auto" and likely_background(train.classes) is None:
                problems.append(Problem(train.root, _NO_BACKGROUND, Severity.NOTE))
        except DataError as error:
            # the end of the message repeats problems that are reported anyway
            untrainable = str(error).removesuffix(reasons(train.problems, train.root))
            for part in filter(None, (train, val)):
                untrainable = untrainable.removeprefix(f"{part.root}: ")
    leaks = copy_problems({name: part.samples for name, part in parts.items()}, copies)
    in_order = sorted(dict.fromkeys((*leaks, *problems)), key=lambda problem: problem.severity)
    return DataReport(Path(path), tuple(splits), tuple(in_order), untrainable)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))


def _decode_all(samples: Sequence[Sample], workers: int) -> Iterator[tuple[Size, Shown | None] | Problem]:
    """Yield for every photo, in order, its size and how its values were shown, or why it cannot be read."""
    with ThreadPoolExecutor(workers) as executor:
        for start in range(0, len(samples), _PHOTOS_AT_A_TIME):
            yield from executor.map(_decode, samples[start : start + _PHOTOS_AT_A_TIME])


def _decode(sample: Sample) -> tuple[Size, Shown | None] | Problem:
    try:
        pixels, shown = read_shown(sample.path)
    except ImageError as error:
        return left_out(sample.path, error)
    return (pixels.shape[1], pixels.shape[0]), shown


def _check_depth(root: Path, photos: Sequence[tuple[Path, Shown]]) -> Iterator[Problem]:
    """Report the photos that use a small part of their type's range: one line per type, however many photos there are."""
    common = common_scale([shown for _, shown in photos])
    depth = Depth(scales=() if common is None else (common,))
    for kind in sorted({shown.type for _, shown in photos if shown.stretched}):
        group = [(path, shown) for path, shown in photos if shown.stretched and shown.type == kind]
        alike = sum(depth.fitting(shown.used) is not None for _, shown in group)
        first, one = group[0][0], len(group) == 1
        which = f"is used: its {kind}" if one else f"{len(group)} photos (the first is {first.name}) are used: their {kind}"
        if common is not None and alike:
            how = f" {scale_words(common)} are stretched from black to white"
            how += ", the same for all" if not one and alike == len(group) else ""
            how += f", {counted(len(group) - alike, 'other')} each by its own range" if alike < len(group) else ""
        elif one:
            how = f" {scale_words(group[0][1].scale)} are stretched from black to white"
        else:
            used = min(shown.used[0] for _, shown in group), max(shown.used[1] for _, shown in group)
            how = f", together {scale_words(used)}, are stretched from black to white, in each photo by its own range"
        what = f"{which} values{how}; other limits: --set data.depth=BLACK..WHITE"
        yield Problem(first if one else root, what, Severity.ODD)


def _check_sizes(photos: Sequence[tuple[Sample, Size]]) -> Iterator[Problem]:
    for sample, (width, height) in photos:
        if min(width, height) < _TINY:
            what = f"has only {width} x {height} pixels; it is used as it is; remove it if it is a thumbnail or an icon"
            yield Problem(sample.path, what, Severity.ODD)


def _summary(dataset: DataSet, readable: DataSet, sizes: list[Size]) -> SplitReport:
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    listed, counts = class_counts(dataset), class_counts(readable)
    boxes = [sample.boxes for sample in readable.samples if sample.boxes is not None]
    return SplitReport(
        name=dataset.split,
        layout=dataset.layout,
        root=dataset.root,
        photos=len(dataset),
        readable=len(readable),
        classes={name: counts.get(label, 0) for label, name in enumerate(dataset.classes)},
        unreadable={dataset.classes[n]: count - counts.get(n, 0) for n, count in listed.items() if count > counts.get(n, 0)},
        background=None if dataset.background is None else dataset.classes[dataset.background],
        unlabelled=sum(sample.label is None for sample in readable.samples),
        several=several_labels(readable.samples),
        boxed=len(boxes),
        bare=sum(not len(array) for array in boxes),
        boxes=sum(map(len, boxes)),
        masked=sum(bool(sample.masks) for sample in readable.samples),
        sizes=(ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1]) if ordered else (),
    )


def _render_split(split: SplitReport, folder: Path, most: int) -> list[str]:
    name = "photos" if split.name == "all" else split.name
    broken = split.photos - split.readable
    used = counted(split.photos, "photo") + (f" found, {split.readable} used, {broken} cannot be read" if broken else "")
    where = "" if split.root == folder else f" ({photo_id(split.root, folder)})"
    lines = [f"  {name}: {used}, {counted(len(split.classes), 'class')}, understood as {split.layout}{where}"]
    width = max((len(title) for title in list(split.classes)[:most]), default=0)
    for title, count in list(split.classes.items())[:most]:
        note = "  (background: no object)" if title == split.background else ""
        lost = f"  and {split.unreadable[title]} that cannot be read" if title in split.unreadable else ""
        lines.append(f"    {title:<{width}}  {count:>6}{lost}{note}")
    if len(split.classes) > most:
        rest = list(split.classes.values())[most:]
        lines.append(
            f"    and {counted(len(rest), 'more class')} of "
            f"{f'{min(rest)} to ' if min(rest) < max(rest) else ''}{counted(max(rest), 'photo')}"
        )
    if split.several:
        counts = "and counts in each of its classes" if split.several == 1 else "and count in each of their classes"
        lines.append(f"    {counted(split.several, 'photo', 'has')} several labels {counts}")
    if split.unlabelled:
        lines.append(f"    without a class: {split.unlabelled}")
    if split.masked:
        lines.append(f"    ground-truth masks: {counted(split.masked, 'photo')}")
    if split.boxed or not split.masked:
        boxes = "none (not needed to train; without them nothing is measured)"
        if split.boxed:
            boxes = f"known for {counted(split.boxed, 'photo')}: {counted(split.boxes, 'box')}"
            boxes += f", {counted(split.bare, 'photo')} without object" if split.bare else ""
            boxes += f"; unknown for {split.readable - split.boxed}" if split.boxed < split.readable else ""
        lines.append(f"    ground-truth boxes: {boxes}")
    if split.sizes:
        small, middle, large = (f"{width} x {height}" for width, height in split.sizes)
        lines.append(f"    sizes: {small} smallest, {middle} median, {large} largest")
    return lines
