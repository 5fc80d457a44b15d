"""Identify the code that fitted a method, so that a table never mixes numbers of different code versions.

In: a method. Out: hashes of its code, stored next to its fit.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import msgspec

import dips
from dips.baselines.method import ScoreMapMethod
from dips.system.files import file_sha256
from dips.system.records import Record

__all__ = ["OTHER_VERSION", "Source", "package_hash"]

OTHER_VERSION = "fitted by another version of DiPS"
_EDITED = "its file was edited"
_UNKNOWN = "its code is in no file, so that nothing tells whether it has changed"
# folders that affect neither fits nor their numbers
_NO_PART = {"adaptation", "cli", "demo", "export", "formats", "pictures", "report", "view"}


class Source(Record, frozen=True, kw_only=True):
    """``source.json``: written when a fit begins, so that interrupted fits have it as well.

    Attributes:
        package: hash of the code of DiPS, on which users' own methods run as well.
        file: the user's file that defines the method; None for a method of this project, "" for one without a file.
        bases: other files of the user that it inherits from; what these files import is ignored.
        sha256: hash of all these files; empty if the method, or a class that it inherits from, is not in a file.
        needs: methods that it builds on.
    """

    schema_version: int = 1
    package: str
    file: str | None = None
    bases: list[str] = msgspec.field(default_factory=list)
    sha256: str = ""
    needs: list[str] = msgspec.field(default_factory=list)

    @staticmethod
    def of(method: ScoreMapMethod) -> Source:
        """Return the source of a method as it is now."""
        package, needs = package_hash(Path(dips.__file__).parent), list(method.needs)
        own = [kind for kind in type(method).__mro__ if not (kind in ScoreMapMethod.__mro__ or _is_ours(kind))]
        if not own:
            return Source(package=package, needs=needs)
        try:
            file, *bases = dict.fromkeys(str(Path(inspect.getfile(kind)).resolve()) for kind in own)
            return Source(package=package, file=file, bases=bases, sha256=_sha256([file, *bases]), needs=needs)
        except (OSError, TypeError):  # defined in an interpreter or a notebook
            return Source(package=package, file="", needs=needs)

    def differs(self, now: Source) -> str:
        """Return a description of what has changed, or may have, since; empty if nothing has."""
        if self.package != now.package:
            return OTHER_VERSION
        if "" in (self.file, now.file):
            return _UNKNOWN
        return _EDITED if (self.file is None, self.sha256) != (now.file is None, now.sha256) else ""

    def outdated(self) -> str:
        """Return what has changed since, like :meth:`differs`, if the method itself is not available."""
        if self.package != package_hash(Path(dips.__file__).parent):
            return OTHER_VERSION
        try:
            return _EDITED if self.file and _sha256([self.file, *self.bases]) != self.sha256 else ""
        except OSError:  # moved: the numbers are still those of the original file
            return ""


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "dips"


def _sha256(files: Iterable[str]) -> str:
    return hashlib.sha256("".join(file_sha256(Path(file)) for file in files).encode()).hexdigest()[:16]


@cache
def package_hash(folder: Path) -> str:
    """Return a hash of the Python files of a package that affect fits and their numbers."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.py"))
    code = hashlib.sha256()
    for path in files:
        if path.parts[0] not in _NO_PART:
            code.update(f"{path.as_posix()} {file_sha256(folder / path)}\n".encode())
    return code.hexdigest()[:16]
