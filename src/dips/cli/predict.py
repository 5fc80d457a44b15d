"""``dips predict``: from photos to a folder of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.messages import filled
from dips.cli.options import Device, PredictSettings, RunOrOnnx, Tile, Weights, tile_setting

__all__ = ["predict"]


def predict(
    run: RunOrOnnx,
    images: Annotated[list[Path], Parameter(name="IMAGES", help="Photos, or folders of photos with all folders below them.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The folder to make.")],
    formats: Annotated[
        str,
        Parameter(
            name="--format",
            help="What to write, separated by commas: json (always written), overlays (pictures of what was found), masks "
            "(PNG, 255 on the object), coco, yolo, yolo-seg, voc, labelstudio, geojson, csv.",
        ),
    ] = "json,overlays",
    tile: Tile = None,
    settings: PredictSettings = None,
    weights: Weights = None,
    device: Device = "auto",
) -> int:
    """Find the objects in new photos.

    Photos that cannot be read are reported and skipped; the exit code is then 1.

    A prediction that was interrupted goes on when the same command is given again.
    """
    return predict_folder(run, images, out, formats, [*tile_setting(tile), *(settings or ())], weights or (), device)


def predict_folder(
    run: Path, images: Sequence[Path], out: Path, formats: str, settings: Sequence[str], weights: Sequence[str], device: str
) -> int:
    """Everything is checked before the networks are loaded; returns the exit code."""
    from dips.predict.folder import PredictionFolder, parse_formats
    from dips.runs.identity import identity

    made_with = {**identity(run), "settings": sorted(settings)}
    folder = PredictionFolder.plan(images, out, formats=parse_formats(formats), made_with=made_with)

    from dips.loading import load
    from dips.system.console import log, track

    model = load(run, device=device, settings=settings, weights=weights)
    log(f"{model.predictor.summary()}; {model.made_with()}")
    todo = folder.begin()
    for prediction in track(model.predictor.photos(todo, folder.skip), "predict", total=len(todo)):
        folder.write(prediction)
    return filled(folder.finish(), out)
