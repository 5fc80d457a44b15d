"""What a person made of the predictions: boxes accepted, removed, moved, drawn; every change is on the disk before it counts.

``review.jsonl`` in the prediction folder is a journal: a line per change with all boxes of one photo, and a photo's last line
counts. Whatever kills the program, at most the line that was being written is lost.
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
    """A change that makes no sense for the photo."""


class ConflictError(DipsError):
    """A change of a photo that was changed meanwhile, e.g. in another tab."""


class ReviewBox(Record, frozen=True, kw_only=True):
    """One box of a photo.

    Attributes:
        box: see :data:`~dips.view.predictions.Box`.
        label: its class.
        of: index of the predicted box that it was made from; None for one that a person drew.
        accepted: whether a person confirmed it.

    >>> ReviewBox(box=(10.0, 20.0, 30.0, 40.0), label="mast", of=None, accepted=True).label
    'mast'
    """

    box: Box
    label: str
    of: int | None
    accepted: bool


class PhotoReview(Record, frozen=True, kw_only=True):
    """What the page sends about a photo: whether a person is done with it, and all its boxes."""

    reviewed: bool
    boxes: tuple[ReviewBox, ...]


class ReviewLine(Record, frozen=True, kw_only=True):
    """A line of the journal: the photo's name, and what is known of it from then on."""

    photo: str
    reviewed: bool
    boxes: tuple[ReviewBox, ...]


@dataclass(frozen=True, slots=True)
class State:
    """All that is known of one photo.

    Attributes:
        reviewed: whether a person is done with it.
        boxes: in the order of the predictions, drawn ones after them.
        version: how often it was changed since the program started.

    >>> State(True, (), version=3) == State(True, (), version=4)
    True
    """

    reviewed: bool
    boxes: tuple[ReviewBox, ...]
    version: int = field(default=0, compare=False)

    def as_json(self) -> dict[str, Any]:
        """Return it for the page."""
        return {"reviewed": self.reviewed, "boxes": msgspec.to_builtins(self.boxes), "version": self.version}


class Review:
    """The state of every photo of a prediction folder; safe to use from several threads.

    Args:
        predictions: what is reviewed.
        read_only: leave the journal as it is, which must exist; somebody may be reviewing.

    Attributes:
        changes: grows with every change.
        elsewhere: names of photos that the journal knows, and the prediction folder does not.

    Raises:
        RunError: the journal is damaged, of another model, cannot be opened, or another program is writing it.

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
        """Let another program write the journal."""
        with self._lock:
            self.journal.close()

    def state(self, index: int) -> State:
        """Return the state of a photo, by its index in ``predictions.photos``; the prediction where nobody changed it."""
        with self._lock:
            return self._states.get(index) or predicted_state(self.predictions.photos[index])

    def states(self) -> list[State]:
        """Return the states of all photos at one moment."""
        with self._lock:
            return [self.state(index) for index in range(len(self.predictions.photos))]

    def counts(self) -> tuple[int, int]:
        """Return how many photos are reviewed, and how many boxes these have."""
        with self._lock:
            done = [state for state in self.states() if state.reviewed]
        return len(done), sum(len(state.boxes) for state in done)

    def resume_at(self) -> int:
        """Return the photo to continue with: the first of :meth:`unfinished`, else the first that is not reviewed, else the
        one that was changed last."""
        with self._lock:
            open_photos = (index for index in range(len(self.predictions.photos)) if not self.state(index).reviewed)
            return next(chain(self.unfinished(), open_photos), self._last or 0)

    def unfinished(self) -> list[int]:
        """Return the photos that a person changed but is not done with, in their order."""
        with self._lock:
            return [
                index
                for index, state in sorted(self._states.items())
                if not state.reviewed and state != predicted_state(self.predictions.photos[index])
            ]

    def change(self, index: int, changed: Mapping[str, Any] | PhotoReview, *, version: int | None = None) -> State:
        """Replace the state of a photo; it is on the disk when this returns.

        Args:
            index: of the photo.
            changed: a :class:`PhotoReview`, or the same as JSON:
                ``{"reviewed": bool, "boxes": [{"box", "label", "of", "accepted"}, ...]}``.
            version: of the state that was changed; None does not check it.

        Raises:
            RefusedError: a box is outside of the photo or is empty, its class is unknown, or a predicted box is used twice.
            ConflictError: ``version`` is not the last one.
            RunError: the journal cannot be written; the state is unchanged.
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
        """Undo the last change, the one before it the next time; None where there is none since the program started.

        Raises:
            RunError: the journal cannot be written.
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
        """Take the states from the journal; lines of photos that are gone are kept, and do not count."""
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
    """Check what :meth:`Review.change` takes.

    Raises:
        RefusedError: it makes no sense for the photo.
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
    if not (0 <= x0 < x1 <= photo.width and 0 <= y0 < y1 <= photo.height):  # nor where one of them is NaN
        raise RefusedError(
            f"{photo.name}: the box {list(box.box)} is not inside the photo of {photo.width} x {photo.height} pixels"
        )
    if box.label not in classes:
        raise RefusedError(f"{photo.name}: boxes cannot have the class '{box.label}'")
    if box.of is not None and not 0 <= box.of < len(photo.boxes):
        raise RefusedError(f"{photo.name}: there is no predicted box {box.of}")
    return msgspec.structs.replace(box, box=(x0, y0, x1, y1))
