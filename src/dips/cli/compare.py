"""``dips compare``: DiPS and its rivals on the same photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.cli.options import Data, Device, ProtocolName, Settings, Store, Weights

__all__ = ["compare"]


def compare(
    data: Data,
    /,
    *,
    methods: Annotated[
        str,
        Parameter(
            help="What to compare, separated by commas: dips, cam, layercam, ts-cam ... (docs/compare.md lists them), heads, "
            "all; or FILE.py:CLASS for a method of your own."
        ),
    ] = "all",
    out: Annotated[Path, Parameter(help="The comparison's folder; what it holds already is not computed again.")],
    seeds: Annotated[int, Parameter(help="How often each method is fitted; the table then has mean and spread.")] = 1,
    budget: Annotated[float, Parameter(help="Minutes of training that each method may use.")] = 3.0,
    split: Annotated[
        str, Parameter(help="Which part of DATA is measured on; methods learn from its training photos.")
    ] = "test",
    protocol: ProtocolName = "wsol-224",
    photos: Annotated[int, Parameter(help="Photos on the sheet that shows the maps of all methods side by side.")] = 6,
    recipe: Annotated[str | None, Parameter(help="Settings with a name, or a TOML file, as for 'dips train'.")] = None,
    settings: Settings = None,
    weights: Weights = None,
    store: Store = None,
    device: Device = "auto",
) -> int:
    """Fit DiPS and its rivals on the same photos, with the same budget, and measure them by one protocol: the paper's table.

    Writes table.json, table.md, table.tex, curves over the threshold, a sheet of photos and methods, and the transformer's
    attention by block and head. A comparison that was interrupted goes on when the same command is given again; methods and
    seeds can be added later; each split and protocol has a table of its own. A method that fails is reported, and the exit code
    is then 1.
    """
    from dips.cli.tables import print_comparison
    from dips.comparison import compare as run_comparison
    from dips.comparison.table import file_name

    names = [name.strip() for name in methods.split(",") if name.strip()]
    result = run_comparison(
        data,
        out=out,
        methods=names,
        seeds=seeds,
        budget=budget,
        split=split,
        protocol=protocol,
        recipe=recipe,
        settings=settings or (),
        weights=weights or (),
        store=store,
        device=device,
        photos=photos,
    )
    print_comparison(result)
    if result["methods"]:
        print(f"table    {out / file_name('table', result)}.md")
    return 1 if result["failed"] else 0
