"""What is said where a command ends early: one line on stderr, and the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError
from rich.console import Console

from dips.errors import DipsError
from dips.system.extras import missing_package

if TYPE_CHECKING:
    from dips.predict.folder import FolderSummary

__all__ = ["counted", "expected", "fail", "filled", "interrupted", "usage"]


def expected(error: Exception) -> str | None:
    """What to tell about an error that is no fault of the program, or None."""
    if isinstance(error, DipsError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return missing_package(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
        return "out of memory; try smaller batches (--set train.batch=4 --set harvest.batch=4, for prediction predict.batch)"
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}; --debug shows where it happened"
    return None


def usage(error: CycloptsError, tokens: Sequence[str], commands: App) -> str:
    """What to tell about a wrong command line."""
    command = next((token for token in tokens if token in commands), "")
    words = " ".join(str(error).split())
    return f"{words} See '{'dips ' + command if command else 'dips'} --help'."


def interrupted(tokens: Sequence[str]) -> str:
    """What to tell the one who stopped a command."""
    first = tokens[0] if tokens else ""
    if first == "train":
        return "the same command with --resume goes on where it stopped"
    if first in ("boxes", "compare", "demo", "predict", "stream"):
        return "the same command goes on where it stopped"
    if first == "evaluate":
        return "the run is as it was, but for the numbers of its last evaluation"
    return "nothing was changed"


def fail(words: str, *, word: str = "error", code: int = 2) -> int:
    """Say why it ended, in one line; the exit code."""
    message = " ".join(words.split("\n"))
    Console(stderr=True, soft_wrap=True, highlight=False, emoji=False).print(f"dips: {word}: {message}", markup=False)
    return code


def filled(done: FolderSummary, out: Path) -> int:
    print(f"{counted(done.photos, 'photo')}, {counted(done.boxes, 'box')} in {out}")
    if done.skipped:
        print(f"{counted(len(done.skipped), 'photo')} could not be read, or not drawn on, see {out / 'skipped.json'}")
    return 1 if done.skipped else 0


def counted(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "es" if word.endswith("x") else "s")
