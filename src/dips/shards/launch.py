"""Who does the work of a plan: this process, several of them, a Ray cluster, or one task of a scheduler's array.

All of them work through the same shards, so that what comes out does not depend on who did it.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dips.shards.files import Files
from dips.shards.lease import Lease, Watch, is_running, take_alone, this_process
from dips.shards.plan import WORK, Plan, Shard, read_plan
from dips.shards.processes import run_processes
from dips.shards.tally import Tally, item_count, told_of_items
from dips.shards.work import Job, Shards, work_to_the_end
from dips.system.console import counted, log, progress
from dips.system.environment import quoted, usable_cores

__all__ = ["Crew", "Job", "launch", "planned"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # seconds until a task looks again for the plan of another one


@dataclass(frozen=True)
class Crew:
    """Who works.

    Attributes:
        workers: processes; 1 is this one, 0 as many as there are cores, or as the Ray cluster has places.
        engine: ``"processes"`` of this machine, or ``"ray"``.
        turn, of: this process is the ``turn``-th, from 0, of ``of`` tasks that somebody else starts; 0 of 1 where nobody does.
    """

    workers: int = 1
    engine: str = "processes"
    turn: int = 0
    of: int = 1

    @property
    def works_here(self) -> bool:
        """Whether this process does the work itself."""
        return self.workers == 1 and self.engine == "processes"

    @property
    def is_task(self) -> bool:
        """Whether others work, too, so that this process neither waits for the end nor merges."""
        return self.of > 1


@contextmanager
def planned(files: Files, make: Callable[[], Plan], crew: Crew) -> Iterator[Plan]:
    """Plan the work, or check the plan that is there; whoever works alone holds the lease of the work meanwhile.

    Of the tasks of an array the first one plans, and the others wait for it.

    Args:
        make: calls :func:`~dips.shards.plan.make_plan`; where a task finds a plan, it need not look through all items again.

    Raises:
        RunError: another command is at it, or the plan is that of other work.
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


def launch(files: Files, plan: Plan, job: Job, crew: Crew) -> None:
    """Have the work done; where this process is no task of an array, nothing is left to do then.

    Raises:
        DipsError: what the work raises.
        KeyboardInterrupt: also where this process is to end (SIGTERM); what was begun is free then.
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
        _tell_rest(shards, crew, own)


def _somebody_died(files: Files, todo: list[Shard]) -> bool:
    """Return whether an attempt at one of the shards did not end, as far as is known: it may end whoever works on it, so that
    is to be a process which can be replaced."""
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


def _tell_rest(shards: Shards, crew: Crew, own: list[Shard]) -> None:
    """Say what is left for other tasks, and what ends the work."""
    if not own:
        lists = sum(1 for _ in shards.plan.shards())
        log(f"nothing is left for this task: the work has {counted(lists, 'part')}, for {crew.of} tasks")
    out = re.sub(rf"[/\\]{re.escape(WORK)}([/\\]\w+)?$", "", shards.files.place)
    merge = f"dips merge {quoted(out)}"
    if left := item_count(shards.todo()):
        log(f"{left} of {counted(shards.plan.items, 'photo')} are left to other tasks; once they have ended: {merge}")
    else:
        log(f"all {counted(shards.plan.items, 'photo')} are done; next: {merge}")


@contextmanager
def _ended_like_interrupted() -> Iterator[None]:
    """Have SIGTERM, with which schedulers end a process, do what Ctrl-C does, unless the program has a way of its own."""
    is_own = threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    if is_own:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
