"""A folder -> the photo files below it, and what else lies there.

Hidden files and folders are skipped, and so are the folders that archives, network drives and Windows leave behind. A file is
a photo by its suffix; its first bytes are read only if the suffix is inconclusive.
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from dips.data.problems import tell
from dips.data.signatures import HEAD_BYTES, TO_JPEG, Kind, kind_of
from dips.errors import DataError
from dips.shards.plan import PLAN, WORK
from dips.system.console import counted
from dips.types import Problem, Severity

__all__ = [
    "SKIPPED_FOLDERS",
    "SUFFIXES",
    "VIDEOS",
    "Others",
    "PhotoFiles",
    "ResultFolders",
    "Walk",
    "each_photo",
    "expand",
    "find_images",
    "gather_images",
    "group_of",
    "has_photos",
    "is_photo",
    "list_images",
    "named_suffix",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SUFFIXES = _words(".jpg .jpeg .jpe .jfif .pjpeg .pjp .mpo .png .apng .bmp .dib .webp .tif .tiff .gif .ppm .pgm .pbm .pnm")
"""Suffixes of photos, in lower case."""

VIDEOS = frozenset({".mp4", ".mov", ".avi", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm", ".ts"})
"""Suffixes of videos, in lower case."""

SKIPPED_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN"})
"""Names of folders that archives, network drives and Windows create."""

_OTHER_PICTURES = _words(
    ".heic .heif .hif .avif .jxl .jp2 .j2k .jpx .jxr .dng .raw .cr2 .cr3 .nef .nrw .arw .sr2 .rw2 .orf .pef .srw .x3f .iiq "
    ".raf .psd .xcf .tga .exr .hdr .svg .ico .eps .fits .seq"
)
_UNCERTAIN = _words(".part .partial .crdownload .download .filepart .tmp .temp .bak .old .orig .swp")
# files beside photos that are none: notes, tables, programs, archives, arrays, weights, sound, sidecars and geodata
_FOREIGN = _words(
    ".txt .md .rst .log .json .jsonl .geojson .xml .csv .tsv .html .htm .css .js .yaml .yml .toml .ini .cfg .conf .names .data "
    ".py .pyc .ipynb .m .r .c .cpp .h .sh .bat .ps1 .exe .dll .so .lnk .url .pdf .doc .docx .xls .xlsx .ppt .pptx .odt .ods "
    ".zip .gz .tgz .tar .bz2 .xz .zst .7z .rar .npy .npz .mat .pkl .pickle .parquet .h5 .hdf5 .db .pt .pth .ckpt "
    ".onnx .safetensors .mp3 .wav .m4a .xmp .aae .thm .lrv .lrf .srt .vtt .gpx .kml .kmz .shp .shx .dbf .prj .cpg .tfw .jgw "
    ".sqlite .sqlite-wal .sqlite-shm .sqlite-journal .pgw .wld .ovr .md5 .sha1 .sha256 .sig .lock"
)
_PHOTOS = {"picture", "other"}  # groups of left-out files that may be photos
_LEFT_OUT = VIDEOS | _OTHER_PICTURES | _UNCERTAIN
_RESULTS = (
    (f"{WORK}/{PLAN}",),  # of results that are made in shards, until they are complete
    (".unfinished.json",),  # of dips predict in earlier versions
    ("predictions.json", "json", "maps"),
    ("compare.json",),
    ("model.json", "config.toml"),
)
_RESULT_NAMES = frozenset(name for names in _RESULTS for name in names)
_BEGINNINGS = frozenset(name.partition("/")[0] for name in _RESULT_NAMES)

_MOST_KINDS = 4
_FEW_FILES = 3  # up to this many are named
# what to do about files that are left out
_REMEDIES = {
    "picture": f"convert {TO_JPEG}",
    "video": "give to 'dips stream'",
    "other": "convert to JPEG or PNG if it is a photo",
    "uncertain": "if it is a photo, finish its copy or give it the suffix of one",
    "empty": "empty, copy again or remove",
    "closed": "allow to be read, or remove",
    "pipe": "no real file (a pipe or a device), remove",
}


@dataclass(frozen=True, slots=True)
class PhotoFiles:
    """What lies below a folder.

    Attributes:
        photos: sorted by path.
        problems: folders of results, folders that cannot be opened, and what other files there are, counted for each direct
            subfolder, or for all together if there is no photo.
        left_out: for each direct subfolder with files that are left out and may be photos, how many of which kind; files in no
            subfolder are under the empty name.
    """

    photos: list[Path]
    problems: list[Problem]
    left_out: dict[str, str]


def find_images(folder: str | Path) -> PhotoFiles:
    """Find all photos below ``folder``, and count what else lies there; links are followed.

    Raises:
        DataError: ``folder`` is not a folder.
    """
    top = Path(folder)
    if not top.is_dir():
        raise DataError(f"{top} is not a folder; give a folder with photos")
    walk = Walk(top)
    photos = [top.joinpath(*parts) for parts in sorted(walk.photos())]
    return PhotoFiles(photos, walk.told(has_photos=bool(photos)), walk.others.unread(has_photos=bool(photos)))


def list_images(folder: str | Path) -> list[Path]:
    """Return all photos below ``folder``, sorted by path; links are followed.

    Raises:
        DataError: ``folder`` is not a folder.
    """
    return find_images(folder).photos


def has_photos(folder: Path, *, below: bool = False) -> bool:
    """Return whether a photo lies in or below ``folder``; with ``below``, only photos in its subfolders count."""
    return any(not below or len(path) > 1 for path in Walk(folder).photos())


def gather_images(photos: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return a photo itself, all photos below a folder, or those of several such items; what is left out is logged.

    Raises:
        DataError: there are no photos.
    """
    items = [Path(photos)] if isinstance(photos, str | Path) else list(map(Path, photos))
    paths = list(each_photo(items))
    if not paths:
        raise DataError(f"no photo in {', '.join(map(str, items)) or 'an empty list'}; give photos or folders with photos")
    return paths


