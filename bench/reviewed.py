"""What reviewed photos bring: V2 on test photos by the number of training photos whose true boxes are trained on.

    python bench/reviewed.py ../shared/data/birds20 --out FILE
    python bench/reviewed.py ../shared/data/insulators --out FILE --seeds 3 --order informative random

The ground truth of training photos stands in the reviewer's place; photos are drawn at random, or are those of the highest
priority by the maps without a review. Features are computed once; the classifier and the other settings are the default's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dips.benchmark.loop import evaluate_photos
from dips.config import load_config
from dips.data import load_data
from dips.data.images import image_size
from dips.fitting.prepare import prepare
from dips.fitting.splits import read_splits
from dips.harvest.store import Store
from dips.models.linear_map import LinearMaps
from dips.models.networks import Networks
from dips.predict.predictor import Predictor
from dips.system.environment import store_folder
from dips.system.records import write_json
from dips.types import DataSet, Sample

CPU = torch.device("cpu")


def reviewed(train: DataSet, chosen: Sequence[int]) -> DataSet:
    """Return the training photos, of which a person gave the boxes of those at the positions ``chosen``."""
    samples = list(train.samples)
    for position in chosen:
        sample = samples[position]
        frame = sample.frame or image_size(sample.path)
        samples[position] = Sample(sample.path, sample.id, sample.label, sample.boxes, frame, reviewed=True)
    return DataSet(train.root, train.classes, tuple(samples), train.split, train.background, train.layout)


def priorities(networks: Networks, train: DataSet, positions: Sequence[int]) -> list[float]:
    """Return the priority of each photo, as ``dips predict`` gives it."""
    config = load_config().replace(**{"predict.threshold": 0.5}).predict
    predictor = Predictor(networks, config=config, classes=train.classes, background=train.background, photo_side=None)
    paths = [train.samples[position].path for position in positions]
    return [prediction.priority for prediction in predictor.photos(paths, lambda *_: None)]


def measure(data: str, store: Store, seed: int, orders: Sequence[str], counts: Sequence[int]) -> dict[str, float]:
    """Return V2 by mode, order and number of photos, with one seed for the split and what is drawn."""
    config = load_config(None, [f"train.seed={seed}"])
    train, val = read_splits(data, config)
    boxed = [i for i, sample in enumerate(train.samples) if sample.boxed and sample.label != train.background]
    plain = prepare(train, val, config=config, store=store, device=CPU)
    frozen = plain.frozen()

    def networks(linear: LinearMaps | None, mode: str) -> Networks:
        return Networks.of_mode(
            mode, frozen, settings=config.predict, device=CPU, background=train.background, linear=linear, localizer=None
        )

    answerers = {f"{mode} 0": networks(plain.linear, mode) for mode in ("fast", "accurate")}
    for order in orders:
        if order == "random":
            chosen = np.random.default_rng(seed).permutation(boxed).tolist()
        else:
            scores = priorities(answerers["fast 0"], train, boxed)
            chosen = [boxed[rank] for rank in np.argsort(-np.array(scores), kind="stable")]
        for count in counts:
            made = prepare(reviewed(train, chosen[:count]), val, config=config, store=store, device=CPU)
            answerers[f"fast {order} {count}"] = networks(made.linear, "fast")
            if count == 40:
                answerers[f"accurate {order} {count}"] = networks(made.linear, "accurate")
    photos = [sample for sample in load_data(data, split="test").samples if sample.boxed]
    return {name: result.boxes.max_box_acc_v2 for name, result in evaluate_photos(answerers, photos).methods.items()}


def main() -> None:
    """Fit and measure, seed by seed; print mean and standard deviation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all numbers")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--order", nargs="+", default=["random"], choices=["random", "informative"])
    parser.add_argument("--counts", nargs="+", type=int, default=[5, 10, 20, 40, 80])
    parser.add_argument("--store", type=Path, help="of the features; default: the user's cache")
    arguments = parser.parse_args()
    store = Store(store_folder(arguments.store))
    found = []
    for seed in range(arguments.seeds):
        found.append(measure(arguments.data, store, seed, arguments.order, arguments.counts))
        write_json(arguments.out, {"data": arguments.data, "seeds": found})
        print(f"seed {seed}: {found[-1]}", flush=True)
    print("| photos reviewed | V2 | over none |\n|---|---|---|")
    for name in found[0]:
        values = np.array([seed[name] for seed in found])
        gains = values - np.array([seed[f"{name.split()[0]} 0"] for seed in found])
        print(f"| {name} | {values.mean():.1f} ± {values.std():.1f} | {gains.mean():+.1f} ± {gains.std():.1f} |")


if __name__ == "__main__":
    main()
