"""Score maps of any method on disk, found by the id of their photo and read one by one.

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

from dips.data.images import decode_image
from dips.errors import DataError, ProtocolError
from dips.scoremaps.levels import checked_map

__all__ = ["MapFiles"]

_SUFFIXES = (".npy", ".npz", ".png")


class MapFiles:
    """The score maps of a folder or an archive. A folder's maps are not listed, but looked up photo by photo.

    Args:
        path: the folder or the ``.npz``.
        prefix: a folder that the maps may be in although ids do not start with it: the name of the split.

    Raises:
        DataError: it contains no map.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "1.npy", np.full((2, 2), 0.5))
    ...     files = MapFiles(folder)
    ...     name = files.find("owl/1.jpg")
    ...     name, files.read(name).tolist()
    ('1.npy', [[0.5, 0.5], [0.5, 0.5]])
    """

    def __init__(self, path: str | Path, *, prefix: str = "") -> None:
        self.path, self.prefix = Path(path), prefix
        if not self.path.exists():
            raise DataError(f"{self.path} does not exist; give the folder, or the .npz, that holds the score maps")
        self._archive = self.path.is_file()
        self._open_archive: Any = None
        self._members = frozenset(self._array_names()) if self._archive else frozenset()
        if next(iter(self.names()), None) is None:
            raise DataError(f"{self.path} holds no score map; it needs a .npy, .npz or .png per photo, named like the photo")

    def names(self) -> Iterator[str]:
        """Return the names of all maps: files below the folder, or arrays in the archive."""
        return iter(self._members) if self._archive else _walk(self.path)

    def find(self, id: str) -> str | None:
        """Return the name of a photo's map, a file or an array in the archive; None if it has no map.

        The map of ``test/owl/1.jpg`` has this name with a map's suffix added or in place of the photo's, with or without its
        first folder, or its last part alone; ``owl/1.jpg`` also matches ``test/owl/1.jpg`` with the prefix ``test``.

        Raises:
            DataError: the photo has two maps, of different kinds.
        """
        for key in _keys(id, self.prefix):
            if self._archive:
                names = [key] if key in self._members else []
            else:
                names = self._files(key, _SUFFIXES) or self._files(key, map(str.upper, _SUFFIXES))
            if len(names) > 1:
                raise DataError(f"{self.path} has {names[0]} and {names[1]} for the same photo; remove one of the two")
            if names:
                return names[0]
        return None

    def _files(self, key: str, suffixes: Iterable[str]) -> list[str]:
        return [key + suffix for suffix in suffixes if os.path.isfile(os.path.join(self.path, key + suffix))]

    def match(self, ids: Sequence[str]) -> list[bool]:
        """Return for each photo whether it has a map.

        Raises:
            DataError: two photos would share a map.
        """
        has_map, hashes = [], array("q")
        for id in ids:
            name = self.find(id)
            has_map.append(name is not None)
            if name is not None:
                hashes.append(hash(name))
        if len(np.unique(np.frombuffer(hashes, np.int64)) if hashes else ()) < len(hashes):
            self._refuse_shared(ids)
        return has_map

    def others(self, ids: Iterable[str]) -> list[str]:
        """Return the names of the maps that belong to none of the photos."""
        names = {self.find(id) for id in ids}
        return sorted(name for name in self.names() if name not in names)

    def _refuse_shared(self, ids: Sequence[str]) -> None:
        photos: dict[str, str] = {}
        for id in ids:
            if (name := self.find(id)) is None:
                continue
            if (first := photos.setdefault(name, id)) is not id:
                raise DataError(f"{self.path}: {name} fits both {first} and {id}; keep the photos' folders in the maps' names")

    def read(self, name: str) -> NDArray[np.floating]:
        """Read the map ``(h, w)`` with a name returned by :meth:`find`, in [0, 1].

        Raises:
            ProtocolError: it is damaged, or not a score map; the message names the file.
        """
        path = self.path if self._archive else self.path / name
        source = f"{path}, array '{name}'" if self._archive else str(path)
        try:
            return checked_map(self._arrays()[name] if self._archive else _array(path))
        except ProtocolError as error:
            raise ProtocolError(f"{source}: {error}") from error
        except Exception as error:  # damaged files make decoders raise nearly anything
            raise ProtocolError(f"{source} cannot be read ({error}); save it again, as an array of numbers") from error

    def _array_names(self) -> list[str]:
        try:
            return list(self._arrays().files)
        except Exception as error:
            raise DataError(
                f"{self.path} is not an archive of score maps ({error}); give a folder, or a .npz with an array per photo"
            ) from error

    def _arrays(self) -> Any:
        """Return the archive, opened once per process: with many arrays, reading the list alone takes longer than a map."""
        if self._open_archive is None:
            with ExitStack() as stack:
                file = stack.enter_context(self.path.open("rb"))
                loaded = _load(file)
                if isinstance(loaded, np.ndarray):
                    raise ValueError("it holds a single array")
                stack.pop_all()
            weakref.finalize(loaded, file.close)
            self._open_archive = loaded
        return self._open_archive

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open_archive": None}


def _walk(folder: Path, below: str = "", above: frozenset[str] = frozenset()) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in above:  # a link to a parent folder would never end
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
    """Load an open file with NumPy, which would leave it open if given the path of a damaged file."""
    if not file.read(6).startswith((b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06")):
        raise ValueError("it is neither .npy nor .npz")  # NumPy would take it for a pickle, and suggest loading it
    file.seek(0)
    return np.load(file, allow_pickle=False)


def _png(path: Path) -> NDArray[np.float64]:
    data = path.read_bytes()
    image = decode_image(data, cv2.IMREAD_UNCHANGED) if data.startswith(b"\x89PNG") else None
    if image is None:
        raise ProtocolError("it is not a PNG that can be read; save it again")
    if image.ndim != 2:
        raise ProtocolError("it is a colour picture; save the score map as grey, 8 or 16 bits")
    return np.asarray(image / (255 if image.dtype == np.uint8 else 65535), np.float64)
