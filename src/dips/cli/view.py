"""``dips view``: the review page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from dips.cli.options import PhotosDir
from dips.errors import ConfigError
from dips.system.console import counted, say
from dips.system.environment import quoted

__all__ = ["Order", "view"]

Order = Literal["name", "score", "informative"]


def view(
    *folders: Annotated[
        Path,
        Parameter(
            name="[RUN] DIR",
            required=True,
            help="DIR, a folder written by 'dips predict --out'; the run that made it may stand before it.",
        ),
    ],
    order: Annotated[
        Order,
        Parameter(
            help="Order of the photos: by name; lowest score first; or informative: least certain objects first, to review for "
            "another training."
        ),
    ] = "name",
    port: Annotated[int, Parameter(help="Port on this computer; 0: any free one.")] = 0,
    show: Annotated[bool, Parameter(name="--open", negative="--no-open", help="Open it in the browser.")] = True,
    photos_dir: PhotosDir = None,
) -> int:
    """Review predictions in the browser: accept, delete, adjust and draw boxes. Only reachable from this computer.

    Ctrl-C stops it. The boxes of the reviewed photos are in DIR/reviewed.coco.json; start it again to continue.
    """
    from dips.system.names import some
    from dips.view import serve

    if len(folders) > 2:
        raise ConfigError(
            f"dips view takes one folder of predictions, and at most its run before it, not {len(folders)} folders"
        )
    run, predictions = folders if len(folders) > 1 else (folders[0], None)
    summary = serve(
        run if predictions else None, predictions or run, order=order, port=port, open_browser=show, photos_dir=photos_dir
    )
    say(f"{summary.photos} of {counted(summary.of, 'photo')} reviewed, {counted(summary.boxes, 'box')} in {summary.path}")
    if summary.unfinished:
        count = counted(len(summary.unfinished), "photo", "was")
        rest = "is not reviewed, so it is" if len(summary.unfinished) == 1 else "are not reviewed, so they are"
        say(f"{count} changed but {rest} not in the file: {some(summary.unfinished)}")
    if summary.photos:
        elsewhere = "" if photos_dir is None else f" --photos-dir {quoted(photos_dir)}"
        command = f"dips boxes {quoted(predictions or run)} --out NEW --reviewed --format yolo{elsewhere}"
        say(
            f"next    {command}    (coco, voc, labelstudio, csv ...: the photos that you reviewed, and the others as predicted)"
        )
        say(f"or      dips train DATA --reviewed {quoted(predictions or run)} --out NEW    (a model that learns from them)")
    return 0
