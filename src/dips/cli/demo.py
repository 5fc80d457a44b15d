"""``dips demo``: draw scenes, train on their labels, evaluate, report and predict, all without the network.

Everything is in one folder: ``photos/`` (the scenes), ``store/``, ``run/``, ``predictions/``, ``evaluation.json`` and
``demo.json``, which says how the demo was made and whether it was finished.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from dips.errors import RunError

__all__ = ["demo", "run_demo"]

_MARK = "demo.json"
_TRAIN, _TEST = 120, 40
_GENERATED = (
    "The photos of this demo are GENERATED scenes, drawn by the program; accuracy on them says nothing about real photos."
)


def demo(
    *,
    out: Annotated[Path, Parameter(help="The folder to create.")] = Path("dips-demo"),
    seed: Annotated[int, Parameter(help="Each number draws different scenes.")] = 0,
) -> int:
    """Try everything on generated scenes: draw them, train, evaluate, report, predict. Minutes on a CPU, no network.

    The scenes are drawn by the program, not photographed. Repeat an interrupted command to continue where it stopped.
    """
    return run_demo(out, seed)


def run_demo(out: Path, seed: int, *, recipe: str = "demo", train: int = _TRAIN, test: int = _TEST, **fit_with: Any) -> int:
    """Make the demo in ``out``, or continue one that was interrupted; return the exit code.

    Args:
        recipe: the settings to train with.
        train, test: numbers of scenes.
        fit_with: further arguments of :func:`dips.fit`.

    Raises:
        RunError: ``out`` exists and is not an interrupted demo of this seed.
    """
    started = time.perf_counter()
    os.environ["DIPS_OFFLINE"] = "1"
    mark = {"seed": seed, "recipe": recipe, "train": train, "test": test}
    resumed = _open(out, mark)

    from dips.batch.predict import PredictJob, context_of
    from dips.demo.scenes import write_sample
    from dips.fitting.fit import fit
    from dips.predict.folder import PredictionFolder
    from dips.predict.results import is_finished
    from dips.runs.identity import identity
    from dips.system.console import log, say
    from dips.system.records import write_json

    log(_GENERATED)
    if resumed:
        log(f"{out} was interrupted: continuing")
        for leftover in out.glob(".photos.*"):  # of a kill while the scenes were drawn
            shutil.rmtree(leftover)
    photos, run, store, predictions = (out / name for name in ("photos", "run", "store", "predictions"))
    write_sample(photos, train=train, test=test, seed=seed)
    model = fit(photos, out=run, recipe=recipe, store=store, resume=resumed, **fit_with)
    result = model.evaluate(photos, split="test", json_path=out / "evaluation.json", note=_GENERATED)
    if not is_finished(predictions):
        formats = ("json", "overlays", "masks", "coco")
        folder = PredictionFolder.plan(
            [photos / "test"],
            predictions,
            formats=formats,
            made_with={"demo": mark, **identity(model.run)},
            step=model.predictor.config.batch,
        )
        job = PredictJob(model.run, predictions, loaded=model)
        folder.fill(job, context=lambda: context_of(model, folder.listing.source))
    write_json(out / _MARK, {**mark, "finished": True}, indent=None)
    for line in _summary(out, result, time.perf_counter() - started, resumed):
        say(line)
    return 0


def _open(out: Path, mark: Mapping[str, Any]) -> bool:
    """Create the folder, or check that its demo can be continued; return whether it is."""
    from dips.predict.folder import REVIEWS
    from dips.system.journal import Claim

    precious = {f"{folder}{name}": words for folder in ("", "predictions/") for name, words in REVIEWS.items()}
    claim = Claim(folder=out, mark=_MARK, identity=mark, holds="a demo", unmarked="and is not a demo", precious=precious)
    before = claim.check(ignore=["finished"])
    if before is None:
        claim.take(finished=False)
    elif before.get("finished"):
        and_more, remedy = (f", and {claim.kept}", "") if claim.kept else ("", " or remove it")
        raise RunError(
            f"{out} holds a finished demo, see {out / 'run' / 'report.html'}{and_more}; choose another --out{remedy}"
        )
    return before is not None


def _summary(out: Path, result: Mapping[str, Any], seconds: float, resumed: bool) -> list[str]:
    from dips.cli.tables import METHODS

    lines = [
        "",
        f"Test scenes (generated, not photos): {result['n_images']}, {result['n_boxed']} of them with a tower.",
        "MaxBoxAccV2 in percent, at the best threshold for the test scenes:",
    ]
    for method in result["methods"]:
        name, value = METHODS.get(method["name"], method["name"]), method["boxes"]["max_box_acc_v2"]
        lines.append(f"  {name:<16}{'-' if value is None else format(value, '5.1f')}   {method.get('note', '')}".rstrip())
    at_validation = (result.get("at_validation_tau") or {}).get("box_acc_v2")
    if at_validation is not None:
        lines.append(f"The localizer at thresholds chosen on validation: {at_validation:.1f}")
    lines += [
        f"Class correct: {result['top1_cls']:.1f}%",
        f"Transformer: {result['sst']}",
        f"Time: {seconds:.0f} s{' since it was resumed' if resumed else ''}{_peak_memory()}",
        "",
        f"report    {out / 'run' / 'report.html'}",
        f"overlays  {out / 'predictions' / 'overlays'}",
        f"scenes    {out / 'photos'}",
        "next      dips check PHOTOS    (photos of your own, in one folder per class)",
    ]
    return lines


def _peak_memory() -> str:
    """Return the peak memory of this process, where the system reports it."""
    try:
        import resource
    except ImportError:  # Windows
        return ""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f", peak memory {peak / (1 << 30 if sys.platform == 'darwin' else 1 << 20):.1f} GiB"
