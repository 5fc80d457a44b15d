"""The results of many photos in one folder, written so that an interruption loses nothing and nothing is overwritten.

In: photos and a function that predicts them. Out, streamed, a photo at a time::

    json/NAME.json    maps/NAME.png        of each photo what was found, and its score map
    overlays/NAME.jpg masks/NAME.png       what was asked for, per photo
    predictions.json  coco.json  ...       all photos in one file; formats of other tools (dips.formats)
    skipped.json                           photos that could not be read, where there are any

NAME is the photo's path below the folder that was given (below the deepest common folder where several were), without suffix
unless two photos would share it. Until everything is written the folder holds ``.unfinished.json``, which says what is being
made; a photo is done when its JSON is there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dips import formats
from dips.errors import ConfigError, ImageError, RunError
from dips.formats import Item
from dips.predict.naming import name_photos, stems_of
from dips.predict.objects import with_objects
from dips.predict.prediction import Prediction
from dips.predict.records import (
    read_record,
    skipped_records,
    write_json,
    write_predictions,
)
from dips.system.console import log, track
from dips.system.files import as_text, atomic_file, is_temporary, new_folder
from dips.system.suggestions import closest
from dips.types import Problem

__all__ = [
    "FORMATS",
    "FolderSummary",
    "PredictionFolder",
    "found_again",
    "is_finished",
    "locate",
    "parse_formats",
    "require_finished",
]

FORMATS = ("json", "overlays", "masks", *formats.FORMATS)
_MARK = ".unfinished.json"

Skipped = Callable[[Path, str], None]
Predict = Callable[[Iterable[Path], Skipped], Iterable[Prediction]]


@dataclass(frozen=True)
class FolderSummary:
    """What a folder holds: how many photos and boxes, and which photos were skipped."""

    photos: int
    boxes: int
    skipped: tuple[Problem, ...]


def is_finished(out: Path) -> bool:
    """Whether ``out`` is there and nobody needs to go on with it."""
    return out.exists() and not (out / _MARK).is_file()


def require_finished(folder: Path) -> None:
    """See that a prediction folder is complete.

    Raises:
        RunError: it is not.
    """
    if (folder / _MARK).is_file():
        raise RunError(f"{folder} is unfinished; give the same 'dips predict' again, which goes on with it")


def parse_formats(text: str) -> tuple[str, ...]:
    """``"json,overlays"`` as names, in the order of :data:`FORMATS`.

    Raises:
        ConfigError: an unknown name.
    """
    names = {part.strip().lower() for part in text.split(",")} - {""}
    for name in sorted(names - set(FORMATS)):
        raise ConfigError(
            f"--format: '{name}' is unknown{closest(name, FORMATS)}; there are {', '.join(FORMATS)}, separated by commas"
        )
    return tuple(name for name in FORMATS if name in names or name == "json")


@dataclass(frozen=True)
class PredictionFolder:
    """A folder to be filled.

    Attributes:
        out: the folder.
        names, folder: see :func:`dips.predict.naming.name_photos`.
        stems: for each photo the path of its results inside ``json/`` and the others, without suffix.
        formats: of :data:`FORMATS`.
        beside: photos with a relative path are looked for from the current folder, and from those that hold this one.
        mark: what identifies the work; an interrupted folder is gone on with only where it is equal.
    """

    out: Path
    names: Mapping[Path, str]
    folder: str
    stems: Mapping[Path, str]
    formats: tuple[str, ...]
    beside: Path
    mark: Mapping[str, Any]

    @staticmethod
    def plan(images: Sequence[Path], out: Path, *, formats: tuple[str, ...], made_with: Mapping[str, Any]) -> PredictionFolder:
        """Find the photos and see whether ``out`` may be filled; writes nothing.

        Args:
            made_with: JSON that identifies model and settings.

        Raises:
            DataError: no photos.
            RunError: ``out`` exists and is not the same work, interrupted.
        """
        _require_unfinished(out)
        names, folder = name_photos(images, leave_out=out)
        mark = _marked(out, map(os.path.abspath, names), formats, made_with)
        return PredictionFolder(out, names, folder, stems_of(names), formats, out, mark)

    @staticmethod
    def again(source: Path, out: Path, *, formats: tuple[str, ...], made_with: Mapping[str, Any]) -> PredictionFolder:
        """Plan a folder for the photos of a finished one, from what that one holds; writes nothing.

        Args:
            source: a folder that was filled.
            made_with: settings, as JSON.

        Raises:
            RunError: ``source`` is no such folder, is unfinished or damaged, or ``out`` exists as for :meth:`plan`.
        """
        require_finished(source)
        if not (source / "predictions.json").is_file():
            raise RunError(f"{source} is no prediction; give the folder that 'dips predict --out' wrote")
        _require_unfinished(out)
        names: dict[Path, str] = {}
        stems: dict[Path, str] = {}
        folder = model = ""
        for file in sorted((source / "json").rglob("*.json")):
            record = read_record(file)
            path = Path(record["path"])
            names[path] = record["name"]
            stems[path] = file.relative_to(source / "json").as_posix().removesuffix(".json")
            folder, model = record["folder"], record["model"]
        if not names:
            raise RunError(f"{source} holds no photos; give the folder of another prediction")
        mark = _marked(out, map(str, names), formats, {**made_with, "model": model})
        return PredictionFolder(out, names, folder, stems, formats, source, mark)

    def fill(self, predict: Predict) -> FolderSummary:
        """Predict the photos that are not done yet, then write the files for all of them.

        Args:
            predict: yields predictions with the paths it was given and tells of photos that cannot be read.

        Raises:
            RunError: a file cannot be written; what is there stays, and a second call goes on from it.
        """
        if not self.out.exists():
            with new_folder(self.out) as work:
                write_json(self.mark, work / _MARK)
        _sweep(self.out)
        todo = [path for path in self.names if not self._file("json", path).is_file()]
        if len(todo) < len(self.names):
            log(f"{len(self.names) - len(todo)} of {len(self.names)} photos were done before and are kept")
        skipped: list[Problem] = []

        def skip(path: Path, reason: str) -> None:
            skipped.append(Problem(path, reason))
            log(f"skipped: {reason}")

        if todo:
            for prediction in track(predict(todo, skip), "predict", total=len(todo)):
                self._write_photo(prediction, skip)
        return self._finish(tuple(skipped))

    def _write_photo(self, prediction: Prediction, skip: Skipped) -> None:
        path = prediction.path
        prediction.write_map(self._file("maps", path))
        if "masks" in self.formats:
            prediction.write_mask(self._file("masks", path))
        if "overlays" in self.formats:
            try:
                self._write_overlay(prediction)
            except ImageError as error:  # moved or damaged since it was predicted; what was found is not lost
                skip(path, f"{error}; its boxes are kept, the overlay is missing")
        record = prediction.record(
            path=as_text(path.as_posix()),
            name=as_text(self.names[path]),
            folder=as_text(self.folder),
            model=str(self.mark.get("model", ""))[:12],
        )
        write_json(record, self._file("json", path))  # the last one: it says that the photo is done

    def _write_overlay(self, prediction: Prediction) -> None:
        data = prediction.overlay_jpeg(locate(prediction.path, self.beside))
        with atomic_file(self._file("overlays", prediction.path), "wb") as file:
            file.write(data)

    def _finish(self, skipped: tuple[Problem, ...]) -> FolderSummary:
        photos = boxes = 0

        def counted() -> Iterator[dict[str, Any]]:
            nonlocal photos, boxes
            for item in self.items():
                photos += 1
                boxes += len(item.record["boxes"])
                yield dict(item.record)

        write_predictions(counted(), self.out / "predictions.json")
        for name in self.formats:
            if name in formats.FORMATS:
                formats.FORMATS[name].write(self.items(), self.out)
        if skipped:
            write_json({"skipped": skipped_records(skipped)}, self.out / "skipped.json")
        (self.out / _MARK).unlink()
        return FolderSummary(photos, boxes, skipped)

    def items(self) -> Iterator[Item]:
        """Each photo that is done, read from its file so that no more than one is in memory."""
        for path, name in self.names.items():
            file = self._file("json", path)
            if file.is_file():
                yield Item(as_text(name), as_text(self.stems[path]), read_record(file))

    def _file(self, kind: str, path: Path) -> Path:
        suffix = {"json": ".json", "overlays": ".jpg"}.get(kind, ".png")
        return self.out / kind / f"{self.stems[path]}{suffix}"


def found_again(
    source: Path,
    folder: PredictionFolder,
    *,
    threshold: float | None,
    min_area: float | None,
    min_score: float | None,
    max_boxes: int | None,
) -> Predict:
    """Makes the predictions of ``folder`` from the score maps in ``source``, with another threshold or least area.

    Args:
        threshold, min_area, min_score, max_boxes: None keeps those of each photo; if nothing is given, exactly the same objects
            are found again.
    """

    def predict(paths: Iterable[Path], skipped: Skipped) -> Iterator[Prediction]:
        for path in paths:
            stem = folder.stems[path]
            record = read_record(source / "json" / f"{stem}.json")
            yield with_objects(
                Prediction.from_record(record, source / "maps" / f"{stem}.png"),
                threshold=record["threshold"] if threshold is None else threshold,
                min_area=record["min_area"] if min_area is None else min_area,
                min_score=record["min_score"] if min_score is None else min_score,
                max_boxes=record["max_boxes"] if max_boxes is None else max_boxes,
            )

    return predict


def locate(photo: Path, beside: Path) -> Path:
    """Where a photo that was predicted lies now: a relative path counts from the current folder, else from one that holds
    ``beside``.

    Raises:
        ImageError: it is nowhere.
    """
    for base in (Path(), *beside.absolute().parents):
        if (base / photo).is_file():
            return base / photo
    raise ImageError(f"{photo} does not exist; call dips from the folder in which the photos were predicted")


def _require_unfinished(out: Path) -> None:
    if is_finished(out):
        raise RunError(f"{out} exists already and is left as it is; choose another --out or remove it")


def _marked(out: Path, photos: Iterable[str], formats: tuple[str, ...], made_with: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies the work, which an interrupted ``out`` must share."""
    listed = hashlib.sha256("\0".join(photos).encode("utf-8", "surrogateescape"))
    mark = {**made_with, "formats": list(formats), "photos": listed.hexdigest()}
    if out.exists():
        _require_same(out, mark)
    return mark


def _require_same(out: Path, mark: Mapping[str, Any]) -> None:
    try:
        found = json.loads((out / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{out / _MARK} is damaged ({error}); remove {out} or choose another --out") from error
    words = {
        "model": "another model",
        "file": "another exported file",
        "settings": "other settings",
        "formats": "another --format",
        "photos": "other photos",
    }
    for key, word in words.items():
        if found.get(key) != mark.get(key):
            raise RunError(
                f"{out} holds an interrupted prediction with {word}; give the same command to go on with it, choose another "
                "--out or remove it"
            )


def _sweep(out: Path) -> None:
    """Remove what a kill in the middle of writing left behind."""
    for path in out.rglob(".*"):
        if path.name != _MARK and path.is_file() and is_temporary(path):
            path.unlink()
