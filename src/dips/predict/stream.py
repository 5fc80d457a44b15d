"""``dips stream``: write the boxes of every frame of a video, or of a folder that photos arrive in, to one JSON.

In: predicted frames (:mod:`dips.predict.frames`). Out: one file, a record per frame. While it runs, finished frames are kept
in a journal beside the file, a line each: after a kill the same command continues after the last complete line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from dips.errors import RunError
from dips.formats.records import SCHEMA_VERSION, PredictionRecord, SkippedRecord, skipped_records
from dips.predict.frames import FramePrediction
from dips.predict.prediction import Prediction
from dips.predict.results import Found
from dips.scoremaps.calibration import Calibration
from dips.system.files import atomic_file
from dips.system.journal import Journal, refuse_existing
from dips.system.records import Record, to_json
from dips.types import Problem

if TYPE_CHECKING:
    from dips.predict.tracks import Tracks

__all__ = ["FrameJournal", "write_stream"]

_DAMAGED = "remove the file and repeat the command"
_LABELS = {
    "model": "another model",
    "file": "another exported file",
    "source": "another source",
    "fps": "another --fps",
    "settings": "other settings",
}


class ScoredBox(Record, frozen=True, kw_only=True):
    """The part of a box in a journal line that is read back."""

    score: Annotated[float, Meta(ge=0, le=1)]


class FrameLine(Record, frozen=True, kw_only=True):
    """The fields required in a journal line, which otherwise is a :class:`~dips.formats.records.PredictionRecord`."""

    name: str
    label: str
    background: str | None
    boxes: tuple[ScoredBox, ...]
    calibration: Calibration | UnsetType = UNSET


class FrameTime(Record, frozen=True, kw_only=True):
    """The time in a journal line of a video."""

    time: float


class StreamHead(Record, frozen=True, kw_only=True):
    """The keys of the JSON that precede ``frames``."""

    schema_version: int = SCHEMA_VERSION
    source: str
    fps: float | None
    skipped: tuple[SkippedRecord, ...]


class FrameJournal:
    """The records of finished frames, a line each, until they are merged into one JSON.

    Args:
        path: path of the JSON; the journal is ``path`` with ``.part`` added.
        identity: JSON that identifies the work; a journal of other work is refused.

    Attributes:
        done: names of the finished frames.
        found: what was found in them.

    Raises:
        RunError: ``path`` exists, or the journal is in use or belongs to other work.

    .. code-block:: python

        with closing(FrameJournal(Path("boxes.json"), {"source": "flight.mp4"})) as journal:
            frames = video_frames(Path("flight.mp4"), 1.0, journal.done)
            for prediction in write_stream(predict_frames(predictor, frames), journal, model="3f2a"):
                print(prediction.boxes)
            journal.finish(source="flight.mp4", fps=1.0)
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        if path.exists():
            refuse_existing(path)
        self.path = path
        self._journal = Journal(
            path.with_name(f"{path.name}.part"),
            identity,
            command="dips stream",
            holds="an interrupted stream",
            labels=_LABELS,
            remedy="remove it or choose another --out",
            unwritable="choose another --out",
        )
        self.done, self.found = set[str](), Found()
        try:
            for frame in self._journal.records(FrameLine, remedy="predict the frame again"):
                self.done.add(frame.name)
                self._count(frame, [box.score for box in frame.boxes])
        except RunError:  # a line left empty by a power failure
            self._journal.cut()
        self._is_empty = not self.done

    def add(self, record: PredictionRecord) -> None:
        """Append a frame to the journal.

        Raises:
            RunError: the disk is full.
        """
        self._journal.append(to_json(record))
        self._count(record, [box.certainty for box in record.boxes])
        self._is_empty = False

    def _count(self, frame: FrameLine | PredictionRecord, scores: list[float]) -> None:
        self.found.add(frame.label, frame.background, scores, frame.name, calibration=frame.calibration or None)

    def close(self) -> None:
        """Release the journal; its file stays for the next call, unless no frame is done."""
        self._journal.close()
        if self._is_empty:
            self._journal.path.unlink(missing_ok=True)

    def times(self) -> Iterator[float]:
        """Read the times of the finished frames of a video, in seconds.

        Raises:
            RunError: a line is damaged.
        """
        return (frame.time for frame in self._journal.records(FrameTime, remedy=_DAMAGED))

    def finish(self, *, source: str, fps: float | None, skipped: Iterable[Problem] = (), tracks: Tracks | None = None) -> int:
        """Write the JSON, remove the journal, and return the number of frames.

        Objects are tracked only here, starting from the first frame, so that interruptions change nothing.

        Args:
            source: the video or folder.
            fps: sampled frames per second; None for a folder.
            skipped: photos that could not be read.
            tracks: assigns the same id to all boxes of an object, and counts the objects.

        Raises:
            RunError: the JSON cannot be written; the journal stays.
        """
        self._journal.close()
        head = StreamHead(source=source, fps=fps, skipped=skipped_records(skipped))
        count = 0
        with atomic_file(self.path) as file:
            file.write(to_json(head)[:-1] + ', "frames": [')
            for line in self._journal.lines() if tracks is None else self._followed(tracks):
                file.write((",\n" if count else "\n") + line.decode().rstrip("\n"))
                count += 1
            file.write("\n]" + (f', "tracking": {to_json(tracks.record())}' if tracks else "") + "}\n")
        self._journal.path.unlink()
        self._is_empty = False
        return count

    def _followed(self, tracks: Tracks) -> Iterator[bytes]:
        """Read the lines, with track ids added."""
        for record in self._journal.records(PredictionRecord, remedy=_DAMAGED):
            yield to_json(tracks.follow(record)).encode("utf-8", "backslashreplace")


def write_stream(predictions: Iterable[FramePrediction], journal: FrameJournal, *, model: str) -> Iterator[Prediction]:
    """Write each frame to the journal once it is done, and yield its prediction, so that the caller can count them."""
    for frame, prediction in predictions:
        record = replace(prediction.record(name=frame.name, model=model), cell_classes=UNSET)  # no file of cells is written
        journal.add(record if frame.time is None else replace(record, time=round(frame.time, 3)))
        yield prediction
