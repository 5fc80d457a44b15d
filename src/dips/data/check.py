"""``dips check``: decode every photo once, and report how DATA was understood and what is wrong with it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dips.config import DataConfig
from dips.data.box_problems import Size, box_problems
from dips.data.classes import class_problems
from dips.data.copies import copy_problems, find_copies
from dips.data.depth import Depth, Shown, common_scale, scale_words
from dips.data.images import read_shown
from dips.data.listing import class_counts, require_trainable
from dips.data.load import available_splits, load_data
from dips.data.problems import left_out, told
from dips.data.split import split_validation
from dips.errors import DataError, ImageError
from dips.system.console import counted, printable, track
from dips.types import DataSet, Problem, Sample

__all__ = ["DataReport", "SplitReport", "check_data"]

_PHOTOS_AT_A_TIME = 256
_TINY = 16  # pixels; a photo with a shorter side is a thumbnail or an icon


@dataclass(frozen=True, slots=True)
class SplitReport:
    """The content of one split.

    Attributes:
        name, layout, root: as in :class:`~dips.types.DataSet`.
        photos: number of photos, of which ``readable`` could be decoded.
        classes: photos per class name, including unreadable ones.
        background: the class without object, if there is one.
        unlabelled: photos without a class.
        boxed: photos with known ground-truth boxes, including those known to have none; ``boxes`` counts the boxes.
        masked: photos with ground-truth masks.
        sizes: ``(width, height)`` of the smallest, the median and the largest readable photo, by area.
    """

    name: str
    layout: str
    root: Path
    photos: int
    readable: int
    classes: dict[str, int]
    background: str | None
    unlabelled: int
    boxed: int
    boxes: int
    masked: int
    sizes: tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class DataReport:
    """The result of ``dips check``.

    Attributes:
        path: DATA.
        splits: one report per split that could be read.
        problems: first the photos that are in two splits or classes, then unreadable ones, then the rest.
        errors: why a split cannot be used at all.
        untrainable: why training is impossible; empty if it is possible.

    >>> print(DataReport(Path("data"), (), (), ("data: no photos found",), "").render())
    data
      ERROR data: no photos found
    not usable: see the lines above
    """

    path: Path
    splits: tuple[SplitReport, ...]
    problems: tuple[Problem, ...]
    errors: tuple[str, ...]
    untrainable: str

    @property
    def usable(self) -> bool:
        """Whether every split could be read and has readable photos; training may be impossible (``untrainable``)."""
        return not self.errors and all(split.readable for split in self.splits)

    def render(self, *, most: int = 20) -> str:
        """Return the report as plain text, with at most ``most`` classes per split and ``most`` problems."""
        lines = [str(self.path)]
        for split in self.splits:
            lines += _render_split(split, most)
        lines += [f"  ! {line}" for line in told(self.problems, most)]
        lines += [f"  ERROR {error}" for error in self.errors]
        if not self.usable:
            lines.append("not usable: see the lines above")
            return "\n".join(map(printable, lines))
        use = f"for prediction and evaluation, not for training: {self.untrainable}" if self.untrainable else "for training"
        broken = sum(split.photos - split.readable for split in self.splits)
        photos = f"{counted(broken, 'photo')} that cannot be read"
        lines.append(f"usable, without {photos}, {use}" if broken else f"usable {use}")
        return "\n".join(map(printable, lines))


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
    broken, others = list[Problem](), list[Problem]()
    errors: list[str] = []
    parts: dict[str, DataSet] = {}
    untrainable = "" if {"train", "all"} & set(names) else f"there is no training split, only {', '.join(names)}"
    for name in names:
        try:
            dataset = load_data(
                path, split=None if name == "all" else name, background_class=background_class, label_column=label_column
            )
        except DataError as error:
            errors.append(str(error))
            continue
        others += dataset.problems
        photos: list[tuple[Sample, Size]] = []
        deep: list[tuple[Path, Shown]] = []  # photos of more than 8 bits
        decoded = track(_decode_all(dataset.samples, count), f"reading {dataset.root.name}", total=len(dataset))
        for sample, result in zip(dataset.samples, decoded, strict=True):
            if isinstance(result, Problem):
                broken.append(result)
                continue
            size, shown = result
            photos.append((sample, size))
            if shown is not None:
                deep.append((sample.path, shown))
        others += [*box_problems(dataset.root, photos), *_check_depth(dataset.root, deep), *_check_sizes(photos)]
        parts[name] = dataclasses.replace(dataset, samples=tuple(sample for sample, _ in photos))
        splits.append(_summary(dataset, [size for _, size in photos]))
        if not photos:
            errors.append(f"{dataset.root}: none of its photos can be read")
    copies = find_copies(sample.path for part in parts.values() for sample in part.samples)
    if (train := parts.get("train", parts.get("all"))) is not None and train.samples:
        try:
            others += _check_classes(train, parts.get("val"), copies)
        except DataError as error:
            untrainable = str(error)
    leaks = copy_problems({name: part.samples for name, part in parts.items()}, copies)
    problems = tuple(dict.fromkeys((*leaks, *broken, *others)))
    return DataReport(Path(path), tuple(splits), problems, tuple(errors), untrainable)


def _decode_all(samples: Sequence[Sample], workers: int) -> Iterator[tuple[Size, Shown | None] | Problem]:
    """Yield of every photo, in order, its size and how its values were shown, or why it cannot be read."""
    with ThreadPoolExecutor(workers) as executor:
        for start in range(0, len(samples), _PHOTOS_AT_A_TIME):
            yield from executor.map(_decode, samples[start : start + _PHOTOS_AT_A_TIME])


def _decode(sample: Sample) -> tuple[Size, Shown | None] | Problem:
    try:
        pixels, shown = read_shown(sample.path)
    except ImageError as error:
        return left_out(sample.path, error)
    return (pixels.shape[1], pixels.shape[0]), shown


def _check_classes(train: DataSet, val: DataSet | None, copies: Mapping[Path, str]) -> Sequence[Problem]:
    """Return what training would say of the classes, of their readable photos alone.

    Raises:
        DataError: it would be impossible.
    """
    train = require_trainable(train)
    whole = None
    if val is None:  # which fraction does not matter: only a class without a second photo has none in either part
        whole = train
        train, val = split_validation(train, fraction=DataConfig().val_share, seed=0, copies=copies)
    return [*train.problems, *class_problems(train, val, whole=whole)]


def _check_depth(root: Path, photos: Sequence[tuple[Path, Shown]]) -> Iterator[Problem]:
    """Name the photos that use a small part of their type's range: one line for each type, however many there are."""
    common = common_scale([shown for _, shown in photos])
    depth = Depth(scales=() if common is None else (common,))
    for kind in sorted({shown.type for _, shown in photos if shown.stretched}):
        group = [(path, shown) for path, shown in photos if shown.stretched and shown.type == kind]
        used = min(shown.used[0] for _, shown in group), max(shown.used[1] for _, shown in group)
        alike = sum(depth.fitting(shown.used) is not None for _, shown in group)
        how = "" if common is None or not alike else f"{scale_words(common)} become black to white"
        if alike < len(group):
            odd = "each is" if not alike else f"each of {len(group) - alike} others is"
            how += f"{', ' if how else ''}{odd} stretched by its own range"
        first, one = group[0][0], len(group) == 1
        which = "uses" if one else f"{len(group)} photos (the first is {first.name}) use"
        what = f"{which} a small part of {kind}, values {scale_words(used)}: {how} (data.depth names other values)"
        yield Problem(first if one else root, what)


