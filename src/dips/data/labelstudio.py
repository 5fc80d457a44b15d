"""Label Studio tasks, exported as JSON -> :class:`~dips.data.listing.Listing`.

Choices are labels of the photo, one or several; rectangles, polygons and ellipses are boxes with a class each. Predictions in
the file, which no person confirmed, are ignored.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from dips.data.labels import is_background
from dips.data.listing import Entry, Listing
from dips.data.locate import locate, photo_id
from dips.data.objects import Box, Described, has_area
from dips.data.photo_files import SUFFIXES, list_images
from dips.errors import DataError
from dips.system.console import counted
from dips.system.names import some
from dips.types import Problem

__all__ = ["find_labelstudio", "is_labelstudio", "read_labelstudio"]

_BLOCK = 1 << 16
_MOST = 20  # JSON files in a folder that are inspected: if there are more, each describes one photo
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # prefix of an uploaded photo's name
_SHAPES = ("rectanglelabels", "polygonlabels", "ellipselabels")


def is_labelstudio(path: Path, *, answered: bool = False) -> bool:
    """Return whether a file looks like Label Studio tasks, by its beginning: a list whose items have data and answers.

    With ``answered``, only a person's answers count, because a model's predictions do not describe the photos.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_BLOCK).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError:
        return False
    answers = (b'"annotations"', b'"completions"') if answered else (b'"annotations"', b'"completions"', b'"predictions"')
    return text.startswith(b"[") and b'"data"' in text and any(key in text for key in answers) and b'"image_id"' not in text


def find_labelstudio(folder: Path) -> Path | None:
    """Return the only file of tasks in a folder of photos; None if there is none, or several."""
    paths = sorted(folder.glob("*.json"))
    found = [path for path in paths if is_labelstudio(path, answered=True)] if len(paths) <= _MOST else []
    return found[0] if len(found) == 1 else None


def read_labelstudio(
    path: Path, folder: Path, *, split: str = "all", label_column: str = "", listed_only: bool = True
) -> Listing:
    """Read the photos of tasks; those without an annotation have no class.

    If the file has boxes, an annotation without any answer means that the photo shows nothing.

    Args:
        path: the file.
        folder: the photos; ids are relative to it.
        split: its name.
        label_column: the question (``from_name``) whose choices are the classes; empty if there is a single one.
        listed_only: leave out the photos in ``folder`` that the file does not list; otherwise they have no class.

    Raises:
        DataError: the file cannot be read, names no photo, or has several questions of choices, none of which is named.
    """
    return _Tasks(path, folder, label_column).read(split, listed_only)


