"""A review as predictions: a person's changes to a prediction folder, as records from which every format is written.

In: a folder with the journal of ``dips view``. Out: the record of each reviewed photo, with the reviewed boxes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dips.errors import RunError
from dips.formats.records import BoxRecord, PredictionRecord
from dips.system.console import counted
from dips.system.environment import quoted
from dips.system.names import some
from dips.view.predictions import read_predictions
from dips.view.review import JOURNAL, Review, ReviewBox, State, predicted_state

__all__ = ["Reviewed", "read_reviewed", "reviewed_boxes"]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """The reviewed photos of a prediction folder.

    Attributes:
        states: states by the photo's name.
        withdrawn: names of photos whose earlier review was withdrawn in this one.
        unfinished: names of photos that were changed but not marked as reviewed.
        elsewhere: names of photos in the review that are not in the folder.
        sha256: hash of the states, which identifies the review.
    """

    states: Mapping[str, State]
    withdrawn: frozenset[str]
    unfinished: tuple[str, ...]
    elsewhere: tuple[str, ...]
    sha256: str

    def applied(self, record: PredictionRecord) -> PredictionRecord:
        """Return a photo's record as a person reviewed it, or unchanged if nobody did.

        If an earlier review was withdrawn, it has the predicted class again, and no boxes: these must be found in its map.
        """
        if record.name in self.withdrawn:
            label = max(record.class_scores, key=lambda name: record.class_scores[name])
            score = record.class_scores[label]
            return msgspec.structs.replace(record, label=label, label_score=score, boxes=(), reviewed=msgspec.UNSET)
        state = self.states.get(record.name)
        if state is None:
            return record
        boxes = reviewed_boxes(record, state)
        labels = [record.label_of(entry) for entry in boxes]
        label = record.label if record.label in labels else labels[0] if labels else record.background or record.label
        return msgspec.structs.replace(record, label=label, label_score=record.class_scores[label], boxes=boxes, reviewed=True)

    def remarks(self, *, alone: bool) -> list[str]:
        """Return lines about parts of the review that the boxes lack; ``alone``: only reviewed photos are written."""
        lines = []
        if self.unfinished:
            count = counted(len(self.unfinished), "photo", "was")
            what = "left out" if alone else "as predicted"
            lines.append(f"{count} changed but not reviewed, and so {what}: {some(self.unfinished)}")
        if self.elsewhere:
            count = counted(len(self.elsewhere), "photo")
            lines.append(f"left out, as not in this prediction: {count} of the review: {some(self.elsewhere)}")
        return lines


def read_reviewed(folder: Path, *, alone: bool = False) -> Reviewed:
    """Read the review of a prediction folder.

    Args:
        alone: only reviewed photos are needed.

    Raises:
        RunError: it is not a finished prediction, has no reviewed photo, or its review is damaged or of other photos.
    """
    predictions = read_predictions(folder)
    journal = folder / JOURNAL
    states, unfinished, elsewhere = list(map(predicted_state, predictions.photos)), [], []
    if journal.is_file():
        review = Review(predictions, read_only=True)
        try:
            states, unfinished, elsewhere = review.states(), review.unfinished(), review.elsewhere
        finally:
            review.close()
    reviewed = {photo.name: state for photo, state in zip(predictions.photos, states, strict=True) if state.reviewed}
    withdrawn = frozenset(photo.name for photo in predictions.photos if photo.reviewed) - reviewed.keys()
    if not reviewed and (alone or not withdrawn):
        raise RunError(_why_none(folder, journal, len(unfinished), elsewhere))
    names = tuple(predictions.photos[index].name for index in unfinished)
    listed = msgspec.json.encode([[(name, state.as_json()) for name, state in reviewed.items()], sorted(withdrawn)])
    return Reviewed(reviewed, withdrawn, names, tuple(elsewhere), hashlib.sha256(listed).hexdigest())


def _why_none(folder: Path, journal: Path, unfinished: int, elsewhere: list[str]) -> str:
    remedy = f"'dips view {quoted(folder)}' makes one; leave out --reviewed for the boxes that it holds"
    if not journal.is_file():
        return f"{folder} has no review: {journal.name} is missing. {remedy}"
    if elsewhere and not unfinished:
        return f"{journal} is a review of other photos, such as {elsewhere[0]}, none of which is in {folder}. {remedy}"
    changed = f", and {unfinished} changed" if unfinished else ""
    return (
        f"no photo of {folder} is reviewed{changed}: the key a of 'dips view {quoted(folder)}' accepts what a photo shows; "
        "leave out --reviewed for the boxes that it holds"
    )


def reviewed_boxes(record: PredictionRecord, state: State) -> tuple[BoxRecord, ...]:
    """Return the boxes of a reviewed photo, each with its class and how it was reviewed.

    An unchanged box keeps its mask and score. One with another class keeps its mask; one that was moved or drawn has neither.
    """
    return tuple(_reviewed_box(record, box) for box in state.boxes)


def _reviewed_box(record: PredictionRecord, box: ReviewBox) -> BoxRecord:
    if box.of is None:
        return BoxRecord(box=box.box, label=box.label, review="drawn")
    before = record.boxes[box.of]
    if box.box != before.box:
        return BoxRecord(box=box.box, label=box.label, review="adjusted")
    if box.label != record.label_of(before):
        return BoxRecord(box=box.box, mask=before.mask, label=box.label, review="adjusted")
    return msgspec.structs.replace(before, label=box.label, review=before.review or "accepted")
