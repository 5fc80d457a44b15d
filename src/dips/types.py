"""The values that travel between stages, and the conventions of their coordinates.

Conventions, everywhere unless a name says otherwise:

- an image in memory is ``HWC uint8 RGB``; a batch on its way through a network is ``(B, 3, H, W) float32``;
- a box is ``x0 y0 x1 y1`` in pixels of the original photo *after* EXIF rotation, end exclusive;
- a score map is ``(H, W) float32`` in [0, 1]: how much a pixel belongs to the object;
- a label is an index into ``DataSet.classes``; ``background`` is the index of the class without object, if any.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "DataSet", "FloatArray", "Prediction", "Problem", "Sample", "stretched"]

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


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the localizer says about one photo; the arrays are in the photo's own pixels.

    Attributes:
        path: the photo's file.
        label: name of the predicted class.
        label_score: its probability.
        class_scores: probability of every class, ``(C,)``, in the order of ``classes``.
        classes: class names.
        size: width and height of the photo in pixels.
        boxes: ``(N, 4) float32``, best first, ``x0 y0 x1 y1``, end exclusive; empty for the background class.
        box_scores: ``(N,) float32``, mean of the score map over the box's component, descending.
        grid: the score map as the networks gave it, ``(h, w) float32`` in [0, 1]; stretched over the photo it is ``score_map``.
        regions: ``(h, w) uint16``, i + 1 where box i's object is, else 0; as large as the photo, or smaller if it is huge.
        threshold: the share of the map's maximum above which a pixel is foreground.
        min_area: least area of a box as a share of the photo.
        min_score: least score of a box.
        max_boxes: boxes at most.
        background: name of the class without object, if there is one.
    """

    path: Path
    label: str
    label_score: float
    class_scores: FloatArray
    classes: tuple[str, ...]
    size: tuple[int, int]
    boxes: FloatArray
    box_scores: FloatArray
    grid: FloatArray = field(repr=False)
    regions: NDArray[np.uint16] = field(repr=False)
    threshold: float = 0.5
    min_area: float = 0.0
    min_score: float = 0.0
    max_boxes: int = 100
    background: str | None = None

    @property
    def score_map(self) -> FloatArray:
        """``(H, W) float32`` in [0, 1], made anew each time."""
        return stretched(self.grid, self.size)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """``(H, W) bool``, all objects together, made anew each time."""
        return cv2.resize((self.regions > 0).view(np.uint8), self.size, interpolation=cv2.INTER_NEAREST).view(np.bool_)

    def object_mask(self, index: int) -> NDArray[np.bool_]:
        """The pixels of object ``index`` inside its own box, ``(y1 - y0, x1 - x0) bool``."""
        x0, y0, x1, y1 = (int(value) for value in self.boxes[index])
        height, width = self.regions.shape
        columns = _cells(x0, x1, width, self.size[0])
        part = np.ascontiguousarray(self.regions[_cells(y0, y1, height, self.size[1]), columns] == index + 1)
        return cv2.resize(part.view(np.uint8), (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST).view(np.bool_)

    def at(self, size: tuple[int, int]) -> Prediction:
        """The same for the photo resized to ``size`` (width, height)."""
        scale = np.array([size[0] / self.size[0], size[1] / self.size[1]] * 2, np.float32)
        boxes = np.rint(self.boxes * scale)
        boxes[:, :2] = np.minimum(boxes[:, :2], np.array(size, np.float32) - 1)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        return replace(self, size=size, boxes=boxes)

    def save(self, folder: str | Path) -> None:
        """Write ``NAME.json``, ``NAME.mask.png`` and ``NAME.overlay.jpg`` into ``folder``, NAME being the photo's.

        Raises:
            RunError: one of them exists already, or cannot be written.
            ImageError: the photo, on which boxes are drawn, cannot be read; nothing is written then.
        """
        from dips.export.folder import save_prediction  # what a user types, so it stands here against the layers

        save_prediction(self, Path(folder))


def _cells(start: int, stop: int, cells: int, pixels: int) -> slice:
    """Where pixels lie on a coarser axis; at least one cell."""
    first = min(round(start * cells / pixels), cells - 1)
    return slice(first, max(first + 1, round(stop * cells / pixels)))


def stretched(score_map: FloatArray, size: tuple[int, int]) -> FloatArray:
    """A score map ``(h, w)`` in [0, 1], bilinearly resized to ``size`` (width, height)."""
    if score_map.shape == size[::-1]:
        return score_map
    return np.clip(cv2.resize(score_map, size, interpolation=cv2.INTER_LINEAR), 0, 1).astype(np.float32, copy=False)
