"""What a result rests on besides its inputs: version, command line, hardware; and the cache folder."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


__version__ = "0.1.0"

__all__ = ["__version__", "command_line", "store_folder"]


def store_folder(given: str | Path | None = None) -> Path:
    """Folder of the harvest's store: ``given``, or ``dips/store`` in the user's cache (``XDG_CACHE_HOME`` or ``~/.cache``)."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "dips" / "store" if given is None else Path(given)


def command_line() -> str:
    """The command of this process as it can be pasted into a shell."""
    program, *words = sys.argv
    ours = Path(program).name in ("dips", "dips.exe", "dips-script.py") or Path(program).parts[-2:] == ("dips", "__main__.py")
    return shlex.join(["dips" if ours else program, *words])
