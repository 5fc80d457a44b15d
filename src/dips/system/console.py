"""Messages and progress for the user, on stderr, and lines of a result, on stdout.

They include names of files and classes, which may contain terminal control sequences; these are escaped.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from contextlib import closing, contextmanager
from itertools import repeat
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dips.system.environment import torchrun_rank
from dips.system.names import as_text

__all__ = ["counted", "first_process", "hand_over", "log", "printable", "progress", "quiet", "say", "time_left", "track"]

T = TypeVar("T")
_quiet = False
_SECONDS_BETWEEN_LINES = 30.0
_MEASURED_SECONDS, _MEASURED_ITEMS = 10.0, 20  # the time left is estimated from this much, or from a tenth of the items
# control characters, line ends, marks that change the writing direction
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def first_process() -> bool:
    """Return whether this process is the one that prints: the only one, or the first of those started by ``torchrun``."""
    return torchrun_rank() in (None, 0)


_console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, quiet=not first_process())


_hear: Callable[[str], None] | None = None


def log(message: str) -> None:
    """Print one line to stderr."""
    if _quiet:
        return
    if _hear is None:
        _console.print(printable(message), markup=False)
    else:
        _hear(message)


def hand_over(hear: Callable[[str], None]) -> None:
    """Pass the lines of :func:`log` to ``hear`` from now on: in a process that works for another one, which prints them."""
    global _hear
    _hear = hear


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress messages and progress in the block: for small parts of work whose progress is already shown."""
    global _quiet
    before, _quiet = _quiet, True
    try:
        yield
    finally:
        _quiet = before


def say(line: str) -> None:
    """Print one line of a result to stdout."""
    print(printable(line))


def printable(text: str) -> str:
    r"""Return text as one line that a terminal shows literally: control characters are escaped as in Python.

    >>> printable("owl\x1b[31m\n")
    'owl\\x1b[31m\\n'
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), as_text(text))


def counted(number: int, noun: str, verb: str = "") -> str:
    """Return number, noun and optionally a verb, in the plural unless the number is 1.

    Args:
        noun, verb: singular forms.

    >>> counted(1, "photo", "has"), counted(2, "box", "is"), counted(0, "copy"), counted(3, "validation photo", "lacks")
    ('1 photo has', '2 boxes are', '0 copies', '3 validation photos lack')
    """
    if number != 1:
        noun = _plural(noun)
        verb = {"is": "are", "has": "have", "was": "were", "does": "do"}.get(verb) or _bare(verb)
    return f"{number} {noun} {verb}".rstrip()


def _plural(noun: str) -> str:
    """Return the plural of a regular noun."""
    if re.search("[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    hisses = noun.endswith(("s", "x", "z", "ch", "sh")) and not noun.endswith("epoch")
    return noun + ("es" if hisses else "s")


def _bare(verb: str) -> str:
    """Return a regular verb without its singular ending."""
    if re.search("..ies$", verb):  # but: lies, ties
        return f"{verb[:-3]}y"
    return verb.removesuffix("es" if re.search("(ss|x|ch|sh)es$", verb) else "s")


def time_left(seconds: float) -> str:
    """Return a human-readable estimate.

    >>> time_left(40), time_left(1695), time_left(9000)
    ('about 40 s left', 'about 28 min left', 'about 2.5 h left')
    """
    if seconds < 90:
        return f"about {max(1.0, seconds):.0f} s left"
    return f"about {seconds / 60:.0f} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"


class _Pace:
    """Estimates the time left of a loop from the items after the first, which includes loading and compiling."""

    def __init__(self, total: int | None) -> None:
        self.total, self.done, self._since = total, -1, 0.0

    def next(self, now: float) -> str:
        """Record that an item starts at ``now``, in seconds; return the time left, "" if not known yet."""
        self.done += 1
        if self.done <= 1:
            self._since = now
        measured, seconds = self.done - 1, now - self._since
        if self.total is None or not 0 < self.done < self.total or seconds < _MEASURED_SECONDS:
            return ""
        if measured < min(_MEASURED_ITEMS, max(3, self.total // 10)):
            return ""
        return time_left(seconds / measured * (self.total - self.done))


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show progress like :func:`track`, but for items done elsewhere: yields a function to call with the number of new ones."""
    with closing(track(repeat(None), description, total)) as steps:
        next(steps)

        def more(count: int) -> None:
            for _ in range(count):
                next(steps)

        yield more


def track(items: Iterable[T], description: str, total: int | None = None) -> Generator[T, None, None]:
    """Yield ``items`` and show progress: as a bar, or every 30 s as a line if stderr is not a terminal.

    The time left is shown as soon as the pace has been measured.
    """
    if _quiet:
        yield from items
        return
    total = len(items) if total is None and isinstance(items, Sized) else total
    pace = _Pace(total)
    if not _console.is_terminal:
        yield from _track_in_lines(items, description, pace)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
    )
    with Progress(*columns, console=_console, transient=True) as progress:
        task = progress.add_task(printable(description), total=total, left="")
        for item in items:
            progress.update(task, left=pace.next(time.monotonic()))
            yield item
            progress.advance(task)


def _track_in_lines(items: Iterable[T], description: str, pace: _Pace) -> Iterator[T]:
    last = time.monotonic()
    for item in items:
        now = time.monotonic()
        left = pace.next(now)
        if pace.total and pace.done and now - last > _SECONDS_BETWEEN_LINES:
            last = now
            log(f"{description}: {pace.done} of {pace.total}{', ' if left else ''}{left}")
        yield item
