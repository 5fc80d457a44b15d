"""The values passed between stages, and their coordinate conventions.

Conventions, unless a name says otherwise:

- an image in memory is ``HWC uint8 RGB``; the input batch of a network is ``(B, 3, H, W) float32``;
- a box is ``x0 y0 x1 y1`` in pixels of the original photo *after* EXIF rotation, end exclusive;
- a score map is ``(H, W) float32`` in [0, 1]: how strongly a pixel belongs to the object;
- a label is an index into ``DataSet.classes``; ``background`` is the index of the class without object, if any.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["EVALUATION_VERSION", "RUN_VERSION", "SALIENCY_TUNED", "Answer", "Answerer", "DataSet", "FloatArray", "PhotoBatch"]
__all__ += ["Outline", "Problem", "Review", "Sample", "Severity", "in_words", "is_saliency_tuned"]

FloatArray = NDArray[np.float32]

RUN_VERSION = 1
"""``schema_version`` of ``run.json``: :mod:`dips.runs.records` writes the file, :mod:`dips.report.records` reads some of it."""

EVALUATION_VERSION = 1
"""``schema_version`` of an evaluation, written by :mod:`dips.benchmark.records`, partly read by :mod:`dips.report.records`."""

SALIENCY_TUNED = "saliency-tuned"
"""Marks weights, in their note, as fine-tuned for saliency: a caveat that belongs beside every number."""


def is_saliency_tuned(note: str) -> bool:
    """Return whether a note on weights says that they were fine-tuned for saliency.

    >>> is_saliency_tuned(f"DINOv2-S, {SALIENCY_TUNED} (embedded)"), is_saliency_tuned("")
    (True, False)
    """
    return SALIENCY_TUNED in note


_WORDS = {
    "select": "selection metric",
    "agreement": "agreement with proposals",
    "v2": "MaxBoxAccV2",
    "box_acc_30": "MaxBoxAcc at IoU 0.3",
    "box_acc_50": "MaxBoxAcc at IoU 0.5",
    "box_acc_70": "MaxBoxAcc at IoU 0.7",
    "f1": "F1 of the boxes",
    "classifier": "CNN classifier",
    "linear_probe": "linear probe of the transformer",
}


def in_words(name: str) -> str:
    """Return the readable name of a validation result in JSON, without a leading ``val_``.

    >>> in_words("val_agreement"), in_words("linear_probe"), in_words("new_one")
    ('agreement with proposals', 'linear probe of the transformer', 'new one')
    """
    name = name.removeprefix("val_")
    return _WORDS.get(name, name.replace("_", " "))


@dataclass(frozen=True, eq=False)
class PhotoBatch:
    """Photos as squares, and what is asked about them.

    Attributes:
        squares: ``(B, S, S, 3) uint8`` RGB; S is the side that the answerer expects.
        labels: the class whose object is to be found in each photo, None if unknown; empty if all are unknown.
        localized: positions in the batch of the photos for which a map is needed; None means all.
        ids: ids of the photos in their data set, if they have any; stored maps are looked up by them.

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
        """Positions in the batch of the photos for which a map is needed."""
        return range(len(self)) if self.localized is None else self.localized


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """An answerer's output for a batch of photos.

    Attributes:
        maps: score maps ``(M, h, w) float32`` in [0, 1] of the M photos at :attr:`PhotoBatch.positions`.
        probabilities: class probabilities ``(B, C) float32``; C is 0 if the answerer predicts no class.
        cells: where objects have classes of their own, class logits ``(M, C, h, w) float32`` in each cell of a grid over the
            photo, which is coarser than the map; they are defined up to a constant per cell.
    """

    maps: FloatArray
    probabilities: FloatArray
    cells: FloatArray | None = None


