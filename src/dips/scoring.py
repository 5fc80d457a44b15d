"""``dips score``: ready score maps of any method against a split's truth, as one JSON-able result. No model, no torch.

In: maps on disk and DATA. Out: the numbers of the protocol, beside the centred Gaussian's. Maps are read and measured in
several processes and counted here in their order, so that the numbers do not depend on how many there are. What is kept of a
photo is its name and its truth, never its map.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import dips
from dips.data.listing import some
from dips.data.predicted import read_predicted
from dips.data.truth import Truth, load_truth
from dips.errors import ConfigError, DataError, ProtocolError
from dips.evaluate.accumulate import MapAccumulator
from dips.evaluate.mapfiles import MapFiles
from dips.evaluate.protocol import Protocol, find_protocol
from dips.evaluate.record import CENTRE_NOTE, REPLICATES, baseline, summary, write_rows
from dips.evaluate.result import MapResult
from dips.evaluate.spool import Spool
from dips.evaluate.workers import Job, measure_jobs, spread
from dips.runtime import atomic_file, log, track

__all__ = ["score_maps", "write_json"]

_CHUNK = 32  # photos per task


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
    csv_path: str | Path | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Score the maps of a split.

    Args:
        maps: a folder with a ``.npy``, ``.npz`` or ``.png`` per photo, or one ``.npz``; see :class:`MapFiles`.
        data: DATA, or WSOL metadata without photos (:func:`~dips.data.load_truth`).
        split: of DATA.
        protocol: ``wsol-224`` or ``original-pixels``.
        resize: bring maps of other sizes to the frame, bilinearly, instead of refusing them.
        partial_maps: score the photos that have a map instead of refusing an incomplete set, and leave maps of other photos.
        tau_from: JSON that an earlier call, or ``dips evaluate``, wrote for the validation split: its thresholds are used
            beside those that are best on this split.
        predicted: CSV of id and predicted classes, best first, as names or numbers; for Top-1 and Top-5 localization.
        csv_path: where a line per photo is written.
        workers: processes; 0 = one per core. More than one needs ``if __name__ == "__main__":`` in a script of your own.

    Returns:
        what ``--json`` writes; see docs/metrics.md.

    Raises:
        DataError: maps or truth are missing or do not belong together.
        ProtocolError: a map is not what the protocol accepts; the first ones of all such maps are named.
        ConfigError: unknown protocol.
        RunError: a process ended, or the CSV cannot be written.
    """
    frame = find_protocol(protocol)
    if workers < 0:
        raise ConfigError(f"--workers is a number of processes, or 0 for one per core, not {workers}")
    truth = load_truth(data, split=split)
    tau = None if tau_from is None else _best_tau(Path(tau_from), frame, (str(data), truth.split))
    for problem in truth.problems:
        log(f"{problem.path}: {problem.message}")
    files = MapFiles(maps)
    places, ids = _places(files, truth, partial_maps), truth.ids
    said = {} if predicted is None else read_predicted(Path(predicted), truth, [ids[place] for place in places])
    starts = range(0, len(places), _CHUNK)
    chunks = (_jobs(truth, files, places[start : start + _CHUNK], said) for start in starts)
    result, centre = MapAccumulator(replicates=REPLICATES), MapAccumulator(replicates=REPLICATES)
    wrong: list[str] = []
    with ExitStack() as stack:
        spool = None if csv_path is None else Spool(stack.enter_context(tempfile.TemporaryFile()))
        measure = partial(measure_jobs, files=files, protocol=frame, resize=resize)
        parts = spread(measure, chunks, min(workers or os.cpu_count() or 1, len(starts)))
        for done in track(parts, "score", len(starts)):
            wrong += done.wrong
            for photo, gauss in zip(done.photos, done.centre, strict=True):
                result.boxes.count(photo)
                centre.boxes.count(gauss)
                if spool is not None:
                    spool.add(photo)
            result.masks.merge(done.masks)
            result.regions.merge(done.regions)
        if wrong:
            raise ProtocolError(f"{len(wrong)} of {len(places)} score maps cannot be used: {some(wrong, 3)}")
        found = result.result()
        if spool is not None and csv_path is not None:
            at = (tau or found.boxes.best_tau)["50"] if found.boxes.n_boxes else 0.0
            place = int(np.abs(found.boxes.taus - at).argmin())
            write_rows(Path(csv_path), spool.rows(place), tau=at, classes=truth.classes)
    return _record(found, centre.result(), frame, tau) | {
        "maps": str(maps),
        "data": str(data),
        "split": truth.split,
        "n_truth": len(truth),
        "validation_tau_from": None if tau_from is None else str(tau_from),
        "environment": _environment(),
    }


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result, whole or not at all.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_file(path) as file:
        json.dump(result, file, indent=2)


