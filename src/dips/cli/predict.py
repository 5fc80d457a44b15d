"""``dips predict``: from photos to a folder of predictions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from dips.cli.early import require_model
from dips.cli.messages import filled
from dips.cli.options import ALONE, AS_TRAINED, CrewOptions, Photos, PredictOptions, Problems, RunOrOnnx, Url, place

if TYPE_CHECKING:
    from dips.shards.plan import Plan

__all__ = ["predict"]


def predict(
    run: RunOrOnnx,
    photos: Photos,
    /,
    *,
    out: Annotated[Path | Url, Parameter(converter=place, help="The folder to create; s3://, gs:// or az:// also does.")],
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
    workforce: CrewOptions = ALONE,
) -> int:
    """Find the objects in new photos.

    Photos that cannot be read are reported and skipped; the exit code is then 1.

    Repeat an interrupted command to continue where it stopped.
    """
    from dips.data.problems import ProblemList
    from dips.errors import ConfigError
    from dips.predict.folder import PredictionFolder, parse_formats, require_other
    from dips.predict.merging import merge_predictions
    from dips.runs.identity import identity

    settings, weights, device = options.all_settings(), options.weights, options.device
    config = require_model(run, settings=settings, weights=weights, device=device)
    made_with = {**identity(run), "settings": dataclasses.asdict(config)}
    kinds, crew = parse_formats(formats), workforce.crew()
    if crew.is_task and problems is not None:
        raise ConfigError("--problems is written where one command does all; give it to the 'dips merge' that ends the tasks")
    folder = PredictionFolder.plan(photos, out, formats=kinds, made_with=made_with, step=config.batch, crew=crew)
    if problems is not None:
        require_other(out, "--problems", problems)
    told = ProblemList(problems)

    from dips.batch.predict import PredictJob, context_of, predictor_of
    from dips.loading import load  # the networks are loaded once everything else is known to be right
    from dips.system.console import log

    # where others work, this process only plans, and leaves the GPU to them
    model = load(run, device=device if crew.works_here else "cpu", settings=settings, weights=weights or ())

    def begun(plan: Plan) -> None:
        log(f"{predictor_of(model, plan).summary()}; {model.made_with()}")
        told.add(folder.left_out)

    job = PredictJob(run, out, device, settings, weights or (), loaded=model if crew.works_here else None)
    folder.work(job, crew, context=lambda: context_of(model, folder.listing.source), begun=begun)
    return 0 if crew.is_task else filled(merge_predictions(out, told.add), out, told, explain=True)
