"""``dips compare``: DiPS and its rivals on the same photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from dips.cli.early import require_training
from dips.cli.options import Data, Device, Problems, ProtocolName, Settings, Store, Weights
from dips.system.console import say

__all__ = ["compare"]


def compare(
    data: Data,
    /,
    *,
    methods: Annotated[
        str,
        Parameter(
            help="Methods to compare, separated by commas: dips, cam, layercam, ts-cam ... (docs/compare.md lists them), "
            "heads, all; or FILE.py:CLASS for your own method."
        ),
    ] = "all",
    out: Annotated[Path, Parameter(help="The folder of the comparison; results already in it are not computed again.")],
    seeds: Annotated[int, Parameter(help="How many times each method is fitted; above 1 the table has mean and spread.")] = 1,
    budget: Annotated[
        float | Literal["converged"],
        Parameter(
            help="Minutes for each method in all, harvest and what it builds on included; or converged: each is trained until "
            "validation stops improving."
        ),
    ] = 3.0,
    stride: Annotated[
        int,
        Parameter(
            help="Pixels of the photo per pixel of the CNN's feature map, for the methods on a CNN: 8, as in the WSOL "
            "benchmark, 16 or 32; the next larger one where the CNN cannot have it."
        ),
    ] = 16,
    split: Annotated[str, Parameter(help="The part of DATA to evaluate on; methods learn from its training photos.")] = "test",
    protocol: ProtocolName = "wsol-224",
    photos: Annotated[int, Parameter(help="Number of photos on the contact sheets, which show all methods side by side.")] = 6,
    recipe: Annotated[str | None, Parameter(help="A named set of settings, or a TOML file, as for 'dips train'.")] = None,
    settings: Settings = None,
    weights: Weights = None,
    store: Store = None,
    device: Device = "auto",
    problems: Problems = None,
) -> int:
    """Compare DiPS with its rivals on the same photos, with the same budget and protocol: the paper's table.

    Writes table.json, table.md, table.tex, figures, contact sheets, and the transformer's attention by block and head.

    Repeat an interrupted command to continue where it stopped; methods and seeds can be added later.

    Each split and protocol gets its own table. If a method fails, it is reported and the exit code is 1.
    """
    from dips.data.load import require_divided

    require_divided(data)
    require_training(data, split=split, recipe=recipe, settings=settings, weights=weights, device=device)
    from dips.evaluate.protocol import find_protocol

    find_protocol(protocol)
    from dips.cli.tables import print_comparison
    from dips.comparison import compare as run_comparison  # torch
    from dips.comparison.table_files import file_name

    names = [name.strip() for name in methods.split(",") if name.strip()]
    result = run_comparison(
        data,
        out=out,
        methods=names,
        seeds=seeds,
        budget=budget,
        stride=stride,
        split=split,
        protocol=protocol,
        recipe=recipe,
        settings=settings or (),
        weights=weights or (),
        store=store,
        device=device,
        photos=photos,
        problems=problems,
    )
    print_comparison(result)
    if result["methods"]:
        say(f"table    {out / file_name('table', result['split'], result['protocol_name'])}.md")
    return 1 if result["failed"] else 0
