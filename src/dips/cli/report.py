"""``dips report``: the page of a run or of a prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.options import PhotosDir
from dips.system.console import say

__all__ = ["report"]


def report(
    folder: Annotated[Path, Parameter(name="DIR", help="A folder written by 'dips train', 'dips predict' or 'dips boxes'.")],
    /,
    *,
    photos: Annotated[
        int, Parameter(help="Number of photos of a prediction that are shown: the most doubtful and some others.")
    ] = 300,
    show: Annotated[bool, Parameter(name="--open", help="Open it in the browser.", show_default=False)] = False,
    photos_dir: PhotosDir = None,
) -> int:
    """Write DIR/report.html from what is in the folder: photos with their score maps, boxes and a threshold to move.


    No network runs, and no ground-truth box is needed.
    """
    from dips.report.run_report import write_folder_report

    path = write_folder_report(folder, photos=photos, photos_dir=photos_dir)
    say(str(path))
    if show:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    return 0
