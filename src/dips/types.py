"""The values that travel between stages, and the conventions of their coordinates.

Conventions, everywhere unless a name says otherwise:

- an image in memory is ``HWC uint8 RGB``; a batch on its way through a network is ``(B, 3, H, W) float32``;
- a box is ``x0 y0 x1 y1`` in pixels of the original photo *after* EXIF rotation, end exclusive;
- a score map is ``(H, W) float32`` in [0, 1]: how much a pixel belongs to the object;
- a label is an index into ``DataSet.classes``; ``background`` is the index of the class without object, if any.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "Answerer", "DataSet", "FloatArray", "PhotoBatch", "Problem", "Sample"]

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PhotoBatch:
    """Photos as squares, and what is asked about them.

    Attributes:
        squares: ``(B, S, S, 3) uint8`` RGB; S is the side that the answerer asks for.
        labels: the class of each photo whose object is looked for, None where it is unknown; empty if all are.
        localized: positions in the batch of the photos that a map is needed of; None means all.
        ids: of the photos in their data set, where they have one; stored maps are found by them.

    >>> batch = PhotoBatch(np.zeros((3, 8, 8, 3), np.uint8), labels=(0, None, 1), localized=(0, 2))
    >>> len(batch), list(batch.positions)
    (3, [0, 2])
    """

    squares: NDArray[np.uint8]
    labels: tuple[int | None, ...] = ()
    localized: tuple[int, ...] | None = None
    ids: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.squares)

    @property
    def positions(self) -> Sequence[int]:
        """Positions in the batch of the photos that a map is needed of."""
        return range(len(self)) if self.localized is None else self.localized


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What an answerer says about a batch of photos.

    Attributes:
        maps: score maps ``(M, h, w) float32`` in [0, 1] of the photos at :attr:`PhotoBatch.positions`, M of them.
        probabilities: of the classes, ``(B, C) float32``; C is 0 where the answerer names no class.
    """

    maps: FloatArray
    probabilities: FloatArray


class Answerer(ABC):
    """Whatever answers photos with score maps and class probabilities, so that it can be measured or predict.

    The networks of a run (:class:`~dips.models.networks.Networks`), an exported file
    (:class:`~dips.export.onnx_model.OnnxNetworks`), a method of a comparison
    (:class:`~dips.baselines.method.ScoreMapMethod`) and maps that were stored before are answerers.

    >>> class Brightness(Answerer):
    ...     side = 8
    ...     def answer(self, batch: PhotoBatch) -> Answer:
    ...         maps = batch.squares[list(batch.positions)].mean(axis=3, dtype=np.float32) / 255
    ...         return Answer(maps, np.zeros((len(batch), 0), np.float32))
    >>> Brightness().answer(PhotoBatch(np.full((2, 8, 8, 3), 255, np.uint8))).maps.shape
    (2, 8, 8)
    """

    @property
    @abstractmethod
    def side(self) -> int:
        """Side in pixels of the squares that photos must be given as."""

    @abstractmethod
    def answer(self, batch: PhotoBatch) -> Answer:
        """Return score maps and class probabilities of a batch whose squares have this :attr:`side`."""


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
