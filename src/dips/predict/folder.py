"""The results of many photos in one folder, written so that an interruption loses nothing and nothing is overwritten.

In: photos, and their predictions one at a time. Out::

    json/NAME.json    maps/NAME.png        of each photo its objects, and its score map
    classes/NAME.png                       what its parts say of the classes, where objects have classes of their own
    overlays/NAME.jpg heatmaps/NAME.jpg masks/NAME.png
                                           what was asked for, per photo
    predictions.json  coco.json  ...       all photos in one file; formats of other tools (dips.formats)
    skipped.json                           photos that could not be read, if there are any; kept by folders made of this one

NAME is the photo's path below the folder that was given (below the deepest common folder of several), without suffix unless
two photos would share it. Until everything is written the folder holds ``.unfinished.json``, which says what is being made; a
photo is done when its JSON is there.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from msgspec import UNSET

from dips import formats
from dips.data.images import read_scaled
from dips.errors import ConfigError, DataError, ImageError, RunError
from dips.formats.records import PredictionRecord, SkippedRecord, SkippedRecords, read_prediction
from dips.predict.naming import name_photos, stems_of, texts_of
from dips.predict.prediction import MAX_OVERLAY_SIDE, Prediction
from dips.predict.results import MARK, Found, locate, read_records
from dips.system.console import counted, log
from dips.system.files import as_text, atomic_file, is_temporary
from dips.system.journal import Claim
from dips.system.records import read_record, write_json
from dips.system.suggestions import closest
from dips.types import Problem

__all__ = ["FORMATS", "REVIEWS", "PredictionFolder", "parse_formats"]

FORMATS = ("json", "overlays", "heatmaps", "masks", *(name for name in formats.FORMATS if name != "json"))
REVIEWS = dict.fromkeys(("review.jsonl", "reviewed.coco.json"), "a review by 'dips view'")
"""What a person made of the predictions, by the name of its file in the folder."""

_READERS = {
    **dict.fromkeys(("cvat", "roboflow"), "coco or voc"),
    **dict.fromkeys(("detectron2", "detectron", "mmdetection", "fiftyone", "supervisely"), "coco"),
    **dict.fromkeys(("ultralytics", "darknet"), "yolo"),
    "labelimg": "voc or yolo",
    **dict.fromkeys(("pascal", "pascalvoc", "xml"), "voc"),
    **dict.fromkeys(("qgis", "arcgis"), "geojson"),
    **dict.fromkeys(("excel", "xlsx"), "csv"),
}
"""Tools, and the formats here that they read."""
_LABELS = {
    "model": "another model",
    "file": "another exported file",
    "settings": "other settings",
    "formats": "another --format",
    "photos": "other photos",
    "review": "another review",
}
_FILES = (
    *("predictions.json", "skipped.json", "coco.json", "boxes.csv", "labelstudio.json", "labelstudio.xml"),
    "camera-points.geojson",
)
_SUFFIXES = {"json": ".json", "overlays": ".jpg", "heatmaps": ".jpg", "maps": ".png", "classes": ".png", "masks": ".png"}


def parse_formats(text: str) -> tuple[str, ...]:
    """Return ``"json,overlays"`` as names, in the order of :data:`FORMATS`; ``json`` is always one of them.

    Raises:
        ConfigError: an unknown name.

    >>> parse_formats("masks, JSON")
    ('json', 'masks')
    """
    names = {part.strip().lower() for part in text.split(",")} - {""}
    for name in sorted(names - set(FORMATS)):
        reads = _READERS.get(re.sub(r"[^a-z0-9]", "", name))
        hint = f" (write {reads})" if reads else closest(name, FORMATS)
        raise ConfigError(f"--format: '{name}' is unknown{hint}; there are {', '.join(FORMATS)}, separated by commas")
    return tuple(name for name in FORMATS if name in names or name == "json")


@dataclass(frozen=True)
class PredictionFolder:
    """A folder to be filled with predictions::

        todo = folder.begin()
        for prediction in model.predictor.photos(todo, folder.skip):
            folder.write(prediction)
        found = folder.finish()

    Attributes:
        claim: the folder, and what identifies the work that fills it.
        names, folder: see :func:`dips.predict.naming.name_photos`; the names are text.
        stems: for each photo the path of its results inside ``json/`` and the others, without suffix.
        formats: of :data:`FORMATS`.
        beside: photos with a relative path are looked for from the current folder, and from those that hold this one; None
            where the user gave the paths.
        photos_dir: where the photos lie now, if a person said so.
        left_out: what else lay beside the photos.
        skipped: photos that could not be read, or not be drawn on.
        failed: photos that could not be read when the folder was written that this one is made of.
    """

    claim: Claim
    names: Mapping[Path, str]
    folder: str
    stems: Mapping[Path, str]
    formats: tuple[str, ...]
    beside: Path | None
    photos_dir: Path | None = None
    left_out: Sequence[Problem] = ()
    skipped: list[Problem] = field(default_factory=list)
    failed: Sequence[SkippedRecord] = ()

    @staticmethod
    def plan(images: Sequence[Path], out: Path, *, formats: tuple[str, ...], made_with: Mapping[str, Any]) -> PredictionFolder:
        """Find the photos and check that ``out`` may be filled; writes nothing.

        Args:
            made_with: JSON that identifies model and settings.

        Raises:
            DataError: no photos.
            RunError: ``out`` exists and is not the same work, interrupted.
        """
        names, folder, left_out = name_photos(images, leave_out=out)
        claim = _claim(out, map(os.path.abspath, names), formats, made_with)
        return PredictionFolder(claim, texts_of(names), folder, stems_of(names), formats, None, left_out=left_out)

    @staticmethod
    def from_finished(
        source: Path,
        out: Path,
        *,
        formats: tuple[str, ...],
        made_with: Mapping[str, Any],
        photos_dir: Path | None = None,
        only: Container[str] | None = None,
    ) -> PredictionFolder:
        """Plan a folder for the photos of a finished one, from what that one holds; writes nothing.

        Args:
            source: a folder that was filled.
            made_with: settings, as JSON.
            photos_dir: where the photos lie now, see :func:`dips.predict.results.moved`.
            only: names of the photos that are wanted; None for all.

        Raises:
            RunError: ``source`` is not such a folder, is unfinished or damaged, its photos are not in ``photos_dir``, or
                ``out`` exists as for :meth:`plan`.
        """
        names: dict[Path, str] = {}
        stems: dict[Path, str] = {}
        folder = model = ""
        for file, record in read_records(source, photos_dir):
            if only is not None and record.name not in only:
                continue
            path = Path(record.path)
            names[path] = record.name
            stems[path] = file.relative_to(source / "json").as_posix().removesuffix(".json")
            folder, model = record.folder, record.model
        claim = _claim(out, map(str, names), formats, {**made_with, "model": model})
        failed = () if only is not None else _failed(source)
        return PredictionFolder(claim, names, folder, stems, formats, source, photos_dir, failed=failed)

    def require_other(self, option: str, file: Path) -> None:
        """Check that the file of an option is none of those that are going to be in the folder; other names are free there.

        Raises:
            RunError: it is one, or lies in a folder of theirs.
        """
        here, there = (Path(os.path.realpath(path)) for path in (self.out, file))
        if here not in (there, *there.parents):
            return
        name = next(iter(there.relative_to(here).parts), "")
        if name.casefold() in {"", MARK, *_FILES, *_SUFFIXES, *FORMATS} or is_temporary(Path(name)):
            raise RunError(
                f"{option} {file} is what the prediction itself writes; give another name, or a file outside of {self.out}"
            )

    @property
    def out(self) -> Path:
        """The folder itself."""
        return self.claim.folder

    def begin(self) -> list[Path]:
        """Make the folder, or continue it; return the photos that are not done yet.

        Raises:
            RunError: it cannot be written.
        """
        if not self.out.exists():
            self.claim.take()
        for path in self.out.rglob(".*"):  # what a kill in the middle of writing left behind
            if path.name != MARK and path.is_file() and is_temporary(path):
                path.unlink()
        todo = [path for path in self.names if not self._file("json", path).is_file()]
        if len(todo) < len(self.names):
            log(f"done before and kept: {len(self.names) - len(todo)} of {counted(len(self.names), 'photo')}")
        return todo

    def skip(self, path: Path, reason: str) -> None:
        """Note a photo that could not be read, and why."""
        self.skipped.append(Problem(path, reason))

    def write(self, prediction: Prediction) -> None:
        """Write the files of one photo.

        Raises:
            RunError: a file cannot be written; what is there stays, and the next call continues from it.
        """
        path = prediction.path
        prediction.write_map(self._file("maps", path))
        prediction.write_classes(self._file("classes", path))
        if "masks" in self.formats:
            prediction.write_mask(self._file("masks", path))
        try:
            self._write_pictures(prediction)
        except ImageError as error:  # moved or damaged since it was predicted; its objects are not lost
            self.skip(path, f"{error}; its boxes are kept, only the overlay is missing: 'dips boxes' draws it later")
        record = prediction.record(
            path=_path_text(path),
            name=self.names[path],
            folder=as_text(self.folder),
            model=str(self.claim.identity.get("model", ""))[:12],
        )
        write_json(self._file("json", path), record, indent=1)  # the last file: it says that the photo is done

    def _write_pictures(self, prediction: Prediction) -> None:
        kinds = [kind for kind in ("overlays", "heatmaps") if kind in self.formats]
        if not kinds:
            return
        path = prediction.path if self.beside is None else locate(prediction.path, self.beside, self.photos_dir)
        pixels = read_scaled(path, prediction.scale, max_side=MAX_OVERLAY_SIDE)
        for kind in kinds:
            data = prediction.overlay_jpeg(pixels, heat=kind == "heatmaps")
            with atomic_file(self._file(kind, prediction.path), "wb") as file:
                file.write(data)

    def finish(self) -> Found:
        """Write the files that are about all photos, and return what was found; the folder is complete then.

        Raises:
            DataError: none of the photos could be read; no folder is left.
            RunError: a file cannot be written, or the record of a photo is damaged.
        """
        if self.skipped and not any(self._file("json", path).is_file() for path in self.names):
            self._give_up()
        found, skipped = Found(), (*self.failed, *map(self._skipped, self.skipped))
        with ExitStack() as files:
            failed = {record.name: record.reason for record in skipped if record.name}
            opened = [formats.open_format(name, self.out, failed) for name in self.formats if name in formats.FORMATS]
            writers = [files.enter_context(item) for item in opened]
            for record, stem in self._records():
                found.add(
                    record.label,
                    record.background,
                    [box.certainty for box in record.boxes],
                    record.name,
                    reviewed=bool(record.reviewed),
                    calibration=record.calibration or None,
                )
                for add in writers:
                    add(record, stem)
        if skipped:
            write_json(self.out / "skipped.json", SkippedRecords(skipped=skipped), indent=1)
        self.claim.path.unlink()
        return found

    def _skipped(self, problem: Problem) -> SkippedRecord:
        name = UNSET if self._file("json", problem.path).is_file() else self.names[problem.path]
        return SkippedRecord(path=as_text(problem.path.as_posix()), reason=as_text(problem.message), name=name)

    def _give_up(self) -> NoReturn:
        """Remove the folder, which would be in the way of the next try; a file of another option in it keeps it."""
        if list(self.out.iterdir()) == [self.claim.path]:
            self.claim.path.unlink()
            self.out.rmdir()
        first, count = self.skipped[0], len(self.skipped)
        which = "the only photo" if count == 1 else f"any of the {count} photos; the first"
        reason = first.message if str(first.path) in first.message else f"{first.path} {first.message}"
        raise DataError(f"nothing is predicted, as DiPS cannot read {which}: {reason}")

    def _records(self) -> Iterator[tuple[PredictionRecord, str]]:
        """Read the photos that are done, one at a time, each with its stem."""
        for path in self.names:
            file = self._file("json", path)
            if file.is_file():
                yield read_prediction(file), self.stems[path]

    def _file(self, kind: str, path: Path) -> Path:
        return self.out / kind / f"{self.stems[path]}{_SUFFIXES[kind]}"


def _failed(folder: Path) -> tuple[SkippedRecord, ...]:
    """Return the photos that could not be read when a folder was written; earlier versions did not note their names."""
    file = folder / "skipped.json"
    if not file.is_file():
        return ()
    skipped = read_record(file, SkippedRecords, remedy="remove it; then nothing says which photos could not be read").skipped
    return tuple(record for record in skipped if record.name)


def _path_text(path: Path) -> str:
    """Return a photo's path as text, unless that would be another photo's: then as it is, which JSON can hold."""
    plain, text = path.as_posix(), as_text(path.as_posix())
    return plain if text != plain and Path(text).exists() else text


def _claim(out: Path, photos: Iterable[str], formats: tuple[str, ...], made_with: Mapping[str, Any]) -> Claim:
    """Return the claim on ``out`` after checking that it is free, or holds the same work."""
    listed = hashlib.sha256("\0".join(photos).encode("utf-8", "surrogateescape"))
    claim = Claim(
        folder=out,
        mark=MARK,
        identity={**made_with, "formats": list(formats), "photos": listed.hexdigest()},
        precious=REVIEWS,
        holds="an interrupted prediction",
        labels=_LABELS,
        remedy="choose another --out or remove it; only the same command continues it"
        + (", as long as nothing more is reviewed" if "review" in made_with else ""),
    )
    claim.check()
    return claim
