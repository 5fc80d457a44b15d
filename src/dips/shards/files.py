"""The few operations that shards need from a disk or an object store.

No operation needs a rename, a lock or a remote clock: a file appears complete, and if several create one, one succeeds.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from dips.system.files import atomic_file, is_temporary, new_file
from dips.system.names import file_url_path, scheme_of

__all__ = ["Files", "LocalFiles", "files_at"]


class Files(Protocol):
    """A folder, or the objects below a prefix of an object store. Names are relative, with forward slashes.

    Attributes:
        place: the folder or URL, for messages.

    Errors other than a missing file depend on the implementation, and are raised as :class:`~dips.errors.RunError`.
    """

    place: str

    def read(self, name: str) -> bytes:
        """Return the contents of a file.

        Raises:
            FileNotFoundError: there is none.
        """

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield the lines of a file, each with its line ending, without reading all of it at once.

        Raises:
            FileNotFoundError: there is none.
        """

    def write(self, name: str, data: bytes | Iterable[bytes]) -> None:
        """Write a file completely or not at all; an existing one is replaced."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a file completely or not at all unless it exists, and return whether this call wrote it.

        Of concurrent calls, from any machine, one returns True.
        """

    def names(self, folder: str) -> list[str]:
        """Return the names, without the folder, of the files in a folder, sorted; empty if the folder does not exist."""

    def remove(self, name: str) -> None:
        """Remove a file, if it exists, and leftovers of killed writers; a folder that becomes empty may be removed or not."""

    def discard(self, folder: str) -> None:
        """Remove a folder, if it exists, with all its contents."""


class LocalFiles:
    """Files in a folder of this machine, or of a disk shared by several machines.

    >>> import tempfile
    >>> files = LocalFiles(Path(tempfile.mkdtemp()))
    >>> files.create("done/1", b"first"), files.create("done/1", b"second"), files.read("done/1"), files.names("done")
    (True, False, b'first', ['1'])
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        """``durable``: sync written files to disk, so that they are not lost if the machine crashes."""
        self.folder, self.place, self.durable = folder, str(folder), durable

    def read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except NotADirectoryError as error:
            raise FileNotFoundError(*error.args) from error

    def lines(self, name: str) -> Iterator[bytes]:
        with (self.folder / name).open("rb") as file:
            yield from file

    def write(self, name: str, data: bytes | Iterable[bytes]) -> None:
        with atomic_file(self.folder / name, "wb", sync=self.durable) as file:
            file.writelines([data] if isinstance(data, bytes) else data)

    def create(self, name: str, data: bytes) -> bool:
        return new_file(self.folder / name, data, sync=self.durable)

    def names(self, folder: str) -> list[str]:
        try:
            paths = list((self.folder / folder).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(path.name for path in paths if not is_temporary(path))

    def remove(self, name: str) -> None:
        path = self.folder / name
        with suppress(FileNotFoundError):
            for left in path.parent.iterdir():
                if left.name.startswith(f".{path.name}.") and is_temporary(left):
                    left.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        if path.parent == self.folder:  # other processes may be writing to subfolders right now
            with suppress(OSError):  # it is not empty
                path.parent.rmdir()

    def discard(self, folder: str) -> None:
        shutil.rmtree(self.folder / folder, ignore_errors=True)


def files_at(place: str) -> Files:
    """Return the files in a folder, or below a URL.

    Raises:
        RunError: a place of this kind is read-only.

    >>> files_at("runs/boxes").place, files_at("s3://bucket/boxes/").place
    ('runs/boxes', 's3://bucket/boxes')
    >>> files_at("file:///nfs/my%20boxes").place
    '/nfs/my boxes'
    """
    if not scheme_of(place):
        return LocalFiles(Path(place))
    if scheme_of(place) == "file":  # as a store it would list half-written files
        return LocalFiles(Path(file_url_path(place)))
    from dips.shards.remote import RemoteFiles

    return RemoteFiles(place)
