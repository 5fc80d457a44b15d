"""``dips score``: score existing maps of any method against a split's ground truth. No model, no torch.

In: maps on disk and DATA. Out: the numbers of the protocol, next to the centred Gaussian's. Maps are read and measured in
shards, by any number of processes, and counted here in order, so that the numbers do not depend on the processes.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from msgspec import UNSET

from dips.benchmark.map_shards import ScoreJob, bad_maps, count_part, measured_photos
from dips.benchmark.photo_rows import write_rows
from dips.benchmark.records import CENTRE_NOTE, REPLICATES, MapEvaluation, MethodResult, shared_fields
from dips.benchmark.score_inputs import ScoreInputs, ScoreRequest, read_inputs
from dips.data.problems import ProblemList
from dips.errors import ConfigError, RunError
from dips.evaluate.accumulate import MapAccumulator
from dips.evaluate.result import ImageRow, MapResult
from dips.shards.files import Files, LocalFiles, files_at
from dips.shards.launch import Crew, launch, planned
from dips.shards.merge import all_done, ending, part_lines
from dips.shards.plan import Plan, make_plan, read_plan, shard_size, work_of
from dips.shards.work import Shards
from dips.system.console import log
from dips.system.environment import __version__, command_line, usable_cores
from dips.system.files import require_writable
from dips.system.names import as_text
from dips.system.records import Record, parse_object, to_json

__all__ = ["SCORES", "merge_scores", "score_maps"]

SCORES = "scores.json"
"""The file written to ``--out``."""

_STEP = 32  # minimum number of photos per shard, so that work done once per shard takes no time


class _Typed(Record, frozen=True, kw_only=True):
    """Arguments that the result repeats as they were typed, and absolute paths of other outputs."""

    maps: str
    data: str
    tau_from: str | None
    csv: str | None


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
    out: str | Path | None = None,
    crew: Crew | None = None,
    problems: str | Path | None = None,
) -> dict[str, Any] | None:
    """Score the maps of a split.

    Args:
        maps: a folder with a ``.npy``, ``.npz`` or ``.png`` per photo, or one ``.npz``; see :class:`MapFiles`. For a folder
            written by ``dips predict``, the maps in it are used, and resized.
        data: DATA, or WSOL metadata without photos (:func:`~dips.data.load_ground_truth`).
        split: split of DATA.
        protocol: ``wsol-224`` or ``original-pixels``.
        resize: resize maps of other sizes to the frame, bilinearly, instead of refusing them.
        partial_maps: score the photos that have a map instead of refusing an incomplete set, and ignore maps of other photos.
        tau_from: JSON that an earlier call, or ``dips evaluate``, wrote for the validation split: its thresholds are used in
            addition to the best ones on this split.
        predicted: CSV of id and predicted classes, best first, as names or numbers; for Top-1 and Top-5 localization.
        label_column: name of the CSV column with the class; empty to detect it.
        csv_path: path for a CSV with a line per photo.
        out: a folder or URL for :data:`SCORES`, which also stores interrupted work and is shared by several machines.
        crew: the processes that do the work; by default this process. Workers 0 = one per core. More than one needs
            ``if __name__ == "__main__":`` in a script of your own.
        problems: a file for all problems of the ground truth, of which only the first few are logged.

    Returns:
        The output of ``--json``, :class:`~dips.benchmark.records.MapEvaluation`; see docs/metrics.md. None if this is one of
        several tasks: :func:`merge_scores` ends their work.

    Raises:
        DataError: maps or ground truth are missing or do not match.
        ProtocolError: maps are not what the protocol accepts; the first of them are named.
        ConfigError: the protocol is unknown, or ``out`` is missing although several machines work.
        RunError: ``out`` holds other work, a process died, or a file cannot be written.
    """
    crew = crew or Crew()
    if out is None and (crew.is_task or crew.engine == "ray"):
        needs = "--out, a folder or URL for what all of them have measured"
        if crew.source:
            raise ConfigError(f"{crew.source} is one of {crew.of} tasks, which need {needs}; --shard 1/1 does everything here")
        raise ConfigError(f"--shard and --engine ray need {needs}")
    request = ScoreRequest(
        maps=os.path.abspath(maps),
        data=os.path.abspath(data),
        split=split,
        protocol=protocol,
        resize=resize,
        partial=partial_maps,
        tau_from=None if tau_from is None else os.path.abspath(tau_from),
        predicted=None if predicted is None else os.path.abspath(predicted),
        label_column=label_column,
    )
    typed = _Typed(
        maps=as_text(str(maps)),
        data=as_text(str(data)),
        tau_from=None if tau_from is None else as_text(str(tau_from)),
        csv=None if csv_path is None else os.path.abspath(csv_path),
    )
    if csv_path is not None:
        require_writable(Path(csv_path))
    told = ProblemList(problems)
    with _work(out) as files:
        if out is not None and read_plan(files) is None and _scores(out) is not None:
            raise RunError(f"{out} holds {SCORES} already; nothing was changed. Choose another --out or remove it")
        inputs = read_inputs(request)
        told.add(inputs.problems)
        with planned(files, lambda: _plan(files, inputs, request, typed), crew) as plan:
            job = ScoreJob(inputs.files, inputs.protocol, inputs.resize, plan.items)
            if not plan.is_merged:
                launch(files, plan, job, crew)
        return None if crew.is_task else _merge(files, out, inputs, told, typed)


def merge_scores(out: str | Path, problems: str | Path | None = None) -> dict[str, Any]:
    """End the work of several tasks on ``out``, and return what :func:`score_maps` would have returned.

    Raises:
        RunError: the work is not done, or there is none.
        DipsError: as for :func:`score_maps`.
    """
    files = work_of(out)
    if (plan := read_plan(files)) is None:
        raise RunError(f"{out} holds no unfinished scores")
    identity = {name: value for name, value in plan.identity.items() if name != "work"}
    try:
        request, typed = msgspec.convert(identity, ScoreRequest), msgspec.convert(plan.context, _Typed)
    except msgspec.ValidationError as error:
        raise RunError(f"{files.place}/plan.json is damaged ({error}); remove the folder and repeat the command") from error
    inputs, told = read_inputs(request), ProblemList(problems)
    told.add(inputs.problems)
    return _merge(files, out, inputs, told, typed)


@contextmanager
def _work(out: str | Path | None) -> Iterator[Files]:
    """Yield the files of the work: below ``out``, or in a temporary folder if nothing is to be kept."""
    if out is not None:
        yield work_of(out)
        return
    with tempfile.TemporaryDirectory(prefix="dips-score-") as folder:
        yield LocalFiles(Path(folder), durable=False)


def _scores(out: str | Path) -> dict[str, Any] | None:
    """Return the scores in ``out``; None if it has none."""
    try:
        data = files_at(str(out)).read(SCORES)
    except FileNotFoundError:
        return None
    return parse_object(data, source=f"{out}/{SCORES}", remedy="remove it")


def _plan(files: Files, inputs: ScoreInputs, request: ScoreRequest, typed: _Typed) -> Plan:
    return make_plan(
        files,
        inputs.items,
        {"work": "score", **msgspec.to_builtins(request)},
        size=shard_size(len(inputs.positions), _STEP),
        step=_STEP,
        context=msgspec.to_builtins(typed),
        holds="scores",
        labels={"items": "other photos, maps or ground truth"},
    )


def _merge(files: Files, out: str | Path | None, inputs: ScoreInputs, told: ProblemList, typed: _Typed) -> dict[str, Any]:
    """Count the measurements, write the result, and end the work."""
    with ending(files) as plan:
        if plan.is_merged:
            return {} if out is None else _scores(out) or {}
        result = _count(Shards(files, plan), inputs, told, typed)
        if out is not None:
            files_at(str(out)).write(SCORES, (to_json(result, indent=2) + "\n").encode("utf-8", "backslashreplace"))
        return result


def _count(shards: Shards, inputs: ScoreInputs, told: ProblemList, typed: _Typed) -> dict[str, Any]:
    """Return the numbers of the maps and of the centred Gaussian.

    Raises:
        ProtocolError: some maps cannot be used; their shards are reset, to be done again once the maps are fixed.
    """
    own, centre = MapAccumulator(replicates=REPLICATES), MapAccumulator(replicates=REPLICATES)
    parts = list(all_done(shards))
    errors = [
        skipped.reason if done.part else f"{skipped.id}: {skipped.reason}" for _, done in parts for skipped in done.skipped
    ]
    if errors:
        for shard, done in parts:
            if done.skipped:
                shards.reopen(shard)
        raise bad_maps(errors, str(shards.plan.items))
    engine = ""
    for shard, done in parts:
        lines, source = part_lines(shards.files, shard, done), f"{shards.files.place}/parts/{done.part}"
        engine = count_part(lines, own, centre, source=source)
    if "numba" in engine:
        log(f"boxes were found by {engine}")
    results = own.result(), centre.result()
    if typed.csv is not None:
        tau = inputs.taus.get("maps") or results[0].boxes.best_tau

        def rows() -> Iterator[ImageRow]:
            for shard, done in parts:
                lines, source = part_lines(shards.files, shard, done), f"{shards.files.place}/parts/{done.part}"
                for photo in measured_photos(lines, source=source):
                    yield photo.row(tau)

        write_rows(Path(typed.csv), rows(), classes=inputs.ground_truth.classes)
    return _record(results, engine, inputs, told, typed)


def _record(results: Sequence[MapResult], engine: str, inputs: ScoreInputs, told: ProblemList, typed: _Typed) -> dict[str, Any]:
    own, centre = results
    methods = {
        "maps": MethodResult("the score maps that were given", own, inputs.taus.get("maps")),
        "centre": MethodResult(CENTRE_NOTE, centre, inputs.taus.get("centre")),
    }
    ground_truth = inputs.ground_truth
    record = MapEvaluation(
        **shared_fields(methods, inputs.protocol),
        maps=typed.maps,
        data=typed.data,
        split=ground_truth.split,
        photos=inputs.photos,
        n_truth=len(ground_truth),
        resized=inputs.resize,
        partial=inputs.request.partial,
        problems=told.records(),
        validation_tau_from=typed.tau_from,
        precision=inputs.precision() or UNSET,
        environment=_environment(engine),
    )
    return dict(msgspec.to_builtins(record))


def _environment(engine: str) -> dict[str, Any]:
    return {
        "dips": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "boxes": engine,
        "platform": platform.platform(),
        "cpus": usable_cores(),
        "command": command_line(),
    }
