"""Problems with the data: collected, logged in the same few lines by every command, and written to a file on request."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from dips.data.box_problems import box_problems, photo_sizes
from dips.data.copies import copy_problems, find_copies
from dips.errors import RunError
from dips.system.console import counted, first_process, log
from dips.system.files import require_writable
from dips.system.names import as_text, as_url
from dips.system.records import Record, read_record, write_json
from dips.types import Problem, Sample, Severity

__all__ = ["ProblemFile", "ProblemList", "ProblemRecord", "left_out", "photo_problems", "reasons", "tell", "told"]

_MOST = 5  # lines that a command logs for each step
_MARKS = {Severity.STOPS: "ERROR", Severity.SPOILS: "!!", Severity.NOTE: "-"}


class ProblemRecord(Record, frozen=True, kw_only=True):
    """A file, and what is wrong with it."""

    path: str
    why: str

    @staticmethod
    def of(problems: Iterable[Problem]) -> list[ProblemRecord]:
        """Return the records of these problems; :func:`~dips.system.names.as_text` spells names that are not valid text."""
        return [
            ProblemRecord(path=as_url(problem.path) or as_text(str(problem.path)), why=as_text(problem.message))
            for problem in problems
        ]


class ProblemFile(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``--problems FILE`` writes; a file with other keys, such as an evaluation's, is something else."""

    schema_version: int = 1
    problems: tuple[ProblemRecord, ...]


class ProblemList:
    """The distinct problems that a command encounters; they are logged when they are added.

    A command has one list. What happens when a problem is added:

    ============================================  ========================  =========================
    to                                            on the screen             in the file, and ``records``
    ============================================  ========================  =========================
    the list, for the first time                  logged                    stored
    the list, again                               nothing                   nothing
    the list, with ``quiet``                      left to the caller        stored
    a ``part``, logged by the whole list before   nothing                   stored by the part alone
    a ``part``, new                               logged                    stored by the part alone
    ============================================  ========================  =========================

    Args:
        file: file that all of them are written to; an earlier list is replaced, whole or not at all.

    Raises:
        RunError: the file cannot be written, or exists and is something else.

    >>> problems = ProblemList()
    >>> problems.add([])
    >>> problems.records()
    []
    """

    def __init__(self, file: str | Path | None = None) -> None:
        self.file = None if file is None else Path(file)
        self._known: dict[Problem, None] = {}
        self._told: frozenset[Problem] = frozenset()
        if self.file is None:
            return
        require_writable(self.file)
        if self.file.exists():
            try:
                read_record(self.file, ProblemFile, remedy="")
            except RunError as error:
                raise RunError(f"{self.file} exists and is no list of problems; give --problems another file") from error

    def part(self) -> ProblemList:
        """Return an empty list for a part of the command's work that records its own problems, such as a run.

        It has no file, does not log again what this list has logged, and adds nothing to this list.
        """
        part = ProblemList()
        part._told = self._told.union(self._known)
        return part

    def add(self, problems: Iterable[Problem], *, quiet: bool = False) -> None:
        """Add problems and log those that are new; with ``quiet``, the caller does the latter.

        Raises:
            RunError: the file cannot be written.
        """
        new = [problem for problem in dict.fromkeys(problems) if problem not in self._known]
        self._known.update(dict.fromkeys(new))
        if new and not quiet:
            is_whole = tell([problem for problem in new if problem not in self._told])
            if self.file is not None:
                log(f"  all problems are in {self.file}")
            elif not is_whole:
                log("  --problems FILE writes all of them to a file")
        if self.file is not None and first_process():
            write_json(self.file, ProblemFile(problems=tuple(self.records())), indent=1)

    def records(self) -> list[ProblemRecord]:
        """Return all problems as JSON records."""
        return ProblemRecord.of(self._known)


def tell(problems: Sequence[Problem]) -> bool:
    """Log problems, only the first of each kind if there are many; return whether each had a line of its own."""
    if not problems:
        return True
    folder = _common_folder(problems)
    log(f"{counted(len(problems), 'problem')} of the data{'' if folder is None else f' in {as_url(folder) or folder}'}:")
    lines = told(problems, folder=folder)
    for line in lines:
        log(f"  {line}")
    return len(lines) == len(problems)