def each_photo(items: Iterable[Path]) -> Iterator[Path]:
    """Yield photos, and the photos below folders, in order; what is left out is logged.

    Raises:
        DataError: no file fits a pattern.
    """
    for item in expand(items):
        if item.is_dir():
            found = find_images(item)
            tell(found.problems)
            yield from found.photos
        else:
            yield item


def expand(items: Iterable[Path]) -> Iterator[Path]:
    """Yield paths, with wildcards that a shell left alone replaced by the matching files.

    Raises:
        DataError: no file fits.
    """
    for item in items:
        if item.exists() or not glob.has_magic(str(item)):
            yield item
            continue
        patterns = dict.fromkeys((str(item), PureWindowsPath(item).as_posix()))  # users of Windows may write backslashes
        found = next((names for pattern in patterns if (names := sorted(glob.glob(pattern, recursive=True)))), [])
        if not found:
            raise DataError(f"no file fits {item}; give photos or folders of photos")
        yield from map(Path, found)


def is_photo(path: Path) -> bool:
    """Return whether a file counts as a photo, by its suffix or, if that is inconclusive, by its first bytes."""
    suffix = path.suffix.lower()
    return suffix in SUFFIXES or (suffix not in _FOREIGN and suffix not in _LEFT_OUT and _kind(path).group == "photo")


def _kind(path: str | Path) -> Kind:
    try:
        with open(path, "rb") as file:
            return kind_of(file.read(HEAD_BYTES))
    except OSError as error:
        return Kind(f"the error '{error.strerror or error}'", "closed")


@dataclass(slots=True)
class _Tally:
    """Files that are left out for the same reason: how many of each kind, and the first names."""

    kinds: Counter[str] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)

    def words(self) -> str:
        if self.kinds.total() <= _FEW_FILES:
            return ", ".join(self.names)
        kinds = [f"{count} {kind}" for kind, count in self.kinds.most_common(_MOST_KINDS)]
        rest = self.kinds.total() - sum(count for _, count in self.kinds.most_common(_MOST_KINDS))
        return ", ".join(kinds) + (f" and {rest} of other kinds" if rest else "") + f" (such as {self.names[0]})"


class Others:
    """Files below a folder that are left out, and may be photos.

    They are counted by reason for each direct subfolder; files in no subfolder are under the empty name.
    """

    def __init__(self) -> None:
        self._tallies: dict[str, dict[str, _Tally]] = {}

    def add(self, inside: Sequence[str], name: str, kind: str, group: str) -> None:
        """Count a file.

        Args:
            inside: the folders that contain it.
            name: its own name, and what is known about it.
            kind: the common name of files that are counted together.
            group: the reason why it is left out.
        """
        tally = self._tallies.setdefault(inside[0] if inside else "", {}).setdefault(group, _Tally())
        tally.kinds[kind] += 1
        tally.names = sorted((*tally.names, name))[:_FEW_FILES]

    def problems(self, top: Path, *, has_photos: bool) -> list[Problem]:
        """Return the counts per kind for each direct subfolder of ``top``, or for all together if there is no photo."""
        return [_left_out(top / name, tallies) for name, tallies in self._each(has_photos)]

    def unread(self, *, has_photos: bool) -> dict[str, str]:
        """Return, for each folder with files that may be photos, how many of which kind."""
        return {
            name: "; ".join(tally.words() for tally in tallies.values())
            for name, tallies in self._each(has_photos)
            if tallies.keys() & _PHOTOS
        }

    def _each(self, has_photos: bool) -> list[tuple[str, dict[str, _Tally]]]:
        if has_photos or len(self._tallies) < 2:
            return sorted(self._tallies.items())
        whole: dict[str, _Tally] = {}  # one list says why there is no photo at all
        for folder, of_folder in sorted(self._tallies.items()):
            for group, tally in of_folder.items():
                all_of_group = whole.setdefault(group, _Tally())
                all_of_group.kinds += tally.kinds
                names = (f"{name} in {folder}" if folder else name for name in tally.names)
                all_of_group.names = sorted((*all_of_group.names, *names))[:_FEW_FILES]
        return [("", whole)]


