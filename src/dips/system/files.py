"""Files and folders that are written completely or not at all, locks and checksums."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import IO, Any

from dips.errors import ConfigError, RunError

__all__ = [
    "atomic_file",
    "file_sha256",
    "is_temporary",
    "is_unused",
    "lock_file",
    "new_file",
    "new_folder",
    "only_one",
    "require_distinct",
    "require_writable",
    "temporary_beside",
]

_UNFINISHED = ".dips_tmp"  # suffix of files and folders that are not complete yet
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}  # errors of disks without hard links


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hex; the file is read in blocks."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def atomic_file(path: Path, mode: str = "w", *, sync: bool = True) -> Iterator[IO[Any]]:
    """Write ``path`` completely or not at all: a temporary file beside it is renamed if the block ends without error.

    If a kill leaves the temporary file behind, the next writer of ``path`` reuses it.

    Text that UTF-8 cannot encode is written as the escape that JSON uses, too.

    Args:
        sync: flush the file to disk, not only to the system, before the block ends.

    Raises:
        RunError: the disk is full, or the folder cannot be written to.
    """
    temporary = lock = None
    try:
        with suppress(FileExistsError):  # it may be removed during the check
            path.parent.mkdir(parents=True, exist_ok=True)
        left = _left_over(path)
        lock = _claim(left)
        if lock is None:
            number, name = _temporary_beside(path)
        else:
            os.ftruncate(lock, 0)
            number, name = os.dup(lock), str(left)
        temporary = Path(name)
        binary = "b" in mode
        errors = None if binary else "backslashreplace"
        with os.fdopen(number, mode, encoding=None if binary else "utf-8", errors=errors) as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # so far only its owner has access
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        remedy = "choose a shorter name" if error.errno == errno.ENAMETOOLONG else "free some space or choose another folder"
        raise RunError(f"cannot write {path}: {error.strerror or error}; {remedy}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def _temporary_beside(path: Path, tries: int = 20) -> tuple[int, str]:
    """Open a new file in the folder of ``path``, which another program may remove while it is empty."""
    with suppress(FileNotFoundError, FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED)
    except FileNotFoundError:
        if not tries:
            raise
        return _temporary_beside(path, tries - 1)


def new_file(path: Path, data: bytes, *, sync: bool = True, tries: int = 20) -> bool:
    """Write a file that does not exist yet, completely or not at all; of several programs that do so, one gets True.

    Args:
        sync: as for :func:`atomic_file`.
        tries: how often to start over if another program creates and removes the file meanwhile, with temporary ones beside it.

    Returns:
        False if it exists; it is then unchanged.

    Raises:
        RunError: the disk is full, or the folder cannot be written to.
    """
    temporary = None
    try:
        number, name = _temporary_beside(path)
        temporary = Path(name)
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        try:
            # the only operation on either system that fails if the name is taken
            os.rename(temporary, path) if os.name == "nt" else os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if path.exists():
                return False
            os.replace(temporary, path)
        return True
    except OSError as error:
        if isinstance(error, FileNotFoundError) and temporary is not None and tries > 1:
            return new_file(path, data, sync=sync, tries=tries - 1)
        raise RunError(f"cannot write {path}: {error.strerror or error}; free some space or choose another folder") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _left_over(path: Path) -> Path:
    """Return the name of ``path`` until it is complete: always the same, so that leftovers of a kill are reused."""
    return path.with_name(f".{path.name}{_UNFINISHED}")


def _claim(path: Path, *, folder: bool = False) -> int | None:
    """Create a file or folder, or take over one left by a killed program; return it open and locked.

    Returns:
        its descriptor, which reserves it until closed; None if another program is writing it, if another user may have put it
        there, or if the system or the disk has no locks: the caller then needs another name, and nothing is left here.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    is_new, number = False, None
    try:
        with suppress(FileExistsError):
            if folder:
                path.mkdir(0o700)
            else:
                number = os.open(path, os.O_NOFOLLOW | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            is_new = True
        if number is None:
            number = os.open(path, os.O_NOFOLLOW | (os.O_DIRECTORY if folder else os.O_RDWR))
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(number)
        # on some disks even a new file belongs to another user
        is_own = found.st_uid == os.geteuid() and (folder or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1))
        if (is_new or is_own) and _is_at(path, number):
            claimed, number = number, None
            return claimed
        return None
    except BlockingIOError:  # another program was faster
        return None
    except OSError:  # problems of the folder are reported when another name is tried
        if is_new:
            with suppress(OSError):
                path.rmdir() if folder else path.unlink()
        return None
    finally:
        if number is not None:
            os.close(number)


