"""The names in an annotation file -> the locations of its photos, whichever system wrote the names.

A name is searched for as it is; then as the end of the path of a single photo, which finds Windows paths, absolute paths of
another machine, and accents that are composed on one side and decomposed on the other (NFC, NFD).
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dips.data.listing import SPLITS, missing_photos, split_name
from dips.data.photo_files import SUFFIXES, has_photos
from dips.system.console import counted
from dips.system.names import as_text, some
from dips.types import Problem

__all__ = ["ANNOTATION_FOLDERS", "INSTANCES", "Located", "locate", "photo_id", "photos_of", "subset_name", "subset_stem"]

ANNOTATION_FOLDERS = ("annotations", "Annotations", "annotation")
"""Names of folders that hold annotation files beside a folder of photos."""

INSTANCES = "instances_"
"""Prefix of the names of COCO's own box files."""


@dataclass(slots=True)
class Located:
    """The locations of the photos that a file names.

    Attributes:
        files: the photo of every name that was found.
        missing: names that were not found, each with a similar name on the disk, or an empty string.
        doubled: names that match several photos, with these photos.
    """

    files: dict[str, Path] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    doubled: dict[str, list[Path]] = field(default_factory=dict)

    def problems(self, source: Path, root: Path) -> list[Problem]:
        """Return problems with photos that ``source`` names and ``root`` does not hold, or holds more than once."""
        names = [f"{name} (there is {near})" if near else name for name, near in self.missing.items()]
        problems = missing_photos(source, root, names)
        if self.doubled:
            examples = [f"{name} ({some(photo_id(file, root) for file in files)})" for name, files in self.doubled.items()]
            message = (
                f"{counted(len(self.doubled), 'listed photo', 'is')} in {root} more than once, and nothing says which one is "
                f"meant: {some(examples, 3)}; write paths relative to {root}"
            )
            problems.append(Problem(source, message))
        return problems


def photo_id(file: Path, root: Path) -> str:
    """Return the path of a photo relative to ``root`` with forward slashes; the whole path if it lies elsewhere."""
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()


def subset_name(path: Path) -> str:
    """Return which part of the data an annotation file describes, by its name.

    >>> [subset_name(Path(name)) for name in ("instances_train2017.json", "test.coco.json", "instances_default.json")]
    ['train', 'test', 'default']
    """
    stem = subset_stem(path)
    name = split_name(re.sub(r"[-_]?\d{4}$", "", stem))
    return name if name in SPLITS else stem


def subset_stem(path: Path) -> str:
    """Return the name of an annotation file without the prefix and suffix that tools add."""
    return path.stem.removesuffix(".coco").removeprefix(INSTANCES)


def photos_of(path: Path) -> Path:
    """Return the photo folder of an annotation file: its own folder, or one nearby with a name that tools use.

    For ``annotations/instances_NAME.json`` these are ``images/NAME``, ``NAME``, ``images`` and the folder above.
    """
    here, top = path.parent, path.parent.parent
    if has_photos(here):
        return here
    names = dict.fromkeys((subset_stem(path), subset_name(path)))
    candidates = [base / name for name in names for base in (top / "images", top)] + [top / "images"]
    if here.name in ANNOTATION_FOLDERS:  # in other cases, the folder above may be a whole disk
        candidates.append(top)
    return next(
        (folder for folder in candidates if folder.is_dir() and has_photos(folder)),
        candidates[-1] if here.name in ANNOTATION_FOLDERS else here,
    )


def locate(
    names: Iterable[str], folders: Sequence[Path], photos: Callable[[], Iterable[Path]], *, whole: bool = False
) -> Located:
    """Find the photos that names refer to.

    Args:
        names: as written in the annotation file.
        folders: folders that the names may be relative to.
        photos: returns the photos to search if a name does not exist as it is; called only if needed.
        whole: the whole path must match, except for the encoding of accents; otherwise its end is enough.
    """
    located = Located()
    rest = []
    for name in dict.fromkeys(names):
        path = name.replace("\\", "/")
        candidates = (os.path.normpath(folder / path) for folder in folders)
        if (file := next(filter(os.path.isfile, candidates), None)) is not None:
            located.files[name] = Path(file)
        else:
            rest.append(name)
    if rest:
        _Index(photos()).add(rest, located, folders if whole else None)
    return located


class _Index:
    """Photos by their normalized name: valid text with composed accents."""

    def __init__(self, photos: Iterable[Path]) -> None:
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        self._folded: dict[str, str] = {}
        for photo in photos:
            name = _spelled(photo.name)
            self._by_name.setdefault(name, []).append(photo)
            self._by_stem.setdefault(os.path.splitext(name)[0], []).append(photo)
            self._folded.setdefault(name.casefold(), photo.name)

    def add(self, names: Iterable[str], located: Located, folders: Sequence[Path] | None) -> None:
        """Find names that do not exist as they are; each photo is assigned to one name at most."""
        taken = set(located.files.values())
        found: dict[str, Path] = {}
        for name in names:
            best = self._best(name, folders)
            if len(best) > 1:
                located.doubled[name] = best
            elif best and best[0] not in taken:
                found[name] = best[0]
            else:
                located.missing[name] = "" if best else self._near(name)
        claims = Counter(found.values())
        for name, file in found.items():
            if claims[file] == 1:
                located.files[name] = file
            else:
                located.missing[name] = ""

    def _best(self, name: str, folders: Sequence[Path] | None) -> list[Path]:
        """Return the photos whose path shares most trailing parts with the name."""
        for parts in _readings(name):
            group = self._by_name.get(parts[-1], [])
            if not group and os.path.splitext(parts[-1])[1].lower() not in SUFFIXES and folders is None:
                group = self._by_stem.get(parts[-1], [])
            if folders is not None:
                group = [file for file in group if any(_parts(photo_id(file, folder)) == parts for folder in folders)]
            if group:
                lengths = {file: _shared_end(_parts(file.parent.as_posix()), parts[:-1]) for file in group}
                longest = max(lengths.values())
                return [file for file in group if lengths[file] == longest]
        return []

    def _near(self, name: str) -> str:
        """Return the name of a photo that differs only in case or in its suffix."""
        last = _readings(name)[-1][-1]
        same_stem = self._by_stem.get(os.path.splitext(last)[0]) or [Path()]
        return as_text(self._folded.get(last.casefold()) or same_stem[0].name)


def _spelled(text: str) -> str:
    return unicodedata.normalize("NFC", as_text(text))


def _parts(path: str) -> list[str]:
    return [part for part in _spelled(path).split("/") if part not in ("", ".")]


def _readings(name: str) -> list[list[str]]:
    """Return the parts of a name, with backslashes read first as ordinary characters, then as separators."""
    readings = [_parts(name), _parts(name.replace("\\", "/"))]
    return [parts for parts in readings if parts] or [[""]]


def _shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    pairs: Iterator[tuple[str, str]] = zip(reversed(one), reversed(other), strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