def _check_sizes(photos: Sequence[tuple[Sample, Size]]) -> Iterator[Problem]:
    for sample, (width, height) in photos:
        if min(width, height) < _TINY:
            what = f"has only {width} x {height} pixels; it is used as it is; remove it if it is a thumbnail or an icon"
            yield Problem(sample.path, what)


def _summary(dataset: DataSet, sizes: list[Size]) -> SplitReport:
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    counts = class_counts(dataset)
    boxes = [sample.boxes for sample in dataset.samples if sample.boxes is not None]
    return SplitReport(
        name=dataset.split,
        layout=dataset.layout,
        root=dataset.root,
        photos=len(dataset),
        readable=len(sizes),
        classes={name: counts.get(label, 0) for label, name in enumerate(dataset.classes)},
        background=None if dataset.background is None else dataset.classes[dataset.background],
        unlabelled=len(dataset) - sum(counts.values()),
        boxed=len(boxes),
        boxes=sum(map(len, boxes)),
        masked=sum(bool(sample.masks) for sample in dataset.samples),
        sizes=(ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1]) if ordered else (),
    )


def _render_split(split: SplitReport, most: int) -> list[str]:
    name = "photos" if split.name == "all" else split.name
    lines = [
        f"  {name}: {counted(split.photos, 'photo')}, {counted(len(split.classes), 'class')}, understood as "
        f"{split.layout} ({split.root})"
    ]
    width = max((len(title) for title in list(split.classes)[:most]), default=0)
    for title, count in list(split.classes.items())[:most]:
        note = "  (background: no object)" if title == split.background else ""
        lines.append(f"    {title:<{width}}  {count:>6}{note}")
    if len(split.classes) > most:
        rest = list(split.classes.values())[most:]
        lines.append(
            f"    and {counted(len(rest), 'more class')} of "
            f"{f'{min(rest)} to ' if min(rest) < max(rest) else ''}{counted(max(rest), 'photo')}"
        )
    if split.unlabelled:
        lines.append(f"    without a class: {split.unlabelled}")
    if split.masked:
        lines.append(f"    ground-truth masks: {counted(split.masked, 'photo')}")
    if split.boxed or not split.masked:
        boxes = (
            f"{counted(split.boxed, 'photo')} ({counted(split.boxes, 'box')})" if split.boxed else "none (classification only)"
        )
        lines.append(f"    ground-truth boxes: {boxes}")
    if split.sizes:
        small, middle, large = (f"{width} x {height}" for width, height in split.sizes)
        lines.append(f"    sizes: {small} smallest, {middle} median, {large} largest")
    if split.readable < split.photos:
        lines.append(f"    unreadable: {split.photos - split.readable}")
    return lines
