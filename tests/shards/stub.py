"""Work that needs no model: its results follow from the items alone. Called as a program, it is a command with such work."""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dips.errors import DipsError, RunError
from dips.shards.files import LocalFiles
from dips.shards.launch import Crew, launch, planned
from dips.shards.plan import Item, Plan, make_plan, shard_size
from dips.shards.work import Attempt, Skipped, Work
from dips.system.console import log


def items(count: int) -> list[Item]:
    """Return names like those of photos."""
    return [Item(f"{number}.jpg", f"/photos/{number}.jpg") for number in range(count)]


def line(item: Item) -> bytes:
    """Return the result of an item."""
    return f"{item.id} {hashlib.sha256(item.id.encode()).hexdigest()}\n".encode()


def plan_of(folder: Path, count: int, step: int = 1) -> Plan:
    """Plan in ``folder``."""
    identity = {"work": "stub", "count": count}
    return make_plan(LocalFiles(folder), lambda: items(count), identity, size=shard_size(count, step), step=step)


@dataclass(frozen=True)
class StubJob:
    """A line per item.

    Attributes:
        seconds: that an item takes.
        deadly: items that kill the process, always.
        once: kills the process at every item whose number ends with 7, the first time that anybody works on it; a folder.
        wrong: an item at which the disk is full.
        open_error: what happens when the work is opened.
        says: logged by each process.
        shows: results are what the process computes with.
        stubborn: the process does not end when it is to.
    """

    seconds: float = 0.0
    deadly: tuple[str, ...] = ()
    once: str = ""
    wrong: str = ""
    open_error: str = ""
    says: str = ""
    shows: bool = False
    stubborn: bool = False

    def open(self) -> Work:
        """Return what makes the lines."""
        if self.says:
            log(self.says)
        if self.stubborn:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.open_error == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.open_error:
            raise ValueError(self.open_error)
        return self.lines

    def lines(self, attempt: Attempt) -> Iterator[bytes | Skipped]:
        """Yield the line of each item of a shard."""
        for item in attempt.items:
            time.sleep(self.seconds)
            if item.id in self.deadly or (self.once and item.id.endswith("7.jpg") and self._is_first(item)):
                os.kill(os.getpid(), signal.SIGKILL)
            if item.id == self.wrong:
                raise RunError("the disk is full")
            yield self.threads() if self.shows else line(item)

    def _is_first(self, item: Item) -> bool:
        try:
            (Path(self.once) / item.id).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def threads(self) -> bytes:
        """Return with how many threads this process computes."""
        import cv2

        return f"{os.environ.get('OMP_NUM_THREADS')} {cv2.getNumThreads()}\n".encode()


def main() -> int:
    """Plan, and work."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--turn", type=int, default=0)
    parser.add_argument("--of", type=int, default=1)
    given = parser.parse_args()
    files, crew = LocalFiles(given.folder), Crew(given.workers, turn=given.turn, of=given.of)
    try:
        with planned(files, lambda: plan_of(given.folder, given.count), crew) as plan:
            launch(files, plan, StubJob(given.seconds), crew)
    except KeyboardInterrupt:
        return 130
    except DipsError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
