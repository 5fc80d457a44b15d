"""Messages and progress for the person who watches, on stderr, and lines of a result, on stdout.

Names of files and classes are in them, which may hold what a terminal obeys; it is shown, not sent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dips.system.environment import torchrun_rank
from dips.system.files import as_text

__all__ = ["first_process", "log", "printable", "say", "track"]

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 30.0
# controls, ends of lines, marks that turn the direction of writing
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def first_process() -> bool:
    """Return whether this process is the one that prints: the only one, or the first of those that ``torchrun`` started."""
    return torchrun_rank() in (None, 0)


_console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, quiet=not first_process())


def log(message: str) -> None:
    """Print one line to stderr."""
    _console.print(printable(message), markup=False)


def say(line: str) -> None:
    """Print one line of a result to stdout."""
    print(printable(line))


def printable(text: str) -> str:
    r"""Return text in one line that a terminal shows as it is: what it would obey is written as Python writes it.

    >>> printable("owl\x1b[31m\n")
    'owl\\x1b[31m\\n'
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), as_text(text))


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` and show progress with the time left: as a bar, or every 30 s as a line if stderr is not a terminal."""
    if not _console.is_terminal:
        yield from _track_in_lines(items, description, total)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console, transient=True) as progress:
        yield from progress.track(items, total=total, description=printable(description))


def _track_in_lines(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    count = len(items) if total is None and isinstance(items, Sized) else total
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if count and done and now - last > _SECONDS_BETWEEN_LINES:
            last = now
            log(f"{description}: {done} of {count}, about {(now - start) / done * (count - done):.0f} s left")
        yield item
