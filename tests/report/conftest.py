from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from dips.data.images import encode_image
from dips.report.photo_section import PhotoRow, PhotoSection
from dips.report.photos import ShownPhoto, ShownPhotos, small_map


@pytest.fixture(scope="session")
def make_page() -> Callable[..., PhotoSection]:
    """``make_page(count, shown=count, names={index: name}, background="none")``: photos of three classes, the first ones shown.

    Every third one is of the class ``none``, without a ground-truth box; every fifth is predicted wrongly. A photo's number
    times 0.01 is its IoU. Every second picture is upright. The same arguments give the same page.
    """

    def make(
        count: int,
        *,
        shown: int | None = None,
        names: dict[int, str] | None = None,
        background: str | None = "none",
        picture_bytes: int = 0,
    ) -> PhotoSection:
        rng, classes = np.random.default_rng(0), ("none", "tower", "mast")
        rows, photos = [], []
        for i in range(count):
            label, predicted = classes[i % 3], classes[(i + (i % 5 == 4)) % 3]
            name, iou = (names or {}).get(i, f"{label}/photo {i}.jpg"), f"{min(i / 100, 1):.6f}" if i % 3 else ""
            kind = "" if not iou else "class_wrong" if label != predicted else "correct" if float(iou) > 0.5 else "part"
            value = float(iou) if iou else None
            rows.append(PhotoRow(name, label, predicted, int(bool(iou)), value, kind, value))
            if i >= (count if shown is None else shown):
                continue
            width, height = (300, 200) if i % 2 else (160, 240)
            picture = cv2.resize(rng.integers(0, 200, (4, 5, 3), dtype=np.uint8), (width, height))
            rough = cv2.GaussianBlur(rng.random((112, 112)).astype(np.float32), (0, 0), 9)
            levels, peak = small_map(0.9 * (rough - rough.min()) / (rough.max() - rough.min()))
            photos.append(
                ShownPhoto(
                    id=name,
                    size=(4 * width, 4 * height),
                    label=label,
                    predicted=predicted,
                    true_boxes=[(width, height, 3 * width, 3 * height)] if iou else [],
                    jpeg=cv2.imencode(".jpg", picture)[1].tobytes().ljust(picture_bytes, b"\0"),
                    map=encode_image(levels, ".png"),
                    peak=peak,
                )
            )
        rule: dict[str, Any] = {"threshold": 0.613, "min_area": 0.005, "min_score": 0.0, "max_boxes": 100}
        return PhotoSection(rows, ShownPhotos(**rule, background=background, photos=photos))

    return make


def _percent(values: np.ndarray) -> list[float]:
    return [float(value) for value in 100 * values / values.sum()]


@pytest.fixture(scope="session")
def methods() -> list[dict[str, Any]]:
    """Two methods as ``evaluation.json`` holds them, with everything there may be: the baseline predicts no class."""
    tau, edges = np.linspace(0, 1, 11), np.linspace(0, 1, 101)
    made = []
    for name, top in (("mean_attention", 60.0), ("localizer", 90.0)):
        curves = {key: (top - low - 20 * tau).tolist() for key, low in (("v1", 5), ("30", 0), ("50", 10), ("70", 30))}
        shift = 0.5 * (top - 60) / 30
        percent = {"correct": top - 8.1, "several_objects": 2.0, "part": 4.0, "more": 95 - top, "other": 4.0}
        made.append(
            {
                "name": name,
                "own": name == "localizer",
                "note": "",
                "boxes": {
                    "max_box_acc": top - 5,
                    "max_box_acc_v2": top - 40 / 3,
                    "best_tau": {"v1": 0.0, "30": 0.0, "50": 0.0, "70": 0.0, "v2": 0.0},
                    "curves": {"tau": tau.tolist(), **curves},
                    "intervals": {
                        "level": 95,
                        "replicates": 1000,
                        "max_box_acc": [top - 8.5, top - 2.5],
                        "max_box_acc_v2": [top - 17.3, top - 9.7],
                    },
                },
                "activations": {
                    "edges": edges.tolist(),
                    "foreground": _percent(np.exp(-(((edges[:-1] - 0.3 - shift) / 0.2) ** 2))),
                    "background": _percent(np.exp(-edges[:-1] / 0.05)),
                    "foreground_pixels": 1000,
                    "background_pixels": 3000,
                    "truth": "boxes",
                },
                "dissection": {
                    "tau": 0.4125 if name == "localizer" else 0.2,
                    "tau_from": "validation" if name == "localizer" else "this split (oracle)",
                    "n_images": 180,
                    "percent": percent | ({"class_wrong": 3.1} if name == "localizer" else {"correct": top - 5}),
                },
            }
        )
    return made
