"""Work that survives a kill: a mark that identifies the work that fills a folder, and a journal of finished results.

In: JSON that identifies the work. Out: a :class:`Claim` on a folder, or a :class:`Journal` whose finished lines can be read
back. Both refuse to continue other work, and report the differences.
"""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from dips.errors import RunError
from dips.system.files import lock_file, new_folder
from dips.system.records import Record, parse_object, parse_record, write_json

__all__ = ["Claim", "Journal", "differences", "kept_in", "refuse_existing", "refuse_other_work"]

R = TypeVar("R", bound=Record)


def differences(before: Mapping[str, Any], now: Mapping[str, Any], labels: Mapping[str, str]) -> list[str]:
    """Describe the differences between two pieces of work.

    Args:
        labels: name of the difference by key; keys without a label are described by their values. Differences inside mappings
            are described, too.

    >>> differences({"seed": 0, "model": "3f2a"}, {"seed": 1, "model": "97bc"}, {"model": "another model"})
    ['seed 0, now 1', 'another model']
    >>> differences({"set": {"mode": "fast", "size": 160}}, {"set": {"mode": "unet", "size": 160}}, {"set": "other settings"})
    ['other settings (mode fast, now unet)']
    """

    def words(old: Any, new: Any, key: str) -> str:
        if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
            return labels.get(key, f"{key} {_shown(old)}, now {_shown(new)}")
        return f"{labels.get(key, key)} ({'; '.join(differences(old, new, {}))})"

    changed = [key for key in dict.fromkeys([*before, *now]) if before.get(key) != now.get(key)]
    return [words(before.get(key), now.get(key), key) for key in changed]


def _shown(value: Any) -> str:
    """Return a value of a mark as text; a damaged mark may contain anything."""
    return value if isinstance(value, str) else reprlib.repr(value)


def refuse_other_work(path: Path | str, holds: str, differing: Sequence[str], *, remedy: str) -> None:
    """Check that there are no differences between the work in ``path`` and the requested work.

    Raises:
        RunError: there are some.
    """
    if differing:
        raise RunError(f"{path} holds {holds} made with {'; '.join(differing)}; {remedy}")


def kept_in(folder: Path, precious: Mapping[str, str]) -> str:
    """Describe the files in a folder that a person made; empty if there are none.

    Args:
        precious: description by file name.
    """
    return next((words for name, words in precious.items() if (folder / name).is_file()), "")


def refuse_existing(path: Path | str, unmarked: str = "", kept: str = "") -> NoReturn:
    """Refuse to write a file that exists, or to fill a folder that contains something else or is complete.

    Args:
        unmarked: description of the folder, such as ``and is not a demo``.
        kept: see :func:`kept_in`; the message then does not suggest removing the folder.

    Raises:
        RunError: always.
    """
    if kept:
        raise RunError(f"{path} holds {kept}; nothing was changed. New photos go to another --out")
    words = f"{path} already exists {unmarked}".rstrip()
    raise RunError(f"{words}; nothing was changed. Choose another --out or remove it")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A folder that one piece of work fills, perhaps over several calls: a file in it, the mark, identifies the work.

    Attributes:
        folder: the folder for the results.
        mark: name of the file.
        identity: JSON that identifies the work; only the same work may continue.
        holds: the contents of such a folder, for messages, such as ``an interrupted prediction``.
        unmarked: description of a folder without the mark, such as ``and is not a demo``.
        labels: see :func:`differences`.
        optional: keys that marks of earlier versions lack.
        remedy: what to do about a folder with other work.
        precious: a person's work, by file name in the folder: if it exists, messages do not suggest removing the folder.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "out"
    >>> Claim(folder=folder, mark="mark.json", identity={"seed": 0}, holds="a demo").take()
    >>> Claim(folder=folder, mark="mark.json", identity={"seed": 0}, holds="a demo").check()
    {'seed': 0}
    """

    folder: Path
    mark: str
    identity: Mapping[str, Any]
    holds: str
    unmarked: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    optional: Sequence[str] = ()
    remedy: str = "choose another --out or remove it"
    precious: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file that identifies the work."""
        return self.folder / self.mark

    @property
    def kept(self) -> str:
        """A description of a person's work in the folder; empty if there is none."""
        return kept_in(self.folder, self.precious)

    def check(self, *, ignore: Sequence[str] = (), more: Sequence[str] = ()) -> dict[str, Any] | None:
        """Return the contents of the mark, so that the work can continue; None if there is no folder.

        Args:
            ignore: keys of the mark that do not identify the work.
            more: additional differences not recorded in the mark.

        Raises:
            RunError: the folder contains other work, or something else.
        """
        if not self.folder.exists():
            return None
        kept = self.kept
        data = None
        with suppress(OSError):
            data = self.path.read_bytes()
        if data is None:
            refuse_existing(self.folder, self.unmarked, kept)
        remedy = f"it holds {kept}: choose another --out" if kept else f"remove {self.folder} or choose another --out"
        before = parse_object(data, source=self.path, remedy=remedy)
        before = {**{key: self.identity[key] for key in self.optional if key in self.identity}, **before}
        differing = differences({key: before[key] for key in before if key not in ignore}, self.identity, self.labels)
        remedy = f"it also holds {kept}: choose another --out" if kept else self.remedy
        refuse_other_work(self.folder, self.holds, [*differing, *more], remedy=remedy)
        return before

    def take(self, **progress: Any) -> None:
        """Create the folder, with the mark in it from the start.

        Args:
            progress: contents of the mark besides the identity.

        Raises:
            RunError: the folder exists, or cannot be written to.
        """
        with new_folder(self.folder) as work:
            write_json(work / self.mark, {**self.identity, **progress})


