"""The loop over the photos of a split: each photo is read once, every answerer is run on it, and everything is counted.

In: samples with ground truth, and anything that returns maps for photos (:class:`~dips.types.Answerer`): a run's networks, its
rivals, exported files, stored maps. Out: a :class:`~dips.evaluate.result.MapResult` for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from dips.benchmark.frames import GroundTruth, MapComparison, compare_centre, compare_map, read_ground_truth
from dips.data.depth import Depth
from dips.data.images import ByteImage, resize_image
from dips.data.problems import left_out
from dips.data.tiling import read_sample
from dips.errors import DataError, ImageError
from dips.evaluate.accumulate import MapAccumulator
from dips.evaluate.protocol import FRAMED, Protocol
from dips.evaluate.result import BoxResult, MapResult
from dips.system.console import track
from dips.types import Answer, Answerer, FloatArray, PhotoBatch, Problem, Sample

__all__ = ["CENTRE", "SplitEvaluation", "StoredMaps", "evaluate_maps", "evaluate_photos"]

CENTRE = "centre"
"""Name of the centred Gaussian among the methods of :class:`SplitEvaluation`."""

_THREADS = 2  # for reading photos and comparing maps, both of which release the GIL


@dataclass(frozen=True)
class SplitEvaluation:
    """Results on one split.

    Attributes:
        methods: results by method name.
        samples: the photos that could be read.
        problems: the photos that could not.
    """

    methods: dict[str, MapResult]
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]


class StoredMaps(Answerer):
    """Precomputed maps, looked up by the id of the photo.

    Args:
        maps: returns the score map ``(h, w)`` in [0, 1] for a photo's id; all have the same size.
        side: side of the squares passed to other answerers, so that no photo is read just for these maps, which ignore it.

    >>> stored = StoredMaps(lambda id: np.full((2, 2), float(id), np.float32), side=8)
    >>> stored.answer(PhotoBatch(np.zeros((2, 8, 8, 3), np.uint8), ids=("0", "1"))).maps[:, 0, 0].tolist()
    [0.0, 1.0]
    """

    def __init__(self, maps: Callable[[str], FloatArray], side: int) -> None:
        self._maps, self._side = maps, side

    @property
    def side(self) -> int:
        """Side in pixels of the squares passed to other answerers."""
        return self._side

    def answer(self, batch: PhotoBatch) -> Answer:
        """Return the maps, without class probabilities."""
        maps = [self._maps(batch.ids[i]) for i in batch.positions]
        return Answer(np.stack(maps) if maps else np.zeros((0, 1, 1), np.float32), np.zeros((len(batch), 0), np.float32))


def evaluate_photos(
    answerers: Mapping[str, Answerer],
    samples: Sequence[Sample],
    *,
    protocol: Protocol = FRAMED,
    thresholds: int = 1000,
    batch: int = 16,
    replicates: int = 0,
    taus: Mapping[str, Mapping[str, float]] | None = None,
    classes_of: str | None = None,
    centre: bool = False,
    localize_all: bool = False,
    on_map: Callable[[str, GroundTruth, FloatArray, NDArray[np.int64]], None] | None = None,
    on_cells: Callable[[str, GroundTruth, FloatArray], None] | None = None,
    on_failure: Callable[[str, Exception], None] | None = None,
    depth: Depth | None = None,
) -> SplitEvaluation:
    """Run every answerer on the photos, batch by batch, and measure their maps and classes.

    A map is that of the photo's class if this is known (GT-known). Each answerer sees what it would see alone: photos are read
    at its side. Answerers with the same side get the very same batches.

    Args:
        answerers: answerers by name.
        protocol: the frame in which maps, resized bilinearly, are compared with ground truth.
        batch: number of photos processed together.
        replicates: resamples for bootstrap intervals; 0 means none.
        taus: by name, thresholds (``v1``, ``30``, ``50``, ``70``) of the row stored for each photo
            (:attr:`~dips.evaluate.result.BoxResult.images`).
        classes_of: the first answerer, if its predicted classes are used for all; None means each its own.
        centre: add the centred Gaussian, under the name :data:`CENTRE`.
        localize_all: also request maps for photos without ground truth, although only ``on_map`` uses them.
        on_map: called with name, ground truth of the photo, map ``(h, w)`` as returned, and up to five classes, the likeliest
            first; in the order of the photos.
        on_cells: called before ``on_map`` with name, ground truth and the class logits of the photo's cells ``(C, h, w)``, if
            objects have classes of their own.
        on_failure: called with the error and the name of an answerer that raised, or returned something other than maps; it
            is skipped from then on. None propagates the error.
        depth: how values of more than 8 bits are reduced to 8; None means for each photo by itself.
    """
    taus = taus or {}
    names = [*answerers, *([CENTRE] if centre else [])]
    counts = {name: MapAccumulator(thresholds, tau=taus.get(name), replicates=replicates) for name in names}
    remaining = dict(answerers)
    readable: list[Sample] = []
    problems: list[Problem] = []
    sides = {answerer.side for answerer in answerers.values()}
    compare = partial(_compare, protocol, thresholds)
    read = partial(_read, protocol, sides, depth or Depth())
    with ThreadPoolExecutor(_THREADS) as pool:
        for photos in _batches(samples, batch, read, problems, pool) if names else ():
            questions = photos.questions(localize_all)
            shared: list[NDArray[np.int64]] = []  # classes of the answerer whose classes are used for all
            for name, answerer in list(remaining.items()):
                try:
                    maps, classes, cells = _ask(answerer, questions[answerer.side])
                    if name == classes_of:
                        shared = classes
                    comparisons = pool.map(compare, maps, photos.ground_truths, shared or classes)
                    for ground_truth, comparison in zip(photos.ground_truths, comparisons, strict=True):
                        comparison.add_to(counts[name], ground_truth)
                except Exception as error:  # a researcher's method may raise, or return, anything
                    if on_failure is None:
                        raise
                    on_failure(name, error)
                    del remaining[name]
                    continue
                if on_map is not None:
                    for ground_truth, score_map, likeliest, said in zip(
                        photos.ground_truths, maps, classes, cells, strict=True
                    ):
                        if said is not None and on_cells is not None:
                            on_cells(name, ground_truth, said)
                        if score_map is not None:
                            on_map(name, ground_truth, score_map, likeliest)
            if centre:
                centred = pool.map(partial(_compare_centre, protocol, thresholds), photos.ground_truths, shared or repeat(()))
                for ground_truth, comparison in zip(photos.ground_truths, centred, strict=True):
                    comparison.add_to(counts[CENTRE], ground_truth)
            readable += [ground_truth.sample for ground_truth in photos.ground_truths]
    results = {name: counts[name].result() for name in names if name in remaining or name == CENTRE}
    return SplitEvaluation(results, tuple(readable), tuple(problems))


def evaluate_maps(maps: Iterable[FloatArray], samples: Sequence[Sample], *, thresholds: int = 1000) -> BoxResult:
    """Return the MaxBoxAcc family for maps ``(h, w)`` in [0, 1], one per sample, without classes, in the field's frame."""
    accumulator = MapAccumulator(thresholds)
    for score_map, sample in zip(maps, samples, strict=True):
        comparison = compare_map(score_map, read_ground_truth(sample, FRAMED), FRAMED, thresholds=thresholds)
        accumulator.boxes.count(comparison.boxes)
    return accumulator.boxes.result()


