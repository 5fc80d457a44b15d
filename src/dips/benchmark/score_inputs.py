"""The inputs of ``dips score``: the request, the photos and their maps on disk, and the ground truth.

In: maps and DATA. Out: :class:`ScoreInputs`, whose photos become the items of a plan. Only the name and the ground truth of a
photo are kept in memory, never its map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dips.benchmark.fingerprints import fingerprints
from dips.benchmark.map_shards import item_of
from dips.benchmark.mapfiles import MapFiles
from dips.benchmark.precision import PrecisionRecord, precision_of_folder
from dips.benchmark.records import read_validation_taus
from dips.data.ground_truth import SplitGroundTruth, load_ground_truth
from dips.data.predicted_classes import read_predicted_classes
from dips.data.problems import photo_problems
from dips.errors import DataError
from dips.evaluate.protocol import Protocol, find_protocol
from dips.predict.results import stored_maps
from dips.shards.plan import Item
from dips.system.console import counted
from dips.system.names import some
from dips.system.records import Record
from dips.types import Problem

__all__ = ["ScoreInputs", "ScoreRequest", "read_inputs"]


class ScoreRequest(Record, frozen=True, kw_only=True):
    """The arguments of :func:`~dips.benchmark.score.score_maps` that determine the result; paths are absolute."""

    maps: str
    data: str
    split: str
    protocol: str
    resize: bool
    partial: bool
    tau_from: str | None
    predicted: str | None
    label_column: str


@dataclass(frozen=True)
class ScoreInputs:
    """The inputs that belong to a request.

    Attributes:
        request: the request.
        ground_truth: ground truth of the split; ``positions``: those of its photos that count because they have a map.
        files: the maps.
        prediction: the folder of predictions that the maps are from, if any.
        protocol: the frame.
        photos: fingerprints of all photos of the split.
        taus: thresholds chosen on a validation split, by method.
        ranked: predicted classes by the photo's id, best first.
        problems: problems of the data.
    """

    request: ScoreRequest
    ground_truth: SplitGroundTruth
    positions: Sequence[int]
    files: MapFiles
    prediction: Path | None
    protocol: Protocol
    photos: str
    taus: Mapping[str, Mapping[str, float]]
    ranked: Mapping[str, tuple[int, ...]]
    problems: Sequence[Problem]

    @property
    def resize(self) -> bool:
        """Whether maps of other sizes are accepted."""
        return self.request.resize or self.prediction is not None

    def items(self) -> Iterator[Item]:
        """Yield the photos that count, in order."""
        for position in self.positions:
            sample = self.ground_truth[position]
            yield item_of(sample, self.files.find(sample.id) or "", self.ranked.get(sample.id, ()))

    def precision(self) -> PrecisionRecord | None:
        """Return the average precision of the boxes with their classes, if the maps are those of a prediction."""
        if self.prediction is None:
            return None
        photos = (self.ground_truth[position] for position in self.positions)
        pairs = ((photo, self.files.find(photo.id) or "") for photo in photos)
        return precision_of_folder(self.prediction, pairs, self.ground_truth.classes)


def read_inputs(request: ScoreRequest) -> ScoreInputs:
    """Find the maps of a request, and read its ground truth.

    Raises:
        DataError: maps or ground truth are missing or do not match.
        ConfigError: the protocol is unknown.
    """
    protocol, maps = find_protocol(request.protocol), Path(request.maps)
    if (stored := stored_maps(maps)) is not None:
        maps = stored
    ground_truth = load_ground_truth(request.data, split=request.split, label_column=request.label_column)
    problems = [*ground_truth.problems, *photo_problems(ground_truth.root, {ground_truth.split: ground_truth})]
    photos = fingerprints(sample.path for sample in ground_truth)
    taus = {} if request.tau_from is None else read_validation_taus(Path(request.tau_from), protocol, photos)
    files = MapFiles(maps, prefix=ground_truth.split)
    positions, unmatched = _positions(files, ground_truth, request.partial)
    ids = ground_truth.ids
    named = None if request.predicted is None else Path(request.predicted)
    ranked = {} if named is None else read_predicted_classes(named, ground_truth, [ids[i] for i in positions])
    prediction = None if stored is None else stored.parent
    problems += unmatched
    return ScoreInputs(request, ground_truth, positions, files, prediction, protocol, photos, taus, ranked, problems)


def _positions(files: MapFiles, ground_truth: SplitGroundTruth, partial_maps: bool) -> tuple[Sequence[int], list[Problem]]:
    """Return the positions of the photos that have a map and thus count, and problems for the maps and photos left out.

    Raises:
        DataError: maps and photos do not match, or no photo has ground truth to compare its map with.
    """
    ids, has_map = ground_truth.ids, files.match(ground_truth.ids)
    count = sum(has_map)
    if not count:
        first = ids[0] if len(ground_truth) else ""
        raise DataError(
            f"no map in {files.path} belongs to a photo of the split '{ground_truth.split}'; the map of its first photo would "
            f"be called {first}.npy"
        )
    missing = [id for id, has in zip(ids, has_map, strict=True) if not has]
    if missing and not partial_maps:
        raise DataError(
            f"{files.path} has no map for {len(missing)} of {counted(len(ground_truth), 'photo')}: "
            f"{some(missing, 3)}; make them, or "
            "score the others alone with --partial, which gives numbers that compare with no others"
        )
    others = files.others(ids) if sum(1 for _ in files.names()) > count else []
    if others and not partial_maps:
        raise DataError(
            f"{files.path} has {counted(len(others), 'map')} of photos that {ground_truth.root} does not list in "
            f"this split, or second "
            f"ones of a photo: {some(others, 3)}; choose another --split, or leave them out with --partial"
        )
    problems = []
    if missing:
        message = (
            f"has no map for {len(missing)} of {counted(len(ground_truth), 'photo')}, which are left out: "
            f"{some(missing, 3)}; make them"
        )
        problems.append(Problem(files.path, message))
    if others:
        message = f"has {counted(len(others), 'map')} of no photo of this split, or second ones, left out: {some(others, 3)}"
        problems.append(Problem(files.path, f"{message}; remove them"))
    positions = [i for i, has in enumerate(has_map) if has] if missing else range(len(ground_truth))
    photos = (ground_truth[i] for i in positions)
    if not any(photo.masks or (photo.boxes is not None and len(photo.boxes)) for photo in photos):
        raise DataError(
            f"{ground_truth.root}: of {counted(count, 'photo')} with a map none has ground-truth boxes or masks; "
            f"give DATA, or a --split, "
            "that has them"
        )
    return positions, problems
