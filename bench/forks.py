"""A command of dips in a process of its own: a fork of this one, which has the program loaded, so that thousands take minutes.

A fork can kill itself at a chosen moment of its work: whenever it opens a file to write, renames, removes or makes one, in the
middle of each line of a journal, and after it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import mmap
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import types
from dataclasses import dataclass
from functools import partial
from io import FileIO
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "DIPS_OFFLINE": "1"}

import cv2
import torch
from living import workers_of

from dips.cli import main
from dips.models.backbones import timm  # type: ignore[attr-defined]  # not by itself: torchvision is mended first
from dips.models.localizer import Localizer

__all__ = ["CRASHED", "KILLED", "Outcome", "Started", "run", "start", "timm"]

ON_DEMAND = ("fitting.fit", "export.onnx", "export.onnx_model", "benchmark.score", "predict.stream", "report.run_report")
for name in (*ON_DEMAND, "view"):
    importlib.import_module(f"dips.{name}")
SELECT, JOURNAL = vars(importlib.import_module("dips.fitting.select")), vars(importlib.import_module("dips.system.journal"))
SELECT["fit_localizer"] = partial(SELECT["fit_localizer"], save_minutes=0)  # the state is written after each step
for build in (Localizer.__init__, vars(Localizer)["from_weights"].__func__):
    build.__kwdefaults__ = {"channels": (16, 8, 8, 4, 4)}  # a small U-Net
gc.freeze()  # forks share it
cv2.setNumThreads(1)
torch.set_num_threads(1)

MEMORY = 16 << 30  # bytes of address space; more is a fault
CRASHED, KILLED = 70, -9
EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod", "os.truncate", "sqlite3.connect"}


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: its exit code, -9 where it was killed, 70 for an exception that nobody caught.
        out, err: what it printed on stdout and stderr.
        late: it was stopped after ``timeout`` seconds.
        seconds, cpu: its time, and what it computed in that time.
        moments: how many moments of its work it came to, see :class:`Moments`.
    """

    code: int
    out: str
    err: str
    late: bool
    seconds: float
    cpu: float
    moments: int


class Moments:
    """Counts the moments of a command's work at which a kill may matter, and kills its process at one of them.

    Args:
        last: the moment of the kill, counted from 1; 0 = none.
    """

    def __init__(self, last: int) -> None:
        self._last = last
        self._count = mmap.mmap(-1, 8)  # shared with the fork

    def __len__(self) -> int:
        return int.from_bytes(self._count[:8], "little")

    def _pass(self) -> bool:
        number = len(self) + 1
        self._count[:8] = number.to_bytes(8, "little")
        return number == self._last

    def watch(self) -> None:
        """Begin to count, in the process that is to be killed."""
        moments = self

        def hook(event: str, given: tuple[object, ...]) -> None:
            is_write = (
                event == "open"
                and isinstance(given[2], int)
                and given[2] & (os.O_WRONLY | os.O_RDWR)
                and given[0] != os.devnull
            )
            if (is_write or event in EVENTS) and moments._pass():
                os.kill(os.getpid(), signal.SIGKILL)

        class Lines(FileIO):
            def write(self, data: Any, /) -> int:
                if moments._pass():
                    super().write(data[: len(data) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
                count = super().write(data)
                if moments._pass():
                    os.kill(os.getpid(), signal.SIGKILL)
                return count

        sys.addaudithook(hook)
        JOURNAL["FileIO"] = Lines


class Started:
    """A command that runs in a fork.

    Args:
        interrupt_after: seconds after which it gets a Ctrl-C.
        kill_at: see :class:`Moments`.
    """

    def __init__(self, argv: list[str], *, interrupt_after: float = 0.0, kill_at: int | None = None) -> None:
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 (closed by wait)
        self.moments = None if kill_at is None else Moments(kill_at)
        self.began = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._command(argv, interrupt_after)

    def _command(self, argv: list[str], interrupt_after: float) -> None:
        os.setsid()
        code = CRASHED
        try:
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            os.dup2(self._out.fileno(), 1)
            os.dup2(self._err.fileno(), 2)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            sys.modules["__main__"] = types.ModuleType("__main__")  # processes that it spawns need no bench
            sys.argv = ["dips", *argv]
            if interrupt_after:
                signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
                signal.setitimer(signal.ITIMER_REAL, interrupt_after)
            if self.moments is not None:
                self.moments.watch()
            code = main(argv)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def err(self) -> str:
        """What was printed on stderr until now."""
        return _text(self._err.fileno())

    def kill(self, *, alone: bool = False) -> None:
        """End it, and its children unless it is to be killed ``alone``, without a chance to clean up."""
        if not alone:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):  # killed before it was the head of its group
            os.kill(self.pid, signal.SIGKILL)

    def kill_worker(self, chance: random.Random, within: float) -> bool:
        """Kill one of its workers after up to so many seconds, and return whether there was one."""
        end = time.monotonic() + chance.uniform(0, within)
        while not self.ended() and (time.monotonic() < end or not workers_of(self.pid)):
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(chance.choice(workers_of(self.pid)), signal.SIGKILL)
            return True
        return False

    def ended(self) -> bool:
        """Return whether it has ended."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def computed(self) -> float:
        """Return how many seconds it has computed, those of its children left out."""
        return time.clock_gettime((~self.pid << 3) | 2)  # the clock of another process, as Linux numbers them

    def kill_after(self, seconds: float, *, computing: bool, alone: bool) -> None:
        """Kill it after so many seconds, of computing or of any kind, unless it ends before."""
        while not self.ended() and (self.computed() if computing else time.monotonic() - self.began) < seconds:
            time.sleep(0.001)
        self.kill(alone=alone)

    def leaves_children(self, timeout: float) -> bool:
        """Return whether processes that it started are there ``timeout`` seconds after its end; they are killed."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return False
            time.sleep(0.01)
        os.killpg(self.pid, signal.SIGKILL)
        return True

    def wait(self, timeout: float) -> Outcome:
        """Wait for the end; kill it after ``timeout`` seconds."""
        late = False
        while True:
            pid, status, used = os.wait4(self.pid, 0 if late else os.WNOHANG)
            if pid:
                break
            if time.monotonic() - self.began > timeout:
                late = True
                self.kill()
            time.sleep(0.002)
        out, err = _text(self._out.fileno()), self.err()
        self._out.close()
        self._err.close()
        seconds, moments = time.monotonic() - self.began, 0 if self.moments is None else len(self.moments)
        return Outcome(os.waitstatus_to_exitcode(status), out, err, late, seconds, used.ru_utime + used.ru_stime, moments)


def _text(file: int) -> str:
    return os.pread(file, 1 << 24, 0).decode(errors="replace")


def start(*argv: object, interrupt_after: float = 0.0, kill_at: int | None = None) -> Started:
    """Start a command of dips."""
    return Started([str(word) for word in argv], interrupt_after=interrupt_after, kill_at=kill_at)


def run(*argv: object, timeout: float = 120.0, interrupt_after: float = 0.0, kill_at: int | None = None) -> Outcome:
    """Run a command of dips to its end."""
    return start(*argv, interrupt_after=interrupt_after, kill_at=kill_at).wait(timeout)