class Answerer(ABC):
    """Anything that maps photos to score maps and class probabilities, so that it can be evaluated or used for prediction.

    The networks of a run (:class:`~dips.models.networks.Networks`), an exported file
    (:class:`~dips.export.onnx_model.OnnxNetworks`), a method of a comparison
    (:class:`~dips.baselines.method.ScoreMapMethod`) and previously stored maps are answerers.

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
        """Side in pixels of the squares to which photos must be resized."""

    @abstractmethod
    def answer(self, batch: PhotoBatch) -> Answer:
        """Return score maps and class probabilities of a batch whose squares have this :attr:`side`."""


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """The pixels of an object as given by an annotation file; :func:`dips.data.outlines.coverage` draws them.

    Attributes:
        size: width and height of the picture on which it was drawn.
        polygons: the object's parts, ``(N, 2) float32`` each, x and y in pixels of that picture.
        runs: COCO's run lengths, compressed or as numbers; if given, there are no polygons.
        window: ``x0 y0 x1 y1`` as fractions of the picture: the part that a sample shows.
    """

    size: tuple[int, int]
    polygons: tuple[FloatArray, ...] = ()
    runs: str | tuple[int, ...] = ""
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Review:
    """A person's review of a photo: it shows these objects, and no others.

    Attributes:
        boxes: ``(K, 4) float32``, ``x0 y0 x1 y1`` as fractions of the frame.
        outlines: the outline of each box, None if only the box is known; empty if no outline is known.
    """

    boxes: FloatArray
    outlines: tuple[Outline | None, ...] = ()

    def __len__(self) -> int:
        return len(self.boxes)

    def __str__(self) -> str:
        """Return a text that differs whenever the review differs."""
        shapes = [(o.size, o.runs, o.window, [p.tolist() for p in o.polygons]) if o else None for o in self.outlines]
        return f"{self.boxes.tolist()}{shapes or ''}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One photo and its ground truth.

    Attributes:
        path: the photo's file.
        id: unique name inside the data set: the path relative to its root, with forward slashes.
        label: index into the data set's classes, the first one if the photo has several; None if it is unknown.
        others: further labels of a photo with several.
        boxes: ground-truth boxes ``(K, 4) float32``, ``x0 y0 x1 y1`` in pixels of ``frame``; None if they are unknown,
            ``(0, 4)`` if the photo is known to show no object.
        frame: ``(width, height)`` of the photo on which the boxes were drawn, which may be larger than the file (resized
            copies of CUB); None means the file's own size.
        box_labels: class of each of the ``K`` boxes; empty if every box is of the photo's own class.
        masks: files of the ground-truth masks, one per object; pixels above 0 belong to it. Empty if they are unknown.
        ignore: file of the region that counts neither as object nor as background, if there is one.
        reviewed: whether a person provided the boxes for training; other boxes serve for measuring, never for training.
        outlines: the outline in each box of a reviewed photo, None if only the box is known; empty if no outline is known.
        window: ``x0 y0 x1 y1`` in pixels of the file, end exclusive: the part of the photo that this sample covers; None = all.

    >>> Sample(Path("photos/tower/1.jpg"), "tower/1.jpg", 1, boxes=np.array([[0, 0, 9, 9]], np.float32)).boxed
    True
    """

    path: Path
    id: str
    label: int | None
    boxes: FloatArray | None = field(default=None, compare=False)  # comparing arrays gives no single truth value
    frame: tuple[int, int] | None = None
    masks: tuple[Path, ...] = ()
    ignore: Path | None = None
    reviewed: bool = False
    window: tuple[int, int, int, int] | None = None
    outlines: tuple[Outline | None, ...] = field(default=(), compare=False)
    others: tuple[int, ...] = ()
    box_labels: tuple[int, ...] = ()

    @property
    def labels(self) -> tuple[int, ...]:
        """All labels of the photo, starting with ``label``; empty if it is unknown."""
        return () if self.label is None else (self.label, *self.others)

    @property
    def boxed(self) -> bool:
        """Whether the photo has at least one ground-truth box, so that localization can be measured on it."""
        return self.boxes is not None and len(self.boxes) > 0

    @property
    def fractions(self) -> FloatArray:
        """The boxes ``(K, 4)`` as fractions of the frame; both must be known."""
        assert self.boxes is not None and self.frame is not None
        return np.asarray(self.boxes / np.array(self.frame * 2, np.float32), np.float32)


class Severity(IntEnum):
    """How severe a problem of the data is: smaller is more severe."""

    STOPS = 0  # the data is not used until it is fixed
    SPOILS = 1  # what is learned or measured is wrong
    LOST = 2  # something is left out, or unknown
    ODD = 3  # used as it is
    NOTE = 4  # nothing needs to be done about it


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a user should know about a file of the data.

    Attributes:
        path: the file, or the folder or list that contains what the message is about.
        message: what is wrong, what was done about it, and what to do.
        severity: how much it matters.
        files: number of files left out because of it, not counting listed photos that cannot be read.

    >>> print(Problem(Path("photos/none"), "no photos in this folder").message)
    no photos in this folder
    """

    path: Path
    message: str
    severity: Severity = Severity.LOST
    files: int = 0


@dataclass(frozen=True, slots=True)
class DataSet:
    """The photos of one split and their class names.

    Attributes:
        root: the folder that ids are relative to.
        classes: class names in label order.
        samples: the photos, sorted by id.
        split: ``train``, ``val``, ``test`` or ``all``.
        background: label of the class whose photos show no object, if there is one.
        layout: how the data is laid out: ``folder``, ``wsol``, ``cub``, ``coco``, ``csv`` or ``labelstudio``.
        problems: what was skipped or looks wrong.

    >>> sample = Sample(Path("photos/tower/1.jpg"), "tower/1.jpg", 1)
    >>> len(DataSet(Path("photos"), ("none", "tower"), (sample,), background=0))
    1
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
