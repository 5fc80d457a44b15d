"""Work that survives a kill: a mark that says what a folder is being filled with, and a journal of what is finished.

In: JSON that identifies the work. Out: a :class:`Claim` on a folder, or a :class:`Journal` whose finished lines come back.
Both refuse to continue other work, and say what differs.
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
    """Return what differs between two pieces of work, in words.

    Args:
        labels: how to call a difference, by key; without one the values are named. Of mappings it is named what differs in
            them, too.

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
    """Return a value of a mark in words; a damaged mark may hold anything."""
    return value if isinstance(value, str) else reprlib.repr(value)


def refuse_other_work(path: Path | str, holds: str, differing: Sequence[str], *, remedy: str) -> None:
    """Check that nothing differs between the work in ``path`` and that which is to be done.

    Raises:
        RunError: something does.
    """
    if differing:
        raise RunError(f"{path} holds {holds} made with {'; '.join(differing)}; {remedy}")


def kept_in(folder: Path, precious: Mapping[str, str]) -> str:
    """Return what a person made and a folder holds, in words; empty where there is nothing.

    Args:
        precious: the words, by the name of the file.
    """
    return next((words for name, words in precious.items() if (folder / name).is_file()), "")


def refuse_existing(folder: Path | str, unmarked: str = "", kept: str = "") -> NoReturn:
    """Refuse to fill a folder that holds something else, or is complete.

    Args:
        unmarked: how it is described: ``and is not a demo``.
        kept: see :func:`kept_in`; nobody is told to remove it.

    Raises:
        RunError: always.
    """
    if kept:
        raise RunError(f"{folder} holds {kept}; nothing was changed. New photos go to another --out")
    words = f"{folder} already exists {unmarked}".rstrip()
    raise RunError(f"{words}; nothing was changed. Choose another --out or remove it")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A folder that one piece of work fills, perhaps over several calls: a file in it, the mark, says what is being made.

    Attributes:
        folder: where the results go.
        mark: name of the file.
        identity: JSON that identifies the work; only the same work may continue.
        holds: what such a folder holds, for messages: ``an interrupted prediction``.
        unmarked: how a folder without the mark is described: ``and is not a demo``.
        labels: see :func:`differences`.
        optional: keys that marks of earlier versions lack.
        remedy: what to do about a folder that holds other work.
        precious: what a person made, by the name of its file in the folder: where it is, nobody is told to remove it.

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
        """The file that says what is being made."""
        return self.folder / self.mark

    @property
    def kept(self) -> str:
        """What a person made and the folder holds, in words; empty where there is nothing."""
        return kept_in(self.folder, self.precious)

    def check(self, *, ignore: Sequence[str] = (), more: Sequence[str] = ()) -> dict[str, Any] | None:
        """Return what the mark of this work says, so that the work continues; None where there is no folder.

        Args:
            ignore: keys of the mark that do not identify the work.
            more: further differences, which the mark does not know of.

        Raises:
            RunError: the folder holds other work, or something else.
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
        """Make the folder, with the mark in it from its first moment.

        Args:
            progress: what the mark says besides the identity.

        Raises:
            RunError: the folder exists, or cannot be written.
        """
        with new_folder(self.folder) as work:
            write_json(work / self.mark, {**self.identity, **progress})


class Journal:
    """Lines of JSON that are only ever added to a file, which one process at a time writes.

    The first line, the head, identifies the work. A line counts once it ends, so that a kill loses no more than the line that
    was being written.

    Args:
        path: the file; it is created if it does not exist.
        head: JSON that identifies the work.
        command: the command that writes it, for messages.
        holds, labels, remedy: as for :class:`Claim`, for messages about a journal of other work.
        unwritable: what to do where the file cannot be written.
        sync: a line is on the disk, not only with the system, when :meth:`append` returns.
        read_only: leave the file as it is, also while another process writes it; it must exist.

    Attributes:
        path: the file.
        was_cut: the last line lacked its end, and was removed or, with ``read_only``, is passed over.

    Raises:
        RunError: the file cannot be written, another process writes it, or its head is damaged or that of other work.

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
        self._read = 0  # up to where lines were read
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
        """Read the lines behind the head, one at a time."""
        with self.path.open("rb") as lines:
            self._read = len(next(lines, b""))
            for line in lines:
                if not line.endswith(b"\n"):  # another process is writing it
                    return
                yield line
                self._read += len(line)

    def records(self, kind: type[R], *, remedy: str) -> Iterator[R]:
        """Read the lines behind the head as records, one at a time.

        Raises:
            RunError: a line is damaged; :meth:`cut` removes it and all that follow.
        """
        for number, line in enumerate(self.lines(), start=2):
            yield parse_record(line, kind, source=f"{self.path}, line {number},", remedy=remedy)

    def cut(self) -> None:
        """Remove the line that was read last, and all that follow."""
        self._file.truncate(self._read)

    def append(self, text: str) -> None:
        """Add a line, whole or not at all.

        Raises:
            RunError: there is no space, or the journal is closed.
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
                with suppress(OSError, ValueError):  # half a line would spoil the next one
                    self._file.truncate(end)
            raise RunError(f"cannot write {self.path} ({error}); free some space and try again") from error

    def close(self) -> None:
        """Let another process write the journal."""
        self._file.close()
