"""What a person made of the predictions: boxes accepted, removed, moved, drawn; every change is on the disk before it counts.

``review.jsonl`` in the prediction folder is a journal: a line per change with all boxes of one photo, the last line of a photo
counts. Whatever kills the program, at most the line that was being written is lost.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import FileIO
from typing import Any

from dips.errors import DipsError, RunError
from dips.system.console import log
from dips.system.files import lock_file
from dips.view.predictions import Box, Photo, Predictions

__all__ = ["JOURNAL", "Conflict", "Refused", "Review", "ReviewBox", "State"]

JOURNAL = "review.jsonl"
_SCHEMA_VERSION = 1
_UNDO = 1000  # changes that can be taken back


class Refused(DipsError):
    """A change that makes no sense for the photo."""


class Conflict(DipsError):
    """A change of a photo that was changed meanwhile, e.g. in another tab."""


@dataclass(frozen=True, slots=True)
class ReviewBox:
    """One box of a photo.

    Attributes:
        box: see :data:`~dips.view.predictions.Box`.
        label: its class.
        of: which predicted box it was made from; None for one that a person drew.
        accepted: whether a person said that it is right.
    """

    box: Box
    label: str
    of: int | None
    accepted: bool = False

    def as_json(self) -> dict[str, Any]:
        return {"box": list(self.box), "label": self.label, "of": self.of, "accepted": self.accepted}


@dataclass(frozen=True, slots=True)
class State:
    """All that is known of one photo.

    Attributes:
        reviewed: whether a person is done with it.
        boxes: in the order of the predictions, drawn ones after them.
        version: how often it was changed since the program started.
    """

    reviewed: bool
    boxes: tuple[ReviewBox, ...]
    version: int = field(default=0, compare=False)

    def as_json(self) -> dict[str, Any]:
        return {"reviewed": self.reviewed, "boxes": [box.as_json() for box in self.boxes]}


class Review:
    """The state of every photo of a prediction folder; safe to use from several threads.

    Args:
        predictions: what is reviewed.

    Raises:
        RunError: the journal is damaged, of another model, cannot be written, or another program is writing it.
    """

    def __init__(self, predictions: Predictions) -> None:
        self.predictions = predictions
        self.path = predictions.folder / JOURNAL
        self.changes = 0
        """Grows with every change."""
        self._lock = threading.RLock()
        self._states: dict[int, State] = {}
        self._history: deque[tuple[int, State]] = deque(maxlen=_UNDO)
        self._last: int | None = None
        self._file = self._open()
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Let another program write the journal."""
        with self._lock:
            self._file.close()

    def state(self, index: int) -> State:
        """That of a photo, by its place in ``predictions.photos``; the prediction where nobody changed it."""
        with self._lock:
            return self._states.get(index) or predicted_state(self.predictions.photos[index])

    def states(self) -> list[State]:
        """Those of all photos at one moment."""
        with self._lock:
            return [self.state(index) for index in range(len(self.predictions.photos))]

    def counts(self) -> tuple[int, int]:
        """How many photos are reviewed, and how many boxes these have."""
        with self._lock:
            done = [state for state in self._states.values() if state.reviewed]
        return len(done), sum(len(state.boxes) for state in done)

    def resume_at(self) -> int:
        """Where to go on: the photo that was changed last, or the next one after it that is not reviewed."""
        with self._lock:
            start = self._last or 0
            count = len(self.predictions.photos)
            order = [(start + step) % count for step in range(count)]
            return next((index for index in order if not self.state(index).reviewed), start)

    def change(self, index: int, wanted: Mapping[str, Any], *, version: int | None = None) -> State:
        """Replace the state of a photo; it is on the disk when this returns.

        Args:
            index: place of the photo.
            wanted: ``{"reviewed": bool, "boxes": [{"box", "label", "of", "accepted"}, ...]}``.
            version: that of the state which ``wanted`` was made from; None does not ask.

        Raises:
            Refused: a box lies outside of the photo or is empty, its class is unknown, or one predicted box is used twice.
            Conflict: ``version`` is not the last one.
            RunError: the journal cannot be written; the state is as it was.
        """
        state = parse_state(wanted, self.predictions.photos[index], self.predictions.object_classes)
        with self._lock:
            before = self.state(index)
            if version is not None and version != before.version:
                raise Conflict(f"{self.predictions.photos[index].name} was changed meanwhile")
            if state == before:
                return before
            done = self._put(index, state)
            self._history.append((index, before))
            return done

    def undo(self) -> tuple[int, State] | None:
        """Take the last change back, the one before it the next time; None where there is none since the program started.

        Raises:
            RunError: the journal cannot be written.
        """
        with self._lock:
            if not self._history:
                return None
            index, before = self._history[-1]
            done = self._put(index, before)
            self._history.pop()
            return index, done

    def _put(self, index: int, state: State) -> State:
        self._append({"photo": self.predictions.photos[index].name, **state.as_json()})
        done = replace(state, version=self.state(index).version + 1)
        self._states[index] = done
        self._last = index
        self.changes += 1
        return done

    def _append(self, line: Mapping[str, Any]) -> None:
        text = json.dumps(line, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"
        begun = None
        try:
            begun = self._file.seek(0, os.SEEK_END)
            if self._file.write(text) != len(text):
                raise OSError("the disk is full")
            os.fsync(self._file.fileno())
        except (OSError, ValueError) as error:  # ValueError: closed at the end of the program
            with suppress(OSError, ValueError):  # half a line would spoil the next one
                self._file.truncate(begun)
            raise RunError(f"cannot write {self.path} ({error}); make room, then change the photo again") from error

    def _open(self) -> FileIO:
        try:
            file = FileIO(self.path, "a+")
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror or error}; copy the folder to where you may") from error
        if not lock_file(file):
            file.close()
            raise RunError(f"{self.path} is in use: another 'dips view' shows this folder; end that one first")
        return file

    def _read(self) -> None:
        """Take the states from the journal; a last line that was cut short is cut off."""
        self._file.seek(0)
        text = self._file.readall()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            log(f"{self.path}: the last change was cut short when the program was killed, and is left out")
            self._file.truncate(whole)
        places = {photo.name: index for index, photo in enumerate(self.predictions.photos)}
        for number, line in enumerate(text[:whole].splitlines(), start=1):
            try:
                entry = json.loads(line)
                if number == 1:
                    self._require_ours(entry)
                elif (index := places.get(entry["photo"])) is not None:
                    self._states[index] = parse_state(entry, self.predictions.photos[index], self.predictions.object_classes)
                    self._last = index
            except (ValueError, LookupError, TypeError, Refused) as error:
                raise RunError(f"{self.path}, line {number}, is damaged ({error}); remove the line") from error
        if not whole:
            self._append({"schema_version": _SCHEMA_VERSION, "model": self.predictions.model})

    def _require_ours(self, header: Mapping[str, Any]) -> None:
        if header["schema_version"] != _SCHEMA_VERSION:
            raise RunError(f"{self.path} was written by another version of dips; view it with that one")
        if header["model"] != self.predictions.model:
            raise RunError(f"{self.path} is the review of another model's predictions; move it to another folder")


