"""``dips score``: ready score maps of any method against a split's truth, as one JSON-able result. No model, no torch.

In: maps on disk and DATA. Out: the numbers of the protocol, beside the centred Gaussian's. Maps are read and measured in
several processes and counted here in their order, so that the numbers do not depend on how many there are. What is kept of a
photo is its name and its truth, never its map.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dips.benchmark.mapfiles import MapFiles
from dips.benchmark.result_files import CENTRE_NOTE, REPLICATES, fingerprints, shared_photos, summary, write_rows
from dips.benchmark.temporary_rows import Spool
from dips.benchmark.workers import Counted, Job, measure_jobs, run_chunks
from dips.data.ground_truth import SplitGroundTruth, load_ground_truth
from dips.data.listing import some
from dips.data.predicted_classes import read_predicted_classes
from dips.errors import ConfigError, DataError, ProtocolError
from dips.evaluate.accumulate import MapAccumulator
from dips.evaluate.protocol import Protocol, find_protocol
from dips.evaluate.result import TAU_NAMES, MapResult
from dips.system.console import log, track
from dips.system.environment import __version__, command_line, usable_cores
from dips.system.files import temporary_beside

__all__ = ["score_maps"]

_CHUNK = 32  # photos per task
_ENOUGH = 200  # maps that cannot be used, until it is clear that none can


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
        data: DATA, or WSOL metadata without photos (:func:`~dips.data.load_ground_truth`).
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
    truth = load_ground_truth(data, split=split)
    photos = fingerprints(sample.path for sample in truth)
    taus = {} if tau_from is None else _taus(Path(tau_from), frame, photos)
    for problem in truth.problems:
        log(f"{problem.path}: {problem.message}")
    files = MapFiles(maps, prefix=truth.split)
    places, ids = _places(files, truth, partial_maps), truth.ids
    ranked = {} if predicted is None else read_predicted_classes(Path(predicted), truth, [ids[place] for place in places])
    starts = range(0, len(places), _CHUNK)
    chunks = (_jobs(truth, files, places[start : start + _CHUNK], ranked) for start in starts)
    measure = partial(measure_jobs, files=files, protocol=frame, resize=resize)
    parts = run_chunks(measure, chunks, min(workers or usable_cores(), len(starts)))
    with ExitStack() as stack:
        spool = None if csv_path is None else Spool(stack.enter_context(temporary_beside(Path(csv_path))))
        found, centre, engine = _count(track(parts, "score", len(starts)), len(places), spool)
        if spool is not None and csv_path is not None:
            write_rows(Path(csv_path), spool.rows(taus.get("maps") or found.boxes.best_tau), classes=truth.classes)
    return summary(("maps", "the score maps that were given", found), {"centre": (CENTRE_NOTE, centre)}, frame, taus) | {
        "maps": str(maps),
        "data": str(data),
        "split": truth.split,
        "photos": photos,
        "n_truth": len(truth),
        "resized": resize,
        "partial": partial_maps,
        "problems": [{"path": str(p.path), "why": p.message} for p in truth.problems],
        "validation_tau_from": None if tau_from is None else str(tau_from),
        "environment": _environment(engine),
    }


def _count(parts: Iterable[Counted], total: int, spool: Spool | None) -> tuple[MapResult, MapResult, str]:
    """The numbers of the maps and of the centred Gaussian, and how boxes were found.

    Raises:
        ProtocolError: there are maps that cannot be used; very many of them end the count.
    """
    result, centre = MapAccumulator(replicates=REPLICATES), MapAccumulator(replicates=REPLICATES)
    wrong: list[str] = []
    seen, engine = 0, ""
    for part in parts:
        seen, engine = seen + len(part.photos) + len(part.wrong), part.engine
        wrong += part.wrong
        for photo, gauss in zip(part.photos, part.centre, strict=True):
            result.boxes.count(photo)
            centre.boxes.count(gauss)
            if spool is not None:
                spool.add(photo)
        result.pixels.merge(part.pixels)
        centre.pixels.merge(part.centre_pixels)
        if len(wrong) >= _ENOUGH:
            break
    if wrong:
        told = (
            f"{len(wrong)} of {total} score maps"
            if seen == total
            else f"{len(wrong)} of the first {seen} of {total} score maps"
        )
        raise ProtocolError(f"{told} cannot be used: {some(wrong, 3)}")
    if "numba" in engine:
        log(f"boxes were found by {engine}")
    return result.result(), centre.result(), engine


def _places(files: MapFiles, truth: SplitGroundTruth, partial_maps: bool) -> Sequence[int]:
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
            f"{files.place} has {len(others)} maps of photos that {truth.root} does not list in this split, or second ones of "
            f"a photo: {some(others, 3)}; choose another --split, or leave them out with --partial"
        )
    if missing or others:
        log(f"partial: {len(missing)} photos have no map, {len(others)} maps belong to no photo; both are left out")
    places = [place for place, there in enumerate(has) if there] if missing else range(len(truth))
    photos = (truth[place] for place in places)
    if not any(photo.masks or (photo.boxes is not None and len(photo.boxes)) for photo in photos):
        raise DataError(
            f"{truth.root}: of {count} photos with a map none has true boxes or a true mask; give DATA, or a --split, "
            "that has them"
        )
    return places


def _jobs(truth: SplitGroundTruth, files: MapFiles, places: Sequence[int], ranked: Mapping[str, tuple[int, ...]]) -> list[Job]:
    samples = [truth[place] for place in places]
    return [Job(sample, files.find(sample.id) or "", ranked.get(sample.id, ())) for sample in samples]


def _taus(path: Path, protocol: Protocol, photos: str) -> dict[str, dict[str, float]]:
    """``best_tau`` of an evaluation's JSON: of the method itself, and of the centred Gaussian if it is there.

    Raises:
        DataError: the file has none, was made by another protocol, or with some of the ``photos`` that are scored now.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        centre = record.get("baselines", {}).get("centre", {}).get("best_tau")
        taus = {"maps": _thresholds(record["best_tau"]), **({"centre": _thresholds(centre)} if centre else {})}
        common = shared_photos(record.get("photos", ""), photos)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} holds no thresholds ({error}); give the JSON that 'dips score' or 'dips evaluate' wrote for the "
            "validation split"
        ) from error
    if (made := record.get("protocol_name", protocol.name)) != protocol.name:
        raise DataError(f"{path} holds thresholds of the protocol {made}, not of {protocol.name}; score both splits by one")
    if common:
        raise DataError(
            f"{path} was made with {common} of the photos that are scored now, so its thresholds are no validation; score "
            "another split"
        )
    return taus


def _thresholds(found: Mapping[str, Any]) -> dict[str, float]:
    tau = {name: float(found[name]) for name in TAU_NAMES}
    if not all(0 <= value <= 1 for value in tau.values()):
        raise ValueError("a threshold lies between 0 and 1")
    return tau


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
