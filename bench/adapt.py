"""Is the loss of ``dips adapt`` DINO's, and what do adapted weights bring?

    python bench/adapt.py check
    python bench/adapt.py measure ../shared/data/birds20 --out FILE.json --minutes 10 --seeds 3

``check`` compares loss and centre with those of lightly (MIT; written against 1.6.0), which is no dependency: ``pip install
lightly`` into the environment of this script first. ``measure`` adapts to the training and validation photos of DATA, and takes
MaxBoxAccV2 of the test photos before and after: of the mean attention, LOST and TokenCut on the keys, and the linear maps
(``accurate`` sees CNN and keys, ``fast`` the CNN alone, taught by the former). FILE.svg beside FILE.json shows the losses. What
FILE.json holds is not measured again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import torch

from dips.adaptation.adapt import adapt
from dips.adaptation.loss import Targets, distillation_loss
from dips.baselines.lost import Lost
from dips.baselines.method import ScoreMapMethod
from dips.baselines.tokencut import TokenCut
from dips.baselines.untrained import MeanAttention
from dips.benchmark.loop import evaluate_photos
from dips.comparison.run import open_study
from dips.config import adapt_config, load_config
from dips.data import load_data
from dips.data.sources import read_source
from dips.fitting.prepare import prepare
from dips.fitting.splits import read_splits
from dips.harvest.store import Store
from dips.models.networks import Networks
from dips.models.weights.adapted import read_adapted
from dips.system.console import log
from dips.system.environment import store_folder
from dips.system.records import write_json
from dips.types import Answerer

STEPS, TOLERANCE = 20, 1e-5


def check() -> None:
    """Feed both losses the same outputs, step after step; end with an error where they differ."""
    from lightly.loss import DINOLoss

    worst = 0.0
    for crops, photos, prototypes, temperature in ((2, 1, 8, 0.04), (6, 16, 1024, 0.04), (10, 4, 65536, 0.07)):
        generator = torch.Generator().manual_seed(crops)
        theirs = DINOLoss(output_dim=prototypes, teacher_temp=temperature)
        ours = Targets(prototypes, "mean")
        for _ in range(STEPS):
            teacher = torch.rand(2, photos, prototypes, generator=generator) * 2 - 1
            student = torch.rand(crops, photos, prototypes, generator=generator) * 2 - 1
            expected = theirs(list(teacher), list(student), teacher_temp=temperature)
            found = distillation_loss(student, ours(teacher, temperature, lambda rows: rows), theirs.student_temp)
            apart = [abs(found - expected) / expected, (ours.centre - theirs.center.flatten()).abs().max()]
            worst = max(worst, *map(float, apart))
    print(f"lightly {version('lightly')}: loss and centre differ by {worst:.1e} at most, over {STEPS} steps of three shapes")
    if worst > TOLERANCE:
        raise SystemExit(1)


def accuracies(data: Path, seed: int, weights: list[str], sst: str, store: Path, device: str) -> dict[str, float]:
    """Return MaxBoxAccV2 (percent) on the test photos, by method, of the transformer that ``weights`` and ``sst`` name."""
    config = load_config(None, [f"train.seed={seed}", f"harvest.sst={sst}"])
    answerers: dict[str, Answerer] = {}
    with tempfile.TemporaryDirectory() as folder:
        study = open_study(data, folder=folder, config=config, seed=seed, weights=weights, store=store, device=device)
        method: ScoreMapMethod
        for method in (MeanAttention(), Lost(), TokenCut()):
            method.fit(study)
            answerers[method.name] = method
        train, val = read_splits(data, config)
        found = prepare(train, val, config=config, store=Store(store), device=torch.device(device), given=weights)
        for mode in ("fast", "accurate"):
            answerers[mode] = Networks.of_mode(
                mode,
                found.frozen(),
                settings=config.predict,
                device=torch.device(device),
                background=train.background,
                linear=found.linear,
                localizer=None,
            )
        photos = [sample for sample in load_data(data, split="test").samples if sample.boxed]
        results = evaluate_photos(answerers, photos).methods
    return {name: result.boxes.max_box_acc_v2 for name, result in results.items()}


def measure(arguments: argparse.Namespace) -> None:
    """Adapt and compare, seed by seed; print mean and standard deviation of the differences."""
    out, store = arguments.out, store_folder(arguments.store)
    done: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"before": {}, "seeds": {}}
    work = {"data": str(arguments.data), "minutes": arguments.minutes, "settings": arguments.set, "sst": arguments.sst}
    if changed := [name for name, value in work.items() if done.setdefault(name, value) != value]:
        raise SystemExit(f"{out} was made with other {', '.join(changed)}; choose another --out")
    train, val = read_splits(arguments.data, load_config())
    photos = [sample.path for sample in (*train.samples, *val.samples)]
    for seed in map(str, range(arguments.seeds)):
        if seed in done["seeds"]:
            continue
        file = out.with_name(f"{out.stem}-{seed}.safetensors")
        config = adapt_config(
            [f"adapt.seed={seed}", f"adapt.minutes={arguments.minutes}", f"adapt.sst={arguments.sst}", *arguments.set]
        )
        if not file.exists():
            adapt(
                read_source(photos, leave_out=file), out=file, config=config, weights=arguments.weights, device=arguments.device
            )
        measured = partial(accuracies, arguments.data, int(seed), store=store, device=arguments.device)
        if seed not in done["before"]:
            done["before"][seed] = measured(weights=arguments.weights, sst=arguments.sst)
            write_json(out, done)
        after = measured(weights=[str(file), *arguments.weights], sst="auto")
        done["seeds"][seed] = {"after": after, "adapted": _record(file)}
        write_json(out, done)
        log(f"seed {seed}: before {done['before'][seed]}, after {after}")
    draw(done, out.with_suffix(".svg"))
    print("| method | V2 before | V2 after | difference |\n|---|---|---|---|")
    for name in next(iter(done["before"].values())):
        old = [done["before"][seed][name] for seed in done["seeds"]]
        new = [run["after"][name] for run in done["seeds"].values()]
        apart = [b - a for a, b in zip(old, new, strict=True)]
        print(f"| {name} | {_spread(old)} | {_spread(new)} | {_spread(apart, '+')} |")


def _record(file: Path) -> dict[str, Any]:
    record: dict[str, Any] = msgspec.to_builtins(read_adapted(file))
    return record


def _spread(values: list[float], sign: str = "") -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):{sign}.1f} ± {deviation:.1f}"


def draw(done: dict[str, Any], file: Path) -> None:
    """Draw loss, entropy and information, and spread of features over the steps, a line per seed."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(10, 3), layout="constrained")
    titles = {"loss": "loss", "entropy": "teacher: entropy (information dashed)", "spread": "spread of features"}
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        for number, (seed, run) in enumerate(done["seeds"].items()):
            checks = [check for check in run["adapted"]["checks"] if name in check]
            steps = [check["step"] for check in checks]
            axis.plot(steps, [check[name] for check in checks], color=f"C{number}", label=f"seed {seed}")
            if name == "entropy":
                axis.plot(steps, [check["information"] for check in checks], color=f"C{number}", linestyle="--")
        axis.set(title=title, xlabel="step")
    axes[0].legend()
    figure.savefig(file)


def main() -> None:
    """Check or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("check").set_defaults(run=lambda _: check())
    one = commands.add_parser("measure")
    one.add_argument("data", type=Path)
    one.add_argument("--out", type=Path, required=True, help="JSON of all numbers; the weights lie beside it")
    one.add_argument("--minutes", type=float, default=10.0)
    one.add_argument("--seeds", type=int, default=1)
    one.add_argument("--sst", default="auto")
    one.add_argument("--weights", action="append", default=[], help="as of dips")
    one.add_argument("--set", action="append", default=[], help="a setting of the adaptation, as of dips adapt")
    one.add_argument("--device", default="cpu")
    one.add_argument("--store", type=Path, help="of features; default: the user's cache")
    one.set_defaults(run=measure)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
