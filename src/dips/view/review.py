"""A person's review of the predictions: boxes accepted, removed, moved, drawn; every change is on disk before it counts.

``review.jsonl`` in the prediction folder is a journal: a line per change with all boxes of one photo, and a photo's last line
counts. If the program is killed, at most the line being written is lost.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import msgspec

from dips.errors import DipsError, RunError
from dips.system.console import log
from dips.system.journal import Journal
from dips.system.records import Record
from dips.view.predictions import Box, Photo, Predictions

__all__ = ["JOURNAL", "ConflictError", "RefusedError", "Review", "ReviewBox", "State", "predicted_state"]

JOURNAL = "review.jsonl"
SCHEMA_VERSION = 1
MAX_UNDO_STEPS = 1000
_LABELS = {"model": "another model", "schema_version": "another version of DiPS"}


class RefusedError(DipsError):
    """A change that is not valid for the photo."""


class ConflictError(DipsError):
    """A change of a photo that has been changed meanwhile, e.g. in another tab."""


class ReviewBox(Record, frozen=True, kw_only=True):
    """One box of a photo.

    Attributes:
        box: see :data:`~dips.view.predictions.Box`.
        label: its class.
        of: index of the predicted box that it was made from; None for a box drawn by a person.
        accepted: whether a person confirmed it.

    >>> ReviewBox(box=(10.0, 20.0, 30.0, 40.0), label="mast", of=None, accepted=True).label
    'mast'
    """

    box: Box
    label: str
    of: int | None
    accepted: bool


class PhotoReview(Record, frozen=True, kw_only=True):
    """The page's data about a photo: whether it is reviewed, and all its boxes."""

    reviewed: bool
    boxes: tuple[ReviewBox, ...]


class ReviewLine(Record, frozen=True, kw_only=True):
    """A line of the journal: the photo's name, and its new state."""

    photo: str
    reviewed: bool
    boxes: tuple[ReviewBox, ...]


@dataclass(frozen=True, slots=True)
class State:
    """The state of one photo.

    Attributes:
        reviewed: whether a person has finished reviewing it.
        boxes: boxes in the order of the predictions, followed by drawn ones.
        version: number of changes since the program started.

    >>> State(True, (), version=3) == State(True, (), version=4)
    True
    """

    reviewed: bool
    boxes: tuple[ReviewBox, ...]
    version: int = field(default=0, compare=False)

    def as_json(self) -> dict[str, Any]:
        """Return the state as JSON for the page."""
        return {"reviewed": self.reviewed, "boxes": msgspec.to_builtins(self.boxes), "version": self.version}


