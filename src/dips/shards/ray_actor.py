"""The work of a Ray actor on its machine: it checks that it can access what it needs, then works. Ray is not imported here."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from threading import Event
from typing import Any

from msgspec.structs import replace

from dips.shards.files import Files
from dips.shards.lease import this_process
from dips.shards.plan import Shard
from dips.shards.tally import told_of_items
from dips.shards.work import Attempt, Shards, Skipped, work_through
from dips.system.console import hand_over

__all__ = ["actor_class", "unseen", "work_here"]

_TELL_SECONDS = 1.0  # between two messages about items
_PAUSE_SECONDS = 1.0  # until an actor that found no shard to start checks again


def actor_class() -> type:
    """Return the class of the actors.

    As it is defined in a function, it is pickled as code, and can check which version of DiPS the other machine has.
    """

    class DipsWorker:
        def __init__(self) -> None:
            from queue import SimpleQueue
            from threading import Event

            self.stopped = Event()
            self.messages: SimpleQueue[tuple[Any, ...]] = SimpleQueue()

        def look(
            self,
            folder: str,
            variables: dict[str, str],
            version: str,
            files: bytes,
            probe: str,
            photos: list[str],
            patience: float,
        ) -> tuple[str, str]:
            """Return the name of the machine, and what makes it unfit for the work, if anything."""
            import os
            import platform
            from contextlib import suppress

            with suppress(OSError):
                os.chdir(folder)
            os.environ.update(variables)  # before DiPS is loaded
            remedy = f"; install DiPS {version} on all machines of the cluster"
            try:
                from dips.shards.ray_actor import unseen
                from dips.system.environment import __version__
            except ImportError as error:
                return platform.node(), f"has no DiPS that it could load ({error}){remedy}"
            if __version__ != version:
                return platform.node(), f"has DiPS {__version__}{remedy}"
            return platform.node(), unseen(files, probe, photos, patience)

        def work(self, task: bytes, session: str, first: int) -> list[tuple[Any, ...]]:
            """Work until nothing is left or ``stop`` is called, and return the last messages."""
            from dips.shards.ray_actor import work_here

            work_here(task, session, first, self.stopped, self.messages.put)
            return self.listen(0.0)

        def listen(self, patience: float) -> list[tuple[Any, ...]]:
            """Return the messages since the last call, waiting up to ``patience`` seconds for the first."""
            from queue import Empty

            messages: list[tuple[Any, ...]] = []
            try:
                while True:
                    messages.append(self.messages.get(timeout=0 if messages else patience))
            except Empty:
                return messages

        def stop(self) -> None:
            """End the work after the current item."""
            self.stopped.set()

    return DipsWorker


def unseen(files: bytes, probe: str, photos: Sequence[str], patience: float) -> str:
    """Describe the first file of the command that this machine does not see; "" if it sees all of them.

    Args:
        files: the files of the work, pickled.
        probe: the name of a file that the command has just written.
        photos: paths of some photos, and of other inputs.
        patience: seconds until the file must appear: shared disks take a while.
    """
    there: Files = pickle.loads(files)
    end = time.monotonic() + patience
    while True:
        try:
            there.read(probe)
            break
        except FileNotFoundError:
            if time.monotonic() > end:
                return (
                    f"does not see what is written to {there.place}; all machines of the cluster must see --out: take a folder "
                    "on a disk that they share, or a URL such as s3://bucket/folder"
                )
            time.sleep(patience / 20)
    missing = next((photo for photo in photos if not os.path.exists(photo)), None)
    if missing is None:
        return ""
    return f"does not see {missing}; all machines of the cluster must see what is read: take a disk that they share, or URLs"


def work_here(task: bytes, session: str, first: int, stopped: Event, tell: Callable[[tuple[Any, ...]], None]) -> None:
    """Work until nothing is left, or until ``stopped`` is set, in which case the current shard is released.

    Args:
        task: files, plan and job, pickled.
        session: identifies this worker to the command.
        first: see :func:`~dips.shards.work.work_through`.
        tell: called with ``("items", shard, done)`` and ``("log", line)``.

    Raises:
        DipsError: an error raised by the work.
    """
    hand_over(lambda line: tell(("log", line)))
    files, plan, job = pickle.loads(task)
    last = 0.0

    def items(shard: Shard, done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == len(shard) or now - last > _TELL_SECONDS:
            last = now
            tell(("items", shard.name, done))

    work = told_of_items(job.open(), items)

    def results(attempt: Attempt) -> Iterator[bytes | Skipped]:
        for result in work(attempt):
            if stopped.is_set():
                raise KeyboardInterrupt
            yield result

    shards = Shards(files, plan, me=replace(this_process(), session=session))
    try:
        while work_through(shards, results, first=first) and not stopped.wait(_PAUSE_SECONDS):
            pass
    except KeyboardInterrupt:
        shards.free()
