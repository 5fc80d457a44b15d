"""Files and folders that appear whole or not at all, locks and checksums."""

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

_UNFINISHED = ".dips_tmp"  # ends the names of files and folders that are not whole yet
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}  # what disks without hard links answer


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hex; the file is read in blocks."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def atomic_file(path: Path, mode: str = "w", *, sync: bool = True) -> Iterator[IO[Any]]:
    """Write ``path`` whole or not at all: a temporary file beside it is renamed if the block ends without error.

    What a kill leaves of it is taken by whoever writes ``path`` next.

    Text that UTF-8 cannot hold is written as the escape that JSON uses, too.

    Args:
        sync: it is on the disk, not only with the system, when the block has ended.

    Raises:
        RunError: there is no space, or the folder cannot be written.
    """
    temporary = lock = None
    try:
        with suppress(FileExistsError):  # it may go while it is looked at
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
        temporary.chmod(0o666 & ~_umask())  # it gives access to the owner only
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
    """Open a new file in the folder of ``path``, which another program may remove as long as it is empty."""
    with suppress(FileNotFoundError, FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED)
    except FileNotFoundError:
        if not tries:
            raise
        return _temporary_beside(path, tries - 1)


def new_file(path: Path, data: bytes, *, sync: bool = True, tries: int = 20) -> bool:
    """Write a file that does not exist yet, whole or not at all; of several programs that do so, one is told True.

    Args:
        sync: as for :func:`atomic_file`.
        tries: how often to begin anew where another program creates and removes the file meanwhile, and sweeps beside it.

    Returns:
        False where it exists; it then stays as it is.

    Raises:
        RunError: there is no space, or the folder cannot be written.
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
            # the one step of either system that refuses a name that is taken
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
    """Return what ``path`` is called until it is whole: always the same, so that a kill leaves nothing that stays."""
    return path.with_name(f".{path.name}{_UNFINISHED}")


def _claim(path: Path, *, folder: bool = False) -> int | None:
    """Make a file or folder, or take the one that a killed program left; return it open and locked.

    Returns:
        its descriptor, until whose end nobody else takes it; None where another program is writing it, where somebody else may
        have put it there, or where the system or the disk has no locks: then it needs another name, and nothing is left here.
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
    except OSError:  # whatever is wrong with the folder is said where another name is tried
        if is_new:
            with suppress(OSError):
                path.rmdir() if folder else path.unlink()
        return None
    finally:
        if number is not None:
            os.close(number)


def _is_at(path: Path, number: int) -> bool:
    """Return whether an open file or folder is still called ``path``: another program may have given it its last name."""
    try:
        there = os.lstat(path)
    except OSError:
        return False
    here = os.fstat(number)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def is_temporary(path: Path) -> bool:
    """Return, by its name, whether this is a file or folder that was not finished when the program was killed.

    >>> is_temporary(Path(".coco.json.dips_tmp")), is_temporary(Path(".notes.markdown"))
    (True, False)
    """
    return path.name.startswith(".") and path.name.endswith(_UNFINISHED)


def is_unused(folder: Path, besides: Path | None = None) -> bool:
    """Return whether a folder is missing, or was killed before its first file was whole: it then holds unfinished files alone.

    Args:
        besides: the file of another option, which may lie there.
    """
    there = None if besides is None else Path(os.path.realpath(besides))
    others = () if there is None else (there, *there.parents)
    return not os.path.lexists(folder) or (
        folder.is_dir() and all(is_temporary(path) or path in others for path in Path(os.path.realpath(folder)).iterdir())
    )


def lock_file(file: IO[bytes] | FileIO) -> bool:
    """Lock an open file until it is closed; return False if another process holds the lock.

    If the system or the disk has no locks, this returns True and nobody is kept out.
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
    """Keep other processes from the same work while it lasts.

    Args:
        path: a file that stands for the work; made where it is missing.
        work: what is written, for the message.
        command: what the message calls the other process.
        remove: the file is there for this alone.

    Raises:
        RunError: another process is at it.
    """
    with path.open("ab") as file:
        # a file that was removed meanwhile is no longer what others lock
        if not lock_file(file) or not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise RunError(f"{work} is in use by another '{command}'; stop that one first")
        try:
            yield
        finally:
            if remove:
                path.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Check that a file can be written before its content is computed; nothing is changed or made, not even its folder.

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
    """Check that the files of several options are different ones; None where an option is not given.

    Raises:
        ConfigError: two options name the same file.

    >>> require_distinct({"--json": "a.json", "--problems": "b.json", "--csv": None})
    """
    options: dict[str, str] = {}
    for option, file in files.items():
        if file is not None and (first := options.setdefault(os.path.realpath(file), option)) != option:
            raise ConfigError(f"{first} and {option} both name {file}; give each a file of its own")


def temporary_beside(path: Path) -> IO[bytes]:
    """Return an open temporary file without a name in the folder of ``path``; the system's own folder may lie in memory.

    Raises:
        RunError: the folder cannot be created or written.
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
    """Create a folder whole or not at all: yields a hidden sibling that becomes ``path`` if the block ends without error.

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
        work.chmod(0o777 & ~_umask())  # it gives access to the owner only
        os.replace(work, path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; free some space or choose another folder") from error
    finally:
        if lock is None or _is_at(work, lock):
            shutil.rmtree(work, ignore_errors=True)
        if lock is not None:
            os.close(lock)
