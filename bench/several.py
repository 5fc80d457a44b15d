"""Several classes in one photo: 2 x 2 mosaics of four classes, trained on by their labels alone, without a box.

    python bench/several.py ../shared/data/birds20 --out FOLDER

Makes mosaics of training photos, listed with all four labels (several.csv) and with the first alone (first.csv), and mosaics of
test photos with box and class of each object (test.coco.json). Trains on both lists, counts how often the true boxes of the
test mosaics get the right class, as ``dips predict`` finds it and by the photo's class, and evaluates both runs as ``dips
evaluate`` does. What is there already is not made again.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dips import Model, fit
from dips.data import align_classes, load_data, read_image
from dips.data.images import encode_image, image_size, resize_image
from dips.scoremaps.object_classes import ClassCells
from dips.system.records import write_json
from dips.types import Sample

SIDE = 256  # of a photo in a mosaic


def draw(samples: Sequence[Sample], count: int, seed: int) -> list[list[Sample]]:
    """Return groups of four photos of four classes; a photo comes again only when all have had their turn."""
    rng = np.random.default_rng(seed)
    waiting: list[Sample] = []
    groups: list[list[Sample]] = []
    while len(groups) < count:
        first = {sample.label: sample for sample in reversed(waiting)}  # of each class the one that waits longest
        if len(first) < 4:
            waiting += [samples[i] for i in rng.permutation(len(samples))]
            continue
        group = sorted(first.values(), key=waiting.index)[:4]
        waiting = [sample for sample in waiting if sample not in group]
        groups.append(group)
    return groups


def paste(group: Sequence[Sample], path: Path) -> list[list[float]]:
    """Write a mosaic; return the boxes ``x y width height`` of its objects, those of each photo in turn."""
    rows, boxes = [], []
    for number, sample in enumerate(group):
        photo = resize_image(read_image(sample.path), (SIDE, SIDE))
        frame = sample.frame or image_size(sample.path)
        x, y = SIDE * (number % 2), SIDE * (number // 2)
        assert sample.boxes is not None
        (x0, y0, x1, y1), *_ = dataclasses.replace(sample, frame=frame).fractions.tolist()
        boxes.append([x + SIDE * x0, y + SIDE * y0, SIDE * (x1 - x0), SIDE * (y1 - y0)])
        rows.append(photo)
    mosaic = np.concatenate([np.concatenate(rows[start : start + 2], axis=1) for start in (0, 2)])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(np.ascontiguousarray(mosaic), ".png"))
    return boxes


def write_data(data: str, out: Path, train: int, test: int) -> None:
    """Write mosaics of both splits, and their lists."""
    parts = {split: load_data(data, split=split) for split in ("train", "test")}
    classes = parts["train"].classes
    names = {}
    for number, group in enumerate(draw(parts["train"].samples, train, 0)):
        names[f"train/{number:03}.png"] = [classes[sample.label or 0] for sample in group]
        paste(group, out / "train" / f"{number:03}.png")
    for title, most in (("several", 4), ("first", 1)):
        with (out / f"{title}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["path", "label"], *([name, "|".join(own[:most])] for name, own in names.items())])
    images, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
    for number, group in enumerate(draw(parts["test"].samples, test, 1)):
        name = f"{number:03}.png"
        boxes = paste(group, out / "test" / name)
        images.append({"id": number, "file_name": f"test/{name}", "width": 2 * SIDE, "height": 2 * SIDE})
        for sample, box in zip(group, boxes, strict=True):
            annotations.append({"id": len(annotations), "image_id": number, "category_id": sample.label, "bbox": box})
    categories = [{"id": label, "name": name} for label, name in enumerate(classes)]
    write_json(out / "test.coco.json", {"images": images, "annotations": annotations, "categories": categories})


@torch.inference_mode()
def object_classes(model: Model, samples: Sequence[Sample]) -> dict[str, float]:
    """Return how many true boxes in percent get their class: by the cells around them, as predictions do, and by photo."""
    right, count = dict.fromkeys(("cells", "photo"), 0), 0
    frozen = model.frozen
    frozen.keeps_cells = True
    for sample in samples:
        look = frozen.look_at_squares(resize_image(read_image(sample.path), (frozen.side, frozen.side))[None], model.device)
        of_photo = int(frozen.classifier.head(look.pooled).argmax())
        assert look.cells is not None and sample.boxes is not None and sample.frame is not None
        regions = np.zeros(sample.frame[::-1], np.uint16)
        for number, (x0, y0, x1, y1) in enumerate(sample.boxes.astype(int), start=1):
            regions[y0:y1, x0:x1] = number
        cells = ClassCells.of(look.cells[0].cpu().numpy(), model.background)
        found, _ = cells.classes_of(sample.boxes, regions, sample.frame)
        right["cells"] += sum(own == label for own, label in zip(found, sample.box_labels, strict=True))
        right["photo"] += sample.box_labels.count(of_photo)
        count += len(found)
    return {title: round(100 * number / count, 1) for title, number in right.items()}


def main() -> None:
    """Make mosaics, train, ask, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=160, help="training mosaics")
    parser.add_argument("--test", type=int, default=60, help="test mosaics")
    parser.add_argument("--store", type=Path, help="of the features; default: the user's cache")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of both trainings")
    arguments = parser.parse_args()
    out: Path = arguments.out
    if not (out / "test.coco.json").exists():
        write_data(arguments.data, out, arguments.train, arguments.test)
    test, found = out / "test.coco.json", dict[str, Any]()
    for title in ("several", "first"):
        run = out / f"run_{title}"
        options: dict[str, Any] = {"store": arguments.store, "settings": arguments.set, "device": "cpu"}
        model = fit(out / f"{title}.csv", out=run, resume=run.exists(), **options)
        samples = align_classes(load_data(test), model.classes).samples
        found[title] = {"right boxes": object_classes(model, samples), "evaluation": model.evaluate(test, photos=12)}
        write_json(out / "several.json", found)
        print(f"{title}: right classes of true boxes {found[title]['right boxes']}", flush=True)


if __name__ == "__main__":
    main()
