"""Leases on work, as numbered files: the holder of the highest number is at work until it gives the lease back or dies.

A lease is taken by creating the next number, so that only one of two attempts succeeds, also on object stores. A holder counts
as dead at once if this machine knows that its process is gone, else when its file has not changed for a while, as measured by
the clock of the waiting process. A holder that was wrongly taken for dead finds the next number and stops. Work done under a
lease must give the same result if two processes do it: leases save work, they do not protect results.
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
    """The holder of a lease.

    Attributes:
        place: host, boot id and PID namespace, in which ``process`` is valid.
        process: the process id.
        started: when the process started, as reported by the system, since process ids are reused.
        session: unique to each holder, also within a process.
        beat: increases while the holder is alive.
        failed: why the work failed; empty while it is running, or if the holder died silently.
        is_dead: whether the process that started the holder has seen it end.
    """

    place: str
    process: int
    started: str
    session: str
    beat: int = 0
    failed: str = ""
    is_dead: bool = False


def this_process() -> Holder:
    """Return a new holder for this process, unique to this call."""
    return Holder(place=_place(), process=os.getpid(), started=_started(os.getpid()), session=uuid.uuid4().hex)


def is_running(holder: Holder) -> bool | None:
    """Return whether the holder's process is running; None if this cannot be determined from here."""
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
    """Return when a process started; empty if it is gone, or if the system has no ``/proc``."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


class Watch:
    """Tells whether holders are alive; remembers when their files changed.

    Args:
        patience: seconds without a change after which a holder counts as dead if nothing else is known about it.
        running: returns whether a holder's process is running, see :func:`is_running`.
        clock: returns seconds; only used on this machine.
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
        """Return whether the holder's process is known to be running."""
        return self._running(holder) is True

    def is_alive(self, name: str, holder: Holder) -> bool:
        """Return whether the holder of the lease ``name`` may still be at work."""
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
    """A lease held by this process.

    Attributes:
        number: number of the lease, from 1; the latest so far.
        is_lost: whether another holder has taken it, so that this one must stop.
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
        """Return the holder of a lease; None if it was given back meanwhile."""
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
            most: number of deaths after which no more leases are taken; 0 for no limit.
            beat_seconds: interval of the heartbeats from a thread; 0 leaves them to calls of :meth:`beat`.

        Returns:
            the lease; None if another process holds it; the dead holders if there are ``most``.
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
        for old in [] if most else numbers:  # deaths are not counted
            files.remove(f"{name}~{old}")
        return Lease(files, name, number, me, beat_seconds=beat_seconds)

    @staticmethod
    def bury(files: Files, folder: str, session: str) -> None:
        """Mark a holder as dead, so that nobody waits for its beat; called by the process that started it and saw it end."""
        for name, holder in Lease._held(files, folder, session):
            if not holder.failed:
                files.write(f"{folder}/{name}", to_json(replace(holder, is_dead=True)).encode())

    @staticmethod
    def free(files: Files, folder: str, session: str) -> None:
        """Remove the leases of a holder that was ended on purpose; they do not count as deaths."""
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
        """Write a heartbeat, and check whether the lease is lost.

        Raises:
            RunError: the file cannot be written.
        """
        if self.numbers(self._files, self._name)[-1:] != [self.number]:
            self.is_lost = True
            return
        self._me = replace(self._me, beat=self._me.beat + 1)
        self._files.write(f"{self._name}~{self.number}", to_json(self._me).encode())

    def give_back(self) -> None:
        """End the lease without counting a death. A second call does nothing, as another holder may have the name by then."""
        self._stop()
        if not self._is_over:
            self._files.remove(f"{self._name}~{self.number}")
        self._is_over = True

    def fail(self, reason: str) -> None:
        """End the lease as a death, with a reason."""
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
            with suppress(RunError, OSError):  # retried; no harm is done if another process takes it
                self.beat()


def take_alone(
    files: Files,
    me: Holder | None = None,
    watch: Watch | None = None,
    *,
    beat_seconds: float = BEAT_SECONDS,
    pause: float = 1.0,
) -> Lease:
    """Take the lease of the whole work, for a command that plans, starts workers or merges.

    If nothing is known about the current holder, for example after a reboot, this waits for a heartbeat.

    Args:
        pause: seconds between two checks.

    Raises:
        RunError: another process holds it.
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
