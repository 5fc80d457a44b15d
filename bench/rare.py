"""How well a rare class is recognized, by the strength of ``classifier.balance``, on photos that were not trained on.

    python bench/rare.py ../shared/data/insulators/train --photos insulator=3 none=120
    python bench/rare.py ../shared/data/birds20/train --photos 20 20 20 2

Each draw takes so many photos of each class (of drawn classes, where none is named); the classifier's last layer is fitted to
their features and asked about all other photos of these classes. No map is made.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from dips.config import load_config
from dips.data import load_data
from dips.data.scale import depth_of, depth_setting
from dips.harvest.features import pooled_features, pooled_shelf
from dips.harvest.squares import SquareReader
from dips.harvest.store import Store
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks
from dips.models.linear_probe import balance_classes, fit_linear
from dips.models.weights.resolve import resolve
from dips.system.environment import store_folder

STRENGTHS = (0.0, 0.5, 1.0)


def features(data: str, store: Store) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return pooled features ``(N, F)`` and labels ``(N,)`` of the training photos, and the classes."""
    config = load_config()
    weights, dataset = resolve(config.classifier.arch, role="cnn", given=[]), load_data(data)
    depth = depth_of([sample.path for sample in dataset.samples], depth_setting(config.data))
    frozen = FrozenNetworks(Classifier.from_weights(weights, len(dataset.classes)), side=config.classifier.size)
    shelf = pooled_shelf(store, weights, config.classifier.size, depth)
    reader = SquareReader(dataset.samples, store, None, depth=depth)
    pooled = pooled_features(frozen, reader, shelf, batch=config.harvest.batch, device=torch.device("cpu"))
    return pooled, torch.tensor([sample.label for sample in reader.readable()[0]]), dataset.classes


def measure(
    pooled: Tensor, labels: Tensor, chosen: list[int], counts: list[int], seed: int
) -> list[tuple[float, float, float]]:
    """Return accuracy, its mean over classes, and the rarest class's recall in percent, for each strength."""
    generator = torch.Generator().manual_seed(seed)
    orders = [(labels == label).nonzero()[:, 0] for label in chosen]
    orders = [order[torch.randperm(len(order), generator=generator)] for order in orders]
    fitted = torch.cat([order[:count] for order, count in zip(orders, counts, strict=True)])
    asked = torch.cat([order[count:] for order, count in zip(orders, counts, strict=True)])
    number = torch.zeros(int(labels.max()) + 1, dtype=torch.int64)
    number[chosen] = torch.arange(len(chosen))
    weight, bias, _ = fit_linear(pooled[fitted], number[labels[fitted]], len(chosen))
    found = []
    for strength in STRENGTHS:
        head = nn.Linear(weight.shape[1], len(chosen))
        head.load_state_dict({"weight": weight, "bias": bias})
        balance_classes(head, number[labels[fitted]], strength)
        with torch.no_grad():
            right = head(pooled[asked]).argmax(1) == number[labels[asked]]
        recall = [100 * float(right[labels[asked] == label].double().mean()) for label in chosen]
        found.append((100 * float(right.double().mean()), sum(recall) / len(recall), recall[counts.index(min(counts))]))
    return found


def main() -> None:
    """Draw, fit, ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--photos", nargs="+", required=True, metavar="[CLASS=]COUNT")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--store", type=Path, help="of the features; default: the user's cache")
    arguments = parser.parse_args()
    pooled, labels, classes = features(arguments.data, Store(store_folder(arguments.store)))
    names, counts = zip(
        *((name, int(count)) for name, _, count in (text.rpartition("=") for text in arguments.photos)), strict=True
    )
    if any(names) and not all(names):
        parser.error("--photos: name all classes, or none")
    if unknown := sorted(set(filter(None, names)) - set(classes)):
        parser.error(f"--photos: there is no class {', '.join(unknown)}; there are {', '.join(classes)}")
    draws = []
    for seed in range(arguments.draws):
        drawn = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed)).tolist()
        chosen = [classes.index(name) for name in names] if all(names) else drawn[: len(counts)]
        draws.append(measure(pooled, labels, chosen, list(counts), seed))
    print("balance  accuracy  mean over classes  rarest class")
    for strength, (accuracy, mean, rarest) in zip(STRENGTHS, torch.tensor(draws).mean(0).tolist(), strict=True):
        print(f"{strength:7.1f}{accuracy:10.1f}{mean:19.1f}{rarest:14.1f}")


if __name__ == "__main__":
    main()