def group_of(name: str) -> str | None:
    """Return, by a file's name alone, ``photo``, ``foreign`` if it is none, or why it is left out; None if inconclusive.

    >>> [group_of(name) for name in ("A.JPG", "notes.txt", "clip.mp4", "IMG_1")]
    ['photo', 'foreign', 'video', None]
    """
    suffix = os.path.splitext(name)[1].lower()
    if suffix in SUFFIXES:
        return "photo"
    if suffix in _FOREIGN:
        return "foreign"
    if suffix in _LEFT_OUT or name.endswith("~"):
        return "video" if suffix in VIDEOS else "picture" if suffix in _OTHER_PICTURES else "uncertain"
    return None


class ResultFolders:
    """Recognizes folders that hold results of dips by the names of all files.

    >>> folders = ResultFolders()
    >>> for name in ("a/predictions.json", "a/maps/1.png", "a/json/1.json", "b/maps/1.png"):
    ...     folders.add(name.split("/"))
    >>> list(folders)
    ['a']
    """

    def __init__(self) -> None:
        self._inside: dict[str, set[str]] = {}

    def add(self, parts: Sequence[str]) -> None:
        """Register the path of a file."""
        if _BEGINNINGS.isdisjoint(parts):
            return
        for index in range(len(parts)):
            for name in (parts[index], "/".join(parts[index : index + 2])):
                if name in _RESULT_NAMES:
                    self._inside.setdefault("/".join(parts[:index]), set()).add(name)

    def __iter__(self) -> Iterator[str]:
        return (folder for folder, inside in self._inside.items() if any(inside.issuperset(names) for names in _RESULTS))


def _left_out(folder: Path, tallies: dict[str, _Tally]) -> Problem:
    files = sum(tally.kinds.total() for tally in tallies.values())
    what = "; ".join(f"{tallies[group].words()}: {remedy}" for group, remedy in _REMEDIES.items() if group in tallies)
    return Problem(folder, f"{counted(files, 'file', 'is')} left out; {what}", files=files)


class Walk:
    """One pass over a folder and all that lies below it.

    Attributes:
        others: files that are left out.
        problems: folders that are left out as a whole.
    """

    def __init__(self, top: Path) -> None:
        self._top = top
        self.others = Others()
        self.problems: list[Problem] = []

    def told(self, *, has_photos: bool) -> list[Problem]:
        """Return all that was left out, after iterating over the photos."""
        return [*self.problems, *self.others.problems(self._top, has_photos=has_photos)]

    def photos(self) -> Iterator[tuple[str, ...]]:
        """Yield the parts of every photo's path, those directly in the folder first, otherwise in arbitrary order."""
        visited: set[str] = set()  # a link to a parent folder would loop forever
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            inside = waiting.pop()
            folder = os.path.join(self._top, *inside)
            real = os.path.realpath(folder)
            if real in visited:
                continue
            visited.add(real)
            if any(all(os.path.exists(os.path.join(folder, name)) for name in names) for names in _RESULTS):
                message = "holds results of dips, no photos; it is left out"
                self.problems.append(Problem(Path(folder), message, Severity.NOTE))
                continue
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.name.startswith("."):
                            continue
                        if entry.is_dir():
                            if entry.name not in SKIPPED_FOLDERS:
                                waiting.append((*inside, entry.name))
                        elif self._is_photo(entry, inside):
                            yield (*inside, entry.name)
            except OSError as error:
                reason = f"this folder cannot be opened and is left out: {error.strerror or error}; allow it to be read"
                self.problems.append(Problem(Path(folder), reason))

    def _is_photo(self, entry: os.DirEntry[str], inside: tuple[str, ...]) -> bool:
        group = group_of(entry.name)
        if group == "foreign":
            return False
        suffix = os.path.splitext(entry.name)[1].lower()
        is_lost_link = entry.is_symlink() and not os.path.exists(entry)  # counts as a photo, so that it is reported
        if not entry.is_file() and not is_lost_link:
            self.others.add(inside, entry.name, suffix or "without suffix", "pipe")
            return False
        if group is None:
            kind = _kind(entry.path)
            if kind.group in ("photo", "text"):
                return kind.group == "photo"
            what = f" ({kind.name})" if kind.name and kind.group != "empty" else ""
            self.others.add(inside, entry.name + what, named_suffix(suffix) + what, kind.group)
            return False
        if group != "photo":
            self.others.add(inside, entry.name, suffix, group)
        return group == "photo"


def named_suffix(suffix: str) -> str:
    """Return what to call files with this suffix if nothing else is known about them."""
    return suffix if re.fullmatch(r"\.(?=.*[a-z])[a-z0-9_-]{1,12}", suffix) else "without a known suffix"
