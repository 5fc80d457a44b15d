"""Work through the shards of a plan: attempts, parts and done-markers, and shards that kill the processes working on them.

In: a plan, and a function that produces the results of a shard's items. Out, below the folder of the work::

    tries/00017~2         an attempt: the process that works on the shard, or died of it; removed when the attempt ends
    parts/00017~2         the results of a completed attempt
    done/00017            the marker: which part counts, how many items, which were skipped and why; the first one wins
    split/00017           three attempts died: the shard's pieces are processed instead; a single item is then skipped

A kill between any two of these steps loses no finished shard and causes nothing to be counted twice.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Protocol

from dips.errors import DipsError, RunError
from dips.shards.files import Files
from dips.shards.lease import BEAT_SECONDS, Holder, Lease, Watch, this_process
from dips.shards.plan import Plan, Shard, read_items
from dips.system.console import counted
from dips.system.records import Record, parse_record, to_json

__all__ = ["MOST_DEATHS", "Attempt", "Done", "Job", "Shards", "Skipped", "Work", "work_through", "work_to_the_end"]

MOST_DEATHS = 3
_FAILURES_IN_A_ROW = 3  # of different shards: the items are then not to blame
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0  # seconds until the progress of others is checked again


class Skipped(Record, frozen=True):
    """An item without a result, and the reason.

    Attributes:
        has_result: the item does have a result, which precedes this; only a part of its output is missing.
    """

    id: str
    reason: str
    has_result: bool = False


class Done(Record, frozen=True, kw_only=True):
    """The contents of the marker of a finished shard.

    Attributes:
        part: the name of its results in ``parts/``; empty if it has none.
        sha256, size: hash of the part, and its size in bytes.
        items, results: number of items in the shard, and number of results.
        skipped: skipped items, in the items' order.
    """

    schema_version: int = 1
    part: str
    sha256: str
    size: int
    items: int
    results: int
    skipped: tuple[Skipped, ...] = ()


class Shards:
    """The shards of a plan, from the point of view of one worker.

    Args:
        me: the worker; default: this process.
        watch: tells whether other workers are alive.
        beat_seconds: see :meth:`Lease.take`.
    """

    def __init__(
        self,
        files: Files,
        plan: Plan,
        *,
        me: Holder | None = None,
        watch: Watch | None = None,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self.files, self.plan = files, plan
        self._me, self._watch, self._beat_seconds = me or this_process(), watch or Watch(), beat_seconds

    def todo(self, turn: int = 0, of: int = 1) -> list[Shard]:
        """Return the shards without a marker, in order.

        Args:
            turn, of: only every ``of``-th list, starting with list ``turn``, counted from 0.
        """
        done = set(self.files.names("done"))
        return [shard for shard in self.leaves() if shard.number % of == turn and shard.name not in done]

    def leaves(self) -> Iterator[Shard]:
        """Yield the shards that will have a marker, in the items' order: split shards are replaced by their pieces."""
        split = set(self.files.names("split"))

        def below(shard: Shard) -> Iterator[Shard]:
            if shard.name not in split:
                yield shard
                return
            for piece in shard.pieces(self.plan.step):
                yield from below(piece)

        for shard in self.plan.shards():
            yield from below(shard)

    def done(self, shard: Shard) -> Done | None:
        """Return the marker of a shard, or None if there is none.

        Raises:
            RunError: the marker is damaged.
        """
        name = f"done/{shard.name}"
        try:
            data = self.files.read(name)
        except FileNotFoundError:
            return None
        remedy = "remove it and repeat the command"
        return parse_record(data, Done, source=f"{self.files.place}/{name}", remedy=remedy)

    def begin(self, shard: Shard) -> Attempt | None:
        """Start an attempt at a shard.

        Returns:
            None if it is done, another worker is on it, or it has killed too many: its pieces are then processed instead.
        """
        if self.done(shard) is not None:
            return None
        taken = Lease.take(
            self.files,
            f"tries/{shard.name}",
            self._me,
            self._watch,
            most=MOST_DEATHS,
            beat_seconds=self._beat_seconds,
        )
        if isinstance(taken, Lease):
            return Attempt(self, shard, taken)
        if taken is not None:
            self._give_up(shard, taken)
        return None

    def reopen(self, shard: Shard) -> None:
        """Reset a finished shard so that it is done again, with no deaths on record, after its inputs were repaired."""
        self.files.remove(f"done/{shard.name}")
        for number in Lease.numbers(self.files, f"tries/{shard.name}"):
            self.files.remove(f"tries/{shard.name}~{number}")

    def free(self) -> None:
        """Release the attempts of this worker, without counting them as deaths."""
        Lease.free(self.files, "tries", self._me.session)

    def _give_up(self, shard: Shard, dead: list[Holder]) -> None:
        if len(shard) > 1:
            self.files.create(f"split/{shard.name}", b"")
            return
        item = read_items(self.files, shard)[0]
        reasons = list(dict.fromkeys(holder.failed for holder in dead if holder.failed))
        words = f"it ended {counted(len(dead), 'process')} that worked on it{': ' if reasons else ''}{'; '.join(reasons)}"
        done = Done(part="", sha256="", size=0, items=1, results=0, skipped=(Skipped(item.id, words),))
        self.files.create(f"done/{shard.name}", _bytes(done))


