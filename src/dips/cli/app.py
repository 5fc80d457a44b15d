"""The commands: their options and help, and what each of them calls.

Exit codes: 0 done; 1 done, but photos were skipped or the data is not usable; 2 not done, for the reason printed in one line
(also for a wrong command line); 130 interrupted. Results go to stdout, progress and messages to stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

import dips
from dips.cli.messages import expected, fail, interrupted, usage
from dips.cli.options import Data, Device, Plots, PredictSettings, ProtocolName, Run, RunOrOnnx, Settings, Store, Tile, Weights

__all__ = ["app", "main"]

app = App(
    name="dips",
    help="Boxes and masks from photos that are only sorted into folders. Start with 'dips demo', or with 'dips check' on your "
    "own photos; 'dips COMMAND --help' explains a command.",
    help_epilogue="--debug, anywhere, shows where in the program an error came from.",
    version=f"dips {dips.__version__}",
    help_format="plaintext",
    version_format="plaintext",
    default_parameter=Parameter(negative=(), json_list=False),
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
app["--help"].group = app["--version"].group = "Other"


@app.command
def demo(
    *,
    out: Annotated[Path, Parameter(help="The folder to make.")] = Path("dips-demo"),
    seed: Annotated[int, Parameter(help="Another number draws other scenes.")] = 0,
) -> int:
    """Try everything on generated scenes: draw them, train, evaluate, report, predict. Minutes on a CPU, no network.

    The scenes are drawn by the program, not photographed. A demo that was interrupted goes on when it is called again.
    """
    from dips.cli.demo import run_demo

    return run_demo(out, seed)


@app.command
def check(
    data: Data,
    /,
    *,
    background: Annotated[
        str, Parameter(help="Class whose photos show no object; auto: the one called none or background, if any.")
    ] = "auto",
) -> int:
    """Say what was understood: classes, counts, splits, unreadable files, duplicates. Computes and changes nothing."""
    from dips.data.check import check_data

    report = check_data(data, background_class=background)
    print(report.render())
    return 0 if report.usable else 1


@app.command
def train(
    data: Data,
    /,
    *,
    out: Annotated[Path, Parameter(help="The run folder to make; one that exists is never overwritten.")],
    recipe: Annotated[
        str | None, Parameter(help="Settings with a name: default, drone, paper, demo; or a TOML file of your own.")
    ] = None,
    settings: Settings = None,
    weights: Weights = None,
    store: Store = None,
    device: Device = "auto",
    resume: Annotated[bool, Parameter(help="Go on with a run that was interrupted.", show_default=False)] = False,
) -> int:
    """Train a localizer from photos and their class labels.

    True boxes are used for nothing but, on the validation part, the choice of epoch and threshold, where there are any.
    """
    from dips.api import fit
    from dips.runtime import first_process

    model = fit(
        data,
        out=out,
        recipe=recipe,
        settings=settings or (),
        weights=weights or (),
        store=store,
        device=device,
        resume=resume,
    )
    if not first_process():
        return 0
    print(f"model   {model.run}")
    print(f"report  {model.run / 'report.html'}")
    print(f"next    dips predict {_quoted(model.run)} PHOTOS --out DIR")
    return 0


@app.command
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


@app.command
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


@app.command
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


@app.command
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
    max_boxes: Annotated[int, Parameter(help="Boxes per photo at most.")] = 100,
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


@app.command
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
    from dips.api import load
    from dips.cli.tables import print_evaluation

    model = load(run, device=device, settings=settings or (), weights=weights or ())
    result = model.evaluate(data, split=split, store=store, json_path=json, protocol=protocol, photos=photos)
    _plot(plots, result)
    print_evaluation(result)
    return 0


@app.command
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


@app.command
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


@app.command
def report(
    run: Run,
    /,
    *,
    show: Annotated[bool, Parameter(name="--open", help="Open it in the browser.", show_default=False)] = False,
) -> int:
    """Write RUN/report.html anew from what the run folder holds."""
    from dips.api import write_run_report

    path = write_run_report(run)
    print(path)
    if show:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    return 0


@app.command
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


@app.command
def settings(
    name: Annotated[str, Parameter(name="NAME", help="A setting or a stage, e.g. train.epochs or train; all without it.")] = "",
    /,
) -> int:
    """List the settings for --set: name, default, range, meaning."""
    from dips.cli.tables import settings_text

    print(settings_text(name))
    return 0


@app.command
def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(name="SHELL", help="bash, zsh or fish.")],
    /,
) -> int:
    """Print the script that completes commands and options in a shell; the shell's own manual says where it belongs.

    For bash: dips completion bash > ~/.local/share/bash-completion/completions/dips
    """
    print(app.generate_completion(shell=shell))
    return 0


@app.command
def doctor() -> int:
    """Say what is installed and usable: versions, devices, weights with their licences, store, disk. For bug reports."""
    from dips.doctor import render

    print(render())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: that of the process) and return the exit code; never raises on purpose."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    for stream in (sys.stdout, sys.stderr):  # a file name may hold what the terminal cannot show
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        done = app(tokens, exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return done if isinstance(done, int) else 0
    except CycloptsError as error:
        return fail(usage(error, tokens, app))
    except BrokenPipeError:  # the reader of our output, e.g. head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return fail(interrupted(tokens), word="interrupted", code=130)
    except Exception as error:
        words = expected(error)
        if debug or words is None:
            raise
        return fail(words)


def _plot(folder: Path | None, result: Mapping[str, Any]) -> None:
    if folder is not None:
        from dips.export.figures import write_plots

        for path in write_plots(folder, result["methods"]):
            print(path)


def _quoted(path: Path) -> str:
    if os.name == "nt":
        return f'"{path}"'
    import shlex

    return shlex.quote(str(path))
