"""Work through the shards of a plan in several processes of this machine, with one model in each.

Each process works until nothing is left, as a single one would. The command that starts them replaces those that die, shows
their progress, and ends with the first error. No process outlives it.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import uuid
from _thread import interrupt_main
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

from msgspec.structs import replace

from dips.errors import DipsError, RunError
from dips.shards.files import Files
from dips.shards.lease import Lease, this_process
from dips.shards.plan import Plan, Shard
from dips.shards.tally import Tally, item_count, told_of_items
from dips.shards.work import Job, Shards, work_to_the_end
from dips.system.console import hand_over, log, progress
from dips.system.environment import usable_cores

__all__ = ["interrupts_wait", "run_processes", "variables_set"]

_END_SECONDS = 10.0  # for a process to release its shard
_TELL_SECONDS = 0.2  # between two messages about items
_TRACEBACK, _INTERRUPTED = 1, 130  # exit codes


def run_processes(files: Files, plan: Plan, job: Job, workers: int, title: str, *, turn: int = 0, of: int = 1) -> None:
    """Complete the remaining work of a plan with several processes.

    Each uses its share of the cores, unless ``OMP_NUM_THREADS`` sets the number, and a GPU of its own if there are several.

    Args:
        workers: number of processes; at most one per remaining shard is started.
        title: title of the progress bar.
        turn, of: see :meth:`~dips.shards.work.Shards.todo`.

    Raises:
        RunError: too many of them died.
        DipsError: an error raised by the work.
    """
    shards = Shards(files, plan)
    todo = shards.todo(turn, of)
    with progress(title, item_count(todo)) as more:
        workforce = _Workforce(shards, job, min(workers, len(todo)), turn, of, Tally(item_count(todo), more))
        try:
            workforce.work()
        finally:
            workforce.end()


@dataclass
class _Worker:
    """A worker process, as tracked by the parent process."""

    number: int
    process: BaseProcess
    messages: Connection
    session: str
    is_ready: bool = False
    is_done: bool = False
    is_silent: bool = False
    shard: str = ""


class _Workforce:
    """The processes of one command."""

    def __init__(self, shards: Shards, job: Job, workers: int, turn: int, of: int, tally: Tally) -> None:
        self._shards, self._workers, self._turn, self._of, self._tally = shards, workers, turn, of, tally
        self._todo = shards.todo(turn, of)
        self._task = pickle.dumps((shards.files, shards.plan, job))
        self._variables = _variables(workers, getattr(job, "device", "cpu"))
        self._running: list[_Worker] = []
        self._deaths, self._was_ready, self._is_done = 0, False, False
        self._told: set[str] = set()

    def work(self) -> None:
        """Start the processes, and return when no work is left, although some processes may still be waiting for others."""
        for number in range(self._workers):
            self._start(number)
        while self._running and not (self._is_done and not self._shards.todo(self._turn, self._of)):
            heard = [each.messages for each in self._running if not each.is_silent]
            ready = wait([*heard, *(each.process.sentinel for each in self._running)])
            for worker in list(self._running):
                if worker.messages in ready or worker.process.sentinel in ready:
                    self._look(worker)
        self._tally.end()

    def end(self) -> None:
        """Make the processes that still run release their shards, and end them."""
        for worker in self._running:
            with suppress(EOFError, OSError):
                while worker.messages.poll():
                    worker.is_ready |= worker.messages.recv()[0] == "ready"
            worker.process.terminate() if worker.is_ready else worker.process.kill()  # before it is ready, it holds no shard
        deadline = time.monotonic() + _END_SECONDS
        for worker in self._running:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.messages.close()
            Lease.free(self._shards.files, "tries", worker.session)  # in case it could not do so itself
        self._running.clear()

    def _start(self, number: int) -> None:
        session = uuid.uuid4().hex
        first = number * len(self._todo) // self._workers
        context = multiprocessing.get_context("spawn")  # a fork would copy the thread locks of OpenCV and torch
        messages, there = context.Pipe(duplex=False)
        arguments = (there, self._task, session, first, self._turn, self._of)
        process = context.Process(target=_work, args=arguments, daemon=True, name=f"dips worker {number + 1}")
        with interrupts_wait(), variables_set(self._variables[number]):
            process.start()
            self._running.append(_Worker(number, process, messages, session))
        there.close()  # so that the connection closes when the process ends

    def _look(self, worker: _Worker) -> None:
        """Read the messages of a process, and replace it if it is dead."""
        said = []
        try:
            while worker.messages.poll():
                said.append(worker.messages.recv())
        except (EOFError, OSError):
            worker.is_silent = True
        for message in said:
            self._hear(worker, *message)
        if worker.process.exitcode is None:
            return
        self._running.remove(worker)
        worker.messages.close()
        if not worker.is_done:
            self._replace(worker)

    def _hear(self, worker: _Worker, kind: str, *values: Any) -> None:
        if kind == "ready":
            worker.is_ready = self._was_ready = True
        elif kind == "items":
            worker.shard = values[0]
            self._tally.note(*values)
        elif kind == "log" and values[0] not in self._told:  # every worker may log it
            self._told.add(values[0])
            log(values[0])
        elif kind == "done":
            worker.is_done = self._is_done = True
        elif kind == "error":
            raise values[0]

    def _replace(self, worker: _Worker) -> None:
        Lease.bury(self._shards.files, "tries", worker.session)
        if worker.shard:
            self._tally.note(worker.shard, 0)
        todo = self._shards.todo(self._turn, self._of)
        self._deaths = 1 if todo != self._todo else self._deaths + 1  # since a shard was done, or split
        self._todo = todo
        self._check_deaths(worker)
        self._start(worker.number)

    def _check_deaths(self, worker: _Worker) -> None:
        code = worker.process.exitcode or 0
        if self._deaths >= 3 and not self._was_ready and code == _TRACEBACK:
            raise RunError(
                f"{self._deaths} worker processes ended while they started; in your own script, call this below "
                "'if __name__ == \"__main__\":'"
            )
        if self._deaths > 3 * self._workers + 10:
            how = f"signal {_signal_name(-code)}" if code < 0 else f"exit code {code}"
            raise RunError(
                f"{self._deaths} worker processes have died without finishing a part of the work, the last one with {how}; if "
                "memory is short, take fewer --workers or smaller batches"
            )


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return str(number)


def _variables(workers: int, device: str) -> list[dict[str, str]]:
    """Return the environment variables of each process, which must be set before it loads any numerical library."""
    threads = str(max(1, usable_cores() // workers))
    names = {name: threads for name in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM") if not os.environ.get(name)}
    gpus = _gpus() if device in ("auto", "cuda") else []
    return [{**names, **({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {})} for number in range(workers)]


def _gpus() -> list[str]:
    """Return the names of the GPUs found by torch, if it is loaded here; empty if there is at most one."""
    torch = sys.modules.get("torch")
    count = torch.cuda.device_count() if torch is not None else 0
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = list(map(str, range(count))) if given is None else [name.strip() for name in given.split(",")][:count]
    return names if len(names) > 1 else []


@contextmanager
def variables_set(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for processes started in the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Block Ctrl-C and SIGTERM: processes started in the block do not receive them, this one does afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- in the worker processes


def _work(messages: Connection, *task: Any) -> None:
    """Work until nothing is left, or this process is asked to end."""
    tell = _Teller(messages)
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if hasattr(signal, "pthread_sigmask"):  # Ctrl-C is for the process that started this one
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if (parent := multiprocessing.parent_process()) is not None:
            threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
        hand_over(lambda line: tell("log", line))
        try:
            _work_and_tell(tell, *task)
        except Exception as error:
            tell("error", _sendable(error))
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None


def _work_and_tell(tell: _Teller, task: bytes, session: str, first: int, turn: int, of: int) -> None:
    files, plan, job = pickle.loads(task)
    work = told_of_items(job.open(), tell.items)
    tell("ready")
    shards = Shards(files, plan, me=replace(this_process(), session=session))
    work_to_the_end(shards, work, turn=turn, of=of, first=first)
    tell("done")


@dataclass
class _Teller:
    """Sends messages to the parent process; if that is gone, the work ends."""

    messages: Connection
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _last: float = 0.0

    def __call__(self, kind: str, *values: Any) -> None:
        try:
            with self._lock:
                self.messages.send((kind, *values))
        except OSError:
            raise KeyboardInterrupt from None

    def items(self, shard: Shard, done: int) -> None:
        """Report how many items of a shard are done, unless a report was just sent and the shard is not finished."""
        now = time.monotonic()
        if done == len(shard) or now - self._last > _TELL_SECONDS:
            self._last = now
            self("items", shard.name, done)


def _sendable(error: Exception) -> Exception:
    """Return an error that another process can raise, with its traceback added unless it is a DipsError."""
    if not isinstance(error, DipsError):
        error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RunError(f"{type(error).__name__}: {error}")
    return error


def _end_with(parent: BaseProcess) -> NoReturn:
    """End this process when its parent is gone: a killed parent cannot send a message."""
    parent.join()
    interrupt_main(signal.SIGTERM)
    time.sleep(_END_SECONDS)
    os._exit(1)
