"""Who does the work of a plan: this process, several of them, a Ray cluster, or one task of a scheduler's array.

All of them work through the same shards, so that what comes out does not depend on who did it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Protocol

from dips.shards.files import Files
from dips.shards.lease import take_alone
from dips.shards.plan import Plan, Shard
from dips.shards.work import Attempt, Shards, Skipped, Work, work_through
from dips.system.console import counted, log, track

__all__ = ["Crew", "Job", "launch", "planned"]


class Job(Protocol):
    """What is to be done with the items of a shard. It can be pickled: it says how to prepare the work."""

    def open(self) -> Work:
        """Return what makes results; called once in each process that works, so that a model is loaded once."""


@dataclass(frozen=True)
class Crew:
    """Who works.

    Attributes:
        workers: processes; 1 is this one.
        engine: ``"processes"`` of this machine, or ``"ray"``.
        turn, of: this process is the ``turn``-th, from 0, of ``of`` tasks that somebody else starts; 0 of 1 where nobody does.
    """

    workers: int = 1
    engine: str = "processes"
    turn: int = 0
    of: int = 1

    @property
    def is_task(self) -> bool:
        """Whether others work, too, so that this process neither waits for the end nor merges."""
        return self.of > 1


@contextmanager
def planned(files: Files, make: Callable[[], Plan], crew: Crew) -> Iterator[Plan]:
    """Hold the lease of the work, and plan it, or check the plan that is there.

    Args:
        make: calls :func:`~dips.shards.plan.make_plan`.

    Raises:
        RunError: another command is at it, or the plan is that of other work.
    """
    lease = take_alone(files)
    try:
        yield make()
    finally:
        lease.give_back()


def launch(files: Files, plan: Plan, job: Job, crew: Crew) -> None:
    """Have the work done; where this process is no task of an array, nothing is left to do then.

    Raises:
        DipsError: what the work raises.
    """
    shards = Shards(files, plan)
    with _watched(job.open(), shards.todo(), plan) as work:
        work_through(shards, work, turn=crew.turn, of=crew.of)


@contextmanager
def _watched(work: Work, todo: Sequence[Shard], plan: Plan) -> Iterator[Work]:
    """Show the progress of what this process does, by items."""
    left = sum(map(len, todo))
    if left < plan.items:
        log(f"done before and kept: {plan.items - left} of {counted(plan.items, 'photo')}")
    with closing(track(repeat(None), plan.identity["work"], total=left)) as steps:
        next(steps)

        def watched(attempt: Attempt) -> Iterator[bytes | Skipped]:
            for result in work(attempt):
                yield result
                if not (isinstance(result, Skipped) and result.has_result):
                    next(steps)

        yield watched
