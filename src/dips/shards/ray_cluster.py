"""Workers on a Ray cluster: actors that work through the shards of a plan, as processes of one machine do.

Only names travel. Actors read photos and write results themselves, so that Ray's object store stays empty, and what is done is
known from the shards' own files alone: an actor that dies is replaced, and its shard has one attempt less.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from dips.errors import ConfigError, DipsError, RunError
from dips.shards.files import Files
from dips.shards.lease import Lease
from dips.shards.plan import Plan, read_items
from dips.shards.processes import interrupts_wait, variables_set
from dips.shards.ray_actor import actor_class
from dips.shards.tally import Tally, item_count
from dips.shards.work import Job, Shards
from dips.system.console import counted, log, progress
from dips.system.environment import __version__, usable_cores

__all__ = ["Share", "run_ray", "share_out"]

_LOOK_SECONDS = 5.0  # between two looks at the actors that still wait for a place
_LISTEN_SECONDS = 20.0  # of silence
_END_SECONDS = 10.0  # for workers to finish an item when the command is stopped
_PLACE_SECONDS = 30.0  # without a place for all workers until that is told
_MOST_DEATHS = 10  # and three for each worker, with nothing finished in between
_ANSWER_SECONDS = 10.0
_SEEN_SECONDS = 10.0  # for a shared disk to show a new file
_LOCAL_STORE = 80 << 20  # bytes, about the least that Ray takes
_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",  # so that the next one has an effect
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # Ray tells on stdout, in long words, that a worker died
}
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # 0, the default on these two, has Ray listen on the loopback address alone


def run_ray(files: Files, plan: Plan, job: Job, workers: int, title: str) -> None:
    """Have actors do what is left of a plan; nothing is left then.

    They run on the cluster of ``RAY_ADDRESS``, or on one that is started on this machine, and ended.

    Args:
        job: may have a ``device``, as ``--device`` names it; with ``auto`` or ``cuda`` each actor has a GPU where the cluster
            has any.
        workers: how many; 0 takes what the cluster has: one for each GPU, or for each CPU.
        title: of the progress bar.

    Raises:
        ConfigError: ``RAY_ADDRESS`` or the device is none that can be used.
        RunError: there is no cluster, its machines do not see the same files or have other versions of DiPS, or too many actors
            died.
        DipsError: what the work raises.
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


@dataclass(frozen=True)
class Share:
    """What each worker has of the cluster.

    Attributes:
        workers: how many there are to be.
        cpus: of each; it computes with as many threads.
        gpus: of each, a fraction where several share one.
    """

    workers: int
    cpus: int
    gpus: float = 0.0

    def words(self) -> str:
        """Return what a worker needs."""
        gpus = f" and {self.gpus:g} of a GPU" if self.gpus else ""
        return counted(self.cpus, "CPU") + gpus


def share_out(nodes: Sequence[tuple[int, int]], workers: int, device: str) -> Share:
    """Return how workers share the CPUs and GPUs of the nodes.

    A node that is yet to come, as autoscalers start them, has nothing here; ``workers`` then ask for one each.

    Args:
        nodes: CPUs and GPUs of each.
        workers: how many; 0 for as many as the cluster has GPUs, or CPUs.
        device: as ``--device`` names it.

    Raises:
        ConfigError: the device has a number.
        RunError: there are no CPUs or GPUs, and no ``workers`` to ask for some.

    >>> share_out([(16, 2), (16, 2)], 0, "auto"), share_out([(8, 0), (4, 0)], 3, "auto")
    (Share(workers=4, cpus=8, gpus=1.0), Share(workers=3, cpus=4, gpus=0.0))
    """
    kind, _, number = device.partition(":")
    if number:
        raise ConfigError(f"--device {device}: on a Ray cluster each worker gets its own device; leave out the number")
    cpus, gpus = (sum(column) for column in zip(*nodes, strict=True))
    if kind == "cuda" and not (gpus or workers):
        raise RunError("the Ray cluster has no GPU; take --device cpu, or say with --workers N how many it is to add")
    on_gpu = kind == "cuda" or (kind == "auto" and gpus > 0)
    count = workers or (gpus if on_gpu else cpus)
    if not count:
        raise RunError("the Ray cluster has no CPU for a worker; say with --workers N how many it is to add")
    on_each = -(-count // gpus) if on_gpu and gpus else 1

    def places(size: int) -> int:
        by_cpus = (node[0] // size for node in nodes)
        return sum(min(place, node[1] * on_each) if on_gpu else place for place, node in zip(by_cpus, nodes, strict=True))

    fitting = (size for size in range(max(node[0] for node in nodes), 0, -1) if places(size) >= count)
    # where too few CPUs are beside the GPUs, they do not count
    size = next(fitting, 0 if on_gpu and gpus else 1)
    return Share(count, size, int(10_000 / on_each) / 10_000 if on_gpu else 0.0)


@contextmanager
def _connected(workers: int) -> Iterator[Any]:
    """Connect to the cluster that is named, or start one here, and give Ray's module."""
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
        "_temp_dir": folder,  # the default one belongs to whoever used Ray first on this machine
    }
    before = signal.getsignal(signal.SIGTERM)  # which Ray replaces
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
    """Check that somebody listens at ``HOST:PORT``; Ray would go on trying."""
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()


def _first_line(error: Exception) -> str:
    text = (isinstance(error, OSError) and error.strerror) or str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0].rstrip(".")


