"""The metrics against numbers of the field's own evaluator: equal, not close."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dips.evaluate import BoxAccumulator, best_iou_curve, pxap


@pytest.mark.parametrize("index", range(36))
def test_boxes_are_equal_at_every_threshold(golden: Path, index: int) -> None:
    entry = json.loads((golden / "boxes.json").read_text())[index]
    assert entry["index"] == index
    with np.load(golden / "boxes.npz") as arrays:
        score_map = arrays[f"map_{index:02d}"].astype(np.float64)
        expected = {version: arrays[f"{version}_{index:02d}"] for version in ("v1", "v2")}
    for version, multi_contour in (("v1", False), ("v2", True)):
        curve = best_iou_curve(score_map, entry["boxes"], multi_contour=multi_contour)
        assert np.abs(curve - expected[version]).max() == 0, (entry["kind"], version)


def test_accumulated_numbers_are_those_of_the_curves(golden: Path) -> None:
    truth = json.loads((golden / "boxes.json").read_text())
    accumulator = BoxAccumulator(frame=None)
    with np.load(golden / "boxes.npz") as arrays:
        v1 = np.array([arrays[f"v1_{index:02d}"] for index in range(36)])
        v2 = np.array([arrays[f"v2_{index:02d}"] for index in range(36)])
        for index in range(0, 36, 4):
            accumulator.add(arrays[f"map_{index:02d}"], truth[index]["boxes"])
    result = accumulator.result()
    assert result.max_box_acc == 100 * (v1[::4] >= 0.5).mean(axis=0).max()
    assert result.max_box_acc_v2 == pytest.approx(np.mean([100 * (v2[::4] >= d).mean(axis=0).max() for d in (0.3, 0.5, 0.7)]))


def test_pxap_is_equal(golden: Path) -> None:
    with np.load(golden / "pxap.npz") as arrays:
        assert abs(pxap(arrays["maps"], arrays["masks"]) - float(arrays["pxap"])) < 1e-9
