"""Every method on the photos of a split, one pass: the localizer, what it is compared with, and the centred Gaussian.

In: :class:`~dips.models.networks.Networks`, samples, and for other methods a function from a photo's position to its map.
Out: a :class:`~dips.evaluate.result.MapResult` per method. Maps are resized bilinearly to the protocol's frame.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dips.baselines.method import ScoreMapMethod
from dips.benchmark.frames import GroundTruth, MapComparison, compare_centre, compare_map, read_ground_truth
from dips.data.images import ByteImage, read_image, resize_image
from dips.errors import DataError, ImageError
from dips.evaluate.accumulate import MapAccumulator
from dips.evaluate.protocol import FRAMED, Protocol
from dips.evaluate.result import BoxResult, MapResult
from dips.models.networks import Networks
from dips.system.console import track
from dips.types import FloatArray, Problem, Sample

__all__ = ["Evaluation", "evaluate_maps", "evaluate_methods", "evaluate_photos"]

MapOf = Callable[[int], FloatArray | None]
"""Score map ``(h, w)`` of the photo at a position, or None where there is none."""


@dataclass(frozen=True)
class Evaluation:
    """Results on one split.

    Attributes:
        methods: by name. Of :func:`evaluate_photos` ``localizer`` is the networks' own, and the predicted class is
            theirs for all; of :func:`evaluate_methods` each method's own.
        samples: the photos that could be read.
        problems: the others.
    """

    methods: dict[str, MapResult]
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]


def evaluate_photos(
    networks: Networks,
    samples: Sequence[Sample],
    *,
    others: Mapping[str, MapOf],
    linear: str | None = None,
    tau: Mapping[str, float] | None = None,
    thresholds: int = 1000,
    protocol: Protocol = FRAMED,
    replicates: int = 0,
    seen: Callable[[FloatArray], None] | None = None,
) -> Evaluation:
    """Run ``networks`` over the photos and count every method.

    Args:
        others: further methods by name, maps by position in ``samples``. The centred Gaussian (``centre``) is always added.
        linear: which of ``others`` are the linear maps that the networks would else work out itself.
        tau: thresholds of the rows that are kept of each photo, of the localizer alone.
        replicates: resamples for bootstrap intervals.
        seen: told of the localizer's map ``(h, w)`` of each photo, in the order of the result's samples.
    """
    counts = {"localizer": MapAccumulator(thresholds, tau=tau, replicates=replicates)}
    counts |= {name: MapAccumulator(thresholds, replicates=replicates) for name in (*others, "centre")}
    kept: list[Sample] = []
    problems: list[Problem] = []
    judge_row = partial(_judged, protocol, thresholds)
    with ThreadPoolExecutor(2) as pool:
        for batch in _batches(samples, networks.config.batch, [networks.side], protocol, problems):
            maps = {name: [map_of(position) for position in batch.positions] for name, map_of in others.items()}
            said = networks.answer(batch.squares[networks.side], None if linear is None else _all(maps[linear]))
            order = _ranked(said.probabilities)
            rows = [
                _Row(truth, {"localizer": said.maps[i], **{name: found[i] for name, found in maps.items()}}, order[i])
                for i, truth in enumerate(batch.truths)
            ]
            kept += [truth.sample for truth in batch.truths]
            for row, found in zip(rows, pool.map(judge_row, rows), strict=True):
                centre = compare_centre(row.truth, protocol, predicted=row.classes, thresholds=thresholds)
                for name, judged in {**found, "centre": centre}.items():
                    judged.count(counts[name], row.truth)
                if seen is not None and (score_map := row.maps["localizer"]) is not None:
                    seen(score_map)
    results = {name: count.result() for name, count in counts.items()}
    return Evaluation(results, tuple(kept), tuple(problems))


def evaluate_methods(
    methods: Mapping[str, ScoreMapMethod],
    samples: Sequence[Sample],
    *,
    device: torch.device,
    failed: Callable[[str, Exception], None],
    keep: Collection[str] = (),
    background: int | None = None,
    thresholds: int = 1000,
    protocol: Protocol = FRAMED,
    batch: int = 16,
) -> tuple[Evaluation, dict[str, dict[str, FloatArray]]]:
    """Show the photos to several methods, each batch to all of them, and count each.

    A method is asked for the map of the photo's true class (GT-known), and of the class that it names itself where no class is
    known. Photos without boxes and masks are not localized in. Each method sees what it would see alone: photos are read at its
    side.

    Args:
        failed: told of a method that raised; it is left out from there on.
        keep: ids of photos whose maps are handed back.
        background: class without object, of which no map is asked.

    Returns:
        The numbers, and the kept maps ``(h, w)`` by method and id.
    """
    counts = {name: MapAccumulator(thresholds) for name in methods}
    alive = dict(methods)
    shown: dict[str, dict[str, FloatArray]] = {name: {} for name in methods}
    kept: list[Sample] = []
    problems: list[Problem] = []
    sides = {method.side for method in methods.values()}
    with ThreadPoolExecutor(2) as pool, torch.no_grad():  # class activations may ask for gradients
        for group in _batches(samples, batch, sides, protocol, problems) if methods else ():
            wanted = [i for i, truth in enumerate(group.truths) if truth.wanted]
            views = {side: _View.of(squares, wanted, device) for side, squares in group.squares.items()}
            kept += [truth.sample for truth in group.truths]
            for name, method in list(alive.items()):
                try:
                    maps, classes = _asked(method, views[method.side], group.truths, wanted, background)
                    rows = [_Row(truth, {name: maps[i]}, classes[i]) for i, truth in enumerate(group.truths)]
                    judged = list(pool.map(partial(_judged, protocol, thresholds), rows))
                except Exception as error:  # a researcher's method may raise, or answer, whatever it likes
                    failed(name, error)
                    del alive[name]
                    continue
                for row, found in zip(rows, judged, strict=True):
                    found[name].count(counts[name], row.truth)
                    score_map = row.maps[name]
                    if row.truth.sample.id in keep and score_map is not None:
                        shown[name][row.truth.sample.id] = score_map
    results = {name: counts[name].result() for name in alive}
    return Evaluation(results, tuple(kept), tuple(problems)), {name: shown[name] for name in alive}


@dataclass(frozen=True, slots=True)
class _View:
    """A batch at one side: all photos, and those that are localized in. Methods of the same side get the very same tensors, by
    which a shared transformer knows a batch again."""

    images: Tensor
    wanted: Tensor

    @staticmethod
    def of(squares: Sequence[ByteImage], wanted: Sequence[int], device: torch.device) -> _View:
        view = torch.from_numpy(np.stack(squares)).to(device).permute(0, 3, 1, 2).float() / 255
        return _View(view, view if len(wanted) == len(view) else view[list(wanted)])


def _asked(
    method: ScoreMapMethod, view: _View, truths: Sequence[GroundTruth], wanted: Sequence[int], background: int | None
) -> tuple[list[FloatArray | None], list[NDArray[np.int64]]]:
    """A method's maps of the photos at ``wanted``, and the classes that it names for all, best first."""
    probabilities = method.probabilities(view.images)
    nothing = np.zeros((len(truths), 0), np.int64)
    classes = nothing if probabilities is None else _ranked(probabilities.float().cpu().numpy())
    own = [next((int(label) for label in row if label != background), 0) for row in classes]
    labels = [own[i] if truth.sample.label is None else truth.sample.label for i, truth in enumerate(truths)]
    maps: list[FloatArray | None] = [None] * len(truths)
    if wanted:
        asked = torch.tensor([labels[i] for i in wanted], device=view.images.device)
        found = method.maps(view.wanted, asked).float().cpu().numpy()
        for i, score_map in zip(wanted, found, strict=True):
            maps[i] = score_map
    return maps, list(classes)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Photos that could be read: positions among the samples, what is true of them, and squares ``(S, S, 3) uint8`` by side."""

    positions: list[int]
    truths: list[GroundTruth]
    squares: dict[int, list[ByteImage]]


def _batches(
    samples: Sequence[Sample], step: int, sides: Collection[int], protocol: Protocol, problems: list[Problem]
) -> Iterator[_Batch]:
    """The photos in order; those that cannot be read are added to ``problems``."""
    for start in track(range(0, len(samples), step), "evaluate"):
        batch = _Batch([], [], {side: [] for side in sides})
        for position in range(start, min(start + step, len(samples))):
            try:
                truth = read_ground_truth(samples[position], protocol)
                photos = {side: read_image(samples[position].path, max_side=side) for side in sides}
            except (DataError, ImageError) as error:
                problems.append(Problem(samples[position].path, str(error)))
                continue
            batch.positions.append(position)
            batch.truths.append(truth)
            for side, photo in photos.items():
                batch.squares[side].append(resize_image(photo, (side, side)))
        if batch.positions:
            yield batch


def _ranked(probabilities: FloatArray) -> NDArray[np.int64]:
    """The five likeliest classes of each photo, best first."""
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :5]


def evaluate_maps(maps: Iterable[FloatArray], samples: Sequence[Sample], *, thresholds: int = 1000) -> BoxResult:
    """The MaxBoxAcc family of ready maps ``(h, w)`` in [0, 1], one per sample, without classes, in the field's frame."""
    count = MapAccumulator(thresholds)
    for found, sample in zip(maps, samples, strict=True):
        count.boxes.count(compare_map(found, read_ground_truth(sample, FRAMED), FRAMED, thresholds=thresholds).boxes)
    return count.boxes.result()


@dataclass(frozen=True, slots=True)
class _Row:
    """What is true of a photo, its map by each method, and the classes that the networks say, best first."""

    truth: GroundTruth
    maps: dict[str, FloatArray | None]
    classes: NDArray[np.int64]


def _judged(protocol: Protocol, thresholds: int, row: _Row) -> dict[str, MapComparison]:
    more: dict[str, Any] = {"predicted": row.classes, "thresholds": thresholds}
    return {name: compare_map(score_map, row.truth, protocol, **more) for name, score_map in row.maps.items()}


def _all(maps: Sequence[FloatArray | None]) -> list[FloatArray]:
    there = [found for found in maps if found is not None]
    assert len(there) == len(maps)  # a linear map exists for all photos or for none
    return there
