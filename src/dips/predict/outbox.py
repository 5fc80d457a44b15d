"""Where the files of a prediction are written: in their folder, or on this machine on their way to a store.

A store gets each file whole, several at a time, and the file here is removed, so that only a few are here at once.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

from dips.shards.remote import RemoteFiles
from dips.system.files import is_temporary, scheme_of

__all__ = ["Outbox"]


class Outbox:
    """The folder to write the files of a prediction in.

    Attributes:
        folder: on this machine.

    Args:
        out: what the files are of, a folder or a URL.
    """

    def __init__(self, out: str | Path) -> None:
        self._store = RemoteFiles(str(out)) if scheme_of(str(out)) else None
        self.folder = Path(out if self._store is None else tempfile.mkdtemp(prefix="dips-"))
        if self._store is not None:
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def send(self) -> None:
        """Send the files that are whole; nothing where they are in their place already.

        Raises:
            RunError: the store cannot be written; they stay here.
        """
        if self._store is None:
            return
        paths = list(self._whole())
        if paths:
            self._store.put_all(self.folder, [path.relative_to(self.folder).as_posix() for path in paths])
        for path in paths:
            path.unlink()

    def remove(self, name: str) -> None:
        """Remove a file, here and where it belongs, if there is one."""
        (self.folder / name).unlink(missing_ok=True)
        if self._store is not None:
            self._store.remove(name)

    def _whole(self) -> Iterator[Path]:
        for top, _, names in os.walk(self.folder):
            yield from (path for path in (Path(top, name) for name in sorted(names)) if not is_temporary(path))
