"""Processes that a command of dips started to work for it, to be killed."""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["workers_of"]


def workers_of(parent: int) -> list[int]:
    """Return the numbers of the processes that ``parent`` started as workers."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            of = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if of == parent and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return sorted(found)
