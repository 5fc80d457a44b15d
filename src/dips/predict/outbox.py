"""Write the files of a prediction to their folder, or to a local folder from which they are sent to a store.

Complete files are sent to a store several at a time, while others are written, and are then removed here, so that only a few
are on this machine at once.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from dips.shards.remote import RemoteFiles
from dips.system.files import is_temporary
from dips.system.names import scheme_of

__all__ = ["Outbox"]

_WAITING = 4  # maximum number of unsent batches


class Outbox:
    """The folder to write the files of a prediction to.

    Attributes:
        folder: the folder on this machine.

    Args:
        out: the destination of the files, a folder or a URL.
    """

    def __init__(self, out: str | Path) -> None:
        self.folder = Path(out)
        self._store = RemoteFiles(str(out)) if scheme_of(str(out)) else None
        self._waiting: deque[Future[None]] = deque()
        if self._store is not None:
            self._top = Path(tempfile.mkdtemp(prefix="dips-"))
            weakref.finalize(self, shutil.rmtree, self._top, ignore_errors=True)
            self.folder = self._top / "out"
            self._sender = ThreadPoolExecutor(1)

    def send(self) -> None:
        """Start sending the complete files; does nothing if they are already in place.

        Raises:
            RunError: writing an earlier batch to the store failed.
        """
        if self._store is None or not (names := list(self._whole())):
            return
        batch = Path(tempfile.mkdtemp(dir=self._top))
        for name in names:
            (batch / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.folder / name, batch / name)
        self._tidy(names)
        self._waiting.append(self._sender.submit(_put, self._store, batch, names))
        while len(self._waiting) > _WAITING:
            self._waiting.popleft().result()

    def flush(self) -> None:
        """Send all complete files, and wait until they are in place.

        Raises:
            RunError: the store cannot be written to.
        """
        self.send()
        while self._waiting:
            self._waiting.popleft().result()

    def remove(self, name: str) -> None:
        """Remove a file, here and at its destination, if it exists."""
        (self.folder / name).unlink(missing_ok=True)
        if self._store is not None:
            self.flush()
            self._store.remove(name)

    def _tidy(self, names: list[str]) -> None:
        """Remove the folders that have become empty, which every later scan would walk again."""
        folders = {folder for name in names for folder in Path(name).parents} - {Path()}
        for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
            with suppress(OSError):  # others are in it
                (self.folder / folder).rmdir()

    def _whole(self) -> Iterator[str]:
        for top, _, names in os.walk(self.folder):
            for path in (Path(top, name) for name in sorted(names)):
                if not is_temporary(path):
                    yield path.relative_to(self.folder).as_posix()


def _put(store: RemoteFiles, batch: Path, names: list[str]) -> None:
    try:
        store.put_all(batch, names)
    finally:
        shutil.rmtree(batch, ignore_errors=True)
