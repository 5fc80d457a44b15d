"""Predictions of three photos, and how they are written in a format and looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from msgspec import UNSET
from msgspec.structs import replace

from dips.data.camera import Camera
from dips.data.images import encode_image
from dips.formats import FORMATS
from dips.formats.records import BoxRecord, PredictionRecord
from dips.predict.prediction import Prediction

MakePrediction = Callable[..., Prediction]


Item = tuple[PredictionRecord, str]  # and the stem of its results


CLASSES = ("none", 'tower "A", ü & <b>', "mast: #1")
LABELS = [CLASSES[1], CLASSES[2], CLASSES[1], CLASSES[2]]  # of the boxes in the first of the reviewed photos


@pytest.fixture
def items(make_prediction: MakePrediction) -> list[Item]:
    """A photo with several blobs, one with a ring that touches the border, and one of the background class."""
    random = np.random.default_rng(3)
    blobs = cv2.GaussianBlur(random.random((60, 80), np.float32), (0, 0), 3)
    blobs = (blobs - blobs.min()) / np.ptp(blobs)
    ring = np.zeros((40, 40), np.float32)
    cv2.circle(ring, (12, 20), 12, 0.9, 5)
    made: list[Item] = []
    for number, (grid, label, size) in enumerate(((blobs, 1, (160, 120)), (ring, 2, (40, 40)), (blobs, 0, (50, 70)))):
        probabilities = np.full(3, 0.1, np.float32)
        probabilities[label] = 0.8
        prediction = make_prediction(
            size=size,
            grid=grid,
            classes=CLASSES,
            class_scores=probabilities,
            label=CLASSES[label],
            label_score=0.8,
            background="none",
        )
        found = prediction.with_objects(threshold=0.65, min_area=0.004, min_score=0, max_boxes=20)
        stem = ("a b/ü", "ring", "none/empty")[number]
        name = f"{stem}.png"
        record = found.record(path=f"photos/new ones/{name}", name=name, folder="new ones", model="0123456789ab")
        made.append((record, stem))
    assert len(made[0][0].boxes) > 2 and len(made[1][0].boxes) == 1 and not made[2][0].boxes
    return made


CAMERA = Camera(
    latitude=-31.55833333,
    longitude=-64.5,
    altitude=-410.25,
    altitude_reference="sea level",
    height=50.0,
    heading=181.5,
    pitch=-90.0,
    taken_at="2026-05-01T13:14:15-03:00",
)


@pytest.fixture
def drone_items(items: list[Item]) -> list[Item]:
    """The same; the first photo says all about its camera, the second one when it was taken, the last one nothing."""
    cameras = (CAMERA, Camera(taken_at="2026-05-01T13:14:16"))
    said = [(replace(record, camera=camera), stem) for (record, stem), camera in zip(items, cameras, strict=False)]
    return [*said, items[2]]


@pytest.fixture
def reviewed_items(items: list[Item]) -> list[Item]:
    """The same photos, reviewed: boxes accepted, moved, drawn and of another class; all deleted; one drawn where none was."""
    several, ring, empty = (record for record, _ in items)
    boxes = (
        replace(several.boxes[0], label=CLASSES[1], review="accepted"),
        BoxRecord(box=(0, 0, 31.5, 40.25), label=CLASSES[2], review="adjusted"),
        BoxRecord(box=(159.6, 119.7, 160, 120), label=CLASSES[1], review="drawn"),
        replace(several.boxes[1], score=UNSET, label=CLASSES[2], review="adjusted"),
    )
    drawn = (BoxRecord(box=(3, 4, 40, 60), label=CLASSES[2], review="drawn"),)
    made = (
        replace(several, boxes=boxes, reviewed=True),
        replace(ring, boxes=(), label="none", label_score=0.1, reviewed=True),
        replace(empty, boxes=drawn, label=CLASSES[2], label_score=0.1, reviewed=True),
    )
    return [(record, stem) for record, (_, stem) in zip(made, items, strict=True)]


def write(name: str, items: list[Item], folder: Path) -> Path:
    with FORMATS[name](folder) as add:
        for record, stem in items:
            add(record, stem)
    return folder


def mask_of(record: PredictionRecord, index: int) -> np.ndarray[Any, Any]:
    from pycocotools import mask

    coded = record.boxes[index].mask
    assert coded
    return np.asarray(mask.decode({"size": list(coded.size), "counts": coded.counts.encode()}), bool)


def boxes_of(record: PredictionRecord) -> np.ndarray[Any, Any]:
    return np.array([entry.box for entry in record.boxes]).reshape(-1, 4)


def photos(items: list[Item], folder: Path) -> Path:
    """Empty photos of the right size, where a reader wants to see them."""
    for record, _ in items:
        path = folder / record.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(np.zeros((record.height, record.width, 3), np.uint8), ".png"))
    return folder


def flattened(items: list[Item]) -> list[Item]:
    """The same in one folder: some readers know no folders below ``images/``."""
    return [(replace(record, name=record.name.replace("/", "_")), stem.replace("/", "_")) for record, stem in items]
