"""Who works on what: numbered files, of which the last one's holder is at work until it says otherwise or is dead.

A lease is taken by creating the next number, so that of two that try one succeeds, on object stores, too. A holder counts as
dead at once where this machine knows that its process is gone, else when the file has not changed for a while, as measured by
the clock of whoever waits. A holder that was taken for dead finds the next number and stops. What is done under a lease must
come out the same if two do it: leases save work, they do not protect results.
"""

from __future__ import annotations

import os
import platform
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from msgspec.structs import replace

from dips.errors import RunError
from dips.shards.files import Files
from dips.system.console import log
from dips.system.records import Record, parse_record, to_json

__all__ = ["BEAT_SECONDS", "PATIENCE_SECONDS", "Holder", "Lease", "Watch", "is_running", "take_alone", "this_process"]

BEAT_SECONDS = 15.0
PATIENCE_SECONDS = 90.0
_DRIVER = "driver/work"
_NUMBERED = re.compile(r"(.+)~(\d+)")


class Holder(Record, frozen=True, kw_only=True):
    """Who holds a lease.

    Attributes:
        place: host, its start, and the process's own view of it: where ``process`` means something.
        process: its number.
        started: when the process started, in the system's own words; a number may be given again.
        session: differs each time, also within a process.
        beat: grows while the holder is alive.
        failed: why the work ended; empty while it goes on, or if it ended without a word.
        is_dead: whoever started the process has seen it end.
    """

    place: str
    process: int
    started: str
    session: str
    beat: int = 0
    failed: str = ""
    is_dead: bool = False


def this_process() -> Holder:
    """Return a holder that stands for this process, and this call."""
    return Holder(place=_place(), process=os.getpid(), started=_started(os.getpid()), session=uuid.uuid4().hex)


def is_running(holder: Holder) -> bool | None:
    """Return whether the holder's process runs; None where this cannot be known from here."""
    if holder.place != _place() or not holder.started:
        return None
    return _started(holder.process) == holder.started


@cache
def _place() -> str:
    parts = [platform.node()]
    with suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def _started(process: int) -> str:
    """Return when a process started; empty if it is gone, or the system is none that says so in a file."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


class Watch:
    """Tells whether holders are alive; remembers when their files changed.

    Args:
        patience: seconds without a change until a holder of which nothing else is known counts as dead.
        running: what is known about a holder's process.
        clock: seconds, of this machine alone.
    """

    def __init__(
        self,
        patience: float = PATIENCE_SECONDS,
        *,
        running: Callable[[Holder], bool | None] = is_running,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.patience = patience
        self._running, self._clock = running, clock
        self._seen: dict[str, tuple[str, int, float]] = {}

    def sees(self, holder: Holder) -> bool:
        """Return whether the holder's process is known to run."""
        return self._running(holder) is True

    def is_alive(self, name: str, holder: Holder) -> bool:
        """Return whether the holder of the lease ``name`` may be at work."""
        if holder.failed or holder.is_dead or self._running(holder) is False:
            self._seen.pop(name, None)
            return False
        now = self._clock()
        session, beat, since = self._seen.get(name, ("", -1, now))
        if (session, beat) != (holder.session, holder.beat):
            self._seen[name] = (holder.session, holder.beat, now)
            return True
        return now - since < self.patience


