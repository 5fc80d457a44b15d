"""Messages and progress for the person who watches (stderr)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    pass


__all__ = ["first_process", "log", "track"]

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 30.0


def first_process() -> bool:
    """Whether this is the only process, or the first of those that ``torchrun`` started: the one that speaks."""
    return os.environ.get("RANK", "0") == "0"


_console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, quiet=not first_process())


def log(message: str) -> None:
    """One line to the person who watches (stderr)."""
    _console.print(message, markup=False)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` with a progress bar that tells the time left; a line now and then where stderr is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    if not _console.is_terminal:
        yield from _spoken(items, description, total)
        return
    with Progress(*columns, console=_console, transient=True) as progress:
        yield from progress.track(items, total=total, description=description)


def _spoken(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    count = len(items) if total is None and isinstance(items, Sized) else total
    begun = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if count and done and now - last > _SECONDS_BETWEEN_LINES:
            last = now
            log(f"{description}: {done} of {count}, about {(now - begun) / done * (count - done):.0f} s left")
        yield item
