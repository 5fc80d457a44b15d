"""The data for the report's script: a line per photo, and the shown photos with their score maps, as JSON inside the page.

In: a row per photo, and the photos to show, from an evaluation or a prediction. Out: text that is valid in an HTML ``<script>``
element, and the script itself, whose source is ``templates/*.js``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from itertools import zip_longest
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from dips.pictures.drawing import heat_colours
from dips.predict.low_scores import LowScores
from dips.report.doubts import DOUBTS, Predicted, doubts_of, filling, low_scores, most_doubtful_first
from dips.report.figures import ERRORS
from dips.report.photos import ShownPhoto, ShownPhotos
from dips.scoremaps.calibration import Calibration

__all__ = ["Column", "PhotoRow", "PhotoSection", "csp_hash", "page_script", "photo_json"]

_SCRIPTS = ("boxes", "data", "draw", "list", "table", "gallery", "viewer", "main")


class PhotoRow(NamedTuple):
    """A line of the table of all photos; unknown values are empty or None.

    Attributes:
        label, predicted: names of the photo's given class, and of the predicted one.
        true_boxes: number of ground-truth boxes.
        iou, error, oracle_iou: as in ``evaluation.csv``.
        probability: probability of the predicted class.
        boxes: number of predicted boxes.
        score: score of the best box.
        share: fraction of the photo covered by the largest box.
        part: ``training`` or ``validation``, for a run's own photos.
        reviewed: whether a person reviewed it: class and boxes are then theirs, and ``predicted`` is empty if it has neither.
    """

    id: str
    label: str = ""
    predicted: str = ""
    true_boxes: int = 0
    iou: float | None = None
    error: str = ""
    oracle_iou: float | None = None
    probability: float | None = None
    boxes: int | None = None
    score: float | None = None
    share: float | None = None
    part: str = ""
    reviewed: bool = False


@dataclass(frozen=True)
class PhotoSection:
    """The interactive part of the report.

    Attributes:
        rows: all photos.
        shown: the photos with pictures; None if there are none.
        missing: a description of why there are none.
        command: command that finds boxes with other options, ``{}``.
        review: command that shows the boxes for review; only for a prediction.
        min_score: the maximum of the photos' own and the gate: boxes with lower scores are not known for all photos.

    >>> PhotoSection(missing="the evaluation was run without photos for the report").pictures
    0
    """

    rows: Sequence[PhotoRow] = field(default=(), repr=False)
    shown: ShownPhotos | None = field(default=None, repr=False)
    missing: str = ""
    command: str = ""
    review: str = ""
    min_score: float = 0.0

    @property
    def pictures(self) -> int:
        """Number of photos with a picture."""
        return 0 if self.shown is None else len(self.shown.photos)

    @property
    def measured(self) -> bool:
        """Whether any photo was compared with ground-truth boxes."""
        return any(row.iou is not None for row in self.rows)

    @property
    def given(self) -> bool:
        """Whether the true class of any photo is known: from a data set, not from the name of a predicted folder."""
        return not self.review and any(row.label for row in self.rows)

    @property
    def truth(self) -> bool:
        """Whether ground-truth boxes of any shown photo are known."""
        return self.shown is not None and any(photo.true_boxes for photo in self.shown.photos)

    @property
    def boxes(self) -> int:
        """Number of boxes predicted in all photos."""
        return sum(row.boxes or 0 for row in self.rows)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the table."""
        return _MEASURED if self.measured else _PREDICTED

    @cached_property
    def doubts(self) -> list[tuple[str, ...]]:
        """The doubts about each photo, see :data:`dips.report.doubts.DOUBTS`."""
        return doubts_of(self.predicted, self._calibration)

    @property
    def _calibration(self) -> Calibration | None:
        return self.shown.calibration if self.shown is not None else None

    @cached_property
    def predicted(self) -> list[Predicted]:
        """The prediction for each photo."""
        background = self.shown.background if self.shown is not None else None
        return [
            Predicted(
                row.label,
                row.predicted,
                bool(row.predicted) and row.predicted == background,
                row.probability,
                row.boxes,
                row.score,
                row.share,
                row.reviewed,
            )
            for row in self.rows
        ]

    @property
    def low_limit(self) -> float | None:
        """The score below which a photo's best score is far below the others; None if there is no such photo."""
        return self._low_scores.limit

    @property
    def low_classes(self) -> str:
        """A description of the classes that score below this limit as a whole; empty if there are none."""
        return self._low_scores.classes()

    @cached_property
    def _low_scores(self) -> LowScores:
        return low_scores(self.predicted, self._calibration)

    @property
    def reviewed(self) -> int:
        """Number of photos that a person reviewed."""
        return sum(row.reviewed for row in self.rows)

    @property
    def far_below(self) -> int:
        """Number of photos with their best score below this limit."""
        return sum("far" in found for found in self.doubts)

    @property
    def filling(self) -> str:
        """Advice if boxes fill most photos; empty if they do not, or if ground-truth boxes tell more."""
        return "" if self.measured else filling(self.predicted, self.shown.background if self.shown is not None else None)

    @property
    def doubtful(self) -> int:
        """Number of photos with any doubt."""
        return sum(map(bool, self.doubts))


