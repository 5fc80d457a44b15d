"""Working through the shards of a plan: attempts, parts and done-markers, and shards that kill whoever works on them.

In: a plan, and a function that makes results of a shard's items. Out, below the folder of the work::

    tries/00017~2         an attempt: who works on the shard, or died of it; removed at its end
    parts/00017~2         the results of an attempt that came to its end
    done/00017            the marker: which part counts, how many items, which were skipped and why; the first one stands
    split/00017           three attempts died, its pieces are worked on instead; one item alone is skipped then

A kill between any two of these steps loses no finished shard and leaves nothing that counts twice.
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
_FAILURES_IN_A_ROW = 3  # of different shards: then it is not the items
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0  # seconds until it is looked again at what others do


class Skipped(Record, frozen=True):
    """An item without result, and why.

    Attributes:
        has_result: it has one all the same, which comes before this; only a part of what belongs to it is missing.
    """

    id: str
    reason: str
    has_result: bool = False


class Done(Record, frozen=True, kw_only=True):
    """What the marker of a finished shard holds.

    Attributes:
        part: the name of its results in ``parts/``; empty if it has none.
        sha256, size: of the part, in bytes.
        items, results: how many items the shard has, and how many results there are.
        skipped: in the items' order.
    """

    schema_version: int = 1
    part: str
    sha256: str
    size: int
    items: int
    results: int
    skipped: tuple[Skipped, ...] = ()


class Shards:
    """The shards of a plan, as one worker sees them.

    Args:
        me: who works; this process.
        watch: tells whether others live.
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
        """Return the shards without marker, in their order.

        Args:
            turn, of: only every ``of``-th list, from ``turn`` on, counted from 0.
        """
        done = set(self.files.names("done"))
        return [shard for shard in self.leaves() if shard.number % of == turn and shard.name not in done]

    def leaves(self) -> Iterator[Shard]:
        """Yield the shards that are to have a marker, in the items' order: pieces in the place of those that were split."""
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
        """Return the marker of a shard; None where there is none.

        Raises:
            RunError: it is damaged.
        """
        name = f"done/{shard.name}"
        try:
            data = self.files.read(name)
        except FileNotFoundError:
            return None
        remedy = "remove it and repeat the command"
        return parse_record(data, Done, source=f"{self.files.place}/{name}", remedy=remedy)

    def begin(self, shard: Shard) -> Attempt | None:
        """Begin to work on a shard.

        Returns:
            None where it is done, another works on it, or it has killed too often: its pieces are to be done then.
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
        """Have a finished shard worked on anew, as if nobody had died of it: what it is made of was mended."""
        self.files.remove(f"done/{shard.name}")
        for number in Lease.numbers(self.files, f"tries/{shard.name}"):
            self.files.remove(f"tries/{shard.name}~{number}")

    def free(self) -> None:
        """Give back whatever this worker has begun; it counts as no death."""
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
    """An attempt at a shard; as a context it is given back, or failed, at the end. An error of DiPS is not the shard's fault.

    Attributes:
        shard, items: what is worked on.
        is_first: nobody died of it before.
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
            results: of the items, in their order; they are made while they are written.

        Returns:
            False where another attempt was faster, or took this one for dead: nothing of it counts then.
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
"""Makes the results of a shard's items, in their order: bytes that become its part, or why there are none."""


class Job(Protocol):
    """What is to be done with the items of a shard. It can be pickled: it says how to prepare the work."""

    def open(self) -> Work:
        """Return what makes results; called once in each process that works, so that a model is loaded once."""


def work_through(shards: Shards, work: Work, *, turn: int = 0, of: int = 1, first: int = 0) -> list[Shard]:
    """Work on shards until nothing is left that this worker may begin.

    Args:
        turn, of: see :meth:`Shards.todo`.
        first: where it begins in what there is to do, so that workers that start together do not meet.

    Returns:
        what others are working on, or died of a moment ago; empty where all is done.

    Raises:
        DipsError: what the work raises; the shard is then free.
        RunError: several shards failed at the first try, one after the other; what is left is tried again by the next call.
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
                if attempt.is_first:  # those that are tried again have failed before, with others in between that did not
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
    """Work on shards until nothing is left: wait for what others are working on, and do it if they die.

    Args:
        turn, of, first: see :func:`work_through`.
        waiting: called with what others are working on, each time before it is waited.

    Raises:
        DipsError: as :func:`work_through`.
        KeyboardInterrupt: what was begun is free then.
    """
    pause = _FIRST_PAUSE
    try:
        while left := work_through(shards, work, turn=turn, of=of, first=first):
            waiting(left)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
    except KeyboardInterrupt:  # it may have come between any two steps
        shards.free()
        raise


class _LostError(Exception):
    """Another one works on this shard."""


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _bytes(done: Done) -> bytes:
    return (to_json(done) + "\n").encode("utf-8", "backslashreplace")
