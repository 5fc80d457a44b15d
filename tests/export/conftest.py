from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dips.export.photopage import PhotoPage
from dips.export.shown import small_map
from dips.scoremaps import boxes_from_map
from dips.types import Prediction

MakePrediction = Callable[..., Prediction]


@pytest.fixture
def make_prediction() -> MakePrediction:
    """``make_prediction(size=(w, h), box=(x0, y0, x1, y1) | None, **fields)``: one bright rectangle, or no object."""

    def make(
        size: tuple[int, int] = (120, 90), box: tuple[int, int, int, int] | None = (30, 20, 80, 60), **fields: Any
    ) -> Prediction:
        width, height = size
        score_map = np.zeros((height, width), np.float32)
        if box is not None:
            score_map[box[1] : box[3], box[0] : box[2]] = 0.8
        boxes, scores, regions = boxes_from_map(score_map, 0.5, min_area=0.0, max_boxes=5)
        values: dict[str, Any] = {
            "path": Path("photos") / "a b.jpg",
            "label": "tower" if box else "none",
            "label_score": 0.9,
            "class_scores": np.array([0.1, 0.9] if box else [0.9, 0.1], np.float32),
            "classes": ("none", "tower"),
            "boxes": boxes,
            "box_scores": scores,
            "size": size,
            "grid": score_map,
            "regions": regions,
            "threshold": 0.5,
            **fields,
        }
        return Prediction(**values)

    return make


@pytest.fixture(scope="session")
def make_page() -> Callable[..., PhotoPage]:
    """``make_page(count, shown=count, names={place: name}, background="none")``: photos of three classes, the first ones shown.

    Every third one is of the class ``none``, without a true box; every fifth is predicted wrongly. A photo's number times 0.01
    is its IoU. Every second picture is upright. The same arguments give the same page.
    """

    def make(
        count: int,
        *,
        shown: int | None = None,
        names: dict[int, str] | None = None,
        background: str | None = "none",
        picture_bytes: int = 0,
    ) -> PhotoPage:
        rng, classes = np.random.default_rng(0), ("none", "tower", "mast")
        rows, photos = [], []
        for i in range(count):
            label, predicted = classes[i % 3], classes[(i + (i % 5 == 4)) % 3]
            name, iou = (names or {}).get(i, f"{label}/photo {i}.jpg"), f"{min(i / 100, 1):.6f}" if i % 3 else ""
            kind = "" if not iou else "class_wrong" if label != predicted else "correct" if float(iou) > 0.5 else "part"
            row = {"id": name, "label": label, "predicted": predicted, "true_boxes": "1" if iou else "0", "iou": iou}
            rows.append({**row, "error": kind, "oracle_iou": iou})
            if i >= (count if shown is None else shown):
                continue
            width, height = (300, 200) if i % 2 else (160, 240)
            picture = cv2.resize(rng.integers(0, 200, (4, 5, 3), dtype=np.uint8), (width, height))
            rough = cv2.GaussianBlur(rng.random((112, 112)).astype(np.float32), (0, 0), 9)
            levels, peak = small_map(0.9 * (rough - rough.min()) / (rough.max() - rough.min()))
            photos.append(
                {
                    "id": name,
                    "size": [4 * width, 4 * height],
                    "true_boxes": [[width, height, 3 * width, 3 * height]] if iou else [],
                    "jpeg": cv2.imencode(".jpg", picture)[1].tobytes().ljust(picture_bytes, b"\0"),
                    "map": levels,
                    "peak": peak,
                }
            )
        rule = {"threshold": 0.613, "min_area": 0.005, "min_score": 0.0, "max_boxes": 100, "background": background}
        return PhotoPage(rows, {**rule, "photos": photos})

    return make


def _percent(values: np.ndarray) -> list[float]:
    return (100 * values / values.sum()).tolist()


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


def _run(seed: int, v2: float | None, *, top1: float | None = None, learned: float = 0.0, needs: float = 0.0) -> dict[str, Any]:
    """A run whose numbers are ``v2`` and what is easily told from it."""
    tau = np.linspace(0, 1, 11).tolist()
    known = v2 is not None
    at = {key: v2 + more if known else None for key, more in (("30", 8.0), ("50", 0.0), ("70", -8.0))}
    boxes: dict[str, Any] = {
        "max_box_acc": v2 - 1 if known else None,
        "max_box_acc_v2": v2,
        "max_box_acc_at": at,
        "gt_known": at["50"],
        "top1_loc": top1,
    }
    if known:
        boxes["curves"] = {"tau": tau, **{key: [best * (1 - t) for t in tau] for key, best in at.items()}}
    return {
        "seed": seed,
        "boxes": boxes,
        "at_tau": {"box_acc": v2 - 3, "box_acc_v2": v2 - 2} if known else None,
        "pxap": None,
        "fit": {"seconds": learned, "steps": round(learned), "epochs": 1.0, "chosen": ""},
        "needs_seconds": needs,
        "seconds_per_photo": 0.0125,
        "parameters": 3_400_000,
    }


@pytest.fixture
def comparison() -> dict[str, Any]:
    """A comparison with two seeds: DiPS first, two rivals, of which one lacks a seed, and one that learns nothing."""
    methods = [
        ("dips", "DiPS", "image", [_run(0, 85.0, top1=61.0, learned=120), _run(1, 86.0, top1=62.0, learned=180)]),
        (
            "cam",
            "CAM",
            "image",
            [_run(0, 50.0, top1=70.0, learned=60, needs=30), _run(1, 53.0, top1=None, learned=60, needs=90)],
        ),
        ("a_b", "A_B & 50% <#1>|", "image", [_run(0, 40.0, learned=60)]),
        ("centre", "Centred Gaussian", "none", [_run(0, 45.0), _run(1, 45.0)]),
    ]
    return {
        "data": "photos/my_birds",
        "split": "test",
        "protocol": "224 x 224 pixels, 1000 thresholds",
        "n_images": 9,
        "n_boxes": 8,
        "budget_minutes": 3.0,
        "seeds": [0, 1],
        "cnn": "EfficientNet-Lite0, ImageNet (embedded)",
        "transformer": "DINOv2-S, saliency-tuned (embedded)",
        "environment": {"device": "cpu", "cpus": 2},
        "methods": [
            {
                "name": name,
                "title": title,
                "paper": f"Some & Other, {title}",
                "labels": labels,
                "own": name == "dips",
                "runs": runs,
            }
            for name, title, labels, runs in methods
        ],
        "failed": [{"name": "a_b", "title": "A_B & 50% <#1>|", "seed": 1, "why": "ValueError: a_1 | b\n at 5%"}],
    }
