"""The environment of this process: package version, command line, usable cores, cache folder, given weights."""

from __future__ import annotations

import math
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from dips.errors import StoreError, WeightsError

__version__ = "0.1.0"

__all__ = ["__version__", "command_line", "quoted", "require_weights", "store_folder", "torchrun_rank", "usable_cores"]


def store_folder(folder: str | Path | None = None) -> Path:
    """Return ``folder``, or ``dips/store`` in the user's cache folder (``XDG_CACHE_HOME`` or ``~/.cache``).

    Raises:
        StoreError: ``folder`` is a URL.
    """
    if folder is not None:
        if re.match(r"[\w.+-]{2,}:/", str(folder)):
            raise StoreError(
                f"--store {folder} is no folder: 'dips harvest DATA --store URL' collects there, and 'dips merge URL --store "
                "FOLDER' makes a store of what it collected"
            )
        return Path(folder)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "dips" / "store"


def command_line() -> str:
    """Return the command of this process, ready to paste into a shell."""
    program, *arguments = sys.argv
    path = Path(program)
    is_dips = path.name in ("dips", "dips.exe", "dips-script.py") or path.parts[-2:] == ("dips", "__main__.py")
    return " ".join(["dips" if is_dips else quoted(program), *map(quoted, arguments)])


def quoted(argument: str | Path) -> str:
    """Return an argument quoted for a command line."""
    text = str(argument)
    if os.name != "nt":
        return shlex.quote(text)
    return text if re.fullmatch(r"[\w.,:=/\\-]+", text) else f'"{text}"'


def torchrun_rank(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return the rank of this process among those started by ``torchrun``, from 0; None if it did not start this one.

    A cluster, or an earlier program, may have left some of the variables in the environment, so all of them must be set.
    """
    try:
        rank, processes, _ = (int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except (KeyError, ValueError):
        return None
    return rank if environment.get("MASTER_ADDR") and 0 <= rank < processes else None


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1; a container's limit is rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _core_limit())))


def _core_limit(cgroup: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the limit of Linux's control groups for this process, in cores; infinite without a limit."""
    limits = [math.inf]
    with suppress(OSError, ValueError):
        for line in cgroup.read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds and "cpu" not in kinds.split(","):
                continue
            own = root.joinpath(kinds, path.strip("/"))
            for folder in (own, *own.parents):  # in a container the parents are hidden, and its own is the root
                if not folder.is_relative_to(root):
                    break
                limits += _limits_in(folder)
    return min(limits)


def _limits_in(folder: Path) -> Iterator[float]:
    with suppress(OSError, ValueError):  # version 2
        quota, period = (folder / "cpu.max").read_text().split()
        yield int(quota) / int(period)  # "max" means no limit
    with suppress(OSError, ValueError):  # version 1
        allowed, of = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        if allowed > 0:  # -1 means no limit
            yield allowed / of


def require_weights(item: str) -> None:
    """Check that FILE, FOLDER or NAME=FILE, an item of ``--weights`` or DIPS_WEIGHTS, exists.

    Raises:
        WeightsError: it does not.
    """
    path = Path(item).expanduser()
    named = Path(item.partition("=")[2]).expanduser() if "=" in item else path
    if not path.exists() and not named.exists():
        raise WeightsError(f"--weights: there is no file or folder {named}")