def _places(files: MapFiles, truth: Truth, partial_maps: bool) -> Sequence[int]:
    """The places of the photos that count: those with a map.

    Raises:
        DataError: maps and photos are not the same ones, or no photo has anything to compare its map with.
    """
    ids, has = truth.ids, files.match(truth.ids)
    count = sum(has)
    if not count:
        first = ids[0] if len(truth) else ""
        raise DataError(
            f"no map in {files.place} belongs to a photo of the split '{truth.split}'; the map of its first photo would "
            f"be called {first}.npy"
        )
    missing = [id for id, there in zip(ids, has, strict=True) if not there]
    if missing and not partial_maps:
        raise DataError(
            f"{files.place} has no map for {len(missing)} of {len(truth)} photos: {some(missing, 3)}; make them, or score the "
            "others alone with --partial, which gives numbers that compare with no others"
        )
    others = files.others(ids) if sum(1 for _ in files.names()) > count else []
    if others and not partial_maps:
        raise DataError(
            f"{files.place} has {len(others)} maps of photos that {truth.root} does not list in this split: {some(others, 3)}; "
            "choose another --split, or leave them out with --partial"
        )
    if missing or others:
        log(f"partial: {len(missing)} photos have no map, {len(others)} maps belong to no photo; both are left out")
    places = [place for place, there in enumerate(has) if there] if missing else range(len(truth))
    photos = (truth.samples[place] for place in places)
    if not any(photo.masks or (photo.boxes is not None and len(photo.boxes)) for photo in photos):
        raise DataError(
            f"{truth.root}: of {count} photos with a map none has true boxes or a true mask; give DATA, or a --split, "
            "that has them"
        )
    return places


def _jobs(truth: Truth, files: MapFiles, places: Sequence[int], said: Mapping[str, tuple[int, ...]]) -> list[Job]:
    samples = [truth.samples[place] for place in places]
    return [Job(sample, files.find(sample.id) or "", said.get(sample.id, ())) for sample in samples]


def _record(found: MapResult, centre: MapResult, protocol: Protocol, tau: Mapping[str, float] | None) -> dict[str, Any]:
    record = found.record(tau)
    curves = record["boxes"].get("curves")
    return {
        **summary(found, protocol),
        "at_validation_tau": record["at_tau"],
        "baselines": {"centre": baseline(centre)},
        "curves": curves,
        "activations": record["activations"],
        "dissection": record["dissection"],
        "methods": [
            {"name": "maps", "own": True, "note": "the score maps that were given", **record},
            {"name": "centre", "own": False, "note": CENTRE_NOTE, **centre.record(None)},
        ],
    }


def _best_tau(path: Path, protocol: Protocol, scored: tuple[str, str]) -> dict[str, float]:
    """``best_tau`` of an evaluation's JSON.

    Raises:
        DataError: the file has none, was made by another protocol, or on the very split of the data that is ``scored`` now.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        tau = {name: float(record["best_tau"][name]) for name in ("v1", "30", "50", "70")}
        if not all(0 <= value <= 1 for value in tau.values()):
            raise ValueError("a threshold lies between 0 and 1")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{path} holds no thresholds ({error}); give the JSON that 'dips score' or 'dips evaluate' wrote for the "
            "validation split"
        ) from error
    if (made := record.get("protocol_name", protocol.name)) != protocol.name:
        raise DataError(f"{path} holds thresholds of the protocol {made}, not of {protocol.name}; score both splits by one")
    if (record.get("data"), record.get("split")) == scored:
        raise DataError(
            f"{path} was made on the split '{scored[1]}' itself, so its thresholds are no validation; score another split"
        )
    return tau


def _environment() -> dict[str, Any]:
    try:
        numba = version("numba")
    except PackageNotFoundError:
        numba = "missing: the slow way was taken"
    return {
        "dips": dips.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "numba": numba,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "command": " ".join(sys.argv),
    }
