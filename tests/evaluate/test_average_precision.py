"""Average precision per class: by hand, and equal to that of COCO's own evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dips.evaluate.average_precision import AveragePrecision

Photo = dict[str, Any]


def of(photos: list[Photo]) -> AveragePrecision:
    precision = AveragePrecision()
    for photo in photos:
        precision.add(photo["boxes"], photo["scores"], photo["labels"], photo["true"], photo["true_labels"])
    return precision


def made(seed: int, photos: int = 25, classes: int = 4) -> list[Photo]:
    """Photos whose boxes are near true ones, of another class, of no object, or doubled, with equal scores among them."""
    random = np.random.default_rng(seed)
    every = []
    for number in range(photos):
        count = int(random.integers(0, 6))
        corners = random.integers(0, 80, (count, 2)).astype(float)
        true = np.concatenate([corners, corners + random.integers(8, 40, (count, 2))], axis=1).reshape(-1, 4)
        labels = random.integers(0, classes, count)
        found = np.concatenate(
            [true + random.normal(0, random.choice([0, 1, 4]), true.shape), true, 100 - true[:, [2, 3, 0, 1]]]
        )
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        kept = random.random(len(found)) < 0.6
        own = np.where(random.random(len(found)) < 0.8, np.tile(labels, 3), random.integers(0, classes, len(found)))
        scores = np.round(random.random(len(found)), int(random.integers(1, 4)))
        shown = number % 5 != 4 or count == 0
        every.append(
            {"true": true if shown else true[:0], "true_labels": labels.tolist() if shown else [], "boxes": found[kept]}
            | {"scores": scores[kept], "labels": own[kept].tolist()}
        )
    return every


def of_coco(photos: list[Photo], classes: int) -> dict[int, tuple[float, float]]:
    coco, evaluator = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")

    def boxes(key: str, labels: str) -> list[dict[str, Any]]:
        rows = [
            {"image_id": image, "category_id": int(label) + 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0}
            | {"area": (x1 - x0) * (y1 - y0), "score": 0.0}
            | ({} if key == "true" else {"score": float(photo["scores"][index])})
            for image, photo in enumerate(photos, start=1)
            for index, ((x0, y0, x1, y1), label) in enumerate(zip(photo[key].tolist(), photo[labels], strict=True))
        ]
        return [{"id": number, **row} for number, row in enumerate(rows, start=1)]

    truth = coco.COCO()
    truth.dataset = {
        "images": [{"id": image} for image in range(1, len(photos) + 1)],
        "categories": [{"id": label + 1} for label in range(classes)],
        "annotations": boxes("true", "true_labels"),
        "info": {},
    }
    truth.createIndex()
    found = coco.COCO()
    found.dataset = {**truth.dataset, "annotations": boxes("boxes", "labels")}
    found.createIndex()
    evaluation = evaluator.COCOeval(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = 100 * evaluation.eval["precision"][:, :, :, 0, -1]  # of all areas, 100 boxes at most
    return {
        label: (float(precision[0, :, label].mean()), float(precision[:, :, label].mean()))
        for label in range(classes)
        if precision[0, 0, label] >= 0
    }


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools itself
@pytest.mark.parametrize("seed", range(12))
def test_equal_to_pycocotools(seed: int) -> None:
    photos = made(seed)
    expected = of_coco(photos, 5)
    found = of(photos).classes()
    assert found.keys() == expected.keys() and len(found) == 4, "the fifth class has no true box"
    for label, (ap50, ap) in expected.items():
        assert (found[label].ap50, found[label].ap) == pytest.approx((ap50, ap), abs=1e-9)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_of_very_many_boxes_in_a_photo_a_hundred_count() -> None:
    random = np.random.default_rng(0)
    corners = random.integers(0, 500, (300, 2)).astype(float)
    boxes = np.concatenate([corners, corners + 30], axis=1)
    photo = {"boxes": boxes, "scores": random.random(300), "labels": [0] * 300, "true": boxes, "true_labels": [0] * 300}
    (found,) = of([photo]).classes().values()
    assert found.ap50 == pytest.approx(of_coco([photo], 1)[0][0]) and found.ap50 < 40


def test_by_hand() -> None:
    """Of two owls one is found first, then comes a box of nothing; the wren is called an owl."""
    photo = {
        "boxes": np.array([[0, 0, 10, 10], [50, 50, 60, 60], [20, 20, 30, 30]], float),
        "scores": [0.9, 0.8, 0.7],
        "labels": [1, 1, 1],
        "true": np.array([[0, 0, 10, 10], [70, 70, 80, 80], [20, 20, 30, 30]], float),
        "true_labels": [1, 1, 2],
    }
    found = of([photo]).classes()
    assert found[1].objects == 2 and found[2] == (0, 0, 1)
    assert (found[1].ap50, found[1].ap) == pytest.approx((100 * 51 / 101, 100 * 51 / 101))


def test_classes_without_objects_do_not_count() -> None:
    precision = AveragePrecision()
    assert precision.classes() == {}
    precision.add([[0, 0, 4, 4]], [0.9], [3], np.zeros((0, 4)), [])
    assert precision.classes() == {}
    precision.add(np.zeros((0, 4)), [], [], [[0, 0, 4, 4]], [2])
    assert precision.classes() == {2: (0, 0, 1)}
