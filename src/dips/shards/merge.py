"""Merge finished shards into one result: their parts, concatenated in the order of the plan, and the end of the work."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dips.errors import RunError
from dips.shards.files import Files
from dips.shards.lease import Lease, take_alone
from dips.shards.plan import PLAN, Plan, Shard, mark_merged, read_plan
from dips.shards.work import Done, Shards, Skipped
from dips.system.console import counted

__all__ = ["all_done", "clear", "ending", "part_lines", "results", "skipped"]

_FOLDERS = ("tries", "split", "parts", "done", "lists")


def all_done(shards: Shards) -> Iterator[tuple[Shard, Done]]:
    """Yield all shards with their markers, in the items' order.

    Raises:
        RunError: some are not done, or a marker is damaged.
    """
    if left := shards.todo():
        lists = sorted({shard.number for shard in left})
        items = sum(len(shard) for shard in left)
        some = ", ".join(map(str, lists[:10])) + (" ..." if len(lists) > 10 else "")
        raise RunError(
            f"{shards.files.place} is unfinished: {items} of {counted(shards.plan.items, 'photo')} are not done, in "
            f"{'the shards' if len(lists) > 1 else 'shard'} {some}; repeat the command that was to do them"
        )
    for shard in shards.leaves():
        done = shards.done(shard)
        if done is None:
            raise RunError(f"{shards.files.place}/done/{shard.name} went while it was read; repeat the command")
        yield shard, done


def part_lines(files: Files, shard: Shard, done: Done) -> Iterator[bytes]:
    """Yield the lines of a shard's part, each with its line ending.

    Raises:
        RunError: the part is missing or damaged; lines already yielded must not be trusted.
    """
    digest = hashlib.sha256()
    remedy = f"remove {files.place}/done/{shard.name} and repeat the command that made it"
    try:
        for line in files.lines(f"parts/{done.part}") if done.part else ():
            digest.update(line)
            yield line
    except FileNotFoundError as error:
        raise RunError(f"{files.place}/parts/{done.part} is missing; {remedy}") from error
    if done.part and digest.hexdigest() != done.sha256:
        raise RunError(f"{files.place}/parts/{done.part} is damaged; {remedy}")


def results(shards: Shards) -> Iterator[bytes]:
    """Yield the lines of all parts, in the items' order; at most one is in memory.

    Raises:
        RunError: see :func:`all_done` and :func:`part_lines`.
    """
    for shard, done in all_done(shards):
        yield from part_lines(shards.files, shard, done)


def skipped(shards: Shards) -> Iterator[Skipped]:
    """Yield the skipped items, in order."""
    for _, done in all_done(shards):
        yield from done.skipped


@contextmanager
def ending(files: Files, read: Callable[[Files], Plan | None] = read_plan) -> Iterator[Plan]:
    """Yield the plan of finished work to the block that writes its results, then remove all files of the work.

    If the block fails, everything stays as it is. If ``is_merged``, an earlier block completed, but was killed before cleanup.

    Args:
        read: reads the plan.

    Raises:
        RunError: another command is running, or the plan no longer exists.
    """
    lease = take_alone(files)
    try:
        if (plan := read(files)) is None:
            raise RunError(
                f"{files.place} was completed or removed by another command a moment ago; nothing is left to be done"
            )
        yield plan
        clear(files, plan, lease)
    finally:
        lease.give_back()


def clear(files: Files, plan: Plan, lease: Lease) -> None:
    """Remove the files of the work, once its results are written, and release its lease; a kill meanwhile leaves a plan marked
    as merged, and the next call continues."""
    mark_merged(files, plan)
    for folder in _FOLDERS:
        files.discard(folder)
    lease.give_back()
    files.discard("driver")  # left by killed commands
    files.remove(PLAN)
