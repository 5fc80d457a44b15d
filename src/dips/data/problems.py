"""Files that were left out, as the JSON of runs, evaluations and comparisons lists them."""

from __future__ import annotations

from collections.abc import Iterable

from dips.system.files import as_text
from dips.system.records import Record
from dips.types import Problem

__all__ = ["ProblemRecord"]


class ProblemRecord(Record, frozen=True, kw_only=True):
    """A file that was left out, and why."""

    path: str
    why: str

    @staticmethod
    def of(problems: Iterable[Problem]) -> list[ProblemRecord]:
        """Return the records of these problems; :func:`~dips.system.files.as_text` spells names that are not text."""
        return [ProblemRecord(path=as_text(str(problem.path)), why=as_text(problem.message)) for problem in problems]