@dataclass
class _Worker:
    """An actor, and what is known of it."""

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
        self._calls: dict[Any, tuple[_Worker, str]] = {}  # what is waited for: of which actor, and its method
        self._workers: list[_Worker] = []
        self._deaths, self._since, self._told_places = 0, time.monotonic(), False
        self._told: set[str] = set()
        self._todo = shards.todo()
        self._probe = f"driver/seen-{uuid.uuid4().hex}"
        samples = (read_items(shards.files, shard)[0].uri for shard in (self._todo[0], self._todo[-1]))
        photos = [path for path in dict.fromkeys(samples) if os.path.exists(path)]  # not those behind URLs
        threads = str(max(1, share.cpus))
        variables = {"OPENCV_FOR_THREADS_NUM": threads, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or threads}
        variables |= {name: value for name, value in os.environ.items() if name.startswith("DIPS_")}
        seen = (ray.cloudpickle.dumps(shards.files), self._probe, photos, _SEEN_SECONDS)
        self._surroundings = (os.getcwd(), variables, __version__, *seen)

    def work(self) -> None:
        """Start the actors, and return when nothing is left."""
        self._shards.files.write(self._probe, b"")
        for number in range(self._share.workers):
            self._start(number)
        is_done = False
        while not is_done:
            ready, _ = self._ray.wait(list(self._calls), timeout=_LOOK_SECONDS)
            for call in ready:
                if call in self._calls:  # not of one that was replaced meanwhile
                    is_done |= self._look(call)
            self._tell_places()
        self._tally.end()

    def end(self) -> None:
        """Have the actors give back what they are at, and end them."""
        busy = [call for call, (_, method) in self._calls.items() if method == "work"]
        for call in busy:
            self._calls[call][0].actor.stop.remote()
        if busy:
            self._ray.wait(busy, num_returns=len(busy), timeout=_END_SECONDS)
        for worker in self._workers:
            self._ray.kill(worker.actor)
            if worker.is_at_work:
                Lease.free(self._shards.files, "tries", worker.session)  # where it could not do so itself
        self._shards.files.remove(self._probe)

    def _start(self, number: int) -> None:
        # calls at a time: work, listen, and the one that stops it
        options = {"num_cpus": self._share.cpus, "num_gpus": self._share.gpus, "max_concurrency": 3}
        worker = _Worker(number, self._ray.remote(**options)(actor_class()).remote())
        self._workers.append(worker)
        self._call(worker, "look", *self._surroundings)

    def _call(self, worker: _Worker, method: str, *arguments: Any) -> None:
        self._calls[getattr(worker.actor, method).remote(*arguments)] = worker, method

    def _look(self, call: Any) -> bool:
        """Go on with an actor that has answered, or is dead; return whether nothing is left to do."""
        worker, method = self._calls.pop(call)
        try:
            answer = self._ray.get(call)
        except self._ray.exceptions.RayTaskError as error:
            self._fail(worker, error)
        except self._ray.exceptions.RayError as error:  # died, or cannot be reached
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
        elif values[0] not in self._told:  # all of them may say it
            self._told.add(values[0])
            log(values[0])

    def _fail(self, worker: _Worker, error: Any) -> NoReturn:
        cause = error.cause
        if isinstance(cause, DipsError) and worker.host not in ("", platform.node()):
            raise type(cause)(f"{cause} (said the Ray worker on {worker.host})") from error
        raise cause from error

    def _replace(self, worker: _Worker, reason: str) -> None:
        with suppress(Exception):  # it is dead as far as this command is concerned
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
        """Say once, after a while, that actors wait for a place."""
        waiting = sum(not worker.host for worker in self._workers)
        if self._told_places or not waiting or time.monotonic() - self._since < _PLACE_SECONDS:
            return
        self._told_places = True
        words = f"each needs {self._share.words()}; 'ray status' tells what the cluster has"
        log(f"{waiting} of {counted(self._share.workers, 'Ray worker')} still wait for a place, {words}")


def _words(error: Exception) -> str:
    """Return what Ray says of an actor's death."""
    text = str(error)
    if "running low on memory" in text:
        return "was ended by Ray, as its machine was running out of memory"
    if "node has died" in text:
        return "is gone, as its machine is"
    if "unexpected" in text:
        return "died, perhaps for lack of memory"
    return f"is gone: {' '.join(text.split())}"