class Review:
    """The state of every photo of a prediction folder; safe to use from several threads.

    Args:
        predictions: the predictions to review.
        read_only: leave the journal, which must exist, unchanged; another program may be using it.

    Attributes:
        changes: increases with every change.
        elsewhere: names of photos that are in the journal, but not in the prediction folder.

    Raises:
        RunError: the journal is damaged, of another model, cannot be opened, or another program is writing to it.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from dips.view.predictions import PredictedBox
    >>> photo = Photo("a.jpg", Path("a.jpg"), Path("a.json"), 80, 60, "mast", 0.9, (PredictedBox((10, 20, 30, 40), 0.8),))
    >>> review = Review(Predictions(Path(tempfile.mkdtemp()), (photo,), ("none", "mast"), "none", "3f2a"))
    >>> state = review.change(0, {"reviewed": True, "boxes": []})
    >>> review.counts(), len(review.undo()[1].boxes)
    ((1, 0), 1)
    >>> review.close()
    """

    def __init__(self, predictions: Predictions, *, read_only: bool = False) -> None:
        self.predictions = predictions
        self.changes = 0
        self.elsewhere: list[str] = []
        self.journal = Journal(
            predictions.folder / JOURNAL,
            {"schema_version": SCHEMA_VERSION, "model": predictions.model},
            command="dips view",
            holds="a review",
            labels=_LABELS,
            remedy="move it to another folder",
            unwritable="copy the folder to where you may write",
            sync=True,
            read_only=read_only,
        )
        self.path = self.journal.path
        self._lock = threading.RLock()
        self._states: dict[int, State] = {}
        self._history: deque[tuple[int, State]] = deque(maxlen=MAX_UNDO_STEPS)
        self._last: int | None = None
        try:
            self._read(read_only=read_only)
        except BaseException:
            self.journal.close()
            raise

    def close(self) -> None:
        """Close the journal, so that another program can write to it."""
        with self._lock:
            self.journal.close()

    def state(self, index: int) -> State:
        """Return the state of a photo, by its index in ``predictions.photos``; the prediction if nobody changed it."""
        with self._lock:
            return self._states.get(index) or predicted_state(self.predictions.photos[index])

    def states(self) -> list[State]:
        """Return a consistent snapshot of the states of all photos."""
        with self._lock:
            return [self.state(index) for index in range(len(self.predictions.photos))]

    def counts(self) -> tuple[int, int]:
        """Return the number of reviewed photos, and of their boxes."""
        with self._lock:
            done = [state for state in self.states() if state.reviewed]
        return len(done), sum(len(state.boxes) for state in done)

    def resume_at(self) -> int:
        """Return the photo to continue with: the first of :meth:`unfinished`, else the first not reviewed, else the last one
        changed."""
        with self._lock:
            open_photos = (index for index in range(len(self.predictions.photos)) if not self.state(index).reviewed)
            return next(chain(self.unfinished(), open_photos), self._last or 0)

    def unfinished(self) -> list[int]:
        """Return the photos that were changed but not marked as reviewed, in order."""
        with self._lock:
            return [
                index
                for index, state in sorted(self._states.items())
                if not state.reviewed and state != predicted_state(self.predictions.photos[index])
            ]

    def change(self, index: int, changed: Mapping[str, Any] | PhotoReview, *, version: int | None = None) -> State:
        """Replace the state of a photo; it is on disk when this returns.

        Args:
            index: index of the photo.
            changed: a :class:`PhotoReview`, or the same as JSON:
                ``{"reviewed": bool, "boxes": [{"box", "label", "of", "accepted"}, ...]}``.
            version: version of the state that the change is based on; None skips the check.

        Raises:
            RefusedError: a box is outside the photo or empty, its class is unknown, or a predicted box is used twice.
            ConflictError: ``version`` is not the latest.
            RunError: the journal cannot be written to; the state is unchanged.
        """
        photo = self.predictions.photos[index]
        state = parse_state(changed, photo, self.predictions.object_classes)
        with self._lock:
            before = self.state(index)
            if version is not None and version != before.version:
                raise ConflictError(f"{photo.name} was changed meanwhile")
            if state == before:
                return before
            after = self._put(index, state)
            self._history.append((index, before))
            return after

    def undo(self) -> tuple[int, State] | None:
        """Undo the last change, and with repeated calls earlier ones; None if there is none since the program started.

        Raises:
            RunError: the journal cannot be written to.
        """
        with self._lock:
            if not self._history:
                return None
            index, before = self._history[-1]
            after = self._put(index, before)
            self._history.pop()
            return index, after

    def _put(self, index: int, state: State) -> State:
        line = ReviewLine(photo=self.predictions.photos[index].name, reviewed=state.reviewed, boxes=state.boxes)
        self.journal.append(json.dumps(msgspec.to_builtins(line), allow_nan=False, separators=(",", ":")))
        after = replace(state, version=self.state(index).version + 1)
        self._states[index] = after
        self._last = index
        self.changes += 1
        return after

    def _read(self, *, read_only: bool) -> None:
        """Load the states from the journal; lines of photos that no longer exist are kept, but ignored."""
        if self.journal.was_cut:
            why = "is being written, or " if read_only else ""
            log(f"{self.path}: the last change {why}was cut short when the program was killed, and is left out")
        elsewhere: dict[str, None] = {}
        indices = {photo.name: index for index, photo in enumerate(self.predictions.photos)}
        for number, line in enumerate(self.journal.records(ReviewLine, remedy="remove the line"), start=2):
            if (index := indices.get(line.photo)) is None:
                elsewhere[line.photo] = None
                continue
            try:
                self._states[index] = _checked(line, self.predictions.photos[index], self.predictions.object_classes)
            except RefusedError as error:
                raise RunError(f"{self.path}, line {number}, is damaged ({error}); remove the line") from error
            self._last = index
        self.elsewhere = list(elsewhere)


def predicted_state(photo: Photo) -> State:
    """Return the state of a photo that nobody changed."""
    boxes = (
        ReviewBox(box=predicted.box, label=predicted.label or photo.label, of=index, accepted=photo.reviewed)
        for index, predicted in enumerate(photo.boxes)
    )
    return State(photo.reviewed, tuple(boxes))


def parse_state(changed: Mapping[str, Any] | PhotoReview, photo: Photo, classes: tuple[str, ...]) -> State:
    """Validate the input of :meth:`Review.change` and return it as a state.

    Raises:
        RefusedError: it is not valid for the photo.
    """
    try:
        review = changed if isinstance(changed, PhotoReview) else msgspec.convert(changed, PhotoReview)
    except msgspec.ValidationError as error:
        raise RefusedError(f"{photo.name}: not the boxes of a photo ({error})") from error
    return _checked(review, photo, classes)


def _checked(review: PhotoReview | ReviewLine, photo: Photo, classes: tuple[str, ...]) -> State:
    boxes = tuple(_checked_box(box, photo, classes) for box in review.boxes)
    used = [box.of for box in boxes if box.of is not None]
    if len(set(used)) < len(used):
        raise RefusedError(f"{photo.name}: a predicted box is used twice")
    return State(review.reviewed, boxes)


def _checked_box(box: ReviewBox, photo: Photo, classes: tuple[str, ...]) -> ReviewBox:
    x0, y0, x1, y1 = (round(value, 2) for value in box.box)
    if not (0 <= x0 < x1 <= photo.width and 0 <= y0 < y1 <= photo.height):  # also rejects NaN
        raise RefusedError(
            f"{photo.name}: the box {list(box.box)} is not inside the photo of {photo.width} x {photo.height} pixels"
        )
    if box.label not in classes:
        raise RefusedError(f"{photo.name}: boxes cannot have the class '{box.label}'")
    if box.of is not None and not 0 <= box.of < len(photo.boxes):
        raise RefusedError(f"{photo.name}: there is no predicted box {box.of}")
    return msgspec.structs.replace(box, box=(x0, y0, x1, y1))
