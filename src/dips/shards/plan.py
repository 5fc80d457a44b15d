"""The plan: which items there are, and which shard each belongs to. It determines everything else, whoever does the work.

In: items in order, one at a time. Out, below the folder of the work::

    plan.json           what identifies the work, and how it is split; written last
    lists/00017.jsonl   the items of a shard: id, location, name of the results, and other data that the work needs
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from dips.errors import RunError
from dips.shards.files import Files, files_at
from dips.system.journal import differences, refuse_other_work
from dips.system.records import Record, parse_record, to_json

__all__ = ["PLAN", "WORK", "Item", "Plan", "Shard", "make_plan", "mark_merged", "read_items", "read_plan", "shard_size"]
__all__ += ["work_of"]

WORK = ".unfinished"
"""The folder of the work, inside that of its results; exists until everything is written."""

PLAN = "plan.json"
"""The plan's file; exists until everything is written."""

_LARGE, _MANY, _PIECES = 1000, 64, 10
_STATE = ("tries", "split", "parts", "done")
_REMEDY = "choose another --out or remove it"


class Item(NamedTuple):
    """A unit of work.

    Attributes:
        id: its unique name.
        uri: its location.
        stem: the name of its results, without suffix.
        more: additional JSON that the work needs for it.
    """

    id: str
    uri: str
    stem: str = ""
    more: Any = None


