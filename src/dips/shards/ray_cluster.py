"""Workers on a Ray cluster: actors that work through the shards of a plan, like the processes of one machine.

Only names are transferred. Actors read photos and write results themselves, so Ray's object store stays empty, and progress is
known from the shards' own files alone: an actor that dies is replaced, and its shard has one attempt fewer.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from dips.errors import ConfigError, DipsError, RunError
from dips.shards.files import Files
from dips.shards.lease import Lease
from dips.shards.plan import Plan, read_items
from dips.shards.processes import interrupts_wait, variables_set
from dips.shards.ray_actor import actor_class
from dips.shards.ray_share import Share, share_out
from dips.shards.tally import Tally, item_count
from dips.shards.work import Job, Shards
from dips.system.console import counted, log, progress
from dips.system.environment import __version__, usable_cores

__all__ = ["run_ray"]

_LOOK_SECONDS = 5.0  # between two checks of the actors still waiting for resources
_LISTEN_SECONDS = 20.0  # of silence
_END_SECONDS = 10.0  # for workers to finish an item when the command is stopped
_PLACE_SECONDS = 30.0  # without resources for all workers until this is logged
_MOST_DEATHS = 10  # plus three for each worker, with nothing finished in between
_ANSWER_SECONDS = 10.0
_SEEN_SECONDS = 10.0  # for a new file to appear on a shared disk
_LOCAL_STORE = 80 << 20  # bytes, about the minimum that Ray accepts
_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",  # so that the next one takes effect
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # Ray prints long messages to stdout when a worker dies
}
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # 0, the default on these two, makes Ray listen on the loopback address only


def run_ray(files: Files, plan: Plan, job: Job, workers: int, title: str) -> None:
    """Complete the remaining work of a plan with actors.

    They run on the cluster at ``RAY_ADDRESS``, or on a temporary one started on this machine.

    Args:
        job: may have a ``device``, in the form of ``--device``; with ``auto`` or ``cuda`` each actor gets a GPU if the cluster
            has any; and ``inputs``, paths that each actor must be able to access besides the photos.
        workers: number of actors; 0 uses the whole cluster: one for each GPU, or for each CPU.
        title: title of the progress bar.

    Raises:
        ConfigError: ``RAY_ADDRESS`` or the device cannot be used.
        RunError: there is no cluster, its machines do not see the same files or have other versions of DiPS, or too many actors
            died.
        DipsError: an error raised by the work.
    """
    shards = Shards(files, plan)
    if not (todo := shards.todo()):
        return
    with _connected(workers) as ray, progress(title, item_count(todo)) as more:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        device = getattr(job, "device", "cpu")
        share = share_out([(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes], workers, device)
        crew = _Crew(ray, shards, job, share, Tally(item_count(todo), more))
        try:
            crew.work()
        finally:
            crew.end()


@contextmanager
def _connected(workers: int) -> Iterator[Any]:
    """Connect to the named cluster, or start one here, and yield the Ray module."""
    address = os.environ.get("RAY_ADDRESS") or "local"
    if "://" in address:
        raise ConfigError(
            f"RAY_ADDRESS is {address}, but workers are started from inside the cluster: run the command with 'ray job "
            "submit', or on one of its machines with RAY_ADDRESS=auto"
        )
    own = address == "local"
    folder = tempfile.mkdtemp(prefix="ray-", dir=None if sys.platform == "win32" else "/tmp") if own else None
    here: dict[str, Any] = {
        "num_cpus": max(workers, usable_cores()),
        "include_dashboard": False,
        "object_store_memory": _LOCAL_STORE,
        "_system_config": {"memory_monitor_refresh_ms": 0},  # it would kill workers when other programs use up the memory
        "_temp_dir": folder,  # the default folder belongs to the first user of Ray on this machine
    }
    before = signal.getsignal(signal.SIGTERM)  # Ray replaces it
    try:
        with variables_set({**_VARIABLES, **({_LOOPBACK: "0"} if own else {})}), interrupts_wait():
            import ray

            try:
                _require_answer(address)
                ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **(here if own else {}))
            except Exception as error:  # ValueError, RuntimeError, ConnectionError and others
                which = "cannot start Ray on this machine" if own else f"RAY_ADDRESS is {address}, which cannot be used"
                raise RunError(f"{which}: {_first_line(error)}") from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
        try:
            yield ray
        finally:
            ray.shutdown()
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _require_answer(address: str) -> None:
    """Check that something listens at ``HOST:PORT``; Ray would keep retrying."""
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()


def _first_line(error: Exception) -> str:
    text = (isinstance(error, OSError) and error.strerror) or str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0].rstrip(".")


@dataclass
class _Worker:
    """An actor and its known state."""

    number: int
    actor: Any
    session: str = field(default_factory=lambda: uuid.uuid4().hex)
    host: str = ""
    is_at_work: bool = False
    shard: str = ""


class _Crew:
    """The actors of one command."""

    def __init__(self, ray: Any, shards: Shards, job: Job, share: Share, tally: Tally) -> None:
        self._ray, self._shards, self._share, self._tally = ray, shards, share, tally
        self._task = ray.cloudpickle.dumps((shards.files, shards.plan, job))
        self._calls: dict[Any, tuple[_Worker, str]] = {}  # pending calls, with their actor and method
        self._workers: list[_Worker] = []
        self._deaths, self._since, self._told_places = 0, time.monotonic(), False
        self._told: set[str] = set()
        self._todo = shards.todo()
        self._probe = f"driver/seen-{uuid.uuid4().hex}"
        samples = (read_items(shards.files, shard)[0].uri for shard in (self._todo[0], self._todo[-1]))
        needed = [*getattr(job, "inputs", ()), *samples]
        photos = [path for path in dict.fromkeys(needed) if os.path.exists(path)]  # URLs are not checked
        threads = str(max(1, share.cpus))
        variables = {"OPENCV_FOR_THREADS_NUM": threads, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or threads}
        variables |= {name: value for name, value in os.environ.items() if name.startswith("DIPS_")}
        seen = (ray.cloudpickle.dumps(shards.files), self._probe, photos, _SEEN_SECONDS)
        self._surroundings = (os.getcwd(), variables, __version__, *seen)

    def work(self) -> None:
        """Start the actors, and return when no work is left."""
        self._shards.files.write(self._probe, b"")
        for number in range(self._share.workers):
            self._start(number)
        is_done = False
        while not is_done:
            ready, _ = self._ray.wait(list(self._calls), timeout=_LOOK_SECONDS)
            for call in ready:
                if call in self._calls:  # not from an actor that was replaced meanwhile
                    is_done |= self._look(call)
            self._tell_places()
        self._tally.end()

    def end(self) -> None:
        """Make the actors release their current shards, and end them."""
        busy = [call for call, (_, method) in self._calls.items() if method == "work"]
        for call in busy:
            self._calls[call][0].actor.stop.remote()
        if busy:
            self._ray.wait(busy, num_returns=len(busy), timeout=_END_SECONDS)
        for worker in self._workers:
            self._ray.kill(worker.actor)
            if worker.is_at_work:
                Lease.free(self._shards.files, "tries", worker.session)  # in case it could not do so itself
        self._shards.files.remove(self._probe)

    def _start(self, number: int) -> None:
        # concurrent calls: work, listen and stop
        options = {"num_cpus": self._share.cpus, "num_gpus": self._share.gpus, "max_concurrency": 3}
        worker = _Worker(number, self._ray.remote(**options)(actor_class()).remote())
        self._workers.append(worker)
        self._call(worker, "look", *self._surroundings)

    def _call(self, worker: _Worker, method: str, *arguments: Any) -> None:
        self._calls[getattr(worker.actor, method).remote(*arguments)] = worker, method

    def _look(self, call: Any) -> bool:
        """Handle a call that an actor answered or died in; return whether no work is left."""
        worker, method = self._calls.pop(call)
        try:
            answer = self._ray.get(call)
        except self._ray.exceptions.RayTaskError as error:
            self._fail(worker, error)
        except self._ray.exceptions.RayError as error:  # dead or unreachable
            self._replace(worker, _words(error))
            return False
        if method == "look":
            worker.host, problem = answer
            if problem:
                raise RunError(f"the Ray worker on {worker.host} {problem}")
            worker.is_at_work = True
            self._call(worker, "work", self._task, worker.session, worker.number * len(self._todo) // self._share.workers)
            self._call(worker, "listen", _LISTEN_SECONDS)
            return False
        for message in answer:
            self._hear(worker, *message)
        if method == "listen":
            self._call(worker, "listen", _LISTEN_SECONDS)
        return method == "work"

    def _hear(self, worker: _Worker, kind: str, *values: Any) -> None:
        if kind == "items":
            worker.shard = values[0]
            self._tally.note(*values)
        elif values[0] not in self._told:  # every worker may log it
            self._told.add(values[0])
            log(values[0])

    def _fail(self, worker: _Worker, error: Any) -> NoReturn:
        cause = error.cause
        if isinstance(cause, DipsError) and worker.host not in ("", platform.node()):
            raise type(cause)(f"{cause} (said the Ray worker on {worker.host})") from error
        raise cause from error

    def _replace(self, worker: _Worker, reason: str) -> None:
        with suppress(Exception):  # this command treats it as dead
            self._ray.kill(worker.actor)
        self._workers.remove(worker)
        self._calls = {call: value for call, value in self._calls.items() if value[0] is not worker}
        Lease.bury(self._shards.files, "tries", worker.session)
        if worker.shard:
            self._tally.note(worker.shard, 0)
        todo = self._shards.todo()
        self._deaths = 1 if todo != self._todo else self._deaths + 1  # since a shard was done, or split
        self._todo = todo
        where = f" on {worker.host}" if worker.host else ""
        if self._deaths > 3 * self._share.workers + _MOST_DEATHS:
            raise RunError(
                f"{self._deaths} Ray workers have died without finishing a part of the work; the last one{where} {reason}"
            )
        log(f"a Ray worker{where} {reason}; another one takes its place")
        self._start(worker.number)

    def _tell_places(self) -> None:
        """Log once, after a while, that actors are waiting for resources."""
        waiting = sum(not worker.host for worker in self._workers)
        if self._told_places or not waiting or time.monotonic() - self._since < _PLACE_SECONDS:
            return
        self._told_places = True
        words = f"each needs {self._share.words()}; 'ray status' tells what the cluster has"
        log(f"{waiting} of {counted(self._share.workers, 'Ray worker')} still wait for a place, {words}")


def _words(error: Exception) -> str:
    """Describe an actor's death from Ray's error."""
    text = str(error)
    if "running low on memory" in text:
        return "was ended by Ray, as its machine was running out of memory"
    if "node has died" in text:
        return "is gone, as its machine is"
    if "unexpected" in text:
        return "died, perhaps for lack of memory"
    return f"is gone: {' '.join(text.split())}"