class Column(NamedTuple):
    """A column of the table: its key in the script, heading, whether it is numeric, and percent of the width."""

    key: str
    heading: str
    number: bool = False
    width: int | None = None


_MEASURED = (
    Column("id", "Photo", width=23),
    Column("label", "True class", width=15),
    Column("predicted", "Predicted", width=15),
    Column("trueBoxes", "Ground-truth boxes", True, 8),
    Column("iou", "IoU", True, 7),
    Column("oracleIou", "Best IoU", True, 8),
    Column("error", "Kind of error"),
    Column("now", "IoU here", True, 7),
)
_PREDICTED = (
    Column("id", "Photo", width=25),
    Column("label", "Given class", width=15),
    Column("predicted", "Predicted", width=15),
    Column("probability", "Probability", True, 10),
    Column("boxes", "Boxes", True, 8),
    Column("score", "Best score", True, 8),
    Column("doubt", "Why to look at it"),
)


def photo_json(section: PhotoSection) -> str:
    """Return the data as JSON without any character that is special in HTML."""
    shown = section.shown
    photos = shown.photos if shown is not None else []
    pictures = [_photo(photo, shown) for photo in photos] if shown is not None else []
    photo_indices = {photo.id: index for index, photo in enumerate(photos)}
    classes = sorted({name for row in section.rows for name in (row.label, row.predicted) if name})
    class_indices = {name: index for index, name in enumerate(classes)}
    kinds = [kind for kind in ERRORS if any(row.error == kind for row in section.rows)]
    doubts = [kind for kind in DOUBTS if any(kind in found for found in section.doubts)]
    parts = sorted({row.part for row in section.rows if row.part}, reverse=True)
    ranks = {index: rank for rank, index in enumerate(most_doubtful_first(section.predicted, section.doubts))}
    calibration = shown.calibration if shown is not None else None
    data = {
        "rule": {key: getattr(shown, key, None) for key in ("threshold", "min_score", "max_boxes")},
        "calibration": None if calibration is None else {key: getattr(calibration, key) for key in ("slope", "offset", "gate")},
        "background": -1 if shown is None or shown.background is None else class_indices.get(shown.background, -1),
        "classes": classes,
        "errors": [ERRORS[kind] for kind in kinds],
        "doubts": [DOUBTS[kind] for kind in doubts],
        "parts": parts,
        "table": [column.key for column in section.columns],
        "command": section.command,
        "known": section.min_score,
        "heat": base64.b64encode(heat_colours().tobytes()).decode(),
        "columns": [
            *("id", "label", "predicted", "trueBoxes", "iou", "error", "oracleIou", "photo"),
            *("probability", "boxes", "score", "part", "why", "doubt", "reviewed"),
        ],
        "rows": [
            [
                row.id,
                class_indices.get(row.label, -1),
                class_indices.get(row.predicted, -1),
                row.true_boxes,
                _number(row.iou),
                kinds.index(row.error) if row.error in kinds else -1,
                _number(row.oracle_iou),
                photo_indices.get(row.id, -1),
                _number(row.probability),
                row.boxes,
                _number(row.score),
                parts.index(row.part) if row.part else -1,
                [doubts.index(kind) for kind in section.doubts[index]],
                ranks[index],
                row.reviewed,
            ]
            for index, row in enumerate(section.rows)
        ],
        "photos": pictures,
    }
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _photo(photo: ShownPhoto, shown: ShownPhotos) -> dict[str, Any]:
    levels, rule = photo.levels(), shown.rule_of(photo)
    exact: list[tuple[float | str, ...]] | None = None
    if photo.found is not msgspec.UNSET:
        exact = [(*box, name) if name else box for box, name in zip_longest(photo.found, photo.names or ())]
    return {
        "size": photo.size,
        "boxes": photo.true_boxes,
        "exact": exact,
        "jpeg": base64.b64encode(photo.jpeg).decode(),
        "shape": levels.shape,
        "min_area": rule.min_area,
        "min_score": rule.min_score,
        "peak": photo.peak,
        "map": base64.b64encode(_packed(levels)).decode(),
    }


def _packed(levels: NDArray[np.uint8]) -> bytes:
    """Return differences along the rows, deflated. A PNG must be read back from a canvas, whose data some browsers alter."""
    steps = np.diff(levels, axis=1, prepend=np.zeros((len(levels), 1), np.uint8))  # modulo 256
    return zlib.compress(steps.tobytes(), 9)


def _number(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def page_script() -> str:
    """Return the page's script: one function, which exposes only ``window.dipsReport`` to other scripts."""
    folder = resources.files("dips.report").joinpath("templates")
    parts = [folder.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS]
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


def csp_hash(script: str) -> str:
    """Return the source expression by which a Content-Security-Policy allows an inline script."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode() + "'"
