"""What a run needs around the method: messages, progress, seeds, the device, and writing without leaving halves behind."""

from __future__ import annotations

import hashlib
import os
import platform
import random
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from datetime import timedelta
from io import FileIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dips.errors import RunError

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

__all__ = [
    "atomic_file",
    "command_line",
    "environment",
    "file_sha256",
    "first_process",
    "is_temporary",
    "launch_fabric",
    "lock_file",
    "log",
    "new_folder",
    "pick_device",
    "require_writable",
    "seed_everything",
    "store_folder",
    "synchronise",
    "temporary_beside",
    "track",
]

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 30.0


def first_process() -> bool:
    """Whether this is the only process, or the first of those that ``torchrun`` started: the one that speaks."""
    return os.environ.get("RANK", "0") == "0"


_console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, quiet=not first_process())


def log(message: str) -> None:
    """One line to the person who watches (stderr)."""
    _console.print(message, markup=False)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` with a progress bar that tells the time left; a line now and then where stderr is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    if not _console.is_terminal:
        yield from _spoken(items, description, total)
        return
    with Progress(*columns, console=_console, transient=True) as progress:
        yield from progress.track(items, total=total, description=description)


def _spoken(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    count = len(items) if total is None and isinstance(items, Sized) else total
    begun = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if count and done and now - last > _SECONDS_BETWEEN_LINES:
            last = now
            log(f"{description}: {done} of {count}, about {(now - begun) / done * (count - done):.0f} s left")
        yield item


def pick_device(name: str = "auto") -> torch.device:
    """The torch device called ``name``; ``auto`` takes CUDA, else Apple's MPS, else the CPU.

    Raises:
        RunError: the device is not there.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RunError(f"there is no device '{name}'; --device takes auto, cpu, cuda, mps") from None
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RunError(f"the device '{name}' cannot be used here ({error}); try --device cpu") from error
    return device


def launch_fabric(name: str = "auto") -> Fabric:
    """A launched Fabric on the device called ``name``; under ``torchrun`` one of several, each with a device of its own.

    Raises:
        RunError: the device is not there.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    everywhere = int(os.environ.get("WORLD_SIZE", "1"))
    if everywhere > 1:
        if ":" in name:
            raise RunError(f"--device {name}: under torchrun each process has a device of its own; write it without a number")
        # others wait for the harvest of the first, which may take hours
        strategy = DDPStrategy(timeout=timedelta(days=7))
        fabric = Fabric(accelerator=name, devices=beside, num_nodes=everywhere // beside, strategy=strategy)
    else:
        place = pick_device(name)
        fabric = Fabric(accelerator=place.type, devices=[place.index or 0] if place.type == "cuda" else 1)
    fabric.launch()
    return fabric


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was told, so that a clock can be read."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def store_folder(given: str | Path | None = None) -> Path:
    """Folder of the harvest's store: ``given``, or ``dips/store`` in the user's cache (``XDG_CACHE_HOME`` or ``~/.cache``)."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "dips" / "store" if given is None else Path(given)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes as hex, read in pieces."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def atomic_file(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Write ``path`` whole or not at all: a temporary file beside it is renamed when the block ends without error.

    Raises:
        RunError: there is no space, or the folder cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(number, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp's are for the owner alone
        os.replace(temporary, path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; free some space or choose another folder") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether the name is that of a file which :func:`atomic_file` had not finished when the program was killed."""
    return re.fullmatch(r"\..+\.[a-z0-9_]{8}", path.name) is not None


def lock_file(file: IO[bytes] | FileIO) -> bool:
    """Keep an open file from other processes that ask the same, until it is closed; False if one of them has it.

    Where the system or the disk has no such locks, nobody is kept out.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network disks
        return True
    return True


def require_writable(path: Path) -> None:
    """See that a file could be written, before the work that it is to hold; an existing one is left as it is.

    Raises:
        RunError: it could not.
    """
    if path.is_dir():
        raise RunError(f"cannot write {path}: it is a folder; give the name of a file")
    temporary_beside(path).close()


def temporary_beside(path: Path) -> IO[bytes]:
    """An open temporary file without a name in the folder of ``path``: the system's own folder may lie in memory.

    Raises:
        RunError: the folder cannot be made or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=path.parent)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; choose another folder") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a new folder whole or not at all: yields a hidden sibling that becomes ``path`` when the block ends without error.

    Raises:
        RunError: ``path`` exists already, or cannot be written.
    """
    if path.exists():
        raise RunError(f"{path} exists already and is left as it is; choose another folder or remove it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; choose another folder") from error
    try:
        yield work
        work.chmod(0o777 & ~_umask())  # mkdtemp's are for the owner alone
        os.replace(work, path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; free some space or choose another folder") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def command_line() -> str:
    """The command of this process as it can be pasted into a shell."""
    program, *words = sys.argv
    ours = Path(program).name in ("dips", "dips.exe", "dips-script.py") or Path(program).parts[-2:] == ("dips", "__main__.py")
    return shlex.join(["dips" if ours else program, *words])


def environment(device: torch.device | None = None) -> dict[str, Any]:
    """Versions and hardware, as recorded in every run; ``device`` is the one that was computed on (default: the fastest)."""
    import torch

    gpu = torch.cuda.is_available() and (device is None or device.type == "cuda")
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if gpu else "cpu" if device is None else device.type,
        "command": command_line(),
    }