@dataclass(frozen=True, slots=True)
class _Photos:
    """Photos that could be read: their ground truth, and their squares ``(B, S, S, 3) uint8`` by side."""

    ground_truths: list[GroundTruth]
    squares: dict[int, NDArray[np.uint8]]

    def questions(self, localize_all: bool) -> dict[int, PhotoBatch]:
        """Return the batches to pass to answerers, by side."""
        comparable = tuple(i for i, ground_truth in enumerate(self.ground_truths) if ground_truth.comparable)
        localized = None if localize_all or len(comparable) == len(self.ground_truths) else comparable
        labels = tuple(ground_truth.sample.label for ground_truth in self.ground_truths)
        ids = tuple(ground_truth.sample.id for ground_truth in self.ground_truths)
        return {side: PhotoBatch(squares, labels, localized, ids) for side, squares in self.squares.items()}


def _batches(
    samples: Sequence[Sample],
    step: int,
    read: Callable[[Sample], tuple[GroundTruth, dict[int, ByteImage]] | Problem],
    problems: list[Problem],
    pool: Executor,
) -> Iterator[_Photos]:
    """Read the photos in order; those that cannot be read are added to ``problems``."""
    for start in track(range(0, len(samples), step), "evaluate"):
        photos: list[tuple[GroundTruth, dict[int, ByteImage]]] = []
        for item in pool.map(read, samples[start : start + step]):
            if isinstance(item, Problem):
                problems.append(item)
            else:
                photos.append(item)
        if photos:
            yield _Photos(
                [ground_truth for ground_truth, _ in photos],
                {side: np.stack([squares[side] for _, squares in photos]) for side in photos[0][1]},
            )


def _read(
    protocol: Protocol, sides: Collection[int], depth: Depth, sample: Sample
) -> tuple[GroundTruth, dict[int, ByteImage]] | Problem:
    """Read a photo's ground truth, and the photo as a square of each of the sides."""
    try:
        ground_truth = read_ground_truth(sample, protocol)
        photos = {side: read_sample(sample, max_side=side, depth=depth) for side in sides}
    except (DataError, ImageError) as error:
        return left_out(sample.path, error)
    return ground_truth, {side: resize_image(photo, (side, side)) for side, photo in photos.items()}


def _ask(
    answerer: Answerer, question: PhotoBatch
) -> tuple[list[FloatArray | None], list[NDArray[np.int64]], list[FloatArray | None]]:
    """Return for each photo its map, None if none is needed, up to five classes, the likeliest first, and the logits of its
    cells, if there are any."""
    answer = answerer.answer(question)
    maps: list[FloatArray | None] = [None] * len(question)
    cells: list[FloatArray | None] = [None] * len(question)
    for index, (position, score_map) in enumerate(zip(question.positions, answer.maps, strict=True)):
        maps[position], cells[position] = score_map, None if answer.cells is None else answer.cells[index]
    return maps, list(np.argsort(-answer.probabilities, axis=1, kind="stable")[:, :5]), cells


def _compare(
    protocol: Protocol, thresholds: int, score_map: FloatArray | None, ground_truth: GroundTruth, classes: NDArray[np.int64]
) -> MapComparison:
    return compare_map(score_map, ground_truth, protocol, predicted=classes, thresholds=thresholds)


def _compare_centre(
    protocol: Protocol, thresholds: int, ground_truth: GroundTruth, classes: Sequence[int] | NDArray[np.int64]
) -> MapComparison:
    return compare_centre(ground_truth, protocol, predicted=classes, thresholds=thresholds)