def _is_at(path: Path, number: int) -> bool:
    """Return whether an open file or folder is still at ``path``: another program may have renamed it to its final name."""
    try:
        there = os.lstat(path)
    except OSError:
        return False
    here = os.fstat(number)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def is_temporary(path: Path) -> bool:
    """Return, from its name, whether this is an unfinished file or folder, as left by a killed program.

    >>> is_temporary(Path(".coco.json.dips_tmp")), is_temporary(Path(".notes.markdown"))
    (True, False)
    """
    return path.name.startswith(".") and path.name.endswith(_UNFINISHED)


def is_unused(folder: Path, besides: Path | None = None) -> bool:
    """Return whether a folder is missing, or contains only unfinished files because of a kill before the first was complete.

    Args:
        besides: the file of another option, which may be in the folder.
    """
    there = None if besides is None else Path(os.path.realpath(besides))
    others = () if there is None else (there, *there.parents)
    return not os.path.lexists(folder) or (
        folder.is_dir() and all(is_temporary(path) or path in others for path in Path(os.path.realpath(folder)).iterdir())
    )


def lock_file(file: IO[bytes] | FileIO) -> bool:
    """Lock an open file until it is closed; return False if another process holds the lock.

    If the system or the disk has no locks, this returns True and excludes nobody.
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


@contextmanager
def only_one(path: Path, work: Path, command: str, *, remove: bool = False) -> Iterator[None]:
    """Keep other processes from doing the same work during the block.

    Args:
        path: a file that represents the work; created if missing.
        work: the output of the work, for the message.
        command: the name of the other process in the message.
        remove: remove the file at the end, as it serves only as a lock.

    Raises:
        RunError: another process is doing the work, or the file cannot be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; choose another folder") from error
    with file:
        # if the file was removed meanwhile, others lock a different one
        if not lock_file(file) or not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise RunError(f"{work} is in use by another '{command}'; stop that one first")
        try:
            yield
        finally:
            if remove:
                path.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Check that a file can be written before its content is computed; nothing is changed or created, not even its folder.

    Raises:
        RunError: it cannot be written.
    """
    if path.is_dir():
        raise RunError(f"cannot write {path}: it is a folder; give the name of a file")
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; choose another folder") from error


def require_distinct(files: Mapping[str, str | Path | None]) -> None:
    """Check that the files of several options are different; None if an option is not given.

    Raises:
        ConfigError: two options name the same file.

    >>> require_distinct({"--json": "a.json", "--problems": "b.json", "--csv": None})
    """
    options: dict[str, str] = {}
    for option, file in files.items():
        if file is not None and (first := options.setdefault(os.path.realpath(file), option)) != option:
            raise ConfigError(f"{first} and {option} both name {file}; give each a file of its own")


def temporary_beside(path: Path) -> IO[bytes]:
    """Return an open, unnamed temporary file in the folder of ``path``; the system's temporary folder may be in memory.

    Raises:
        RunError: the folder cannot be created or written to.
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
    """Create a folder completely or not at all: yields a hidden sibling that becomes ``path`` if the block ends without error.

    Raises:
        RunError: ``path`` already exists, or cannot be written.
    """
    if path.exists():
        raise RunError(f"{path} already exists; nothing was changed. Choose another folder or remove it")
    lock = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = _left_over(path)
        lock = _claim(work, folder=True)
        if lock is None:
            work = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED))
        for left in list(work.iterdir()):
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    except OSError as error:
        if lock is not None:
            os.close(lock)
        raise RunError(f"cannot write {path}: {error.strerror or error}; choose another folder") from error
    try:
        yield work
        work.chmod(0o777 & ~_umask())  # so far only its owner has access
        os.replace(work, path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; free some space or choose another folder") from error
    finally:
        if lock is None or _is_at(work, lock):
            shutil.rmtree(work, ignore_errors=True)
        if lock is not None:
            os.close(lock)