class _Tasks:
    """One file of tasks; what cannot be used is collected in ``problems``."""

    def __init__(self, path: Path, folder: Path, label_column: str) -> None:
        self.path, self.folder = path, folder
        try:
            tree = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path} is not readable as JSON ({error}); export it again or move it away") from error
        self.tasks = [task for task in tree if isinstance(task, dict) and isinstance(task.get("data"), dict)]
        self.problems: list[Problem] = []
        self.results = [self._results(task) for task in self.tasks]
        self.question = self._question(label_column)
        self.has_boxes = any(_shape(result) for results in self.results for result in results or ())
        self.unusable = Counter[str]()
        self.crowded = list[str]()

    def read(self, split: str, listed_only: bool) -> Listing:
        """Return the listing, see :func:`read_labelstudio`."""
        names = [_name(task["data"]) for task in self.tasks]
        if unnamed := sum(name is None for name in names):
            what = f"{counted(unnamed, 'task', 'names')} no photo, left out; the photo's address belongs into data.image"
            self.problems.append(Problem(self.path, what))
        files = self._find([name for name in names if name is not None])
        photos: dict[Path, Described] = {}
        twice = []
        for name, results in zip(names, self.results, strict=True):
            if name is None or (file := files.get(name)) is None:
                continue
            if file in photos:
                twice.append(photo_id(file, self.folder))
                continue
            photos[file] = Described(Entry(file, photo_id(file, self.folder)))
            self._add(photos[file], results)
        if twice:
            what = f"{counted(len(twice), 'photo', 'is')} in several tasks, of which the first counts: {some(twice, 3)}"
            self.problems.append(Problem(self.path, f"{what}; remove the others"))
        classes = [name for photo in photos.values() for name in (*photo.named, *photo.objects.class_names())]
        background = next(filter(is_background, classes), "none")
        for photo in photos.values():
            photo.settle(background, photo.entry.frame)
        listing = Listing(self.folder, "labelstudio", [photo.entry for photo in photos.values()], [], split, self.has_boxes)
        listing.classes = sorted({name for entry in listing.entries for name in entry.class_names})
        if not listed_only and (others := [file for file in list_images(self.folder) if file not in photos]):
            listing.entries += [Entry(file, photo_id(file, self.folder)) for file in others]
            what = f"{counted(len(others), 'photo', 'is')} in no task of {self.path.name}, without a class"
            self.problems.append(Problem(self.folder, f"{what}: {some((file.name for file in others), 3)}; label them"))
        listing.problems += [*self.problems, *self._odd()]
        return listing

    def _find(self, names: Sequence[str]) -> dict[str, Path]:
        """Return the photos by name; Label Studio adds a prefix to the names of uploaded ones."""
        located = locate(names, (self.path.parent, self.folder), lambda: list_images(self.folder))
        bare = {
            name: "/".join([*folders, _UPLOADED.sub("", last)])
            for name in located.missing
            for *folders, last in [name.split("/")]
        }
        again = locate(bare.values(), (self.path.parent, self.folder), lambda: list_images(self.folder))
        for name, other in bare.items():
            if other in again.files:
                located.files[name] = again.files[other]
                del located.missing[name]
        self.problems += located.problems(self.path, self.folder)
        return located.files

    def _results(self, task: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
        """Return a person's answers; None without an annotation. Of several annotations, the newest counts."""
        annotations = task.get("annotations") or task.get("completions")
        given = [
            item
            for item in (annotations if isinstance(annotations, list) else [])
            if isinstance(item, dict) and isinstance(item.get("result"), list) and not item.get("was_cancelled")
        ]
        if len(given) > 1:
            given.sort(key=lambda item: (item.get("ground_truth") is True, str(item.get("updated_at") or "")))
            what = f"task {task.get('id', '?')} has {len(given)} annotations; the newest one counts; delete the others"
            self.problems.append(Problem(self.path, what))
        return (
            [item for item in given[-1]["result"] if isinstance(item, dict) and isinstance(item.get("value"), dict)]
            if given
            else None
        )

    def _question(self, wanted: str) -> str | None:
        """Return the ``from_name`` of the choices that are classes; None if there are no choices."""
        asked = dict.fromkeys(
            str(item.get("from_name")) for results in self.results for item in results or () if _choices(item)
        )
        if wanted and wanted in asked:
            return wanted
        if len(asked) > 1 or (wanted and asked):
            raise DataError(
                f"{self.path}: choices are given for {some(asked)}; name the one whose choices are classes with --set "
                "data.label_column=NAME (check and score: --label-column NAME)"
            )
        return next(iter(asked), None)

    def _add(self, photo: Described, results: list[Mapping[str, Any]] | None) -> None:
        """Add a person's answers to a photo."""
        for result in results or ():
            if _choices(result) and str(result.get("from_name")) == self.question:
                photo.named |= dict.fromkeys(_choices(result))
            elif names := _names(result):
                if len(names) > 1:
                    self.crowded.append(photo.entry.id)
                frame, box = _frame(result), _box(result)
                photo.entry.frame = photo.entry.frame or frame
                if box is not None and frame == photo.entry.frame:
                    photo.objects.add(names[0], box)
                else:
                    photo.objects.lose(names[0])
                    self.unusable[str(result.get("type"))] += 1
        photo.empty = results is not None and not results and self.has_boxes

    def _odd(self) -> Iterator[Problem]:
        if self.crowded:
            what = f"{counted(len(self.crowded), 'region', 'has')} several labels, of which the first counts"
            what += f": {some(self.crowded, 3)}"
            yield Problem(self.path, f"{what}; give each object a region of its own")
        if self.unusable:
            what = f"{counted(self.unusable.total(), 'region', 'is')} left out ({some(self.unusable)}): no box can be made of"
            yield Problem(self.path, f"{what} {'it' if self.unusable.total() == 1 else 'them'}; draw rectangles or polygons")


def _name(data: Mapping[str, Any]) -> str | None:
    """Return the path of a task's photo, as far as its address has it: ``data.image``, or a value that ends like a photo."""
    values = (
        [data["image"]] if isinstance(data.get("image"), str) else [item for item in data.values() if isinstance(item, str)]
    )
    names = [name for value in values if (name := _path(value))]
    photos = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
    return next(iter(photos or (names if "image" in data else [])), None)


def _path(address: str) -> str:
    """Return the path in an address: of a local file, an uploaded file, or one in a cloud bucket.

    >>> _path("/data/local-files/?d=photos/a%20b.jpg"), _path("/data/upload/1/0a1b2c3d-a.jpg"), _path("s3://bucket/photos/a.jpg")
    ('photos/a b.jpg', 'upload/1/0a1b2c3d-a.jpg', 'photos/a.jpg')
    """
    if "://" not in address and not address.startswith("/data/"):
        return address.strip()
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")
    return local[0] if local else unquote(parts.path).removeprefix("/data/").lstrip("/")


def _choices(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a result's choices about the photo as a whole."""
    value = result["value"]
    chosen = value.get("choices")
    if not isinstance(chosen, list) or "x" in value or "points" in value:  # a choice about a region
        return ()
    return tuple(dict.fromkeys(item.strip() for item in chosen if isinstance(item, str) and item.strip()))


def _names(result: Mapping[str, Any]) -> list[str]:
    """Return the classes of a region."""
    value = result["value"]
    labels = value.get(str(result.get("type")))
    labels = labels if isinstance(labels, list) and str(result.get("type")).endswith("labels") else []
    return [item for item in labels if isinstance(item, str) and item]


def _shape(result: Mapping[str, Any]) -> bool:
    return result.get("type") in _SHAPES and bool(_names(result))


def _frame(result: Mapping[str, Any]) -> tuple[int, int] | None:
    sides = result.get("original_width"), result.get("original_height")
    numbers = [side for side in sides if isinstance(side, int | float) and math.isfinite(side) and side >= 1]
    return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else None


def _box(result: Mapping[str, Any]) -> Box | None:
    """Return the box ``x0 y0 x1 y1`` around a region in pixels of the photo; None if there is none."""
    value, frame = result["value"], _frame(result)
    if frame is None or not _shape(result):
        return None
    try:
        if result["type"] == "polygonlabels":
            points = [(float(x), float(y)) for x, y in value["points"]]
        else:
            x, y = float(value["x"]), float(value["y"])
            if result["type"] == "ellipselabels":
                wide, high = float(value["radiusX"]), float(value["radiusY"])
                points = [(x - wide, y - high), (x + wide, y + high)]
            else:
                points = _turned(x, y, float(value["width"]), float(value["height"]), float(value.get("rotation") or 0), frame)
    except (KeyError, TypeError, ValueError):
        return None
    xs, ys = (
        [number * side / 100 for number in numbers] for numbers, side in zip(zip(*points, strict=True), frame, strict=True)
    )
    box = min(xs), min(ys), max(xs), max(ys)
    return box if all(map(math.isfinite, box)) and has_area(box) else None


def _turned(x: float, y: float, width: float, height: float, angle: float, frame: tuple[int, int]) -> list[tuple[float, float]]:
    """Return the corners, in percent, of a rectangle rotated clockwise around its upper left corner."""
    sine, cosine, ratio = math.sin(math.radians(angle)), math.cos(math.radians(angle)), frame[0] / frame[1]
    return [
        (x + right * cosine - down * sine / ratio, y + right * sine * ratio + down * cosine)
        for right in (0.0, width)
        for down in (0.0, height)
    ]
