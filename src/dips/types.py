"""The values that travel between stages, and the conventions of their coordinates.

Conventions, everywhere unless a name says otherwise:

- an image in memory is ``HWC uint8 RGB``; a batch on its way through a network is ``(B, 3, H, W) float32``;
- a box is ``x0 y0 x1 y1`` in pixels of the original photo *after* EXIF rotation, end exclusive;
- a score map is ``(H, W) float32`` in [0, 1]: how much a pixel belongs to the object;
- a label is an index into ``DataSet.classes``; ``background`` is the index of the class without object, if any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "DataSet", "FloatArray", "Problem", "Sample"]

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the networks say about a batch of photos as squares.

    Attributes:
        maps: ``(B, S, S) float32`` in [0, 1], S = ``predict.size``.
        probabilities: ``(B, C) float32``.
    """

    maps: FloatArray
    probabilities: FloatArray


@dataclass(frozen=True, slots=True)
class Sample:
    """One photo and what is known about it.

    Attributes:
        path: the photo's file.
        id: unique name inside the data set: the path relative to its root, with forward slashes.
        label: index into the data set's classes; None where it is unknown.
        boxes: true boxes ``(K, 4) float32``, ``x0 y0 x1 y1`` in pixels of ``frame``; None where they are unknown,
            ``(0, 4)`` where it is known that there is none.
        frame: ``(width, height)`` of the photo the boxes were drawn on, which may be larger than the file (resized
            copies of CUB); None means the file's own size.
        masks: files of the true masks, one per object; any pixel above 0 is the object. Empty where they are unknown.
        ignore: file of the region that counts neither as object nor as background, if there is one.
    """

    path: Path
    id: str
    label: int | None
    boxes: FloatArray | None = field(default=None, compare=False)  # an array has no single truth value
    frame: tuple[int, int] | None = None
    masks: tuple[Path, ...] = ()
    ignore: Path | None = None

    @property
    def boxed(self) -> bool:
        """Whether it has at least one true box; others have none, or it is unknown, so that nothing can be measured on them."""
        return self.boxes is not None and len(self.boxes) > 0


@dataclass(frozen=True, slots=True)
class Problem:
    """Something found while reading data that a person should know: which file, and what about it."""

    path: Path
    message: str


@dataclass(frozen=True, slots=True)
class DataSet:
    """Photos of one split with their class names.

    Attributes:
        root: folder the ids are relative to.
        classes: class names in label order.
        samples: the photos, sorted by id.
        split: ``train``, ``val``, ``test`` or ``all``.
        background: label of the class whose photos show no object, if there is one.
        layout: how the data was understood: ``folder``, ``wsol``, ``cub``, ``coco`` or ``csv``.
        problems: what was skipped or looks wrong.
    """

    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    split: str = "all"
    background: int | None = None
    layout: str = "folder"
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)
