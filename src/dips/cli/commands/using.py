"""What a run is for: predict, stream, boxes, view, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.options import Device, PredictSettings, Run, RunOrOnnx, Tile, Weights

__all__ = ["boxes", "export", "predict", "stream", "view"]


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
    from dips.cli.predicting import predict_folder, tiling

    return predict_folder(run, images, out, formats, [*tiling(tile), *(settings or ())], weights or (), device)


def stream(
    run: RunOrOnnx,
    source: Annotated[Path, Parameter(name="SOURCE", help="A video, or a folder of photos that fills while it is watched.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The JSON to make: boxes of every frame.")],
    fps: Annotated[float, Parameter(help="Frames of a video that are looked at per second; 0: every frame.")] = 1.0,
    idle: Annotated[float, Parameter(help="End when no photo has come into the folder for so many seconds.")] = 60.0,
    tile: Tile = None,
    settings: PredictSettings = None,
    weights: Weights = None,
    device: Device = "auto",
) -> int:
    """Find the objects in the frames of a video, or in photos as they come into a folder; Ctrl-C ends the watch.

    A command that was killed goes on when it is given again: finished frames wait in OUT.part.
    """
    from dips.cli.predicting import stream_boxes, tiling

    given = [*tiling(tile), *(settings or ())]
    return stream_boxes(run, source, out, rate=fps, idle=idle, settings=given, weights=weights or (), device=device)


def boxes(
    predictions: Annotated[Path, Parameter(name="DIR", help="A folder that 'dips predict --out' wrote.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The folder to make.")],
    threshold: Annotated[
        float | None,
        Parameter(help="Share of the map's maximum above which a pixel is foreground; default: as it was."),
    ] = None,
    min_area: Annotated[
        float | None, Parameter(help="Least area of a box as a share of the photo, 0 to 1; default: as it was.")
    ] = None,
    min_score: Annotated[float | None, Parameter(help="Least score of a box, 0 to 1; default: as it was.")] = None,
    max_boxes: Annotated[int | None, Parameter(help="Boxes per photo at most; default: as it was.")] = None,
    formats: Annotated[str, Parameter(name="--format", help="As for 'dips predict'.")] = "json,overlays",
) -> int:
    """Find the boxes anew in the score maps of a prediction, with another threshold or least area; no network runs.

    Also writes a prediction in another format.
    """
    from dips.cli.predicting import refind_boxes

    return refind_boxes(
        predictions,
        out,
        formats,
        threshold=threshold,
        min_area=min_area,
        min_score=min_score,
        max_boxes=max_boxes,
    )


def view(
    run: Annotated[Path, Parameter(name="RUN", help="The run that predicted; leave it out to view DIR without asking which.")],
    predictions: Annotated[Path | None, Parameter(name="DIR", help="A folder that 'dips predict --out' wrote.")] = None,
    /,
    *,
    port: Annotated[int, Parameter(help="Port of this machine; 0: any free one.")] = 0,
    show: Annotated[bool, Parameter(name="--open", negative="--no-open", help="Open it in the browser.")] = True,
) -> int:
    """Go through predictions in the browser: accept, delete, adjust and draw boxes. Nobody but this machine is served.

    Ctrl-C ends it. The boxes of the reviewed photos are in DIR/reviewed.coco.json; called again, it goes on.
    """
    from dips.view import serve

    done = serve(run if predictions else None, predictions or run, port=port, open_browser=show)
    print(f"{done.photos} of {done.of} photos reviewed, {done.boxes} boxes in {done.path}")
    return 0


def export(
    run: Run,
    /,
    *,
    format: Annotated[str, Parameter(help="onnx.")] = "onnx",
    out: Annotated[Path | None, Parameter(help="The file to write; default: RUN's name with .onnx, here.")] = None,
    photos: Annotated[
        Path | None,
        Parameter(help="Photos that torch and onnxruntime are compared on; default: training photos, where they still are."),
    ] = None,
    tolerance: Annotated[float, Parameter(help="The largest difference of a score or a probability that is accepted.")] = 1e-3,
    int8: Annotated[
        Path | None,
        Parameter(
            name="--int8",
            help="Training photos: write the model in 8 bits, calibrated on some of them; less than half as large, and other "
            "boxes in some photos.",
        ),
    ] = None,
    settings: PredictSettings = None,
    weights: Weights = None,
) -> int:
    """Write a run as one file for 'dips predict' on machines without torch, and for other programs that read ONNX.

    Both are compared on photos first; where they differ, nothing is written.
    """
    from dips.cli.exporting import export_run

    return export_run(run, format, out, photos, tolerance, int8, settings or (), weights or ())