def predicted_state(photo: Photo) -> State:
    """That of a photo which nobody changed."""
    return State(False, tuple(ReviewBox(found.box, photo.label, index) for index, found in enumerate(photo.found)))


def parse_state(wanted: Mapping[str, Any], photo: Photo, classes: tuple[str, ...]) -> State:
    """See :meth:`Review.change`.

    Raises:
        Refused: it makes no sense for the photo.
    """
    try:
        boxes = tuple(_parse_box(entry, photo, classes) for entry in wanted["boxes"])
        reviewed = wanted["reviewed"]
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Refused(f"{photo.name}: not the boxes of a photo ({type(error).__name__}: {error})") from error
    if not isinstance(reviewed, bool):
        raise Refused(f"{photo.name}: 'reviewed' is neither true nor false")
    used = [box.of for box in boxes if box.of is not None]
    if len(set(used)) < len(used):
        raise Refused(f"{photo.name}: a predicted box is used twice")
    return State(reviewed, boxes)


def _parse_box(entry: Mapping[str, Any], photo: Photo, classes: tuple[str, ...]) -> ReviewBox:
    x0, y0, x1, y1 = (round(float(value), 2) for value in entry["box"])
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or not (0 <= x0 < x1 <= photo.width and 0 <= y0 < y1 <= photo.height):
        raise Refused(f"{photo.name}: the box {entry['box']} does not lie in the photo of {photo.width} x {photo.height}")
    if entry["label"] not in classes:
        raise Refused(f"{photo.name}: there is no class '{entry['label']}' for a box")
    of, accepted = entry["of"], entry["accepted"]
    if of is not None and not (type(of) is int and 0 <= of < len(photo.found)):
        raise Refused(f"{photo.name}: there is no predicted box {of}")
    if not isinstance(accepted, bool):
        raise Refused(f"{photo.name}: 'accepted' is neither true nor false")
    return ReviewBox((x0, y0, x1, y1), str(entry["label"]), of, accepted)
