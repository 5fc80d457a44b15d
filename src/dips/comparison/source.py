"""The code that a method was fitted by, so that a table never shows numbers of different code side by side.

In: a method. Out: what stands for its code, kept beside its fit.
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
# folders that change neither fit nor numbers
_NO_PART = {"adaptation", "cli", "demo", "export", "formats", "pictures", "report", "view"}


class Source(Record, frozen=True, kw_only=True):
    """``source.json``: written when a fit begins, so that it is also known of one that was interrupted.

    Attributes:
        package: stands for the code of DiPS, which users' own methods run on, too.
        file: the user's file that the method is from; None for a method of this project, "" for one without a file.
        bases: other files of the user that it inherits from; what these files import is not looked at.
        sha256: stands for all these files; empty where the method, or what it inherits from, is in none.
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
        """Return that of a method as it is now."""
        package, needs = package_hash(Path(dips.__file__).parent), list(method.needs)
        own = [kind for kind in type(method).__mro__ if not (kind in ScoreMapMethod.__mro__ or _is_ours(kind))]
        if not own:
            return Source(package=package, needs=needs)
        try:
            file, *bases = dict.fromkeys(str(Path(inspect.getfile(kind)).resolve()) for kind in own)
            return Source(package=package, file=file, bases=bases, sha256=_sha256([file, *bases]), needs=needs)
        except (OSError, TypeError):  # typed into an interpreter or a notebook
            return Source(package=package, file="", needs=needs)

    def differs(self, now: Source) -> str:
        """Return in words what is no longer as it was, or may not be; empty where nothing is."""
        if self.package != now.package:
            return OTHER_VERSION
        if "" in (self.file, now.file):
            return _UNKNOWN
        return _EDITED if (self.file is None, self.sha256) != (now.file is None, now.sha256) else ""

    def outdated(self) -> str:
        """Return as :meth:`differs` what has changed since, where the method itself is not at hand."""
        if self.package != package_hash(Path(dips.__file__).parent):
            return OTHER_VERSION
        try:
            return _EDITED if self.file and _sha256([self.file, *self.bases]) != self.sha256 else ""
        except OSError:  # moved: the numbers are still those of what it was
            return ""


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "dips"


def _sha256(files: Iterable[str]) -> str:
    return hashlib.sha256("".join(file_sha256(Path(file)) for file in files).encode()).hexdigest()[:16]


@cache
def package_hash(folder: Path) -> str:
    """Return what stands for the Python files of a package that have a part in fits and their numbers."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.py"))
    code = hashlib.sha256()
    for path in files:
        if path.parts[0] not in _NO_PART:
            code.update(f"{path.as_posix()} {file_sha256(folder / path)}\n".encode())
    return code.hexdigest()[:16]
