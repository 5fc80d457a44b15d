"""``dips predict``: from photos to a folder of predictions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.early import require_model
from dips.cli.messages import filled
from dips.cli.options import AS_TRAINED, PredictOptions, Problems, RunOrOnnx

__all__ = ["predict"]


def predict(
    run: RunOrOnnx,
    photos: Annotated[list[Path], Parameter(name="PHOTOS", help="Photos, or folders of photos, searched with all subfolders.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The folder to create.")],
    formats: Annotated[
        str,
        Parameter(
            name="--format",
            help="What to write, separated by commas: json (always written), overlays (the photos with boxes and outlines of "
            "the masks drawn in), heatmaps (the same over the colours of the score map), masks (PNG, 255 on objects), coco, "
            "yolo, yolo-seg, voc, labelstudio, geojson, csv, camera-points (where the photos were taken, on the globe).",
        ),
    ] = "json,overlays",
    options: PredictOptions = AS_TRAINED,
    problems: Problems = None,
) -> int:
    """Find the objects in new photos.

    Photos that cannot be read are reported and skipped; the exit code is then 1.

    Repeat an interrupted command to continue where it stopped.
    """
    from dips.data.problems import ProblemList
    from dips.predict.folder import PredictionFolder, parse_formats
    from dips.runs.identity import identity

    settings, weights, device = options.all_settings(), options.weights, options.device
    config = require_model(run, settings=settings, weights=weights, device=device)
    made_with = {**identity(run), "settings": dataclasses.asdict(config)}
    folder = PredictionFolder.plan(photos, out, formats=parse_formats(formats), made_with=made_with)
    if problems is not None:
        folder.require_other("--problems", problems)
    told = ProblemList(problems)

    from dips.loading import load  # the networks are loaded once everything else is known to be right
    from dips.system.console import log, track

    model = load(run, device=device, settings=settings, weights=weights or ())
    predictor = model.predictor.for_photos(list(folder.names))  # also of those that were done before an interruption
    log(f"{predictor.summary()}; {model.made_with()}")
    todo = folder.begin()
    told.add(folder.left_out)
    for prediction in track(predictor.photos(todo, folder.skip), "predict", total=len(todo)):
        folder.write(prediction)
    told.add(folder.skipped)  # also where none of the photos can be read
    return filled(folder.finish(), folder.skipped, out, told, explain=True)
