"""``dips boxes``: other boxes from the score maps of a prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.messages import filled
from dips.errors import ConfigError

__all__ = ["boxes"]


def boxes(
    predictions: Annotated[Path, Parameter(name="DIR", help="A folder written by 'dips predict --out'.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The folder to create.")],
    threshold: Annotated[
        float | None,
        Parameter(help="Fraction of the map's maximum above which a pixel is foreground; default: unchanged."),
    ] = None,
    min_area: Annotated[
        float | None, Parameter(help="Smallest area of a box as a fraction of the photo, 0 to 1; default: unchanged.")
    ] = None,
    min_score: Annotated[float | None, Parameter(help="Lowest score of a box, 0 to 1; default: unchanged.")] = None,
    max_boxes: Annotated[int | None, Parameter(help="Maximum number of boxes per photo; default: unchanged.")] = None,
    formats: Annotated[str, Parameter(name="--format", help="As for 'dips predict'.")] = "json,overlays",
) -> int:
    """Find boxes again in stored score maps, with another threshold, area, score or number of boxes; no network runs.

    Also converts a prediction to another format.
    """
    from dips.data.problems import ProblemList
    from dips.predict.folder import PredictionFolder, parse_formats
    from dips.predict.results import predict_again
    from dips.system.console import track

    for name, value in (("threshold", threshold), ("min-area", min_area), ("min-score", min_score)):
        if value is not None and not 0 <= value <= 1:
            raise ConfigError(f"--{name} must be between 0 and 1, not {value}")
    if max_boxes is not None and not 1 <= max_boxes <= 65535:
        raise ConfigError(f"--max-boxes must be between 1 and 65535, not {max_boxes}")
    settings = [f"threshold={threshold}", f"min_area={min_area}", f"min_score={min_score}", f"max_boxes={max_boxes}"]
    folder = PredictionFolder.from_finished(predictions, out, formats=parse_formats(formats), made_with={"settings": settings})
    todo = folder.begin()
    stems = (folder.stems[path] for path in todo)
    again = predict_again(predictions, stems, threshold=threshold, min_area=min_area, min_score=min_score, max_boxes=max_boxes)
    for prediction in track(again, "predict", total=len(todo)):
        folder.write(prediction)
    return filled(folder.finish(), folder.skipped, out, ProblemList())
