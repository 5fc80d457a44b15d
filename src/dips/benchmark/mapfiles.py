"""Score maps of any method on disk: found by the id of their photo, read one by one.

In: a folder with a ``.npy``, ``.npz`` or ``.png`` per photo, or a single ``.npz`` with an array per photo. Out: the map of a
photo as ``(h, w)`` in [0, 1]. Nothing is unpickled.
"""

from __future__ import annotations

import os
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.errors import DataError, ProtocolError
from dips.scoremaps.levels import checked_map

__all__ = ["MapFiles"]

_SUFFIXES = (".npy", ".npz", ".png")


class MapFiles:
    """The score maps in one place. No list of them is kept: a folder is asked for the map of each photo.

    Args:
        place: the folder or the ``.npz``.
        prefix: a folder that the maps may lie in though ids do not begin with it: the name of the split.

    Raises:
        DataError: there is no map in it.
    """

    def __init__(self, place: str | Path, *, prefix: str = "") -> None:
        self.place, self.prefix = Path(place), prefix
        if not self.place.exists():
            raise DataError(f"{self.place} does not exist; give the folder, or the .npz, that holds the score maps")
        self._archive = self.place.is_file()
        self._opened: Any = None
        self._known = frozenset(self._members()) if self._archive else frozenset()
        if next(iter(self.names()), None) is None:
            raise DataError(f"{self.place} holds no score map; it needs a .npy, .npz or .png per photo, named like the photo")

    def names(self) -> Iterator[str]:
        """All maps: files below the folder, or arrays of the archive."""
        return iter(self._known) if self._archive else _walk(self.place)

    def find(self, id: str) -> str | None:
        """The file, or the array in the archive, of a photo; None where it has no map.

        ``test/owl/1.jpg`` may be called so with a map's suffix added or in place of the photo's, with or without its first
        folder, or by its last part alone; ``owl/1.jpg`` also ``test/owl/1.jpg`` with the prefix ``test``.

        Raises:
            DataError: it has two, of different kinds.
        """
        for key in _keys(id, self.prefix):
            if self._archive:
                found = [key] if key in self._known else []
            else:
                found = self._files(key, _SUFFIXES) or self._files(key, map(str.upper, _SUFFIXES))
            if len(found) > 1:
                raise DataError(f"{self.place} has {found[0]} and {found[1]} for the same photo; remove one of the two")
            if found:
                return found[0]
        return None

    def _files(self, key: str, suffixes: Iterable[str]) -> list[str]:
        return [key + suffix for suffix in suffixes if os.path.isfile(os.path.join(self.place, key + suffix))]

    def match(self, ids: Sequence[str]) -> list[bool]:
        """Whether each photo has a map.

        Raises:
            DataError: two photos would share one.
        """
        has, prints = [], array("q")
        for id in ids:
            name = self.find(id)
            has.append(name is not None)
            if name is not None:
                prints.append(hash(name))
        if len(np.unique(np.frombuffer(prints, np.int64)) if prints else ()) < len(prints):
            self._refuse_shared(ids)
        return has

    def others(self, ids: Iterable[str]) -> list[str]:
        """Maps that belong to none of the photos."""
        known = {self.find(id) for id in ids}
        return sorted(name for name in self.names() if name not in known)

    def _refuse_shared(self, ids: Sequence[str]) -> None:
        taken: dict[str, str] = {}
        for id in ids:
            if (name := self.find(id)) is None:
                continue
            if (first := taken.setdefault(name, id)) is not id:
                raise DataError(f"{self.place}: {name} fits both {first} and {id}; keep the photos' folders in the maps' names")

    def read(self, name: str) -> NDArray[np.floating]:
        """The map ``(h, w)`` that :meth:`find` named, in [0, 1].

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


def _keys(id: str, prefix: str) -> Iterator[str]:
    path = PurePosixPath(id)
    for name in dict.fromkeys((path, PurePosixPath(prefix) / path, PurePosixPath(*path.parts[1:]), PurePosixPath(path.name))):
        if name.name and ".." not in name.parts and not name.is_absolute():
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
