"""``dips check``: decode every photo once, and report how DATA was understood and what is wrong with it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dips.data.depth import Depth, Shown, common_scale, scale_words
from dips.data.images import read_image_bytes
from dips.data.listing import class_counts, require_trainable
from dips.data.load import available_splits, load_data
from dips.errors import DataError, ImageError
from dips.system.console import printable, track
from dips.types import DataSet, Problem, Sample

__all__ = ["DataReport", "SplitReport", "check_data"]

_PHOTOS_AT_A_TIME = 256


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
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class DataReport:
    """The result of ``dips check``.

    Attributes:
        path: DATA.
        splits: one report per split that could be read.
        problems: first the photos that are in two splits, then unreadable ones, then the rest.
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
        for problem in self.problems[:most]:
            lines.append(f"  ! {problem.path}: {problem.message}")
        if len(self.problems) > most:
            lines.append(f"  ! and {len(self.problems) - most} more problems")
        lines += [f"  ERROR {error}" for error in self.errors]
        if not self.usable:
            lines.append("not usable: see the lines above")
        elif self.untrainable:
            lines.append(f"usable for prediction and evaluation, not for training: {self.untrainable}")
        else:
            lines.append("usable for training")
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
    leaks, broken, others = list[Problem](), list[Problem](), list[Problem]()
    errors: list[str] = []
    first: dict[str, tuple[str, Sample]] = {}  # split and photo, by the file's hash
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
        sizes = []
        deep: list[tuple[Path, Shown]] = []  # photos of more than 8 bits
        for photo in track(_decode_all(dataset.samples, count), f"reading {dataset.root.name}", total=len(dataset)):
            if photo.size is None:
                broken.append(Problem(photo.sample.path, photo.reason))
                continue
            sizes.append(photo.size)
            if photo.shown is not None:
                deep.append((photo.sample.path, photo.shown))
            others += _check_boxes(photo.sample, photo.size)
            split, twin = first.setdefault(photo.digest, (name, photo.sample))
            if split != name:
                leaks.append(Problem(photo.sample.path, f"is the same photo as {twin.path} of the split {split}: a leak"))
            elif twin is not photo.sample:
                what = "the same photo" if twin.label == photo.sample.label else "the same photo in another class"
                others.append(Problem(photo.sample.path, f"is {what} as {twin.path}"))
        if not sizes:
            errors.append(f"{dataset.root}: none of its {len(dataset)} photos can be read")
        others += _check_depth(dataset.root, deep)
        splits.append(_summary(dataset, sizes))
        if name in ("train", "all"):
            try:
                require_trainable(dataset)
            except DataError as error:
                untrainable = str(error)
    return DataReport(Path(path), tuple(splits), (*leaks, *broken, *others), tuple(errors), untrainable)


@dataclass(frozen=True, slots=True)
class _Photo:
    sample: Sample
    size: tuple[int, int] | None
    digest: str = ""
    reason: str = ""
    shown: Shown | None = None


def _decode_all(samples: Sequence[Sample], workers: int) -> Iterator[_Photo]:
    """Yield the size and hash of every photo, in order."""
    with ThreadPoolExecutor(workers) as executor:
        for start in range(0, len(samples), _PHOTOS_AT_A_TIME):
            yield from executor.map(_decode, samples[start : start + _PHOTOS_AT_A_TIME])


def _decode(sample: Sample) -> _Photo:
    try:
        data = sample.path.read_bytes()
    except OSError as error:
        return _Photo(sample, None, reason=f"cannot be opened: {error.strerror or error}")
    try:
        pixels, shown = read_image_bytes(data, sample.path.name)
    except ImageError as error:
        return _Photo(sample, None, reason=str(error).removeprefix(sample.path.name).strip())
    return _Photo(sample, (pixels.shape[1], pixels.shape[0]), digest=hashlib.sha256(data).hexdigest(), shown=shown)


def _check_boxes(sample: Sample, size: tuple[int, int]) -> Iterator[Problem]:
    if sample.boxes is None or not sample.boxed:
        return
    width, height = sample.frame or size
    if abs(size[0] * height / size[1] - width) > max(0.02 * width, 2 * height / size[1]):
        yield Problem(
            sample.path,
            f"is {size[0]} x {size[1]} but its boxes were drawn on {width} x {height}: it was turned or cropped afterwards",
        )
    beyond = int(((sample.boxes < -1) | (sample.boxes > (width + 1, height + 1, width + 1, height + 1))).any(axis=1).sum())
    if beyond:
        yield Problem(sample.path, f"{beyond} of its boxes extend beyond the photo ({width} x {height})")


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


def _summary(dataset: DataSet, sizes: list[tuple[int, int]]) -> SplitReport:
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
    lines = [f"  {name}: {split.photos} photos, {len(split.classes)} classes, understood as {split.layout} ({split.root})"]
    width = max((len(title) for title in list(split.classes)[:most]), default=0)
    for title, count in list(split.classes.items())[:most]:
        note = "  (background: no object)" if title == split.background else ""
        lines.append(f"    {title:<{width}}  {count:>6}{note}")
    if len(split.classes) > most:
        rest = list(split.classes.values())[most:]
        lines.append(f"    and {len(rest)} more classes of {min(rest)} to {max(rest)} photos")
    if split.unlabelled:
        lines.append(f"    without a class: {split.unlabelled}")
    if split.masked:
        lines.append(f"    ground-truth masks: {split.masked} photos")
    if split.boxed or not split.masked:
        boxes = f"{split.boxed} photos ({split.boxes} boxes)" if split.boxed else "none (classification only)"
        lines.append(f"    ground-truth boxes: {boxes}")
    if split.sizes:
        small, middle, large = (f"{width} x {height}" for width, height in split.sizes)
        lines.append(f"    sizes: {small} smallest, {middle} median, {large} largest")
    if split.readable < split.photos:
        lines.append(f"    unreadable: {split.photos - split.readable}")
    return lines