class Lease:
    """A lease that is held.

    Attributes:
        number: from 1; of how many it is the latest.
        is_lost: another has taken it, so that this one must stop.
    """

    def __init__(self, files: Files, name: str, number: int, me: Holder, *, beat_seconds: float) -> None:
        self.number, self.is_lost, self._is_over = number, False, False
        self._files, self._name, self._me = files, name, me
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        if beat_seconds:
            self._thread = threading.Thread(target=self._keep, args=(beat_seconds,), daemon=True)
            self._thread.start()

    @staticmethod
    def numbers(files: Files, name: str) -> list[int]:
        """Return the numbers of the leases on ``name`` that have not been given back."""
        folder, _, key = name.rpartition("/")
        found = (_NUMBERED.fullmatch(each) for each in files.names(folder))
        return sorted(int(match[2]) for match in found if match and match[1] == key)

    @staticmethod
    def holder(files: Files, name: str, number: int) -> Holder | None:
        """Return who holds a lease; None if it was given back meanwhile."""
        try:
            data = files.read(f"{name}~{number}")
        except FileNotFoundError:
            return None
        return parse_record(data, Holder, source=f"{files.place}/{name}~{number}", remedy="remove it")

    @staticmethod
    def take(
        files: Files, name: str, me: Holder, watch: Watch, *, most: int = 0, beat_seconds: float = BEAT_SECONDS
    ) -> Lease | list[Holder] | None:
        """Take a lease on ``name``, a path whose last part has no ``~``.

        Args:
            most: how many may die.
            beat_seconds: between two signs of life from a thread; 0 leaves them to calls of :meth:`beat`.

        Returns:
            None where another one holds it; the dead where there are ``most``.
        """
        numbers = Lease.numbers(files, name)
        if numbers:
            last = Lease.holder(files, name, numbers[-1])
            if last is None or watch.is_alive(f"{name}~{numbers[-1]}", last):
                return None
        if most and len(numbers) >= most:
            dead = (Lease.holder(files, name, number) for number in numbers)
            return [holder for holder in dead if holder]
        number = numbers[-1] + 1 if numbers else 1
        if not files.create(f"{name}~{number}", to_json(me).encode()):
            return None
        for old in [] if most else numbers:  # nobody counts them
            files.remove(f"{name}~{old}")
        return Lease(files, name, number, me, beat_seconds=beat_seconds)

    @staticmethod
    def bury(files: Files, folder: str, session: str) -> None:
        """Note that a holder is dead, so that nobody waits for its beat: for whoever has started it, and has seen it end."""
        for name, holder in Lease._held(files, folder, session):
            if not holder.failed:
                files.write(f"{folder}/{name}", to_json(replace(holder, is_dead=True)).encode())

    @staticmethod
    def free(files: Files, folder: str, session: str) -> None:
        """End the leases of a holder that was ended on purpose; they do not count as deaths."""
        for name, holder in Lease._held(files, folder, session):
            if not holder.failed:
                files.remove(f"{folder}/{name}")

    @staticmethod
    def _held(files: Files, folder: str, session: str) -> Iterator[tuple[str, Holder]]:
        for name in files.names(folder):
            if match := _NUMBERED.fullmatch(name):
                holder = Lease.holder(files, f"{folder}/{match[1]}", int(match[2]))
                if holder is not None and holder.session == session:
                    yield name, holder

    def beat(self) -> None:
        """Give a sign of life, and look whether the lease is lost.

        Raises:
            RunError: it cannot be written.
        """
        if self.numbers(self._files, self._name)[-1:] != [self.number]:
            self.is_lost = True
            return
        self._me = replace(self._me, beat=self._me.beat + 1)
        self._files.write(f"{self._name}~{self.number}", to_json(self._me).encode())

    def give_back(self) -> None:
        """End the lease; it does not count as a death. A second call does nothing: by then the name may be another's."""
        self._stop()
        if not self._is_over:
            self._files.remove(f"{self._name}~{self.number}")
        self._is_over = True

    def fail(self, reason: str) -> None:
        """End the lease like a death, but with its reason."""
        self._stop()
        if not self.is_lost:
            me = replace(self._me, failed=reason or "unknown")
            self._files.write(f"{self._name}~{self.number}", to_json(me).encode("utf-8", "backslashreplace"))

    def _stop(self) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _keep(self, seconds: float) -> None:
        while not self._end.wait(seconds):
            with suppress(RunError, OSError):  # tried again; nothing is lost if another one takes it
                self.beat()


def take_alone(
    files: Files,
    me: Holder | None = None,
    watch: Watch | None = None,
    *,
    beat_seconds: float = BEAT_SECONDS,
    pause: float = 1.0,
) -> Lease:
    """Take the lease of the whole work: of a command that plans, starts workers or merges.

    Where nothing is known of the one that has it, as after a restart of the machine, this waits for a sign of life.

    Args:
        pause: seconds between two looks.

    Raises:
        RunError: another one holds it.
    """
    me, watch = me or this_process(), watch or Watch()
    before: Holder | None = None
    while True:
        taken = Lease.take(files, _DRIVER, me, watch, beat_seconds=beat_seconds)
        if isinstance(taken, Lease):
            return taken
        numbers = Lease.numbers(files, _DRIVER)
        now = Lease.holder(files, _DRIVER, numbers[-1]) if numbers else None
        if now is not None and (watch.sees(now) or before not in (None, now)):
            raise RunError(f"{files.place} is in use by another command; stop that one first")
        if before is None and now is not None:
            log(
                f"{files.place} is held by a process that cannot be seen from here, or was before a restart: waiting up to "
                f"{watch.patience:.0f} s for a sign of life"
            )
        before = now
        time.sleep(pause)
