"""Measure score maps on disk shard by shard, in any worker.

In: photos with their ground truth and the names of their maps, as items of a plan. Out: a part per shard with the inputs of the
accumulators: the boxes of each photo, by its map and by the centred Gaussian, then the pixels of all photos.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from dips.benchmark.frames import compare_centre, compare_map, read_ground_truth
from dips.benchmark.mapfiles import MapFiles
from dips.errors import DipsError, ProtocolError
from dips.evaluate.accumulate import MapAccumulator, MapPixels
from dips.evaluate.boxes import engine
from dips.evaluate.measure import Measured
from dips.evaluate.protocol import Protocol
from dips.shards.frames import frame, frames
from dips.shards.plan import Item
from dips.shards.work import Attempt, Skipped
from dips.system.names import some
from dips.system.records import Record
from dips.types import Sample

__all__ = ["MAX_BAD_MAPS", "ScoreJob", "bad_maps", "count_part", "item_of", "measured_photos"]

MAX_BAD_MAPS = 200
"""Number of unusable maps after which the work is given up."""

_COUNTS = "<i8"


class _Truth(Record, frozen=True, array_like=True):
    """The data that the work needs for a photo besides the name of its map."""

    path: str
    label: int | None
    others: tuple[int, ...]
    boxes: list[list[float]] | None
    frame: tuple[int, int] | None
    masks: tuple[str, ...]
    ignore: str | None
    predicted: tuple[int, ...]

    def sample(self, id: str) -> Sample:
        """Return the photo as a sample."""
        return Sample(
            Path(self.path),
            id,
            self.label,
            None if self.boxes is None else np.array(self.boxes, np.float32).reshape(-1, 4),
            self.frame,
            tuple(map(Path, self.masks)),
            None if self.ignore is None else Path(self.ignore),
            others=self.others,
        )


def item_of(sample: Sample, name: str, predicted: Sequence[int]) -> Item:
    """Return a photo as an item.

    Args:
        name: name of its map.
        predicted: predicted classes, best first.
    """
    truth = _Truth(
        str(sample.path),
        sample.label,
        sample.others,
        None if sample.boxes is None else sample.boxes.tolist(),
        sample.frame,
        tuple(map(str, sample.masks)),
        None if sample.ignore is None else str(sample.ignore),
        tuple(predicted),
    )
    return Item(sample.id, name, "", msgspec.to_builtins(truth))


@dataclass(frozen=True)
class ScoreJob:
    """Measures maps.

    Attributes:
        files: the maps.
        protocol: the frame.
        resize: resize maps of another size to the frame, instead of refusing them.
        total: number of maps.
    """

    files: MapFiles
    protocol: Protocol
    resize: bool
    total: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """Paths that all workers must be able to access: that of the maps, to which their names are relative."""
        return (str(self.files.path.absolute()),)

    def open(self) -> _Measuring:
        """Return the function that measures the maps of a shard."""
        return _Measuring(self)


class _Measuring:
    """The work of one process; unusable maps are counted over all of its shards."""

    def __init__(self, job: ScoreJob) -> None:
        self.job, self.seen = job, 0
        self.errors: list[str] = []

    def __call__(self, attempt: Attempt) -> Iterator[bytes | Skipped]:
        """Yield a record per photo, and finally one with the pixels of all photos.

        Raises:
            ProtocolError: too many maps cannot be used.
        """
        pixels, centre_pixels = MapPixels(), MapPixels()
        for item in attempt.items:
            self.seen += 1
            try:
                yield frame(self._measure(item, pixels, centre_pixels))
            except DipsError as error:
                self.errors.append(str(error))
                if len(self.errors) >= MAX_BAD_MAPS:
                    raise bad_maps(self.errors, f"the first {self.seen} of {self.job.total}") from error
                yield Skipped(item.id, str(error))
        counts = (pixels.counts.astype(_COUNTS).tobytes(), centre_pixels.counts.astype(_COUNTS).tobytes())
        yield frame(_Pixels(engine(), *counts))

    def _measure(self, item: Item, pixels: MapPixels, centre_pixels: MapPixels) -> _Pair:
        job, truth = self.job, msgspec.convert(item.more, _Truth)
        ground_truth = read_ground_truth(truth.sample(item.id), job.protocol)
        score_map = job.files.read(item.uri)
        # there is always a frame if there is ground truth to compare with
        has_frame = job.protocol.side is not None or ground_truth.size is not None
        width, height = job.protocol.frame(ground_truth.size) if has_frame else score_map.shape[::-1]
        if score_map.shape != (height, width) and not job.resize:
            size = f"{score_map.shape[1]}x{score_map.shape[0]}"
            raise ProtocolError(
                f"{job.files.path / item.uri} is {size} (width x height); protocol {job.protocol.name} wants {width}x{height}: "
                "resize it in your method, or have it done bilinearly with --resize"
            )
        comparison = compare_map(score_map, ground_truth, job.protocol, predicted=truth.predicted)
        centre = compare_centre(ground_truth, job.protocol, predicted=truth.predicted)
        for compared, counts in ((comparison, pixels), (centre, centre_pixels)):
            if compared.score_map is not None:
                counts.add(compared.score_map, ground_truth.boxes, ground_truth.mask)
        return _Pair.of(comparison.boxes, centre.boxes)


def bad_maps(errors: Sequence[str], of: str) -> ProtocolError:
    """Return the error that names the first of the unusable maps.

    Args:
        of: the total number of maps.
    """
    return ProtocolError(f"{len(errors)} of {of} score maps cannot be used: {some(errors, 3)}")


# --- the records of a part


class _Curves(Record, frozen=True, array_like=True):
    """The arrays of a :class:`~dips.evaluate.measure.Measured`, run-length encoded, as they have long runs of equal values.

    Attributes:
        thresholds, peak: as in ``Measured``.
        length: L.
        starts: start indices of the runs, ``uint16``.
        values: ``single``, then ``multiple``, of each run, ``float64``; ``kinds``: that of each run, ``int8``.
    """

    thresholds: int
    peak: int
    length: int
    starts: bytes
    values: bytes
    kinds: bytes

    @staticmethod
    def of(photo: Measured) -> _Curves:
        """Encode the arrays of a photo."""
        values = np.stack([photo.single, photo.multiple])
        begins = np.ones(values.shape[1], np.bool_)
        begins[1:] = (np.diff(values) != 0).any(0) | (np.diff(photo.kinds) != 0)
        starts = np.flatnonzero(begins)
        return _Curves(
            photo.thresholds,
            photo.peak,
            len(begins),
            starts.astype("<u2").tobytes(),
            values[:, starts].astype("<f8").tobytes(),
            photo.kinds[starts].tobytes(),
        )

    def arrays(self) -> dict[str, Any]:
        """Decode the arrays."""
        starts = np.frombuffer(self.starts, "<u2").astype(np.int64)
        runs = np.diff(starts, append=self.length)
        single, multiple = np.frombuffer(self.values, "<f8").reshape(2, -1).repeat(runs, axis=1)
        kinds = np.frombuffer(self.kinds, np.int8).repeat(runs)
        return {
            "thresholds": self.thresholds,
            "peak": self.peak,
            "single": single,
            "multiple": multiple,
            "kinds": kinds,
        }


class _Pair(Record, frozen=True, array_like=True, tag="photo"):
    """A photo, measured by its map and by the centred Gaussian."""

    id: bytes
    label: int | None
    predicted: tuple[int, ...]
    n_true: int
    own: _Curves
    centre: _Curves

    @staticmethod
    def of(photo: Measured, centre: Measured) -> _Pair:
        """Return the record of a photo, from its measurements by the map and by the centred Gaussian."""
        name = photo.id.encode("utf-8", "surrogatepass")  # a file name need not be valid text
        return _Pair(name, photo.label, photo.predicted, photo.n_true, _Curves.of(photo), _Curves.of(centre))

    def measured(self, curves: _Curves) -> Measured:
        """Return the photo as measured by one of the two."""
        return Measured(self.id.decode("utf-8", "surrogatepass"), self.label, self.predicted, self.n_true, **curves.arrays())


class _Pixels(Record, frozen=True, array_like=True, tag="pixels"):
    """The end of a part: the engine that found boxes, and pixel counts of all photos, by maps and by the centred Gaussian."""

    engine: str
    own: bytes
    centre: bytes


def count_part(part: Iterable[bytes], own: MapAccumulator, centre: MapAccumulator, *, source: str) -> str:
    """Count the photos of a part, which may arrive in pieces of any size, and return the engine that found their boxes.

    Raises:
        RunError: the part is damaged.
    """
    found = ""
    for record in frames(part, _Pair | _Pixels, source=source):
        if isinstance(record, _Pair):
            own.boxes.count(record.measured(record.own))
            centre.boxes.count(record.measured(record.centre))
        else:
            found = record.engine
            own.pixels.add_counts(_counts(record.own))
            centre.pixels.add_counts(_counts(record.centre))
    return found


def measured_photos(part: Iterable[bytes], *, source: str) -> Iterator[Measured]:
    """Yield the photos of a part as measured by their maps.

    Raises:
        RunError: the part is damaged.
    """
    for record in frames(part, _Pair | _Pixels, source=source):
        if isinstance(record, _Pair):
            yield record.measured(record.own)


def _counts(data: bytes) -> NDArray[np.int64]:
    return np.frombuffer(data, _COUNTS).astype(np.int64)
