"""``dips view``: the review page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.options import PhotosDir
from dips.system.console import counted, say
from dips.system.environment import quoted

__all__ = ["view"]


def view(
    run: Annotated[Path, Parameter(name="RUN", help="The run that made the predictions; can be left out: dips view DIR.")],
    predictions: Annotated[Path | None, Parameter(name="DIR", help="A folder written by 'dips predict --out'.")] = None,
    /,
    *,
    port: Annotated[int, Parameter(help="Port on this computer; 0: any free one.")] = 0,
    show: Annotated[bool, Parameter(name="--open", negative="--no-open", help="Open it in the browser.")] = True,
    photos_dir: PhotosDir = None,
) -> int:
    """Review predictions in the browser: accept, delete, adjust and draw boxes. Only reachable from this computer.

    Ctrl-C stops it. The boxes of the reviewed photos are in DIR/reviewed.coco.json; start it again to continue.
    """
    from dips.data.listing import some
    from dips.view import serve

    summary = serve(run if predictions else None, predictions or run, port=port, open_browser=show, photos_dir=photos_dir)
    say(f"{summary.photos} of {counted(summary.of, 'photo')} reviewed, {counted(summary.boxes, 'box')} in {summary.path}")
    if summary.unfinished:
        count = counted(len(summary.unfinished), "photo", "was")
        rest = "is not reviewed, so it is" if len(summary.unfinished) == 1 else "are not reviewed, so they are"
        say(f"{count} changed but {rest} not in the file: {some(summary.unfinished)}")
    if summary.photos:
        command = f"dips boxes {quoted(predictions or run)} --out NEW --reviewed --format yolo"
        say(
            f"next    {command}    (coco, voc, labelstudio, csv ...: the photos that you reviewed, and the others as predicted)"
        )
    return 0
