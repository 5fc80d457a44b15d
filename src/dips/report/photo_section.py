"""What the report's script gets: a line per photo, the shown ones with their score maps, as JSON inside the page.

In: the rows of ``evaluation.csv`` and what ``evaluation-photos.json`` holds. Out: text that may stand in a ``<script>`` element
of HTML, and the script itself, whose source is ``templates/*.js``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dips.pictures.drawing import heat_colours
from dips.report.figures import ERRORS
from dips.report.photos import ShownPhoto, ShownPhotos

__all__ = ["PhotoSection", "csp_hash", "page_script", "photo_json"]

_SCRIPTS = ("boxes", "data", "draw", "list", "table", "gallery", "viewer", "main")


@dataclass(frozen=True)
class PhotoSection:
    """The part of the report that is worked with.

    Attributes:
        rows: a mapping per photo with the columns of ``evaluation.csv``, as text.
        shown: the photos with pictures; None where there are none.
        missing: why there are none, in words.

    >>> PhotoSection(missing="the evaluation was run without photos for the report").pictures
    0
    """

    rows: Sequence[Mapping[str, str]] = field(default=(), repr=False)
    shown: ShownPhotos | None = field(default=None, repr=False)
    missing: str = ""

    @property
    def pictures(self) -> int:
        """How many photos have a picture."""
        return 0 if self.shown is None else len(self.shown.photos)


def photo_json(section: PhotoSection) -> str:
    """Return the data as JSON without any character that means something in HTML."""
    shown = section.shown
    photos = shown.photos if shown is not None else []
    photo_indices = {photo.id: index for index, photo in enumerate(photos)}
    classes = sorted({row[key] for row in section.rows for key in ("label", "predicted") if row[key]})
    class_indices = {name: index for index, name in enumerate(classes)}
    kinds = [kind for kind in ERRORS if any(row["error"] == kind for row in section.rows)]
    data = {
        "rule": {key: getattr(shown, key, None) for key in ("threshold", "min_area", "min_score", "max_boxes")},
        "background": -1 if shown is None or shown.background is None else class_indices.get(shown.background, -1),
        "classes": classes,
        "errors": [ERRORS[kind] for kind in kinds],
        "heat": base64.b64encode(heat_colours().tobytes()).decode(),
        "columns": ["id", "label", "predicted", "trueBoxes", "iou", "error", "oracleIou", "photo"],
        "rows": [
            [
                row["id"],
                class_indices.get(row["label"], -1),
                class_indices.get(row["predicted"], -1),
                int(row["true_boxes"]),
                _number(row["iou"]),
                kinds.index(row["error"]) if row["error"] in kinds else -1,
                _number(row["oracle_iou"]),
                photo_indices.get(row["id"], -1),
            ]
            for row in section.rows
        ],
        "photos": [_photo(photo) for photo in photos],
    }
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _photo(photo: ShownPhoto) -> dict[str, Any]:
    levels = photo.levels()
    return {
        "size": photo.size,
        "boxes": photo.true_boxes,
        "jpeg": base64.b64encode(photo.jpeg).decode(),
        "shape": levels.shape,
        "peak": photo.peak,
        "map": base64.b64encode(_packed(levels)).decode(),
    }


def _packed(levels: NDArray[np.uint8]) -> bytes:
    """Return differences along the rows, deflated. A PNG would be read back from a canvas, which some browsers falsify."""
    steps = np.diff(levels, axis=1, prepend=np.zeros((len(levels), 1), np.uint8))  # modulo 256
    return zlib.compress(steps.tobytes(), 9)


def _number(text: str) -> float | None:
    return round(float(text), 4) if text else None


def page_script() -> str:
    """Return the page's script: one function, so that other scripts see nothing of it but ``window.dipsReport``."""
    folder = resources.files("dips.report").joinpath("templates")
    parts = [folder.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS]
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


def csp_hash(script: str) -> str:
    """Return what a Content-Security-Policy names an inline script by."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode() + "'"
