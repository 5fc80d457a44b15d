"""``dips view``: a local web page for reviewing predictions: accepting, deleting, moving and drawing boxes.

``predictions`` reads the folder, ``review`` stores a person's decisions, ``coco`` exports them, and ``server`` serves the page
in ``templates``. Needs no torch.
"""

from __future__ import annotations

import signal
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dips.errors import ImageError, RunError
from dips.runs.identity import class_names, identity
from dips.system.console import counted, log
from dips.view.coco import Writer
from dips.view.predictions import Predictions, read_predictions
from dips.view.review import Review
from dips.view.server import Server

__all__ = ["ReviewSummary", "serve"]


@dataclass(frozen=True, slots=True)
class ReviewSummary:
    """The state of a review when the page is closed.

    Attributes:
        photos: number of reviewed photos.
        of: number of all photos.
        boxes: number of boxes in the reviewed photos.
        path: the COCO file with these boxes.
        unfinished: names of the photos that were changed but not marked as reviewed, and thus are not in the file.
    """

    photos: int
    of: int
    boxes: int
    path: Path
    unfinished: tuple[str, ...]


def serve(
    run: Path | None,
    folder: Path,
    *,
    order: str = "name",
    port: int = 0,
    open_browser: bool = True,
    photos_dir: Path | None = None,
) -> ReviewSummary:
    """Serve the page until Ctrl-C.

    Args:
        run: the run, or the exported file, that made the predictions; only used to name it and to warn if it did not. None
            skips this.
        folder: the folder written by ``dips predict --out``.
        order: initial order of the photos on the page: ``name``, ``score`` (lowest first) or ``informative`` (highest priority
            first).
        port: port on 127.0.0.1; 0 selects any free one.
        open_browser: open the page in the default browser.
        photos_dir: where the photos are now, if they were moved.

    Raises:
        RunError: ``folder`` is not a finished prediction, its review is damaged or in use, ``run`` is not a finished run, its
            photos are not in ``photos_dir``, the port is taken, or ``order`` needs priorities, which an earlier version did not
            write.
    """
    if run is None and not (folder / "json").is_dir() and (folder / "model.json").is_file():
        raise RunError(f"{folder} is a run; add the folder of its predictions: dips view {folder} DIR")
    predictions = read_predictions(folder, photos_dir)
    if order == "informative" and all(photo.priority is None for photo in predictions.photos):
        raise RunError(
            f"{folder} was predicted by an earlier version, which gave no priorities; 'dips boxes {folder} --out NEW' computes "
            "them without a network, or leave --order out"
        )
    if run is not None:
        _warn_of_other_model(run, predictions)
    _warn_of_missing_photos(predictions)
    review = Review(predictions)
    title = folder.resolve().name if run is None else f"{run.resolve().name} · {folder.resolve().name}"
    try:
        with Server(review, title=title, order=order, port=port) as server:
            writer = Writer(review)
            try:
                log(f"{counted(len(predictions.photos), 'photo')}, {review.counts()[0]} of them reviewed; Ctrl-C stops")
                log(f"open {server.address}")
                if open_browser:
                    # in a thread, as a browser inside the terminal only returns when closed
                    threading.Thread(target=webbrowser.open, args=(server.once,), daemon=True).start()
                server.serve_forever()
            except KeyboardInterrupt:
                pass
            finally:
                with _uninterrupted():
                    writer.close()
        photos, boxes = review.counts()
        unfinished = tuple(predictions.photos[index].name for index in review.unfinished())
    finally:
        review.close()
    return ReviewSummary(photos, len(predictions.photos), boxes, writer.path, unfinished)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore a second Ctrl-C, which some terminals and tools send at once, until the block ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _warn_of_missing_photos(predictions: Predictions) -> None:
    missing, first = 0, ""
    for photo in predictions.photos:
        try:
            photo.locate(predictions.folder)
        except ImageError as error:
            missing, first = missing + 1, first or str(error)
    if missing:
        of = len(predictions.photos)
        count = f"none of {counted(of, 'photo')}" if missing == of else f"{missing} of {counted(of, 'photo')} not"
        log(f"warning: {count} found; the first: {first}")


def _warn_of_other_model(run: Path, predictions: Predictions) -> None:
    classes = class_names(run)
    if predictions.model and not identity(run)["model"].startswith(predictions.model):
        log(f"warning: {predictions.folder} was predicted by a model other than {run}")
    if classes != predictions.classes:
        log(f"warning: {run} has other classes than {predictions.folder}; the folder's classes are used")
