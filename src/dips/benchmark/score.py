"""``dips score``: ready score maps of any method against a split's ground truth. No model, no torch.

In: maps on disk and DATA. Out: the numbers of the protocol, next to the centred Gaussian's. Maps are read and measured in
several processes and counted here in their order, so that the numbers do not depend on how many there are. What is kept of a
photo is its name and its ground truth, never its map.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from msgspec import UNSET

from dips.benchmark.fingerprints import fingerprints
from dips.benchmark.mapfiles import MapFiles
from dips.benchmark.photo_rows import TemporaryRows, write_rows
from dips.benchmark.precision import PrecisionRecord, precision_of_folder
from dips.benchmark.records import (
    CENTRE_NOTE,
    REPLICATES,
    MapEvaluation,
    MethodResult,
    read_validation_taus,
    shared_fields,
)
from dips.benchmark.workers import ChunkResult, Job, measure_jobs, run_chunks
from dips.data.ground_truth import SplitGroundTruth, load_ground_truth
from dips.data.listing import some
from dips.data.predicted_classes import read_predicted_classes
from dips.data.problems import ProblemList, photo_problems
from dips.errors import ConfigError, DataError, ProtocolError
from dips.evaluate.accumulate import MapAccumulator
from dips.evaluate.protocol import find_protocol
from dips.evaluate.result import MapResult
from dips.predict.results import stored_maps
from dips.system.console import counted, log, track
from dips.system.environment import __version__, command_line, usable_cores
from dips.system.files import as_text, temporary_beside
from dips.types import Problem

__all__ = ["score_maps"]

_CHUNK = 32  # photos per task
_MAX_BAD_MAPS = 200  # maps that cannot be used, until it is clear that none can


def score_maps(
    maps: str | Path,
    data: str | Path,
    *,
    split: str = "test",
    protocol: str = "wsol-224",
    resize: bool = False,
    partial_maps: bool = False,
    tau_from: str | Path | None = None,
    predicted: str | Path | None = None,
    label_column: str = "",
    csv_path: str | Path | None = None,
    workers: int = 1,
    problems: str | Path | None = None,
) -> dict[str, Any]:
    """Score the maps of a split.

    Args:
        maps: a folder with a ``.npy``, ``.npz`` or ``.png`` per photo, or one ``.npz``; see :class:`MapFiles`. A folder that
            ``dips predict`` filled stands for the maps in it, which are resized.
        data: DATA, or WSOL metadata without photos (:func:`~dips.data.load_ground_truth`).
        split: of DATA.
        protocol: ``wsol-224`` or ``original-pixels``.
        resize: bring maps of other sizes to the frame, bilinearly, instead of refusing them.
        partial_maps: score the photos that have a map instead of refusing an incomplete set, and leave maps of other photos.
        tau_from: JSON that an earlier call, or ``dips evaluate``, wrote for the validation split: its thresholds are used, too,
            besides those that are best on this split.
        predicted: CSV of id and predicted classes, best first, as names or numbers; for Top-1 and Top-5 localization.
        label_column: name of the column of a CSV that holds the class; empty to find it.
        csv_path: where a line per photo is written.
        problems: a file for all problems of the ground truth, of which the first few are told.
        workers: processes; 0 = one per core. More than one needs ``if __name__ == "__main__":`` in a script of your own.

    Returns:
        What ``--json`` writes, :class:`~dips.benchmark.records.MapEvaluation`; see docs/metrics.md.

    Raises:
        DataError: maps or ground truth are missing or do not belong together.
        ProtocolError: a map is not what the protocol accepts; the first ones of all such maps are named.
        ConfigError: unknown protocol.
        RunError: a process ended, or the CSV cannot be written.
    """
    frame = find_protocol(protocol)
    if workers < 0:
        raise ConfigError(f"--workers is a number of processes, or 0 for one per core, not {workers}")
    if (stored := stored_maps(Path(maps))) is not None:
        maps, resize = stored, True
    told = ProblemList(problems)
    ground_truth = load_ground_truth(data, split=split, label_column=label_column)
    told.add([*ground_truth.problems, *photo_problems(ground_truth.root, {ground_truth.split: ground_truth})])
    photos = fingerprints(sample.path for sample in ground_truth)
    taus = {} if tau_from is None else read_validation_taus(Path(tau_from), frame, photos)
    files = MapFiles(maps, prefix=ground_truth.split)
    positions, unmatched = _positions(files, ground_truth, partial_maps)
    told.add(unmatched)
    ids = ground_truth.ids
    ranked = {} if predicted is None else read_predicted_classes(Path(predicted), ground_truth, [ids[i] for i in positions])
    starts = range(0, len(positions), _CHUNK)
    chunks = (_jobs(ground_truth, files, positions[start : start + _CHUNK], ranked) for start in starts)
    measure = partial(measure_jobs, files=files, protocol=frame, resize=resize)
    results = run_chunks(measure, chunks, min(workers or usable_cores(), len(starts)))
    with ExitStack() as stack:
        rows = None if csv_path is None else TemporaryRows(stack.enter_context(temporary_beside(Path(csv_path))))
        own, centre, engine = _count(track(results, "score", len(starts)), len(positions), rows)
        if rows is not None and csv_path is not None:
            write_rows(Path(csv_path), rows.at(taus.get("maps") or own.boxes.best_tau), classes=ground_truth.classes)
    methods = {
        "maps": MethodResult("the score maps that were given", own, taus.get("maps")),
        "centre": MethodResult(CENTRE_NOTE, centre, taus.get("centre")),
    }
    record = MapEvaluation(
        **shared_fields(methods, frame),
        maps=as_text(str(maps)),
        data=as_text(str(data)),
        split=ground_truth.split,
        photos=photos,
        n_truth=len(ground_truth),
        resized=resize,
        partial=partial_maps,
        problems=told.records(),
        validation_tau_from=None if tau_from is None else as_text(str(tau_from)),
        precision=UNSET if stored is None else _precision(stored.parent, files, ground_truth, positions) or UNSET,
        environment=_environment(engine),
    )
    return dict(msgspec.to_builtins(record))


def _count(chunks: Iterable[ChunkResult], total: int, rows: TemporaryRows | None) -> tuple[MapResult, MapResult, str]:
    """Return the numbers of the maps and of the centred Gaussian, and how boxes were found.

    Raises:
        ProtocolError: there are maps that cannot be used; very many of them end the count.
    """
    own, centre = MapAccumulator(replicates=REPLICATES), MapAccumulator(replicates=REPLICATES)
    errors: list[str] = []
    seen, engine = 0, ""
    for chunk in chunks:
        seen, engine = seen + len(chunk.photos) + len(chunk.errors), chunk.engine
        errors += chunk.errors
        for photo, gauss in zip(chunk.photos, chunk.centre, strict=True):
            own.boxes.count(photo)
            centre.boxes.count(gauss)
            if rows is not None:
                rows.add(photo)
        own.pixels.merge(chunk.pixels)
        centre.pixels.merge(chunk.centre_pixels)
        if len(errors) >= _MAX_BAD_MAPS:
            break
    if errors:
        of = f"of {total}" if seen == total else f"of the first {seen} of {total}"
        raise ProtocolError(f"{len(errors)} {of} score maps cannot be used: {some(errors, 3)}")
    if "numba" in engine:
        log(f"boxes were found by {engine}")
    return own.result(), centre.result(), engine


def _positions(files: MapFiles, ground_truth: SplitGroundTruth, partial_maps: bool) -> tuple[Sequence[int], list[Problem]]:
    """Return the positions of the photos that count, those with a map; and which maps and photos are left out.

    Raises:
        DataError: maps and photos are not the same ones, or no photo has anything to compare its map with.
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


def _precision(
    folder: Path, files: MapFiles, ground_truth: SplitGroundTruth, positions: Sequence[int]
) -> PrecisionRecord | None:
    """Return what the boxes of a prediction are worth with their classes."""
    photos = (ground_truth[position] for position in positions)
    return precision_of_folder(folder, ((photo, files.find(photo.id) or "") for photo in photos), ground_truth.classes)


def _jobs(
    ground_truth: SplitGroundTruth, files: MapFiles, positions: Sequence[int], ranked: Mapping[str, tuple[int, ...]]
) -> list[Job]:
    samples = [ground_truth[i] for i in positions]
    return [Job(sample, files.find(sample.id) or "", ranked.get(sample.id, ())) for sample in samples]


def _environment(engine: str) -> dict[str, Any]:
    return {
        "dips": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "boxes": engine,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "command": command_line(),
    }
