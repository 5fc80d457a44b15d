"""What is known about the photos of one split where the photos themselves may be absent, to score ready score maps."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from dips.data.folder import has_photos
from dips.data.images import image_size
from dips.data.listing import SPLIT_ALIASES, SPLITS, some, split_name
from dips.data.load import load_data
from dips.data.metadata import Metadata, class_names, data_folder, find_base, find_masks, read_metadata, usual_places
from dips.errors import DataError
from dips.types import FloatArray, Problem, Sample

__all__ = ["SplitGroundTruth", "load_ground_truth"]

_SPLIT_FOLDERS = (*SPLITS, *SPLIT_ALIASES)


@dataclass(frozen=True, slots=True)
class SplitGroundTruth:
    """What is known of the photos of one split.

    Attributes:
        root: folder the photos' paths are relative to.
        split: its name.
        classes: class names in label order.
        numbers: what ``class_labels.txt`` calls them; elsewhere 0, 1, 2 and so on.
        samples: the photos; of WSOL metadata they are made when they are asked for, so that very many need little memory.
        problems: what was left out or looks wrong.
    """

    root: Path
    split: str
    classes: tuple[str, ...]
    numbers: tuple[int, ...]
    samples: Sequence[Sample]
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def ids(self) -> Sequence[str]:
        """The photos' ids, in their order."""
        return self.samples.ids if isinstance(self.samples, _Made) else [sample.id for sample in self.samples]


def load_ground_truth(data: str | Path, *, split: str = "test") -> SplitGroundTruth:
    """Labels, true boxes and true masks of one split.

    Where DATA holds or is WSOL metadata, all ids of ``image_ids.txt`` are samples, named as there and in this order; no photo
    need exist, and ``path`` is where it would be. DATA is then the folder with ``metadata/`` in it, ``metadata/`` itself, the
    folder of a data set in it, or that of a split. Anything else is read by :func:`~dips.data.load.load_data`, photos whose
    boxes or masks are known with ``frame`` filled in. No class is taken for background.

    Raises:
        DataError: nothing there, unknown split, malformed metadata, a photo with boxes but no size, a box outside of its
            photo, no mask where there should be some.
        ImageError: the size of a photo is needed and cannot be read.
    """
    top = Path(os.path.abspath(Path(data).expanduser()))
    split = split_name(split)
    known = _metadata_splits(top, split) if top.is_dir() else {}
    if split in known:
        return _from_metadata(known[split], split)
    if known and not has_photos(top):
        raise DataError(f"{top} has no metadata of the split '{split}'; there are {some(known)}")
    dataset = load_data(top, split=split, background_class="")
    samples = tuple(map(_framed, dataset.samples))
    numbers = tuple(range(len(dataset.classes)))
    return SplitGroundTruth(dataset.root, dataset.split, dataset.classes, numbers, samples, dataset.problems)


def _metadata_splits(top: Path, split: str) -> dict[str, Path]:
    """The splits that WSOL metadata in ``top`` describes, with their folders.

    Raises:
        DataError: ``split`` is described for several data sets.
    """
    if (top / "image_ids.txt").is_file():
        own = split_name(top.name)
        return {own if own in _SPLIT_FOLDERS else split: top}
    for base in (top / "metadata", top):
        if not base.is_dir():
            continue
        for folder in (base, base / top.name):
            if found := _splits_in(folder, split):
                return found
        named = {child.name: found for child in sorted(base.iterdir()) if (found := _splits_in(child, split))}
        fitting = [name for name in named if split in named[name]]
        if len(fitting) > 1:
            raise DataError(f"{base} describes several data sets, {some(fitting)}; give one of them, as {base / fitting[0]}")
        if named:
            return named[fitting[0] if fitting else next(iter(named))]
    return {}


def _splits_in(folder: Path, split: str) -> dict[str, Path]:
    names = dict.fromkeys((*_SPLIT_FOLDERS, split))
    return {split_name(name): folder / name for name in names if os.path.isfile(folder / name / "image_ids.txt")}


def _from_metadata(folder: Path, split: str) -> SplitGroundTruth:
    """Everything is looked at once, so that what is wrong is said here; the samples are made anew whenever one is asked for."""
    info = read_metadata(folder)
    if not info.ids:
        raise DataError(f"{folder / 'image_ids.txt'} lists no photo; write one id per line")
    name_of, classes, numbers = class_names(folder, info)
    labels: dict[str | None, int | None] = {name: label for label, name in enumerate(classes)}
    base = find_base(info.ids, usual_places(folder, [], "images")) or data_folder(folder)
    masks, problems = find_masks(info, info.ids, folder, usual_places(folder, [base], "masks"))
    known = set(info.ids)
    if others := [id for id in (*info.boxes, *info.masks) if id not in known]:
        message = f"{len(others)} photos are not listed in image_ids.txt and are left out: {some(others, 3)}"
        problems.append(Problem(folder / "localization.txt", message))

    def sample(id: str) -> Sample:
        files, ignored = masks.get(id, ((), None))
        boxes = _boxes(id, info, folder)
        return Sample(base / id, id, labels.get(name_of(id)), boxes, info.sizes.get(id), files, ignored)

    for id in info.boxes:
        if id in known:
            _boxes(id, info, folder)
    return SplitGroundTruth(base, split, tuple(classes), tuple(numbers), _Made(info.ids, sample), tuple(problems))


class _Made(Sequence[Sample]):
    """Samples that are made when they are asked for: only ids are kept."""

    def __init__(self, ids: tuple[str, ...], make: Callable[[str], Sample]) -> None:
        self._ids, self._make = ids, make

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, place: int) -> Sample: ...

    @overload
    def __getitem__(self, place: slice) -> list[Sample]: ...

    def __getitem__(self, place: int | slice) -> Sample | list[Sample]:
        return [self._make(id) for id in self._ids[place]] if isinstance(place, slice) else self._make(self._ids[place])

    @property
    def ids(self) -> tuple[str, ...]:
        return self._ids


def _boxes(id: str, info: Metadata, folder: Path) -> FloatArray | None:
    boxes = info.boxes.get(id)
    if boxes is None:
        return None
    if id not in info.sizes:
        raise DataError(
            f"{folder / 'image_sizes.txt'} has no size for {id}, which has boxes in localization.txt; add the line "
            f"{id},WIDTH,HEIGHT of the photo that they were drawn on"
        )
    width, height = info.sizes[id]
    for x0, y0, x1, y1 in boxes:
        if x0 >= width or y0 >= height or x1 < 0 or y1 < 0:
            raise DataError(
                f"{folder / 'localization.txt'}: the box {x0:g},{y0:g},{x1:g},{y1:g} of {id} lies outside of its photo "
                f"({width} x {height} in image_sizes.txt); mend one of the two"
            )
    return np.array(boxes, dtype=np.float32)


def _framed(sample: Sample) -> Sample:
    if sample.frame is not None or (sample.boxes is None and not sample.masks):
        return sample
    return dataclasses.replace(sample, frame=image_size(sample.path))
