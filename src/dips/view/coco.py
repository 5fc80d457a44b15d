"""The reviewed boxes as COCO, written shortly after each change and at the end."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from dips.formats.coco import coco_file
from dips.formats.records import read_prediction
from dips.predict.results import REVIEWED
from dips.system.console import log
from dips.view.review import Review
from dips.view.reviewed import reviewed_boxes

__all__ = ["Writer", "write_reviewed"]

PAUSE_SECONDS = 2.0  # without a change, before the file is written
PAUSES_PER_WRITE = 10  # the pause is at least this many times as long as writing took


def write_reviewed(review: Review, path: Path) -> None:
    """Write the reviewed photos and their boxes.

    Photos that are not reviewed are left out: in COCO a photo without annotations shows no object. Ids of images and categories
    are those of all photos and classes, so they stay the same while the review continues. An unchanged box keeps its mask and
    score; the polygon of one that was moved or drawn is its box. ``review`` is ``accepted``, ``adjusted`` or ``drawn``.

    Raises:
        RunError: the file cannot be written, or a record is damaged.
    """
    with coco_file(path, "Predicted by DiPS, reviewed by a person") as coco:
        coco.classes = review.predictions.classes
        for number, (photo, state) in enumerate(zip(review.predictions.photos, review.states(), strict=True), start=1):
            if state.reviewed:
                coco.image(number, photo.name, width=photo.width, height=photo.height, camera=photo.camera, reviewed=True)
                for entry in reviewed_boxes(read_prediction(photo.record), state) if state.boxes else ():
                    coco.annotation(number, str(entry.label), entry.box, entry.mask, entry.notes())


class Writer:
    """Keeps ``reviewed.coco.json`` up to date with the review, in a background thread that never delays a change.

    Args:
        review: the review to write.
        pause: seconds without a change before the file is written.

    .. code-block:: python

        writer = Writer(review)  # from now on the file is updated after each change
        review.change(0, {"reviewed": True, "boxes": []})
        writer.close()
    """

    def __init__(self, review: Review, *, pause: float = PAUSE_SECONDS) -> None:
        self.path = review.predictions.folder / REVIEWED
        self._review = review
        self._pause = pause
        self._written = -1  # the state of the review in the file
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dips view: coco", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write the file a last time, if it is out of date.

        Raises:
            RunError: the file cannot be written; the journal has everything.
        """
        self._ended.set()
        self._thread.join()
        self._write()

    def _run(self) -> None:
        pause = self._pause
        seen = -1
        while not self._ended.wait(pause):
            before, seen = seen, self._review.changes
            if seen != before or seen == self._written:  # the person is at work, or nothing changed
                continue
            start = time.monotonic()
            try:
                self._write()
            except Exception as error:  # the thread must continue after any error
                log(f"{error}; the review itself is safe in {self._review.path}")
            pause = max(self._pause, PAUSES_PER_WRITE * (time.monotonic() - start))

    def _write(self) -> None:
        now = self._review.changes
        if now != self._written:
            write_reviewed(self._review, self.path)
            self._written = now
