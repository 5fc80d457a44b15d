"""What a folder of predictions holds, for those that read it: ``dips boxes``, ``dips view`` and the demo.

In: a folder that :mod:`dips.predict.folder` wrote. Out: records, one at a time, and predictions from its score maps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dips.errors import ImageError, RunError
from dips.formats.records import PredictionRecord, read_prediction
from dips.predict.low_scores import LowScores
from dips.predict.prediction import Prediction
from dips.scoremaps.calibration import Calibration, ungated
from dips.system.files import is_remote, named_so

__all__ = ["MARK", "REVIEWED", "Found", "is_finished", "locate", "predict_again", "read_records", "stored_maps"]

MARK = ".unfinished.json"
"""The file that a folder has until everything is written."""

REVIEWED = "reviewed.coco.json"
"""The file in which ``dips view`` keeps what a person reviewed; ``dips train --reviewed`` trains on it."""


@dataclass(slots=True)
class Found:
    """What was found in many photos.

    Attributes:
        photos, boxes: how many there are.
        empty: photos of the background class, which have no boxes.
        background: name of this class, where one has it.
        scores: of the boxes.

    >>> found = Found()
    >>> found.add("none", "none", [])
    >>> found.remark().split(". ")[0]
    "no photo shows an object: 1 of 1 is predicted as 'none'"
    """

    photos: int = 0
    boxes: int = 0
    empty: int = 0
    background: str = ""
    scores: LowScores = field(default_factory=LowScores)

    def add(
        self,
        label: str,
        background: str | None,
        scores: Sequence[float],
        name: str = "",
        calibration: Calibration | None = None,
    ) -> None:
        """Count a photo with its predicted class, the name of the background class, the scores of its boxes, its name, and what
        the scores were calibrated with."""
        self.photos += 1
        self.boxes += len(scores)
        self.scores.add(scores, name, calibration)
        if label == background:
            self.empty += 1
            self.background = label

    def remark(self) -> str:
        """Return a line for whoever wonders why there is no box at all; empty where there are some, or no photos."""
        if self.boxes or not self.photos:
            return ""
        if self.empty < self.photos:
            shown = self.photos - self.empty
            verb = "is" if shown == 1 else "are"
            return (
                f"no photo has a box, though {shown} of {self.photos} {verb} predicted to show something: "
                "lower --min-score or --threshold ('dips boxes' needs no second prediction for that)"
            )
        return (
            f"no photo shows an object: {self.photos} of {self.photos} {'is' if self.photos == 1 else 'are'} predicted as "
            f"'{self.background}'. If that is wrong: are the photos like those of the training, and did it have enough of each "
            "class? 'dips check' names those with too few, the run's README.md how often the worst class is right"
        )


def is_finished(folder: Path) -> bool:
    """Return whether the folder exists and is complete."""
    return folder.exists() and not (folder / MARK).is_file()


def stored_maps(folder: Path) -> Path | None:
    """Return where the score maps of a complete prediction lie; None if the folder holds anything else.

    Raises:
        RunError: the prediction is unfinished.
    """
    if not ((folder / "json").is_dir() and (folder / "maps").is_dir()):
        return None
    _require_finished(folder)
    return folder / "maps"


def read_records(folder: Path) -> Iterator[tuple[Path, PredictionRecord]]:
    """Read the records of a complete folder, each with its file in ``json/``, in the order of their files.

    Raises:
        RunError: it is not a prediction, is unfinished or empty, or a record is damaged.
    """
    top = folder / "json"
    if not top.is_dir():
        raise RunError(f"{folder} is not a prediction; give the folder that 'dips predict --out' wrote")
    _require_finished(folder)
    files = sorted(top.rglob("*.json"))
    if not files:
        raise RunError(f"{folder} holds no photos; give the folder of another prediction")
    for file in files:
        yield file, read_prediction(file)


def _require_finished(folder: Path) -> None:
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
) -> Iterator[Prediction]:
    """Find the objects again in the score maps of a folder, photo by photo.

    Args:
        folder: a complete prediction.
        stems: paths of the results inside ``json/`` and ``maps/``, without suffix.
        threshold, min_area, min_score, max_boxes: None keeps the value of each photo; where all are None, exactly the same
            objects are found.

    Raises:
        RunError: a record or a score map is missing or damaged.
    """
    for stem in stems:
        record = read_prediction(folder / "json" / f"{stem}.json")
        prediction = Prediction.from_record(record, folder / "maps" / f"{stem}.png")
        if min_score is not None:  # it alone decides
            prediction = dataclasses.replace(prediction, calibration=ungated(prediction.calibration))
        yield prediction.with_objects(
            threshold=record.threshold if threshold is None else threshold,
            min_area=record.min_area if min_area is None else min_area,
            min_score=record.min_score if min_score is None else min_score,
            max_boxes=record.max_boxes if max_boxes is None else max_boxes,
        )


def locate(photo: Path, folder: Path) -> Path:
    """Return where a predicted photo is now: a relative path counts from the current folder, else from one around ``folder``.

    Raises:
        ImageError: it is in none of them, or on another computer.
    """
    if is_remote(photo, folder):
        raise ImageError(
            f"{photo} is on another computer, which is not asked; give its folder a drive letter and predict again"
        )
    names = named_so(str(photo))
    for base in (Path(), *folder.absolute().parents):
        for name in names:
            if (base / name).is_file():
                return base / name
    remedy = "move it back" if photo.is_absolute() else "call dips from the folder in which the photos were predicted"
    raise ImageError(f"{photo} does not exist; {remedy}, or predict the photos again where they are now")
