"""From the finished shards of a prediction to the files that are about all photos, and the end of the work.

In: a folder whose photos are done, by whatever processes. Out: the same folder, complete; one record is in memory at a time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import msgspec
from msgspec import UNSET

from dips import formats
from dips.errors import DataError, RunError
from dips.formats.records import PredictionRecord, SkippedRecord, SkippedRecords
from dips.predict.plans import read_prediction_plan
from dips.predict.results import Found, read_records
from dips.shards.files import LocalFiles
from dips.shards.lease import Lease, take_alone
from dips.shards.merge import all_done, clear, part_lines
from dips.shards.plan import PLAN, WORK, read_items
from dips.shards.work import Shards
from dips.system.files import as_text, is_temporary
from dips.system.records import parse_record, read_record, write_json
from dips.types import Problem

__all__ = ["Filled", "merge_predictions"]

_SKIPPED = "skipped.json"


@dataclass(frozen=True)
class Filled:
    """What a folder was filled with.

    Attributes:
        found: what was found in the photos.
        skipped: photos that could not be read, or not be drawn on.
    """

    found: Found = field(default_factory=Found)
    skipped: list[Problem] = field(default_factory=list)


def merge_predictions(out: Path, tell: Callable[[Iterable[Problem]], None] = lambda problems: None) -> Filled:
    """Write the files that are about all photos, and return what was found; the folder is complete then.

    Args:
        tell: called with the photos that could not be read, or not be drawn on, also where there are no others.

    Raises:
        DataError: none of the photos could be read; no folder is left.
        RunError: photos are left to be done, another command is at it, a file cannot be written, or one of the work is damaged.
    """
    files = LocalFiles(out / WORK)
    lease = take_alone(files)
    try:
        plan = read_prediction_plan(files)
        if plan is None:
            raise RunError(f"{out} was completed by another command a moment ago; nothing is left to be done")
        if not plan.is_merged:
            shards = Shards(files, plan)
            skipped, records, results = _skipped(shards)
            tell(skipped)
            if not results:
                _give_up(files, lease, skipped)
            _tidy(out)
            failed = [msgspec.convert(record, SkippedRecord) for record in plan.context.get("failed", ())]
            filled = Filled(_write(out, shards, [*failed, *records]), skipped)
            clear(files, plan, lease)
            return filled
        clear(files, plan, lease)  # killed when only this was left
        return _read(out)
    finally:
        lease.give_back()


def _tidy(out: Path) -> None:
    """Remove what kills in the middle of writing left behind."""
    for top, folders, names in os.walk(out):
        if WORK in folders:
            folders.remove(WORK)
        for path in (Path(top, name) for name in names if name.startswith(".")):
            if is_temporary(path):
                path.unlink(missing_ok=True)


def _skipped(shards: Shards) -> tuple[list[Problem], list[SkippedRecord], int]:
    """Return the photos that were skipped, as problems and as records, and how many others there are."""
    problems, records, results = [], [], 0
    for shard, done in all_done(shards):
        results += done.results
        paths = {item.id: Path(item.uri) for item in read_items(shards.files, shard)} if done.skipped else {}
        for each in done.skipped:
            path, name = paths[each.id], UNSET if each.has_result else each.id
            problems.append(Problem(path, each.reason))
            records.append(SkippedRecord(path=as_text(path.as_posix()), reason=as_text(each.reason), name=name))
    return problems, records, results


def _write(out: Path, shards: Shards, skipped: list[SkippedRecord]) -> Found:
    found = Found()
    with ExitStack() as stack:
        failed = {record.name: record.reason for record in skipped if record.name}
        kinds = [name for name in shards.plan.identity["formats"] if name in formats.FORMATS]
        writers = [stack.enter_context(formats.open_format(name, out, failed)) for name in kinds]
        for record, stem in _records(shards):
            _count(found, record)
            for add in writers:
                add(record, stem)
    if skipped:
        write_json(out / _SKIPPED, SkippedRecords(skipped=tuple(skipped)), indent=1)
    return found


def _records(shards: Shards) -> Iterator[tuple[PredictionRecord, str]]:
    """Read the records one at a time, each with its stem.

    Raises:
        RunError: one is missing, of another photo, or damaged.
    """
    for shard, done in all_done(shards):
        without = {each.id for each in done.skipped if not each.has_result}
        items = (item for item in read_items(shards.files, shard) if item.id not in without)
        source, place = f"{shards.files.place}/parts/{done.part}", f"{shards.files.place}/done/{shard.name}"
        remedy = f"remove {place} and repeat the command that made it"
        for line in part_lines(shards.files, shard, done):
            record, item = parse_record(line, PredictionRecord, source=source, remedy=remedy), next(items, None)
            if item is None or record.name != item.id:
                raise RunError(f"{source} is damaged (it holds {record.name} in another place); {remedy}")
            yield record, item.stem
        if (left := next(items, None)) is not None:
            raise RunError(f"{source} is damaged (it lacks {left.id}); {remedy}")


def _read(out: Path) -> Filled:
    """Return what a complete folder was filled with."""
    filled = Filled()
    for _, record in read_records(out):
        _count(filled.found, record)
    if (out / _SKIPPED).is_file():
        skipped = read_record(out / _SKIPPED, SkippedRecords, remedy="remove it").skipped
        filled.skipped.extend(Problem(Path(record.path), record.reason) for record in skipped)
    return filled


def _count(found: Found, record: PredictionRecord) -> None:
    found.add(
        record.label,
        record.background,
        [box.certainty for box in record.boxes],
        record.name,
        reviewed=bool(record.reviewed),
        calibration=record.calibration or None,
    )


def _give_up(files: LocalFiles, lease: Lease, skipped: list[Problem]) -> NoReturn:
    """Remove the folder, which would be in the way of the next try; a file of another option in it keeps it."""
    lease.give_back()
    out = files.folder.parent
    if any(path.is_file() for path in out.rglob("*") if not path.is_relative_to(files.folder)):
        for folder in ("done", "parts", "split", "tries"):
            files.discard(folder)
    else:
        files.remove(PLAN)  # without it the rest is nothing
        shutil.rmtree(out, ignore_errors=True)
    first, count = skipped[0], len(skipped)
    which = "the only photo" if count == 1 else f"any of the {count} photos; the first"
    reason = first.message if str(first.path) in first.message else f"{first.path} {first.message}"
    raise DataError(f"nothing is predicted, as DiPS cannot read {which}: {reason}")
