"""Time of one map's metrics, one thread: the plain protocol, distinct thresholds only, the trees; and of a sort.

    python bench/metrics.py [--repeats 5] [--maps FOLDER]

The plain protocol thresholds the map 1000 times, finds the contours and their rectangles with OpenCV and compares them with the
ground-truth boxes by NumPy. All ways are timed in turn on the same maps in one run, the least time of each map counts, and the
ratios are what to quote. Maps are made here (smooth ones as a network's, noisy ones); FOLDER of ``.npy`` takes yours.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.evaluate import best_iou_curve, boxes, iou, tau_grid
from dips.scoremaps.levels import quantise

Map = NDArray[np.float32]
GROUND_TRUTH = np.array([[40.0, 50.0, 170.0, 160.0]])


def plain(score_map: Map, *, multi_contour: bool) -> NDArray[np.float64]:
    """Return best IoUs by the protocol, word by word."""
    levels = quantise(score_map)
    height, width = levels.shape
    best = []
    for tau in tau_grid():
        mask = cv2.threshold(levels, int(tau * int(levels.max())), 255, cv2.THRESH_BINARY)[1]
        contours = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
        if not multi_contour and contours:
            contours = (max(contours, key=cv2.contourArea),)
        rectangles = [cv2.boundingRect(contour) for contour in contours]
        rows = [[x, y, min(x + w, width - 1), min(y + h, height - 1)] for x, y, w, h in rectangles]
        best.append(iou(rows or [[0, 0, 0, 0]], GROUND_TRUTH).max())
    return np.array(best)


def distinct(score_map: Map, *, multi_contour: bool) -> NDArray[np.float64]:
    """Return them as without numba: by contours, but of the thresholds that differ."""
    trees, boxes._trees = boxes._trees, lambda: None  # type: ignore[assignment]
    try:
        return best_iou_curve(score_map, GROUND_TRUTH, multi_contour=multi_contour)
    finally:
        boxes._trees = trees


def fast(score_map: Map, *, multi_contour: bool) -> NDArray[np.float64]:
    """Return them by the trees."""
    return best_iou_curve(score_map, GROUND_TRUTH, multi_contour=multi_contour)


def made_maps() -> dict[str, list[Map]]:
    """Return maps ``(224, 224)`` with maximum 1."""
    random = np.random.default_rng(0)
    smooth: list[NDArray[Any]] = [
        cv2.resize(random.random((side, side)), (224, 224), interpolation=cv2.INTER_CUBIC) for side in (7, 14, 16, 28)
    ]
    y, x = np.mgrid[:224, :224]
    blobs = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / 2 / s**2) for a, b, s in ((80, 90, 30), (150, 120, 22))]
    smooth.append(np.sum(blobs, axis=0))
    noisy: list[NDArray[Any]] = [random.random((224, 224)), 0.5 * smooth[1] + 0.5 * random.random((224, 224))]
    kinds = {"smooth": smooth, "noisy": noisy}
    return {name: [(np.maximum(m, 0) / m.max()).astype(np.float32) for m in maps] for name, maps in kinds.items()}


def least(run: Callable[[], object], repeats: int) -> float:
    """Return the least of several times, in milliseconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main() -> None:
    """Print a table; every way must give the same curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--maps", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    repeats = arguments.repeats
    kinds = made_maps()
    if arguments.maps is not None:
        kinds = {str(arguments.maps): [np.load(path) for path in sorted(arguments.maps.rglob("*.npy"))[:20]]}
    fast(kinds[next(iter(kinds))][0], multi_contour=True)  # compiled, or read from numba's cache
    print("| maps | metric | plain, ms | distinct thresholds | trees | sorting the pixels | plain / trees |")
    print("|---|---|---|---|---|---|---|")
    for kind, maps in kinds.items():
        for name, multi_contour in (("MaxBoxAccV2", True), ("MaxBoxAcc", False)):
            totals = np.zeros(4)
            for score_map in maps:
                curves = [way(score_map, multi_contour=multi_contour) for way in (plain, distinct, fast)]
                assert all(np.array_equal(curves[0], curve) for curve in curves)
                pixels = quantise(score_map).ravel()
                for column, (way, count) in enumerate(((plain, 1), (distinct, repeats), (fast, 4 * repeats))):
                    totals[column] += least(partial(way, score_map, multi_contour=multi_contour), count)
                totals[3] += least(partial(np.sort, pixels), 4 * repeats)
            mean = totals / len(maps)
            print(
                f"| {kind} ({len(maps)}) | {name} | " + " | ".join(f"{ms:.2f}" for ms in mean) + f" | {mean[0] / mean[2]:.0f} |"
            )


if __name__ == "__main__":
    main()
