"""What commands print at their end: a summary on stdout, or on stderr one line that says why there is none."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App, CoercionError, CycloptsError, UnknownOptionError

from dips.config import STAGES, named_settings
from dips.errors import DipsError
from dips.system.console import counted, log, printable, say
from dips.system.environment import quoted
from dips.system.extras import missing_package

if TYPE_CHECKING:
    from dips.data.problems import ProblemList
    from dips.predict.merging import Filled

__all__ = ["expected", "fail", "filled", "interrupted", "usage"]

_MEANING = (
    "A box encloses what tells its class from the others, perhaps a thing that goes with the object, or objects that touch; "
    "photos of such things alone belong in a background folder, none/"
)

_TYPES = {"float": "a number", "int": "a whole number"}  # in the words of those who do not write Python


def expected(error: Exception) -> str | None:
    """Return the message for an error that is not a fault of the program; None for one that is."""
    if isinstance(error, DipsError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return missing_package(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
        return (
            "out of memory; use smaller batches (--set harvest.batch=4; for prediction predict.batch=4, for an adaptation "
            "adapt.batch=4) or fewer photos (--set harvest.refine_photos=200)"
        )
    if isinstance(error, OSError) and error.strerror:
        file = f"{error.filename}: " if error.filename else ""
        return f"{file}{error.strerror}; --debug shows where it happened"
    return None


def usage(error: CycloptsError, tokens: Sequence[str], commands: App) -> str:
    """Return the message for a wrong command line."""
    command = next((token for token in tokens if token in commands), "")
    message = " ".join(str(error).split())
    if isinstance(error, CoercionError) and error.token and (found := re.search(r'" into ([\w|\[\]]+)\.$', message)):
        types = [kind for kind in found[1].split("|") if kind != "None"]
        words = " or ".join(_TYPES.get(kind, kind.removeprefix("Literal[").rstrip("]")) for kind in types)
        message = f"{message[: found.start(1)]}{words}."
        value = error.token.value.replace(",", ".", 1)
        if "float" in types and re.fullmatch(r"[+-]?\d*\.\d+", value):
            message += f" Write {value}, with a point."
    if isinstance(error, UnknownOptionError) and (stages := _stages(command, commands)):
        option = (error.token.keyword or error.token.value).lstrip("-").partition("=")[0]
        named = named_settings(option.replace("-", "_"), stages)
        message += f" It is a setting: {' or '.join(f'--set {name}=VALUE' for name in named)}." if named else ""
    return f"{message} See '{'dips ' + command if command else 'dips'} --help'."


def _stages(command: str, commands: App) -> tuple[str, ...]:
    """Return the stages whose settings the command takes; none, where it takes no settings."""
    function = commands[command].default_command if command else None
    kinds = set(map(str, getattr(function, "__annotations__", {}).values()))
    if "AdaptSettings" in kinds:
        return ("adapt",)
    return STAGES if "Settings" in kinds else ("predict",) if kinds & {"PredictOptions", "PredictSettings"} else ()


def interrupted(tokens: Sequence[str]) -> str:
    """Return the message for a command that was stopped: what became of its work."""
    command = tokens[0] if tokens else ""
    if command == "train":
        return "repeat the command with --resume to continue where it stopped"
    resumes = ("adapt", "boxes", "compare", "demo", "harvest", "merge", "predict", "stream")
    if command in resumes or (command == "score" and any(token.partition("=")[0] == "--out" for token in tokens)):
        return "repeat the command to continue where it stopped"
    if command == "evaluate":
        return "the run is unchanged, except perhaps for the numbers of its last evaluation"
    return "nothing was changed"


def fail(message: str, *, kind: str = "error", code: int = 2) -> int:
    """Print one line on stderr and return the exit code."""
    print(printable(f"dips: {kind}: {' '.join(map(str.strip, message.splitlines()))}"), file=sys.stderr)
    return code


def filled(done: Filled, out: str | Path, problems: ProblemList, *, explain: bool = False) -> int:
    """Print what is in a prediction folder, and what to do next.

    Args:
        explain: say what a box is.

    Returns:
        The exit code: 1 where photos were skipped, which are told.
    """
    found, skipped = done.found, done.skipped
    problems.add(skipped)
    boxed = f"{found.boxed} with a box ({counted(found.boxes, 'box')})" if found.boxes else "none with a box"
    say(f"{counted(found.photos, 'photo')}, {boxed}, in {out}")
    if found.reviewed:
        others = "the others are as predicted" if found.reviewed < found.photos else "no photo is as predicted"
        say(f"reviewed: {counted(found.reviewed, 'photo')} with {counted(found.reviewed_boxes, 'box')}; {others}")
    if remark := found.remark():
        say(remark)
    if remark := found.scores.remark():
        say(remark)
    if skipped:
        where = out / "skipped.json" if isinstance(out, Path) else f"{out.rstrip('/')}/skipped.json"
        say(f"{counted(len(skipped), 'photo')} could not be read or drawn on, see {where}")
    if explain and found.boxes:
        log(_MEANING)
    if isinstance(out, Path):
        say(f"next    dips report {quoted(out)} --open")
        say(f"or      dips view {quoted(out)}    (accept, correct and draw boxes)")
    else:
        say("next    copy it here to see it with 'dips report' and 'dips view', which find the photos below --photos-dir")
    return 1 if skipped else 0
