"""Merge the finished shards of a prediction into the files that cover all photos, and end the work.

In: a folder whose photos are done, by any number of processes. Out: the same folder, complete; one record is in memory at a
time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import msgspec
from msgspec import UNSET

from dips import formats
from dips.errors import DataError, RunError
from dips.formats.records import PredictionRecord, SkippedRecord, SkippedRecords
from dips.predict.outbox import Outbox
from dips.predict.plans import read_prediction_plan
from dips.predict.results import Found, read_records
from dips.shards.files import Files, LocalFiles, files_at
from dips.shards.merge import all_done, ending, part_lines
from dips.shards.plan import PLAN, WORK, read_items, work_of
from dips.shards.stores import each_name, read_url
from dips.shards.work import Shards
from dips.system.files import is_temporary
from dips.system.names import as_text, scheme_of
from dips.system.records import parse_record, write_json
from dips.types import Problem

__all__ = ["Filled", "merge_predictions"]

_SKIPPED = "skipped.json"
_SENT = 500  # photos whose files are sent to a store together


@dataclass(frozen=True)
class Filled:
    """The results that a folder was filled with.

    Attributes:
        found: what was found in the photos.
        skipped: photos that could not be read or drawn on.
    """

    found: Found = field(default_factory=Found)
    skipped: list[Problem] = field(default_factory=list)


def merge_predictions(out: str | Path, tell: Callable[[Iterable[Problem]], None] = lambda problems: None) -> Filled:
    """Write the files that cover all photos, which completes the folder, and return what was found.

    Args:
        tell: called with the photos that could not be read or drawn on, even if there are no others.

    Raises:
        DataError: none of the photos could be read; the folder is removed.
        RunError: some photos are not done, another command is running, a file cannot be written, or a work file is damaged.
    """
    out = out if scheme_of(str(out)) else Path(out)
    files = work_of(out)
    try:
        with ending(files, read_prediction_plan) as plan:
            filled = None if plan.is_merged else _filled(out, Shards(files, plan), tell)
    except _NothingReadError as error:
        _give_up(out, files, error.skipped)
    return _read(out) if filled is None else filled


class _NothingReadError(Exception):
    def __init__(self, skipped: list[Problem]) -> None:
        self.skipped = skipped


def _filled(out: str | Path, shards: Shards, tell: Callable[[Iterable[Problem]], None]) -> Filled:
    """Fill a folder with the results of the shards."""
    skipped, records, results = _skipped(shards)
    tell(skipped)
    if not results:
        raise _NothingReadError(skipped)
    if isinstance(out, Path):
        _tidy(out)
    failed = [msgspec.convert(record, SkippedRecord) for record in shards.plan.context.get("failed", ())]
    return Filled(_write(out, shards, [*failed, *records]), skipped)


def _tidy(out: Path) -> None:
    """Remove temporary files left behind by processes that were killed while writing."""
    for top, folders, names in os.walk(out):
        if WORK in folders:
            folders.remove(WORK)
        for path in (Path(top, name) for name in names if name.startswith(".")):
            if is_temporary(path):
                path.unlink(missing_ok=True)


def _skipped(shards: Shards) -> tuple[list[Problem], list[SkippedRecord], int]:
    """Return the skipped photos, as problems and as records, and the number of results."""
    problems, records, results = [], [], 0
    for shard, done in all_done(shards):
        results += done.results
        uris = {item.id: item.uri for item in read_items(shards.files, shard)} if done.skipped else {}
        for each in done.skipped:
            uri, name = uris[each.id], UNSET if each.has_result else each.id
            problems.append(Problem(Path(uri), each.reason))
            path = uri if scheme_of(uri) else as_text(Path(uri).as_posix())
            records.append(SkippedRecord(path=path, reason=as_text(each.reason), name=name))
    return problems, records, results


def _write(out: str | Path, shards: Shards, skipped: list[SkippedRecord]) -> Found:
    found, outbox = Found(), Outbox(out)
    with ExitStack() as stack:
        failed = {record.name: record.reason for record in skipped if record.name}
        kinds = [name for name in shards.plan.identity["formats"] if name in formats.FORMATS]
        writers = [stack.enter_context(formats.open_format(name, outbox.folder, failed)) for name in kinds]
        for number, (record, stem) in enumerate(_records(shards), 1):
            _count(found, record)
            for add in writers:
                add(record, stem)
            if not number % _SENT:  # files of formats that write one per photo
                outbox.send()
    if skipped:
        write_json(outbox.folder / _SKIPPED, SkippedRecords(skipped=tuple(skipped)), indent=1)
    outbox.flush()
    return found


def _records(shards: Shards) -> Iterator[tuple[PredictionRecord, str]]:
    """Read the records one at a time, each with its stem.

    Raises:
        RunError: a record is missing, damaged, or belongs to another photo.
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


def _read(out: str | Path) -> Filled:
    """Return the results that a complete folder was filled with."""
    filled, files = Filled(), files_at(str(out))
    for record in (record for _, record in read_records(out)) if isinstance(out, Path) else _stored(out):
        _count(filled.found, record)
    with suppress(FileNotFoundError):
        skipped = parse_record(files.read(_SKIPPED), SkippedRecords, source=f"{out}/{_SKIPPED}", remedy="remove it").skipped
        filled.skipped.extend(Problem(Path(record.path), record.reason) for record in skipped)
    return filled


def _stored(url: str) -> Iterator[PredictionRecord]:
    for name in sorted(each_name(f"{url}/json")):
        source = f"{url}/json/{name}"
        yield parse_record(read_url(source), PredictionRecord, source=source, remedy="predict the photos again")


def _count(found: Found, record: PredictionRecord) -> None:
    found.add(
        record.label,
        record.background,
        [box.certainty for box in record.boxes],
        record.name,
        reviewed=bool(record.reviewed),
        calibration=record.calibration or None,
    )


def _give_up(out: str | Path, files: Files, skipped: list[Problem]) -> NoReturn:
    """Remove the folder, which would block the next try; if it holds a file of another option, remove only the work."""
    work = Path(out, WORK)
    if not isinstance(files, LocalFiles):
        files.remove(PLAN)
        files.discard("")
    elif any(path.is_file() for path in Path(out).rglob("*") if not path.is_relative_to(work)):
        for folder in ("done", "parts", "split", "tries"):
            files.discard(folder)
    else:
        files.remove(PLAN)  # without it the rest is meaningless
        shutil.rmtree(out, ignore_errors=True)
    first, count = skipped[0], len(skipped)
    which = "the only photo" if count == 1 else f"any of the {count} photos; the first"
    reason = first.message if str(first.path) in first.message else f"{first.path} {first.message}"
    raise DataError(f"nothing is predicted, as DiPS cannot read {which}: {reason}") from None
