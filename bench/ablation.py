"""Ablation of the U-Net on the validation part of a training folder: one setting changed at a time, several seeds each.

    python bench/ablation.py DATA/train --out ablation.json --seeds 3
    python bench/ablation.py DATA/train --out trial.json --variant "mine: train.epochs=4 train.lambda_crf=0"

Only ``train/`` is read; a third of it is the validation part. The score is MaxBoxAccV2 of the validation photos at the
epoch that they choose themselves, so compare variants with each other, not with test results. The budget is reduced (BUDGET),
with crops of 160 px; a variant and seed take 3 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from lightning_fabric import Fabric

from dips.benchmark.loop import evaluate_maps
from dips.config import load_config
from dips.fitting.prepare import prepare
from dips.fitting.select import fit_and_select
from dips.fitting.splits import read_splits
from dips.harvest.store import Store
from dips.system.console import log
from dips.system.environment import store_folder
from dips.system.files import atomic_file

BUDGET = [
    "harvest.sst=embedded",
    "harvest.sizes=[224]",
    "data.val_share=0.33",
    "train.resize=184",
    "train.crop=160",
    "train.epochs=3",
    "classifier.size=224",
    "predict.size=160",
    "predict.mode=unet",
]

# refine=none needs single heads, or there is one proposal per photo and nothing to choose between
PLAIN = ["harvest.refine=none", "harvest.heads=-1"]
BOX = [*PLAIN, "harvest.score_on=box"]  # the paper's scoring, which often takes a wrong proposal: what P is there for

VARIANTS: dict[str, list[str]] = {
    "default": [],  # region scoring, top_p=1, lambda_cls=0, lambda_crf=2e-9
    "refine=image": ["harvest.refine=image"],
    "refine=none": ["harvest.refine=none"],
    "refine=none, heads=all, score_on=region": PLAIN,
    "refine=none, heads=all, score_on=box": BOX,
    "refine=none, heads=all, score_on=box, top_p=2": [*BOX, "harvest.top_p=2"],
    "refine=none, heads=all, score_on=box, top_p=3": [*BOX, "harvest.top_p=3"],
    "refine=none, heads=all, score_on=box, top_p=5": [*BOX, "harvest.top_p=5"],
    "refine=none, heads=4": ["harvest.refine=none", "harvest.heads=4"],
    "map_power=0.5": ["harvest.map_power=0.5"],
    "map_power=2": ["harvest.map_power=2.0"],
    "heads=4": ["harvest.heads=4"],
    "heads=all": ["harvest.heads=-1"],
    "bg_from=outside": ["train.bg_from=outside"],
    "lambda_cls=0.1": ["train.lambda_cls=0.1"],
    "lambda_crf=0": ["train.lambda_crf=0"],
    "lambda_crf=4e-9": ["train.lambda_crf=4e-9"],
}


def run(data: Path, settings: list[str], seed: int, store: Store) -> dict[str, float]:
    """Train once; V2 and its parts on the validation part, and seconds of training."""
    config = load_config(None, [*BUDGET, *settings, f"train.seed={seed}"])
    train_set, val_set = read_splits(data, config)
    prepared = prepare(train_set, val_set, config=config, store=store, device=torch.device("cpu"))
    shown = [i for i, s in enumerate(prepared.val.samples) if s.boxes is not None and len(s.boxes)]
    samples = [prepared.val.samples[i] for i in shown]
    assert prepared.proposals is not None
    harvest, first = prepared.proposals.harvest, len(prepared.train)
    digests = [prepared.digests[first + i] for i in shown]
    refined = [harvest.refined(digest) for digest in digests]
    maps = [harvest.mean_attention(d) if m is None else m for d, m in zip(digests, refined, strict=True)]
    before = evaluate_maps(maps, samples, thresholds=101)
    with tempfile.TemporaryDirectory() as folder:
        fabric = Fabric(accelerator="cpu", devices=1)
        fabric.launch()
        trained = fit_and_select(prepared, config=config, run=Path(folder), fabric=fabric)
    assert trained.fit is not None
    return {"maps": before.max_box_acc_v2, **trained.validation, "epoch": trained.fit.epoch, "seconds": trained.seconds}


def main() -> None:
    """Run the variants that are not in the output file yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=None, help="names of variants")
    parser.add_argument("--variant", action="append", default=[], help="'name: stage.setting=value ...'")
    parser.add_argument("--store", type=Path, default=store_folder())
    arguments = parser.parse_args()
    own = {name.strip(): rest.split() for name, _, rest in (item.partition(":") for item in arguments.variant)}
    chosen = own or {name: v for name, v in VARIANTS.items() if arguments.only is None or name in arguments.only}
    results: dict[str, dict[str, dict[str, float]]] = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    store = Store(arguments.store)
    for seed in range(arguments.seeds):
        for name, settings in chosen.items():
            if str(seed) in results.setdefault(name, {}):
                continue
            started = time.perf_counter()
            results[name][str(seed)] = run(arguments.data, settings, seed, store)
            with atomic_file(arguments.out) as file:
                json.dump(results, file, indent=2)
            log(f"{name}, seed {seed}: {results[name][str(seed)]} in {time.perf_counter() - started:.0f} s")
    print(table(results, chosen))


def table(results: dict[str, dict[str, dict[str, float]]], names: Iterable[str]) -> str:
    """Means and standard deviations over seeds. A seed also decides which photos validate, which moves all variants alike, so
    the difference to the default is taken seed by seed."""
    lines = ["| variant | V2 of the maps | V2 of the localizer | difference to the default | seeds |", "|---|---|---|---|---|"]
    default = results.get("default", {})
    for name in names:
        runs = results[name]
        v2 = [run["v2"] for run in runs.values()]
        maps = statistics.mean(run["maps"] for run in runs.values())
        apart = [run["v2"] - default[seed]["v2"] for seed, run in runs.items() if seed in default]
        told = f"{statistics.mean(apart):+.1f} ± {_spread(apart):.1f}" if apart and name != "default" else ""
        lines.append(f"| {name} | {maps:.1f} | {statistics.mean(v2):.1f} ± {_spread(v2):.1f} | {told} | {len(v2)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
