"""``dips view``: a page on this machine for going through predictions, accepting, removing, moving and drawing boxes.

``predictions`` reads the folder, ``review`` keeps what a person decides, ``coco`` writes it, ``server`` shows it with the page
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

from dips.errors import RunError
from dips.runs.identity import class_names, identity
from dips.system.console import log
from dips.view.coco import Writer
from dips.view.predictions import Predictions, read_predictions
from dips.view.review import Review
from dips.view.server import Server

__all__ = ["ReviewSummary", "serve"]


@dataclass(frozen=True, slots=True)
class ReviewSummary:
    """What there is at the end.

    Attributes:
        photos: how many photos are reviewed.
        of: how many there are.
        boxes: how many boxes the reviewed ones have.
        path: the COCO file with them.
    """

    photos: int
    of: int
    boxes: int
    path: Path


def serve(run: Path | None, folder: Path, *, port: int = 0, open_browser: bool = True) -> ReviewSummary:
    """Show the page until Ctrl-C.

    Args:
        run: the run, or the exported file, that made the predictions; it is only named, and asked whether it did. None does
            without.
        folder: what ``dips predict --out`` wrote.
        port: of 127.0.0.1; 0 takes any free one.
        open_browser: show it at once in the person's browser.

    Raises:
        RunError: ``folder`` is no finished prediction, its review is damaged or in use, ``run`` is no finished run, or the
            port is taken.
    """
    if run is None and not (folder / "json").is_dir() and (folder / "model.json").is_file():
        raise RunError(f"{folder} is a run; give the folder of its predictions after it: dips view {folder} DIR")
    predictions = read_predictions(folder)
    if run is not None:
        _compare(run, predictions)
    review = Review(predictions)
    title = folder.resolve().name if run is None else f"{run.resolve().name} · {folder.resolve().name}"
    try:
        with Server(review, title=title, port=port) as server:
            writer = Writer(review)
            try:
                log(f"{len(predictions.photos)} photos, {review.counts()[0]} of them reviewed; Ctrl-C ends")
                log(f"open {server.address}")
                if open_browser:
                    # in a thread: a browser inside the terminal returns when it is left
                    threading.Thread(target=webbrowser.open, args=(server.once,), daemon=True).start()
                server.serve_forever()
            except KeyboardInterrupt:
                pass
            finally:
                with _unhurried():
                    writer.close()
        photos, boxes = review.counts()
    finally:
        review.close()
    return ReviewSummary(photos, len(predictions.photos), boxes, writer.path)


@contextmanager
def _unhurried() -> Iterator[None]:
    """A second Ctrl-C, which some terminals and tools send at once, does not end what takes a moment."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _compare(run: Path, predictions: Predictions) -> None:
    classes = class_names(run)
    if predictions.model and not identity(run)["model"].startswith(predictions.model):
        log(f"warning: {predictions.folder} was predicted by another model than that of {run}")
    if classes != predictions.classes:
        log(f"warning: {run} knows other classes than {predictions.folder}, whose classes count")