@dataclass(frozen=True, slots=True)
class Shard:
    """Items that one worker processes at a time: a list of the plan, or a piece of one.

    Attributes:
        number: index of the list, from 0.
        length: number of items in the list.
        start, stop: range of the list's items in this shard.

    >>> shard = Shard(17, 100, 0, 100)
    >>> shard.name, [piece.name for piece in shard.pieces(8)][:2]
    ('00017', ['00017.0-16', '00017.16-32'])
    """

    number: int
    length: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def name(self) -> str:
        """The name used for its files."""
        return self.list_name if len(self) == self.length else f"{self.list_name}.{self.start}-{self.stop}"

    @property
    def list_name(self) -> str:
        """The name of the whole list."""
        return f"{self.number:05d}"

    def pieces(self, step: int) -> list[Shard]:
        """Split the shard into about ten pieces, between groups of ``step`` items if it has more than one group."""
        unit = step if len(self) > step else 1
        units = -(-len(self) // unit)
        size = unit * -(-units // _PIECES)
        return [
            Shard(self.number, self.length, start, min(start + size, self.stop)) for start in range(self.start, self.stop, size)
        ]


class Plan(Record, frozen=True, kw_only=True):
    """The contents of ``plan.json``.

    Attributes:
        identity: JSON that identifies the work, besides its items.
        items: number of items.
        size: number of items per shard; the last one has the rest.
        step: number of items processed together; they are not separated, except to find one that kills.
        sha256: hash of all lists.
        context: JSON derived from all items together that each worker needs.
        is_merged: whether all results are written, and only files of the work remain to be removed.
    """

    schema_version: int = 1
    identity: dict[str, Any]
    items: int
    size: int
    step: int
    sha256: str
    context: dict[str, Any] = msgspec.field(default_factory=dict)
    is_merged: bool = False

    def __post_init__(self) -> None:
        """Check what types cannot express.

        Raises:
            ValueError: a number is out of range.
        """
        if self.items < 0 or self.step < 1 or self.size < 1:
            raise ValueError("it has numbers that no plan has")

    def shards(self) -> Iterator[Shard]:
        """Yield the shards in order."""
        for number, start in enumerate(range(0, self.items, self.size)):
            length = min(self.size, self.items - start)
            yield Shard(number, length, 0, length)


def shard_size(count: int, step: int = 1) -> int:
    """Return the number of items per shard: a thousand, or if ``count`` is small, so many that there are about 64 shards.

    It is a multiple of ``step``, and does not depend on the number of workers.

    >>> shard_size(1_000_000, 8), shard_size(5000, 8), shard_size(10, 8)
    (1000, 80, 8)
    """
    wanted = min(_LARGE, -(-count // _MANY))
    return step * max(1, -(-wanted // step))


def work_of(out: str | Path) -> Files:
    """Return the files of the work whose results are in a folder, or below a URL.

    Raises:
        RunError: a place of this kind is read-only.
    """
    return files_at(f"{str(out).rstrip('/')}/{WORK}")


def read_plan(files: Files, remedy: str = _REMEDY) -> Plan | None:
    """Return the plan, or None if there is none.

    Args:
        remedy: what to do about a damaged plan.

    Raises:
        RunError: the plan is damaged.
    """
    try:
        data = files.read(PLAN)
    except FileNotFoundError:
        return None
    return parse_record(data, Plan, source=f"{files.place}/{PLAN}", remedy=remedy)


def make_plan(
    files: Files,
    items: Callable[[], Iterable[Item]],
    identity: Mapping[str, Any],
    *,
    size: int,
    step: int = 1,
    context: Mapping[str, Any] | None = None,
    holds: str = "interrupted work",
    labels: Mapping[str, str] | None = None,
    remedy: str = _REMEDY,
) -> Plan:
    """Write the plan, or check that an existing one is the same. The caller must hold the lease of the work.

    Args:
        items: returns the items in order; they are not kept in memory.
        identity: JSON that identifies the work.
        size, step: number of items per shard, and number processed together, see :func:`shard_size`.
        context: see :class:`Plan`; not compared.
        holds, labels, remedy: as for :class:`~dips.system.journal.Claim`; ``items`` in ``labels`` is the label of the items.

    Raises:
        RunError: the plan belongs to other work, or cannot be written.
    """
    labels = {"items": "other items", **(labels or {})}
    if (before := read_plan(files, remedy)) is not None:
        changed = differences(before.identity, identity, labels)
        if not changed:  # only then go through the items
            changed = differences({"items": [before.items, before.sha256]}, {"items": _digest(items())}, labels)
        refuse_other_work(files.place, holds, changed, remedy=remedy)
        return before
    for folder in _STATE:
        files.discard(folder)  # left by abandoned work
        if files.names(folder):  # discard may ignore errors
            raise RunError(f"{files.place}/{folder} of earlier work cannot be removed; allow it, or {remedy}")
    digest, count, remaining = hashlib.sha256(), 0, iter(items())
    while group := list(islice(remaining, size)):
        data = b"".join(map(_line, group))
        digest.update(data)
        files.write(f"lists/{count // size:05d}.jsonl", data)
        count += len(group)
    plan = Plan(
        identity=dict(identity),
        items=count,
        size=size,
        step=step,
        sha256=digest.hexdigest(),
        context=dict(context or {}),
    )
    if not files.create(PLAN, _plan_bytes(plan)):
        raise RunError(f"{files.place} was planned by another command at the same time; repeat this one")
    return plan


def mark_merged(files: Files, plan: Plan) -> None:
    """Record that all results are written."""
    files.write(PLAN, _plan_bytes(replace(plan, is_merged=True)))


def read_items(files: Files, shard: Shard) -> list[Item]:
    """Return the items of a shard.

    Raises:
        RunError: the list is missing or damaged.
    """
    name = f"lists/{shard.list_name}.jsonl"
    try:
        items = [Item(*json.loads(line)) for line in islice(files.lines(name), shard.start, shard.stop)]
        if leaving := [item.stem for item in items if os.path.isabs(item.stem) or ".." in re.split(r"[/\\]", item.stem)]:
            raise ValueError(f"{leaving[0]} leaves the folder of the results")
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{files.place}/{name} is damaged ({error}); {_REMEDY}") from error
    if len(items) != len(shard):
        raise RunError(f"{files.place}/{name} is damaged (it lacks items); {_REMEDY}")
    return items


def _plan_bytes(plan: Plan) -> bytes:
    return (to_json(plan, indent=1) + "\n").encode("utf-8", "backslashreplace")


def _digest(items: Iterable[Item]) -> list[int | str]:
    digest, count = hashlib.sha256(), 0
    for item in items:
        digest.update(_line(item))
        count += 1
    return [count, digest.hexdigest()]


def _line(item: Item) -> bytes:
    return json.dumps(item if item.more is not None else item[:-1]).encode() + b"\n"
