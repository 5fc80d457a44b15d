"""Run the work of a plan in this process, in several processes, on a Ray cluster, or as one task of a scheduler's array.

All of them work through the same shards, so that the results do not depend on which of them did the work.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dips.shards.files import Files
from dips.shards.lease import Lease, Watch, is_running, take_alone, this_process
from dips.shards.plan import WORK, Plan, Shard, read_plan
from dips.shards.processes import run_processes
from dips.shards.tally import Tally, item_count, told_of_items
from dips.shards.work import Job, Shards, work_to_the_end
from dips.system.console import counted, log, progress
from dips.system.environment import quoted, usable_cores

__all__ = ["Crew", "Job", "launch", "planned"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # seconds until a task checks again for the plan of another one


@dataclass(frozen=True)
class Crew:
    """The processes that do the work.

    Attributes:
        workers: number of processes; 1 is this one, 0 as many as there are cores, or as fit on the Ray cluster.
        engine: ``"processes"`` of this machine, or ``"ray"``.
        turn, of: this process is the ``turn``-th, from 0, of ``of`` externally started tasks; 0 of 1 if there are none.
        source: the scheduler's variables that identify this task; empty if the user did.
    """

    workers: int = 1
    engine: str = "processes"
    turn: int = 0
    of: int = 1
    source: str = field(default="", compare=False)

    @property
    def works_here(self) -> bool:
        """Whether this process does the work itself."""
        return self.workers == 1 and self.engine == "processes"

    @property
    def is_task(self) -> bool:
        """Whether other tasks work too, so that this process neither waits for the end nor merges."""
        return self.of > 1


@contextmanager
def planned(files: Files, make: Callable[[], Plan], crew: Crew) -> Iterator[Plan]:
    """Plan the work, or check the existing plan; a crew that is not a task holds the lease of the work during the block.

    If this is a task of an array, the first task plans, and the others wait for it.

    Args:
        make: calls :func:`~dips.shards.plan.make_plan`; if a task finds a plan, it need not go through all items again.

    Raises:
        RunError: another command is running, or the plan belongs to other work.
    """
    if crew.is_task:
        yield _planned_by_one(files, make)
        return
    lease = take_alone(files)
    try:
        yield make()
    finally:
        lease.give_back()


def _planned_by_one(files: Files, make: Callable[[], Plan]) -> Plan:
    watch, pause = Watch(), _FIRST_PAUSE
    while read_plan(files) is None:
        lease = Lease.take(files, "driver/work", this_process(), watch)
        if isinstance(lease, Lease):
            try:
                return make()
            finally:
                lease.give_back()
        if pause == _FIRST_PAUSE:
            log("waiting for another task to plan the work")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return make()


def launch(files: Files, plan: Plan, job: Job, crew: Crew, *, merge: str = "") -> None:
    """Run the work, completely unless this process is a task of an array.

    Args:
        merge: the command that finishes the work of tasks; default: ``dips merge`` with the folder that contains the work.

    Raises:
        DipsError: an error raised by the work.
        KeyboardInterrupt: also on SIGTERM; shards in progress are released first.
    """
    shards = Shards(files, plan)
    own = [shard for shard in plan.shards() if shard.number % crew.of == crew.turn]
    todo = shards.todo(crew.turn, crew.of)
    if (before := item_count(own) - item_count(todo)) > 0:
        log(f"done before and kept: {before} of {counted(item_count(own), 'photo')}")
    title = str(plan.identity.get("work", "work"))
    with _ended_like_interrupted():
        if crew.engine == "ray":
            from dips.shards.ray_cluster import run_ray

            run_ray(files, plan, job, crew.workers, title)
        elif ((workers := crew.workers or usable_cores()) > 1 and len(todo) > 1) or _somebody_died(files, todo):
            run_processes(files, plan, job, workers, title, turn=crew.turn, of=crew.of)
        elif todo:
            _work_here(shards, job, title, todo, crew)
    if crew.is_task:
        _tell_rest(shards, crew, own, merge)


def _somebody_died(files: Files, todo: list[Shard]) -> bool:
    """Return whether an attempt at one of the shards is known to have died: the shard may kill any process that works on it, so
    it must be done in a process that can be replaced."""
    lists = {shard.list_name for shard in todo}
    for name in files.names("tries"):
        shard, _, number = name.rpartition("~")
        if shard.partition(".")[0] in lists and number.isdecimal():
            holder = Lease.holder(files, f"tries/{shard}", int(number))
            if holder is not None and (holder.failed or not is_running(holder)):
                return True
    return False


def _work_here(shards: Shards, job: Job, title: str, todo: list[Shard], crew: Crew) -> None:
    work, waits = job.open(), False

    def waiting(left: list[Shard]) -> None:
        nonlocal waits
        if not waits:
            log(f"waiting for another process, which works on {counted(item_count(left), 'photo')}")
        waits = True

    with progress(title, item_count(todo)) as more:
        tally = Tally(item_count(todo), more)
        told = told_of_items(work, lambda shard, count: tally.note(shard.name, count))
        work_to_the_end(shards, told, turn=crew.turn, of=crew.of, waiting=waiting)


def _tell_rest(shards: Shards, crew: Crew, own: list[Shard], merge: str) -> None:
    """Log what is left for other tasks, and the command that finishes the work."""
    if not own:
        lists = sum(1 for _ in shards.plan.shards())
        log(f"nothing is left for this task: the work has {counted(lists, 'part')}, for {crew.of} tasks")
    out = re.sub(rf"[/\\]{re.escape(WORK)}$", "", shards.files.place)
    merge = merge or f"dips merge {quoted(out)}"
    if left := item_count(shards.todo()):
        log(f"{left} of {counted(shards.plan.items, 'photo')} are left to other tasks; once they have ended: {merge}")
    else:
        log(f"all {counted(shards.plan.items, 'photo')} are done; next: {merge}")


@contextmanager
def _ended_like_interrupted() -> Iterator[None]:
    """Make SIGTERM, with which schedulers end a process, act like Ctrl-C, unless the program has its own handler."""
    is_own = threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    if is_own:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