class Attempt:
    """An attempt at a shard; as a context manager it is released, or failed, on exit. A DipsError is not the shard's fault.

    Attributes:
        shard, items: the shard and its items.
        is_first: whether no earlier attempt died.
    """

    def __init__(self, shards: Shards, shard: Shard, lease: Lease) -> None:
        self.shard, self.is_first = shard, lease.number == 1
        self._files, self._lease = shards.files, lease
        try:
            self.items = read_items(self._files, shard)
        except BaseException:
            lease.give_back()
            raise

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, Exception) and not isinstance(error, DipsError):
            self._lease.fail(_words(error))
        else:
            self._lease.give_back()

    def commit(self, results: Iterable[bytes | Skipped]) -> bool:
        """Write the part, then the marker.

        Args:
            results: results of the items, in order; they are computed while they are written.

        Returns:
            False if another attempt was faster, or took this one for dead: its results are then discarded.
        """
        part, digest = f"{self.shard.name}~{self._lease.number}", hashlib.sha256()
        skipped: list[Skipped] = []
        size = count = 0

        def written() -> Iterator[bytes]:
            nonlocal size, count
            for result in results:
                if self._lease.is_lost:
                    raise _LostError
                if isinstance(result, Skipped):
                    skipped.append(result)
                    continue
                digest.update(result)
                size, count = size + len(result), count + 1
                yield result

        try:
            self._files.write(f"parts/{part}", written())
        except _LostError:
            return False
        done = Done(
            part=part,
            sha256=digest.hexdigest(),
            size=size,
            items=len(self.items),
            results=count,
            skipped=tuple(skipped),
        )
        return self._files.create(f"done/{self.shard.name}", _bytes(done))


Work = Callable[[Attempt], Iterable[bytes | Skipped]]
"""Produces the results of a shard's items, in order: bytes for its part, or the reason why an item was skipped."""


class Job(Protocol):
    """The work to do on the items of a shard. It can be pickled, as it only describes how to prepare the work."""

    def open(self) -> Work:
        """Return the function that produces results; called once in each worker process, so that a model is loaded once."""


def work_through(shards: Shards, work: Work, *, turn: int = 0, of: int = 1, first: int = 0) -> list[Shard]:
    """Work on shards until none is left that this worker may start.

    Args:
        turn, of: see :meth:`Shards.todo`.
        first: index of the first shard to try, so that workers that start together do not collide.

    Returns:
        the shards that others are working on, or died of a moment ago; empty if all is done.

    Raises:
        DipsError: an error raised by the work; the shard is released first.
        RunError: several shards failed in a row at the first attempt; the next call tries the remaining ones again.
    """
    failed: list[Shard] = []
    before: list[Shard] = []
    while (todo := shards.todo(turn, of)) != before:
        before = todo
        middle = first % len(todo) if todo else 0
        for shard in [*todo[middle:], *todo[:middle]]:
            attempt = shards.begin(shard)
            if attempt is None:
                continue
            before = []
            try:
                with attempt:
                    attempt.commit(work(attempt))
                failed.clear()
            except DipsError:
                raise
            except Exception as error:
                if attempt.is_first:  # a retried one failed before, and others have succeeded since
                    failed.append(shard)
                if len(failed) >= _FAILURES_IN_A_ROW:
                    raise RunError(f"{len(failed)} parts of the work failed, one after the other: {_words(error)}") from error
    return todo


def work_to_the_end(
    shards: Shards,
    work: Work,
    *,
    turn: int = 0,
    of: int = 1,
    first: int = 0,
    waiting: Callable[[list[Shard]], None] = lambda left: None,
) -> None:
    """Work on shards until all are done: wait for those that others are working on, and take over if they die.

    Args:
        turn, of, first: see :func:`work_through`.
        waiting: called before each pause with the shards that others are working on.

    Raises:
        DipsError: as for :func:`work_through`.
        KeyboardInterrupt: shards in progress are released first.
    """
    pause = _FIRST_PAUSE
    try:
        while left := work_through(shards, work, turn=turn, of=of, first=first):
            waiting(left)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
    except KeyboardInterrupt:  # possible between any two steps
        shards.free()
        raise


class _LostError(Exception):
    """Another worker has taken over this shard."""


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _bytes(done: Done) -> bytes:
    return (to_json(done) + "\n").encode("utf-8", "backslashreplace")
