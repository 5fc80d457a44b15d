"""``dips score``: the score maps of any method against ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.options import ALONE, CrewOptions, Plots, Problems, ProtocolName

__all__ = ["score"]


def score(
    maps: Annotated[
        Path,
        Parameter(
            name="MAPS",
            help="Score maps of any method, values in [0, 1]: a folder with one .npy, .npz or .png per photo, named like the "
            "photo, one .npz with an array per photo, or what 'dips predict' wrote.",
        ),
    ],
    data: Annotated[
        Path, Parameter(name="DATA", help="The ground truth: DATA as for the other commands, or WSOL metadata without photos.")
    ],
    /,
    *,
    split: Annotated[str, Parameter(help="The part of DATA.")] = "test",
    protocol: ProtocolName = "wsol-224",
    tau_from: Annotated[
        Path | None,
        Parameter(
            help="JSON of the validation split, from this command or 'dips evaluate': also apply the thresholds chosen there."
        ),
    ] = None,
    predicted: Annotated[
        Path | None, Parameter(help="CSV of photo id and predicted classes, best first; for Top-1 and Top-5 localization.")
    ] = None,
    resize: Annotated[
        bool,
        Parameter(
            help="Resize maps of another size to the protocol's, bilinearly, instead of rejecting them.", show_default=False
        ),
    ] = False,
    partial: Annotated[
        bool,
        Parameter(help="Score only photos that have a map, instead of rejecting an incomplete set.", show_default=False),
    ] = False,
    label_column: Annotated[str, Parameter(help="The column of a CSV that holds the class; without it, it is found.")] = "",
    json: Annotated[Path | None, Parameter(help="Also write every number to this file.")] = None,
    csv: Annotated[Path | None, Parameter(help="Also write a line per photo to this file.")] = None,
    plots: Plots = None,
    problems: Problems = None,
    out: Annotated[
        str | None,
        Parameter(
            help="A folder or URL for scores.json, with what --json writes; interrupted work goes on where it stopped, "
            "and several machines can share it."
        ),
    ] = None,
    workforce: CrewOptions = ALONE,
) -> int:
    """Score the maps of any method with the field's protocol, exactly and fast. Needs no model and no GPU.

    Maps are streamed: only the names and the ground truth of the photos stay in memory.
    """
    from dips.benchmark.score import score_maps
    from dips.cli.tables import print_evaluation, write_figures
    from dips.errors import ConfigError
    from dips.system.files import require_distinct, require_writable
    from dips.system.records import write_json

    crew = workforce.crew(workers=0)
    if crew.is_task and (json or plots):
        raise ConfigError("--json and --plots are written where one command does all; 'dips merge' makes scores.json in --out")
    require_distinct({"--json": json, "--csv": csv, "--problems": problems})
    for path in (json, csv, plots and plots / "box_acc_over_tau.svg"):
        if path is not None:
            require_writable(path)
    result = score_maps(
        maps,
        data,
        split=split,
        protocol=protocol,
        resize=resize,
        partial_maps=partial,
        tau_from=tau_from,
        predicted=predicted,
        label_column=label_column,
        csv_path=csv,
        out=out,
        crew=crew,
        problems=problems,
    )
    if result is None:  # others are at it, too
        return 0
    if json is not None:
        write_json(json, result)
    write_figures(plots, result)
    print_evaluation(result)
    return 0
