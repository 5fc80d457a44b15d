"""Messages and progress for the person who watches, on stderr."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["first_process", "log", "track"]

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 30.0


def first_process() -> bool:
    """Return whether this process is the one that prints: the only one, or the first of those that ``torchrun`` started."""
    return os.environ.get("RANK", "0") == "0"


_console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, quiet=not first_process())


def log(message: str) -> None:
    """Print one line to stderr."""
    _console.print(message, markup=False)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` and show progress with the time left: as a bar, or every 30 s as a line if stderr is not a terminal."""
    if not _console.is_terminal:
        yield from _track_in_lines(items, description, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console, transient=True) as progress:
        yield from progress.track(items, total=total, description=description)


def _track_in_lines(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    count = len(items) if total is None and isinstance(items, Sized) else total
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if count and done and now - last > _SECONDS_BETWEEN_LINES:
            last = now
            log(f"{description}: {done} of {count}, about {(now - start) / done * (count - done):.0f} s left")
        yield item
