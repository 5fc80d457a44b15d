"""``dips view``: the review page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

__all__ = ["view"]


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
