"""Every method on the photos of a split, one pass: the localizer, what it is compared with, and the centred Gaussian.

In: a :class:`~dips.predict.Predictor`, samples, and for other methods a function from a photo's position to its score map.
Out: a :class:`~dips.evaluate.result.MapResult` per method. Maps are resized bilinearly to the protocol's frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dips.data.images import read_image
from dips.data.transforms import resize_image
from dips.errors import DataError, ImageError
from dips.evaluate.accumulate import MapAccumulator
from dips.evaluate.judge import FrameTruth, Judged, frame_truth, judge, judge_centre
from dips.evaluate.protocol import FRAMED, Protocol
from dips.evaluate.result import BoxResult, MapResult
from dips.predict import Predictor
from dips.runtime import track
from dips.types import FloatArray, Problem, Sample

__all__ = ["Evaluated", "evaluate_maps", "evaluate_photos"]

MapOf = Callable[[int], FloatArray | None]
"""Score map ``(h, w)`` of the photo at a position, or None where there is none."""


@dataclass(frozen=True)
class Evaluated:
    """Results on one split.

    Attributes:
        methods: by name; ``localizer`` is the predictor's own. The predicted class is the predictor's for all of them.
        samples: the photos that could be read.
        problems: the others.
    """

    methods: dict[str, MapResult]
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]


def evaluate_photos(
    predictor: Predictor,
    samples: Sequence[Sample],
    *,
    others: Mapping[str, MapOf],
    linear: str | None = None,
    tau: Mapping[str, float] | None = None,
    thresholds: int = 1000,
    protocol: Protocol = FRAMED,
    replicates: int = 0,
) -> Evaluated:
    """Run ``predictor`` over the photos and count every method.

    Args:
        others: further methods by name, maps by position in ``samples``. The centred Gaussian (``centre``) is always added.
        linear: which of ``others`` are the linear maps that the predictor would else work out itself.
        tau: thresholds of the rows that are kept of each photo, of the localizer alone.
        replicates: resamples for bootstrap intervals.
    """
    counts = {"localizer": MapAccumulator(thresholds, tau=tau, replicates=replicates)}
    counts |= {name: MapAccumulator(thresholds, replicates=replicates) for name in (*others, "centre")}
    kept: list[Sample] = []
    problems: list[Problem] = []
    with ThreadPoolExecutor(2) as pool:
        step = predictor.config.batch
        for start in track(range(0, len(samples), step), "evaluate"):
            positions, squares, truths = [], [], []
            for position in range(start, min(start + step, len(samples))):
                try:
                    truth = frame_truth(samples[position], protocol)
                    photo = read_image(samples[position].path, max_side=predictor.side)
                except (DataError, ImageError) as error:
                    problems.append(Problem(samples[position].path, str(error)))
                    continue
                positions.append(position)
                truths.append(truth)
                squares.append(resize_image(photo, (predictor.side, predictor.side)))
            if not positions:
                continue
            maps = {name: [map_of(position) for position in positions] for name, map_of in others.items()}
            said = predictor.answer(squares, None if linear is None else _all(maps[linear]))
            order = np.argsort(-said.probabilities, axis=1, kind="stable")[:, :5]
            rows = [
                _Row(truth, {"localizer": said.maps[i], **{name: found[i] for name, found in maps.items()}}, order[i])
                for i, truth in enumerate(truths)
            ]
            kept += [samples[position] for position in positions]
            for row, found in zip(rows, pool.map(partial(_judged, protocol, thresholds), rows), strict=True):
                for name, judged in found.items():
                    judged.count(counts[name], row.truth)
    results = {name: count.result() for name, count in counts.items()}
    return Evaluated(results, tuple(kept), tuple(problems))


def evaluate_maps(maps: Iterable[FloatArray], samples: Sequence[Sample], *, thresholds: int = 1000) -> BoxResult:
    """The MaxBoxAcc family of ready maps ``(h, w)`` in [0, 1], one per sample, without classes, in the field's frame."""
    count = MapAccumulator(thresholds)
    for found, sample in zip(maps, samples, strict=True):
        count.boxes.count(judge(found, frame_truth(sample, FRAMED), FRAMED, thresholds=thresholds).boxes)
    return count.boxes.result()


@dataclass(frozen=True, slots=True)
class _Row:
    """What is true of a photo, its map by each method, and the classes that the predictor says, best first."""

    truth: FrameTruth
    maps: dict[str, FloatArray | None]
    classes: NDArray[np.int64]


def _judged(protocol: Protocol, thresholds: int, row: _Row) -> dict[str, Judged]:
    more: dict[str, Any] = {"predicted": row.classes, "thresholds": thresholds}
    found = {name: judge(score_map, row.truth, protocol, **more) for name, score_map in row.maps.items()}
    return {**found, "centre": judge_centre(row.truth, protocol, **more)}


def _all(maps: Sequence[FloatArray | None]) -> list[FloatArray]:
    there = [found for found in maps if found is not None]
    assert len(there) == len(maps)  # a linear map exists for all photos or for none
    return there
