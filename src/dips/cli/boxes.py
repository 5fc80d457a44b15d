"""``dips boxes``: other boxes from the score maps of a prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.messages import filled
from dips.cli.options import MaxBoxes, MinArea, MinScore, PhotosDir, Threshold, require_fractions, require_max_boxes

__all__ = ["boxes"]


def boxes(
    predictions: Annotated[Path, Parameter(name="DIR", help="A folder written by 'dips predict --out'.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The folder to create.")],
    threshold: Annotated[
        Threshold,
        Parameter(help="Fraction of the map's maximum above which a pixel is foreground, 0 to 1; default: as predicted."),
    ] = None,
    min_score: MinScore = None,
    min_area: MinArea = None,
    max_boxes: MaxBoxes = None,
    formats: Annotated[str, Parameter(name="--format", help="As for 'dips predict'.")] = "json,overlays",
    photos_dir: PhotosDir = None,
    reviewed: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Take the boxes of 'dips view' for the photos reviewed there; the other photos have the predicted ones.",
        ),
    ] = False,
    only_reviewed: Annotated[
        bool,
        Parameter(
            name="--only-reviewed",
            negative="",
            show_default=False,
            help="The same, and leave out photos that are not reviewed.",
        ),
    ] = False,
) -> int:
    """Find boxes again in stored score maps, with another threshold, area, score or number of boxes; no network runs.

    Also converts a prediction, or what you made of it in 'dips view', to another format.
    """
    from dips.batch.predict import BoxesJob
    from dips.data.problems import ProblemList
    from dips.predict.folder import PredictionFolder, parse_formats
    from dips.system.console import log
    from dips.view.review import JOURNAL
    from dips.view.reviewed import read_reviewed

    require_fractions(threshold=threshold, min_area=min_area, min_score=min_score)
    require_max_boxes(max_boxes)
    settings = [f"threshold={threshold}", f"min_area={min_area}", f"min_score={min_score}", f"max_boxes={max_boxes}"]
    kinds = parse_formats(formats)
    review = read_reviewed(predictions, alone=only_reviewed) if reviewed or only_reviewed else None
    folder = PredictionFolder.from_finished(
        predictions,
        out,
        formats=kinds,
        made_with={"settings": settings} if review is None else {"settings": settings, "review": review.sha256},
        photos_dir=photos_dir,
        only=review.states if review and only_reviewed else None,
    )
    job = BoxesJob(
        predictions,
        out,
        threshold=threshold,
        min_area=min_area,
        min_score=min_score,
        max_boxes=max_boxes,
        photos_dir=photos_dir,
        review=None if review is None else review.applied,
    )
    done, told = folder.fill(job), ProblemList()
    for line in () if review is None else review.remarks(alone=only_reviewed):
        log(line)
    if review is None and (predictions / JOURNAL).is_file():
        log(f"the review of {predictions} by 'dips view' is not in these boxes; --reviewed takes it")
    return filled(done, out, told)