def told(problems: Sequence[Problem], most: int = _MOST, *, folder: Path | None = None) -> list[str]:
    """Return at most ``most`` lines about problems, and one that counts the rest; if there are many, one line per kind.

    The most severe come first; each line begins with a mark of its severity.

    Args:
        problems: in any order.
        most: maximum number of lines.
        folder: paths in this folder are written relative to it.

    >>> told([Problem(Path("a.jpg"), "is empty"), Problem(Path("b.jpg"), "is empty")], most=1)
    ['! a.jpg: is empty (and 1 more like it)']
    """
    kinds: dict[object, list[Problem]] = {}
    for problem in sorted(problems, key=lambda problem: problem.severity):
        kinds.setdefault(_kind(problem) if len(problems) > min(most, _MOST) else len(kinds), []).append(problem)
    groups = list(kinds.values())
    lines = [
        _line(group[0], folder) + (f" (and {len(group) - 1} more like it)" if len(group) > 1 else "") for group in groups[:most]
    ]
    rest = sum(map(len, groups[most:]))
    return [*lines, f"and {counted(rest, 'more problem')}"] if rest else lines


def _line(problem: Problem, folder: Path | None) -> str:
    path = as_url(problem.path) or str(problem.path)
    line = problem.message if problem.message.startswith(path) else f"{path}: {problem.message}"
    if folder is not None and folder != folder.parent and not as_url(folder):
        line = re.sub(rf"{_path(folder)}{re.escape(os.sep)}", "", line.removeprefix(f"{folder}: "))
        line = re.sub(rf"{_path(folder)}(?=[\s,;:)]|$)", lambda _: folder.name, line)
    return f"{_MARKS.get(problem.severity, '!')} {line}"


def _path(path: Path) -> str:
    """Return a pattern that finds a path in a message, unless it is the end of a longer path."""
    return rf"(?<![\w./\\-]){re.escape(str(path))}"


def _common_folder(problems: Iterable[Problem]) -> Path | None:
    """Return the folder that the files of several problems lie in, if there is one."""
    paths = {str(problem.path) for problem in problems}
    try:
        common = Path(os.path.commonpath(paths))
    except ValueError:  # on several drives
        return None
    return None if len(paths) < 2 or common == common.parent else common


def _kind(problem: Problem) -> tuple[Severity, str]:
    """Return the severity, and the message without what differs from photo to photo: names and numbers."""
    message = re.sub(rf"{_path(problem.path)}(?![\w/\\-])", "#", problem.message)
    return problem.severity, re.sub(r"'[^']*'|\S*[\d/\\.]\S*", "#", message)


def left_out(path: Path, reason: Exception | str) -> Problem:
    """Return the problem of a photo that cannot be used, from the error's message, which may begin with the path.

    >>> left_out(Path("a.jpg"), "a.jpg is not a photo; save it again").message
    'is left out, as it is not a photo; save it again'
    """
    text = str(reason)
    bare = text.removeprefix(str(path)).strip()
    return Problem(path, f"is left out: {text}" if bare == text else f"is left out, as it {bare}")


def photo_problems(
    source: Path, parts: Mapping[str, Iterable[Sample]], copies: Mapping[Path, str] | None = None
) -> list[Problem]:
    """Return problems that can be found without decoding a photo: boxes that do not fit, and copies.

    Args:
        source: the data, to which problems of all boxes together are attributed.
        parts: photos by the name of their split, iterable more than once; their files need not exist.
        copies: as :func:`~dips.data.copies.find_copies` returns it; None to call it.
    """
    if copies is None:
        copies = find_copies(sample.path for sample in chain.from_iterable(parts.values()))
    return [*copy_problems(parts, copies), *box_problems(source, photo_sizes(chain.from_iterable(parts.values())))]


def reasons(problems: Sequence[Problem], *folders: Path) -> str:
    """Return why there are no photos, as the end of a sentence that names the folders; only the first five problems."""
    return "".join(
        f"; {'' if (problem.path,) == folders else f'{problem.path}: '}{problem.message}" for problem in problems[:5]
    )
