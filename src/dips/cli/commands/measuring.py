"""How good something is: evaluate, score, compare, report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from dips.cli.options import Data, Device, Plots, PredictSettings, ProtocolName, Run, Settings, Store, Weights

__all__ = ["compare", "evaluate", "report", "score"]


def evaluate(
    run: Run,
    data: Data,
    /,
    *,
    split: Annotated[str, Parameter(help="Which part of DATA: test, val, train, all, or the name of a folder in it.")] = "test",
    protocol: ProtocolName = "wsol-224",
    json: Annotated[Path | None, Parameter(help="Also write every number to this file.")] = None,
    plots: Plots = None,
    photos: Annotated[int, Parameter(help="Photos that the report shows: the worst, the best and some of the others.")] = 300,
    settings: PredictSettings = None,
    weights: Weights = None,
    store: Store = None,
    device: Device = "auto",
) -> int:
    """Say how good a run is on photos with true boxes, beside methods that need no training; renews the run's report."""
    from dips.cli.tables import print_evaluation
    from dips.model import load_run

    model = load_run(run, device=device, settings=settings or (), weights=weights or ())
    result = model.evaluate(data, split=split, store=store, json_path=json, protocol=protocol, photos=photos)
    _plot(plots, result)
    print_evaluation(result)
    return 0


def score(
    maps: Annotated[
        Path,
        Parameter(
            name="MAPS",
            help="Score maps of any method, values in [0, 1]: a folder with a .npy, .npz or .png per photo, named like the "
            "photo, or one .npz with an array per photo.",
        ),
    ],
    data: Annotated[
        Path, Parameter(name="DATA", help="The photos' truth: DATA as for the other commands, or WSOL metadata without photos.")
    ],
    /,
    *,
    split: Annotated[str, Parameter(help="Which part of DATA.")] = "test",
    protocol: ProtocolName = "wsol-224",
    tau_from: Annotated[
        Path | None,
        Parameter(
            help="JSON of the validation split, from this command or 'dips evaluate': also use the thresholds chosen there."
        ),
    ] = None,
    predicted: Annotated[
        Path | None, Parameter(help="CSV of id and predicted classes, best first: for Top-1 and Top-5 localization.")
    ] = None,
    resize: Annotated[
        bool,
        Parameter(
            help="Bring maps of another size to the protocol's, bilinearly, instead of refusing them.", show_default=False
        ),
    ] = False,
    partial: Annotated[
        bool, Parameter(help="Score the photos that have a map, instead of refusing an incomplete set.", show_default=False)
    ] = False,
    json: Annotated[Path | None, Parameter(help="Also write every number to this file.")] = None,
    csv: Annotated[Path | None, Parameter(help="Write a line per photo to this file.")] = None,
    plots: Plots = None,
    workers: Annotated[int, Parameter(help="Processes; 0: one per core.")] = 0,
) -> int:
    """Score the maps of any method by the field's protocol, to the last digit and fast. Needs no model and no GPU.

    Maps are streamed: what is kept of a photo is its name and its truth.
    """
    from dips.cli.tables import print_evaluation
    from dips.evaluate.record import write_json
    from dips.runtime import require_writable
    from dips.scoring import score_maps

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
        csv_path=csv,
        workers=workers,
    )
    if json is not None:
        write_json(json, result)
    _plot(plots, result)
    print_evaluation(result)
    return 0


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
    from dips.export.comparison import file_name

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


def report(
    run: Run,
    /,
    *,
    show: Annotated[bool, Parameter(name="--open", help="Open it in the browser.", show_default=False)] = False,
) -> int:
    """Write RUN/report.html anew from what the run folder holds."""
    from dips.reporting import write_run_report

    path = write_run_report(run)
    print(path)
    if show:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    return 0


def _plot(folder: Path | None, result: Mapping[str, Any]) -> None:
    if folder is not None:
        from dips.export.figures import write_plots

        for path in write_plots(folder, result["methods"]):
            print(path)
