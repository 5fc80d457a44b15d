"""The ground truth of one split: labels, boxes and masks, even if the photos themselves are absent.

In: DATA, or WSOL metadata without photos. Out: :class:`SplitGroundTruth` to score existing maps against, and the pixels of
a photo's mask.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.data.images import decode_image, image_size
from dips.data.listing import split_name
from dips.data.load import load_data
from dips.data.photo_files import has_photos
from dips.data.wsol import find_splits, read_wsol
from dips.errors import DataError, ImageError
from dips.system.names import some
from dips.types import Problem, Sample

__all__ = ["SplitGroundTruth", "load_ground_truth", "read_mask"]


@dataclass(frozen=True, slots=True)
class SplitGroundTruth:
    """The ground truth of one split: a sequence of samples.

    Attributes:
        root: folder that the photos' paths are relative to.
        split: name of the split.
        classes: class names in label order.
        numbers: the classes' numbers in ``class_labels.txt``; 0, 1, 2 ... in other layouts.
        ids: the photos' ids in their order.
        sample: returns the sample with an id; for WSOL metadata, created on demand so that millions of photos fit into memory.
        problems: what was left out or looks wrong.

    >>> truth = SplitGroundTruth(Path("data"), "test", ("owl",), (0,), ["1.jpg"], lambda id: Sample(Path("data") / id, id, 0))
    >>> len(truth), truth[0].id, [sample.label for sample in truth]
    (1, '1.jpg', [0])
    """

    root: Path
    split: str
    classes: tuple[str, ...]
    numbers: tuple[int, ...]
    ids: Sequence[str]
    sample: Callable[[str], Sample]
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(self.ids[index])

    def __iter__(self) -> Iterator[Sample]:
        return map(self.sample, self.ids)


def load_ground_truth(data: str | Path, *, split: str = "test", label_column: str = "") -> SplitGroundTruth:
    """Read labels, ground-truth boxes and ground-truth masks of one split.

    If DATA holds or is WSOL metadata, all ids of ``image_ids.txt`` are samples, with these ids and in this order; photos need
    not exist, and ``path`` is where they would be. DATA is then the folder that holds ``metadata/``, ``metadata/`` itself, or
    the folder of a data set or of a split in it. Anything else is read by :func:`~dips.data.load.load_data`, with the photo's
    own size as ``frame`` of its boxes or masks. No class counts as the background. ``label_column`` is as for that function.

    Raises:
        DataError: nothing is there, the split is unknown, metadata is malformed, a photo has boxes but no size, a box lies
            outside of its photo, or all masks are missing.
        ImageError: the size of a photo is needed and cannot be read.
    """
    top = Path(os.path.abspath(Path(data).expanduser()))
    split = split_name(split)
    metadata = find_splits(top, split) if top.is_dir() else {}
    if split in metadata:
        return _from_metadata(metadata[split], split)
    if metadata and not has_photos(top):
        raise DataError(f"{top} has no metadata of the split '{split}'; there are {some(metadata)}")
    dataset = load_data(top, split=split, background_class="", label_column=label_column)
    samples = {sample.id: _with_frame(sample) for sample in dataset.samples}
    numbers = tuple(range(len(dataset.classes)))
    return SplitGroundTruth(
        dataset.root, dataset.split, dataset.classes, numbers, list(samples), samples.__getitem__, dataset.problems
    )


def _from_metadata(folder: Path, split: str) -> SplitGroundTruth:
    wsol = read_wsol(folder)
    if wsol is None or not wsol.ids:
        raise DataError(f"{folder / 'image_ids.txt'} lists no photo; write one id per line")
    labels = {name: label for label, name in enumerate(wsol.classes)}

    def sample(id: str) -> Sample:
        entry = wsol.entry(id)
        return _checked(entry.sample(labels), folder)

    truth = SplitGroundTruth(wsol.root, split, wsol.classes, wsol.numbers, wsol.ids, sample, wsol.problems)
    for _ in truth:
        pass  # so that errors are raised now, not in the middle of scoring
    return truth


def _checked(sample: Sample, metadata: Path) -> Sample:
    if sample.boxes is None:
        return sample
    if sample.frame is None:
        raise DataError(
            f"{metadata / 'image_sizes.txt'} has no size for {sample.id}, which has boxes in localization.txt; add the line "
            f"{sample.id},WIDTH,HEIGHT of the photo that they were drawn on"
        )
    width, height = sample.frame
    for x0, y0, x1, y1 in sample.boxes.tolist():
        if x0 >= width or y0 >= height or x1 < 0 or y1 < 0:
            raise DataError(
                f"{metadata / 'localization.txt'}: the box {x0:g},{y0:g},{x1:g},{y1:g} of {sample.id} lies outside of its "
                f"photo ({width} x {height} in image_sizes.txt); correct one of the two"
            )
    return sample


def _with_frame(sample: Sample) -> Sample:
    if sample.frame is not None or (sample.boxes is None and not sample.masks):
        return sample
    return dataclasses.replace(sample, frame=image_size(sample.path))


def read_mask(sample: Sample, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read the ground-truth mask ``(height, width)`` of a photo, resized to ``size`` = (width, height) by nearest neighbour.

    1 is the union of its objects, 255 the ignored region outside of them, 0 the background.

    Raises:
        DataError: the sample has no mask, or a file is missing.
        ImageError: a file is not an image that can be read.
    """
    if not sample.masks:
        raise DataError(f"{sample.id} has no ground-truth mask; name the files of its masks in localization.txt")
    inside = _read_region(sample.masks[0], size)
    for file in sample.masks[1:]:
        inside |= _read_region(file, size)
    mask = inside.astype(np.uint8)
    if sample.ignore is not None:
        mask[_read_region(sample.ignore, size) & ~inside] = 255
    return mask


def _read_region(path: Path, size: tuple[int, int]) -> NDArray[np.bool_]:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; put the mask there or remove it from localization.txt") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be opened: {error.strerror or error}") from error
    # keep the depth: reducing 16 bits to 8 would turn values below 256 into 0
    grey = decode_image(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if grey is None:
        raise ImageError(f"{path} is not a mask that can be read (PNG); save it again")
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_NEAREST) > 0.5)
