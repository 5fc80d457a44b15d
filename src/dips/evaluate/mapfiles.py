"""Score maps of any method on disk: found by the id of their photo, read one by one.

In: a folder with a ``.npy``, ``.npz`` or ``.png`` per photo, or a single ``.npz`` with an array per photo. Out: the map of a
photo as ``(h, w)`` in [0, 1]. Nothing is unpickled.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.errors import DataError, ProtocolError
from dips.scoremaps import checked_map

__all__ = ["MapFiles"]

_SUFFIXES = (".npy", ".npz", ".png")


class MapFiles:
    """The score maps in one place.

    Args:
        place: the folder or the ``.npz``.

    Raises:
        DataError: there is no map in it.
    """

    def __init__(self, place: str | Path) -> None:
        self.place = Path(place)
        if not self.place.exists():
            raise DataError(f"{self.place} does not exist; give the folder, or the .npz, that holds the score maps")
        self._archive = self.place.is_file()
        self._opened: Any = None
        self._files: dict[str, str] = {}
        for name in self._members() if self._archive else _walk(self.place):
            key = name if self._archive else name[: -len(Path(name).suffix)]
            if key in self._files:
                raise DataError(f"{self.place} has {self._files[key]} and {name} for the same photo; remove one of the two")
            self._files[key] = name
        if not self._files:
            raise DataError(f"{self.place} holds no score map; it needs a .npy, .npz or .png per photo, named like the photo")

    def __len__(self) -> int:
        return len(self._files)

    def match(self, ids: Iterable[str]) -> dict[str, str]:
        """The file, or the name in the archive, of each photo that has a map.

        ``test/owl/1.jpg`` may be called so with a map's suffix added or in place of the photo's, with or without its first
        folder, or by its last part alone.

        Raises:
            DataError: two photos would share a map.
        """
        found: dict[str, str] = {}
        taken: dict[str, str] = {}
        for id in ids:
            name = next((self._files[key] for key in _keys(id) if key in self._files), None)
            if name is None:
                continue
            if name in taken:
                raise DataError(
                    f"{self.place}: {name} fits both {taken[name]} and {id}; keep the photos' folders in the maps' names"
                )
            taken[name], found[id] = id, name
        return found

    def others(self, matched: Iterable[str]) -> list[str]:
        """Maps that belong to no photo, given those that do."""
        known = set(matched)
        return sorted(name for name in self._files.values() if name not in known)

    def read(self, name: str) -> NDArray[np.floating]:
        """The map ``(h, w)`` that :meth:`match` named, in [0, 1].

        Raises:
            ProtocolError: it is damaged, or no score map; the message names the file.
        """
        path = self.place if self._archive else self.place / name
        where = f"{path}, array '{name}'" if self._archive else str(path)
        try:
            return checked_map(self._arrays()[name] if self._archive else _array(path))
        except ProtocolError as error:
            raise ProtocolError(f"{where}: {error}") from error
        except Exception as error:  # damaged files make decoders raise nearly anything
            raise ProtocolError(f"{where} cannot be read ({error}); save it again, as an array of numbers") from error

    def _members(self) -> list[str]:
        try:
            return list(self._arrays().files)
        except Exception as error:
            raise DataError(
                f"{self.place} is no archive of score maps ({error}); give a folder, or a .npz with an array per photo"
            ) from error

    def _arrays(self) -> Any:
        """The archive, opened once in each process: of many arrays the list alone takes longer to read than a map."""
        if self._opened is None:
            with ExitStack() as stack:
                file = stack.enter_context(self.place.open("rb"))
                loaded = _load(file)
                if isinstance(loaded, np.ndarray):
                    raise ValueError("it holds a single array")
                stack.pop_all()
            weakref.finalize(loaded, file.close)
            self._opened = loaded
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}


def _walk(folder: Path, below: str = "", above: frozenset[str] = frozenset()) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder above would never end
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(Path(entry.path), f"{below}{entry.name}/", above | {real})
            elif entry.name.lower().endswith(_SUFFIXES):
                yield below + entry.name


def _keys(id: str) -> Iterator[str]:
    path = PurePosixPath(id)
    for name in (path, PurePosixPath(*path.parts[1:]), PurePosixPath(path.name)):
        if name.name:
            yield str(name)
            yield str(name.with_suffix(""))


def _array(path: Path) -> NDArray[Any]:
    if path.suffix.lower() == ".png":
        return _png(path)
    with path.open("rb") as file:
        loaded = _load(file)
        if isinstance(loaded, np.ndarray):
            return loaded
        if len(loaded.files) != 1:
            raise ProtocolError(f"it holds {len(loaded.files)} arrays; a photo has one map")
        return np.asarray(loaded[loaded.files[0]])


def _load(file: IO[bytes]) -> Any:
    """What NumPy finds in an open file, which it would leave open if it were given the path of a damaged one."""
    if not file.read(6).startswith((b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06")):
        raise ValueError("it is neither .npy nor .npz")  # NumPy would take it for a pickle, and advise to load that
    file.seek(0)
    return np.load(file, allow_pickle=False)


def _png(path: Path) -> NDArray[np.float64]:
    data = path.read_bytes()
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data.startswith(b"\x89PNG") else None
    if image is None:
        raise ProtocolError("it is not a PNG that can be read; save it again")
    if image.ndim != 2:
        raise ProtocolError("it is a colour picture; save the score map as grey, 8 or 16 bits")
    return np.asarray(image / (255 if image.dtype == np.uint8 else 65535), np.float64)
