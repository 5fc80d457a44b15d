"""What the report's script is given: a line per photo, the shown ones with their score maps, as JSON inside the page.

In: the rows of ``evaluation.csv`` and what :func:`dips.report.photos.read_shown` read. Out: text that may stand in a
``<script>`` element of HTML, and the script itself, whose source is ``templates/report/*.js``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dips.pictures.drawing import heat_colours
from dips.report.figures import ERRORS

__all__ = ["PhotoPage", "csp_hash", "page_json", "page_script"]

_SCRIPTS = ("boxes", "data", "draw", "list", "table", "gallery", "viewer", "main")


@dataclass(frozen=True)
class PhotoPage:
    """The part of the report that is worked with.

    Attributes:
        rows: a mapping per photo with the columns of ``evaluation.csv``, as text.
        shown: what :func:`dips.report.photos.read_shown` read; None where there are no pictures.
        missing: why there are none, in words.
    """

    rows: Sequence[Mapping[str, str]] = field(default=(), repr=False)
    shown: Mapping[str, Any] | None = field(default=None, repr=False)
    missing: str = ""

    @property
    def pictures(self) -> int:
        """How many photos are shown."""
        return 0 if self.shown is None else len(self.shown["photos"])


def page_json(page: PhotoPage) -> str:
    """The data as JSON without any character that means something in HTML."""
    shown = page.shown or {"photos": []}
    background = shown.get("background")
    places = {photo["id"]: place for place, photo in enumerate(shown["photos"])}
    classes = _names(row[key] for row in page.rows for key in ("label", "predicted"))
    kinds = [kind for kind in ERRORS if any(row["error"] == kind for row in page.rows)]
    numbers = {name: place for place, name in enumerate(classes)}
    data = {
        "rule": {key: shown.get(key) for key in ("threshold", "min_area", "min_score", "max_boxes")},
        "background": -1 if background is None else numbers.get(background, -1),
        "classes": classes,
        "errors": [ERRORS[kind] for kind in kinds],
        "heat": base64.b64encode(heat_colours().tobytes()).decode(),
        "columns": ["id", "label", "predicted", "trueBoxes", "iou", "error", "oracleIou", "photo"],
        "rows": [
            [
                row["id"],
                numbers.get(row["label"], -1),
                numbers.get(row["predicted"], -1),
                int(row["true_boxes"]),
                _number(row["iou"]),
                kinds.index(row["error"]) if row["error"] in kinds else -1,
                _number(row["oracle_iou"]),
                places.get(row["id"], -1),
            ]
            for row in page.rows
        ],
        "photos": [_photo(photo) for photo in shown["photos"]],
    }
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _photo(photo: Mapping[str, Any]) -> dict[str, Any]:
    levels: NDArray[np.uint8] = photo["map"]
    return {
        "size": photo["size"],
        "boxes": photo["true_boxes"],
        "jpeg": base64.b64encode(photo["jpeg"]).decode(),
        "shape": levels.shape,
        "peak": photo["peak"],
        "map": base64.b64encode(_packed(levels)).decode(),
    }


def _packed(levels: NDArray[np.uint8]) -> bytes:
    """Differences along the rows, deflated. A PNG would have to be read back from a canvas, which some browsers falsify."""
    steps = np.diff(levels, axis=1, prepend=np.zeros((len(levels), 1), np.uint8))  # modulo 256
    return zlib.compress(steps.tobytes(), 9)


def _names(values: Iterable[str]) -> list[str]:
    return sorted({value for value in values if value})


def _number(text: str) -> float | None:
    return round(float(text), 4) if text else None


def page_script() -> str:
    """The page's script: one function, so that nothing of it is left to other scripts but ``window.dipsReport``."""
    folder = resources.files("dips.report").joinpath("templates/report")
    parts = [folder.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS]
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


def csp_hash(script: str) -> str:
    """What a Content-Security-Policy names an inline script by."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode() + "'"
