"""A trained localizer against true boxes, beside what needs no training, on the same photos.

In: a predictor, photos with boxes and labels, and other maps of the same photos. Out: a
:class:`~dips.evaluate.result.BoxResult` per method, and how the classes came out. Photos are streamed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.data.images import image_size, read_image
from dips.data.transforms import resize_image
from dips.errors import ImageError
from dips.evaluate.accumulate import BoxAccumulator
from dips.evaluate.boxes import FRAME, BoxLevels, boxes_at_thresholds, to_frame
from dips.evaluate.centre import centre_map
from dips.evaluate.result import BoxResult
from dips.predict import Predictor
from dips.runtime import track
from dips.types import FloatArray, Problem, Sample

__all__ = ["Evaluated", "evaluate_maps", "evaluate_photos", "frame_boxes", "to_frame_map"]

MapOf = Callable[[int], FloatArray | None]
"""Score map ``(h, w)`` of the photo at a position, or None where there is none."""


@dataclass(frozen=True)
class Evaluated:
    """Results on one split.

    Attributes:
        methods: by name; ``localizer`` is the predictor's own.
        samples: the photos that could be read.
        problems: the others.
    """

    methods: dict[str, BoxResult]
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]


def evaluate_photos(
    predictor: Predictor,
    samples: Sequence[Sample],
    *,
    others: Mapping[str, MapOf],
    linear: MapOf | None = None,
    taus: Sequence[float] = (),
    thresholds: int = 1000,
) -> Evaluated:
    """Run ``predictor`` over the photos and count every method.

    Args:
        others: further methods by name, maps by position in ``samples``. The centred Gaussian (``centre``) is always added.
        linear: the photos' linear maps, where they are known already.
        taus: thresholds at which each photo's best IoU is kept.
    """
    centre = boxes_at_thresholds(centre_map(), thresholds)
    counts = {name: BoxAccumulator(thresholds, taus=taus) for name in ("localizer", *others, "centre")}
    kept: list[Sample] = []
    problems: list[Problem] = []
    with ThreadPoolExecutor(2) as pool:
        step = predictor.config.batch
        for start in track(range(0, len(samples), step), "evaluate"):
            readable, squares = [], []
            for position in range(start, min(start + step, len(samples))):
                try:
                    photo = read_image(samples[position].path, max_side=predictor.side)
                except ImageError as error:
                    problems.append(Problem(samples[position].path, str(error)))
                    continue
                readable.append(position)
                squares.append(resize_image(photo, (predictor.side, predictor.side)))
            if not readable:
                continue
            known = None if linear is None else [_there(linear(position)) for position in readable]
            said = predictor.answer(squares, known)
            order = np.argsort(-said.probabilities, axis=1, kind="stable")[:, :5]
            maps: dict[str, list[FloatArray | None]] = {"localizer": list(said.maps)}
            maps |= {name: [map_of(position) for position in readable] for name, map_of in others.items()}
            truths = [frame_boxes(samples[position]) for position in readable]
            for name, found in maps.items():
                # where there is no true box nothing is compared with the map
                needed = [m if boxes is not None and len(boxes) else None for m, boxes in zip(found, truths, strict=True)]
                levels = list(pool.map(lambda m: _levels(m, thresholds), needed))
                for i, position in enumerate(readable):
                    ranks = order[i] if name == "localizer" else ()
                    _add(counts[name], samples[position], truths[i], levels[i], ranks)
            for i, position in enumerate(readable):
                _add(counts["centre"], samples[position], truths[i], centre, ())
                kept.append(samples[position])
    results = {name: count.result() for name, count in counts.items()}
    return Evaluated(results, tuple(kept), tuple(problems))


def evaluate_maps(maps: Iterable[FloatArray], samples: Sequence[Sample], *, thresholds: int = 1000) -> BoxResult:
    """The MaxBoxAcc family of ready maps ``(h, w)`` in [0, 1], one per sample, without classes."""
    count = BoxAccumulator(thresholds)
    for found, sample in zip(maps, samples, strict=True):
        _add(count, sample, frame_boxes(sample), _levels(found, thresholds), ())
    return count.result()


def to_frame_map(score_map: FloatArray, frame: int = FRAME) -> FloatArray:
    """A map ``(h, w)`` of the whole photo in the protocol's frame, bilinear, in [0, 1]."""
    resized = cv2.resize(score_map.astype(np.float32), (frame, frame), interpolation=cv2.INTER_LINEAR)
    return np.clip(resized, 0, 1).astype(np.float32)


def frame_boxes(sample: Sample) -> NDArray[np.int64] | None:
    """The sample's true boxes in the protocol's frame; None where they are unknown."""
    if sample.boxes is None:
        return None
    return to_frame(sample.boxes, sample.frame or image_size(sample.path))


def _levels(score_map: FloatArray | None, thresholds: int) -> BoxLevels | None:
    return None if score_map is None else boxes_at_thresholds(to_frame_map(score_map), thresholds)


def _add(
    count: BoxAccumulator,
    sample: Sample,
    boxes: NDArray[np.int64] | None,
    levels: BoxLevels | None,
    ranks: Sequence[int] | NDArray[np.int64],
) -> None:
    if levels is None and boxes is not None and len(boxes):  # a method without a map for this photo finds nothing
        levels = boxes_at_thresholds(np.zeros((FRAME, FRAME), np.float32))
    count.add(levels, boxes, label=sample.label, predicted=ranks, id=sample.id)


def _there(score_map: FloatArray | None) -> FloatArray:
    assert score_map is not None
    return score_map