class Journal:
    """An append-only file of JSON lines, written by one process at a time.

    The first line, the head, identifies the work. A line counts once it is terminated, so that a kill loses at most the line
    being written.

    Args:
        path: the file; it is created if it does not exist.
        head: JSON that identifies the work.
        command: the command that writes it, for messages.
        holds, labels, remedy: as for :class:`Claim`, for messages about a journal of other work.
        unwritable: what to do if the file cannot be written to.
        sync: flush each line to disk, not only to the system, before :meth:`append` returns.
        read_only: leave the file unchanged, even while another process writes to it; it must exist.

    Attributes:
        path: the file.
        was_cut: whether the last line was incomplete, and was removed or, with ``read_only``, is skipped.

    Raises:
        RunError: the file cannot be written to, another process is writing to it, or its head is damaged or that of other work.

    >>> import tempfile
    >>> from contextlib import closing
    >>> path = Path(tempfile.mkdtemp()) / "steps.jsonl"
    >>> words = dict(command="dips x", holds="steps", remedy="remove it", unwritable="free some space")
    >>> with closing(Journal(path, {"model": "3f2a"}, **words)) as journal:
    ...     journal.append('{"name": "a"}')
    >>> with closing(Journal(path, {"model": "3f2a"}, **words)) as journal:
    ...     list(journal.lines())
    [b'{"name": "a"}\\n']
    """

    def __init__(
        self,
        path: Path,
        head: Mapping[str, Any],
        *,
        command: str,
        holds: str,
        remedy: str,
        unwritable: str,
        labels: Mapping[str, str] | None = None,
        sync: bool = False,
        read_only: bool = False,
    ) -> None:
        self.path = path
        self._sync = sync
        self._read = 0  # position up to which lines were read
        try:
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._file = FileIO(path, "r" if read_only else "a+")
        except OSError as error:
            verb, remedy = ("read", "make it readable") if read_only else ("write", unwritable)
            raise RunError(f"cannot {verb} {path}: {error.strerror or error}; {remedy}") from error
        try:
            if not read_only and not lock_file(self._file):
                raise RunError(f"{path} is in use by another '{command}'; stop that one first")
            with path.open("rb") as lines:
                whole = sum(len(line) for line in lines if line.endswith(b"\n"))
            self.was_cut = self._file.seek(0, os.SEEK_END) > whole
            if not read_only:
                self._file.truncate(whole)
            if not whole and not read_only:
                self.append(json.dumps(dict(head), separators=(",", ":")))
            elif whole:
                with path.open("rb") as lines:
                    before = parse_object(lines.readline(), source=f"{path}, line 1,", remedy=remedy)
                refuse_other_work(path, holds, differences(before, head, labels or {}), remedy=remedy)
        except BaseException:
            self._file.close()
            raise

    def lines(self) -> Iterator[bytes]:
        """Read the lines after the head, one at a time."""
        with self.path.open("rb") as lines:
            self._read = len(next(lines, b""))
            for line in lines:
                if not line.endswith(b"\n"):  # another process is writing it
                    return
                yield line
                self._read += len(line)

    def records(self, kind: type[R], *, remedy: str) -> Iterator[R]:
        """Read the lines after the head as records, one at a time.

        Raises:
            RunError: a line is damaged; :meth:`cut` removes it and all that follow.
        """
        for number, line in enumerate(self.lines(), start=2):
            yield parse_record(line, kind, source=f"{self.path}, line {number},", remedy=remedy)

    def cut(self) -> None:
        """Remove the line read last, and all that follow."""
        self._file.truncate(self._read)

    def append(self, text: str) -> None:
        """Append a line, completely or not at all.

        Raises:
            RunError: the disk is full, or the journal is closed.
        """
        data = text.encode("utf-8", "backslashreplace") + b"\n"
        end = None
        try:
            end = self._file.seek(0, os.SEEK_END)
            if self._file.write(data) != len(data):
                raise OSError("the disk is full")
            if self._sync:
                os.fsync(self._file.fileno())
        except (OSError, ValueError) as error:  # ValueError: it is closed
            if end is not None:
                with suppress(OSError, ValueError):  # a partial line would corrupt the next one
                    self._file.truncate(end)
            raise RunError(f"cannot write {self.path} ({error}); free some space and try again") from error

    def close(self) -> None:
        """Close the journal, so that another process can write to it."""
        self._file.close()
