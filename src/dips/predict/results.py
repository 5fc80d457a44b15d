"""Read the contents of a folder of predictions, for ``dips boxes``, ``dips view`` and the demo.

In: a folder written by :mod:`dips.predict.folder`. Out: records, one at a time, and predictions from its score maps.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, Literal
from unicodedata import normalize

import msgspec

from dips.errors import ImageError, RunError
from dips.formats.records import PredictionRecord, read_prediction
from dips.predict.low_scores import LowScores
from dips.predict.map_files import restore_prediction
from dips.predict.prediction import Prediction
from dips.scoremaps.calibration import Calibration, ungated
from dips.shards.plan import WORK
from dips.system.console import counted
from dips.system.names import as_text, as_url, is_remote, named_so

__all__ = ["REVIEWED", "Found", "begun_before", "find_records", "is_finished", "locate", "moved", "predict_again"]
__all__ += ["read_records", "stored_maps"]

REVIEWED = "reviewed.coco.json"
"""The file in which ``dips view`` stores the reviewed boxes; ``dips train --reviewed`` trains on it."""
_EARLIER_MARK = ".unfinished.json"
_FORMS: Final[tuple[Literal["NFC", "NFD"], ...]] = ("NFC", "NFD")


@dataclass(slots=True)
class Found:
    """Counts of what was found in many photos.

    Attributes:
        photos, boxes: number of photos and of boxes.
        boxed: photos with a box.
        empty: photos of the background class, which have no boxes.
        background: name of this class, if a photo was predicted as it.
        scores: scores of the boxes.
        reviewed, reviewed_boxes: photos that a person reviewed, and their boxes; ``empty`` and ``scores`` exclude them.

    >>> found = Found()
    >>> found.add("none", "none", [])
    >>> found.remark().split(". ")[0]
    "no photo shows an object: 1 of 1 is predicted as 'none'"
    """

    photos: int = 0
    boxes: int = 0
    boxed: int = 0
    empty: int = 0
    background: str = ""
    scores: LowScores = field(default_factory=LowScores)
    reviewed: int = 0
    reviewed_boxes: int = 0

    def add(
        self,
        label: str,
        background: str | None,
        scores: Sequence[float],
        name: str = "",
        *,
        reviewed: bool = False,
        calibration: Calibration | None = None,
    ) -> None:
        """Count a photo with its predicted class, the name of the background class, the scores of its boxes, its name, and the
        calibration of the scores."""
        self.photos += 1
        self.boxes += len(scores)
        self.boxed += bool(scores)
        if reviewed:
            self.reviewed += 1
            self.reviewed_boxes += len(scores)
            return
        self.scores.add(scores, name, label=label, calibration=calibration)
        if label == background:
            self.empty += 1
            self.background = label

    def remark(self) -> str:
        """Return a line that explains why there is no box at all; empty if there are boxes, or no photos."""
        photos = self.photos - self.reviewed
        if self.boxes or not photos:
            return ""
        if self.empty < photos:
            shown = photos - self.empty
            verb = "is" if shown == 1 else "are"
            return (
                f"no photo has a box, though {shown} of {photos} {verb} predicted to show something: "
                "lower --min-score or --threshold ('dips boxes' needs no second prediction for that)"
            )
        return (
            f"no photo shows an object: {photos} of {photos} {'is' if photos == 1 else 'are'} predicted as "
            f"'{self.background}'. If that is wrong: are the photos like those of the training, and did it have enough of each "
            "class? 'dips check' names those with too few, the run's README.md how often the worst class is right"
        )


def is_finished(folder: Path) -> bool:
    """Return whether the folder exists and is complete."""
    # a prediction killed at the very end leaves empty folders, and so does a task that starts after the merge
    is_begun = any(path.is_file() for path in (folder / WORK).rglob("*"))
    return folder.exists() and not is_begun and not begun_before(folder)


def begun_before(folder: Path) -> bool:
    """Return whether an earlier version of DiPS began to fill the folder, and did not finish."""
    return (folder / _EARLIER_MARK).is_file()


def stored_maps(folder: Path) -> Path | None:
    """Return the folder with the score maps of a complete prediction; None if ``folder`` contains anything else.

    Raises:
        RunError: the prediction is unfinished.
    """
    if not ((folder / "json").is_dir() and (folder / "maps").is_dir()):
        return None
    _require_finished(folder)
    return folder / "maps"


def read_records(folder: Path, photos_dir: Path | None = None) -> Iterator[tuple[Path, PredictionRecord]]:
    """Read the records of a complete folder, each with its file in ``json/``, in the order of these files.

    Args:
        photos_dir: where the photos are now, see :func:`moved`.

    Raises:
        RunError: the folder is not a prediction, is unfinished or empty, a record is damaged, or ``photos_dir`` contains none
            of the photos.
    """
    top = folder / "json"
    if not top.is_dir():
        raise RunError(f"{folder} is not a prediction; give the folder that 'dips predict --out' wrote")
    _require_finished(folder)
    files = sorted(top.rglob("*.json"))
    if not files:
        raise RunError(f"{folder} holds no photos; give the folder of another prediction")
    is_found = photos_dir is None
    for file in files:
        record = moved(read_prediction(file), photos_dir)
        is_found = is_found or _is_there(Path(record.path), folder, photos_dir)
        yield file, record
    if not is_found:
        raise RunError(
            f"--photos-dir {photos_dir} holds none of the {counted(len(files), 'photo')} of {folder}: {record.path}, for one, "
            f"does not exist (it was {read_prediction(file).path}); give the folder below which '{record.name}' lies now"
        )


def find_records(folder: Path, names: Iterable[str]) -> Iterator[PredictionRecord]:
    """Return the records of some photos of a complete folder, by name; photos that are not in it are skipped.

    Each record is first looked up in the file that its name implies. All files are read only if one is not found there: photos
    may share a stem, or have another name on disk.

    Raises:
        RunError: as for :func:`read_records`.
    """
    _require_finished(folder)
    missing = set(names)
    for name in sorted(missing):
        whole = PurePosixPath(name)
        inside = not whole.is_absolute() and ".." not in whole.parts
        for stem in (name.removesuffix(whole.suffix), name) if inside else ():
            file = folder / "json" / f"{stem}.json"
            if file.is_file() and (record := read_prediction(file)).name == name:
                missing.remove(name)
                yield record
                break
    if missing:
        yield from (record for _, record in read_records(folder) if record.name in missing)


def moved(record: PredictionRecord, photos_dir: Path | None) -> PredictionRecord:
    """Return the record of a photo that has been moved to another folder since it was predicted.

    Args:
        photos_dir: the new place of the predicted folder, below which photos have the same names; None if the photos were not
            moved.
    """
    if photos_dir is None:
        return record
    folder = as_text(os.path.basename(os.path.abspath(photos_dir)))
    return msgspec.structs.replace(record, path=(photos_dir / record.name).as_posix(), folder=folder)


def _require_finished(folder: Path) -> None:
    if begun_before(folder):
        raise RunError(f"{folder} was begun by an earlier version of DiPS, and is unfinished; predict the photos again")
    if not is_finished(folder):
        raise RunError(f"{folder} is unfinished; repeat the same 'dips predict' to continue it")


def predict_again(
    folder: Path,
    stems: Iterable[str],
    *,
    threshold: float | None = None,
    min_area: float | None = None,
    min_score: float | None = None,
    max_boxes: int | None = None,
    photos_dir: Path | None = None,
    review: Callable[[PredictionRecord], PredictionRecord] | None = None,
) -> Iterator[Prediction]:
    """Find the objects again in the score maps of a folder, photo by photo. Those of reviewed photos stay unchanged.

    Args:
        folder: a complete prediction.
        stems: paths of the results inside ``json/`` and ``maps/``, without suffix.
        threshold, min_area, min_score, max_boxes: None keeps the value of each photo; if all are None, exactly the same objects
            are found.
        photos_dir: where the photos are now, see :func:`moved`.
        review: returns the record of a photo as a person reviewed it, or unchanged if nobody did.

    Raises:
        RunError: a record or a score map is missing or damaged.
    """
    for stem in stems:
        record = moved(read_prediction(folder / "json" / f"{stem}.json"), photos_dir)
        record = review(record) if review else record
        maps, classes = (folder / kind / f"{stem}.png" for kind in ("maps", "classes"))
        prediction = restore_prediction(record, maps, classes)
        if record.reviewed:
            yield prediction.with_review(record)
            continue
        if min_score is not None:  # it alone filters the boxes
            prediction = dataclasses.replace(prediction, calibration=ungated(prediction.calibration))
        yield prediction.with_objects(
            threshold=record.threshold if threshold is None else threshold,
            min_area=record.min_area if min_area is None else min_area,
            min_score=record.min_score if min_score is None else min_score,
            max_boxes=record.max_boxes if max_boxes is None else max_boxes,
        )


def locate(photo: Path, folder: Path, photos_dir: Path | None = None) -> Path:
    """Return where a predicted photo is now: a relative path is tried below the current folder, then the parents of ``folder``.

    Args:
        photos_dir: the photos' folder as named by the user; photos below it may also be on another computer.

    Raises:
        ImageError: the photo is in none of these folders, or on another computer.
    """
    is_below = photos_dir is not None and photo.is_relative_to(photos_dir)
    if (url := as_url(photo)) and not photo.exists():
        raise ImageError(f"{url} is not on this computer; give --photos-dir a folder with a copy of the photos")
    if is_remote(photo, folder) and not is_below:
        raise ImageError(f"{photo} is on another computer, which is not asked unless --photos-dir names its folder")
    for base in (Path(),) if photo.is_absolute() else (Path(), *folder.absolute().parents):
        for name in named_so(str(photo)):
            if found := _spelled(base, Path(name)):
                return found
    if is_below:
        raise ImageError(
            f"{photo} does not exist: it is not below --photos-dir {photos_dir}; copy it there, or name the folder that has it"
        )
    here = "" if photo.is_absolute() else "call dips from the folder in which the photos were predicted, or "
    raise ImageError(f"{photo} does not exist; {here}give --photos-dir the folder in which the photos are now")


def _spelled(base: Path, name: Path) -> Path | None:
    """Return the file with this name below ``base``; accents may be composed in one path part and decomposed in another."""
    if os.path.isfile(base / name):  # unlike Path.is_file, False whenever the system rejects the name
        return base / name
    tops = [base / name.anchor]
    for part in name.relative_to(name.anchor).parts:
        forms = dict.fromkeys((part, *(normalize(form, part) for form in _FORMS)))
        tops = [top / form for top in tops for form in forms if os.path.exists(top / form)]
    return next((top for top in tops if os.path.isfile(top)), None)


def _is_there(photo: Path, folder: Path, photos_dir: Path | None) -> bool:
    try:
        locate(photo, folder, photos_dir)
    except ImageError:
        return False
    return True
