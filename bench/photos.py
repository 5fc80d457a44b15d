"""Boxes in full photos against ground truth: average precision and recall at IoU 0.5, whole and in tiles; also mean attention.

    python bench/photos.py RUN PHOTOS PHOTOS.coco.json --tile auto --json photos.json

PHOTOS must not have been trained on. The attention map has a threshold of its own, chosen on the run's validation photos; it is
scaled to [0, 1] in each view. COCO's evaluator (pycocotools) counts; classes are not asked for. ``--time`` measures one photo.
``--empty``: PHOTOS show nothing; they are put together to mosaics of 4 x 4, and those that get a box all the same are counted.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dips.benchmark.loop import evaluate_maps
from dips.config import PredictConfig
from dips.data import list_images, read_image
from dips.data.images import resize_image
from dips.evaluate.protocol import FRAMED
from dips.fitting.splits import read_splits
from dips.harvest.attention import join_attention
from dips.model import Model
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor
from dips.system.console import log, track
from dips.types import Answer, Answerer, PhotoBatch


class MeanAttention(Answerer):
    """The class token's attention, mean over heads and sizes, instead of the localizer; the run's own classifier."""

    def __init__(self, model: Model) -> None:
        self.model = model

    @property
    def side(self) -> int:
        """The largest of the squares that are looked at."""
        return max(self.model.frozen.side, *self.model.frozen.key_sides)

    @torch.inference_mode()
    def answer(self, batch: PhotoBatch) -> Answer:
        frozen = self.model.frozen
        look = frozen.look_at_squares(batch.squares, self.model.device)
        maps = join_attention(look.transformed).mean(1)
        maps = maps - maps.amin((1, 2), keepdim=True)
        maps /= maps.amax((1, 2), keepdim=True)
        return Answer(maps.cpu().numpy(), frozen.classifier.head(look.pooled).softmax(1).cpu().numpy())

    def threshold(self) -> float:
        """Return the threshold that is best on the ground-truth boxes of the run's validation photos."""
        _, val = read_splits(self.model.record.data, self.model.config)
        samples = [sample for sample in val.samples if sample.boxed]
        squares = [resize_image(read_image(sample.path), (self.side, self.side)) for sample in samples]
        groups = [squares[start : start + 16] for start in range(0, len(squares), 16)]
        answers = [self.answer(PhotoBatch(np.stack(group))) for group in track(groups, "threshold of the attention")]
        maps = [score_map for answer in answers for score_map in answer.maps]
        return evaluate_maps([FRAMED.resized(found, None) for found in maps], samples, thresholds=1000).best_tau["v2"]


def predictors(model: Model, tile: int, attention: bool) -> dict[str, Predictor]:
    """Return predictors of whole photos and of tiles, of the localizer and of the attention map."""
    own = model.predictor
    made = {
        "DiPS, whole photo": whole(own, own.networks, own.config),
        "DiPS, tiles": tiled(own, own.networks, own.config, tile),
    }
    if attention:
        mean = MeanAttention(model)
        config = dataclasses.replace(own.config, threshold=mean.threshold())
        log(f"threshold of the attention map, chosen on validation: {config.threshold:.3f}")
        made |= {
            "mean attention, whole photo": whole(own, mean, config),
            "mean attention, tiles": tiled(own, mean, config, tile),
        }
    return made


def whole(own: Predictor, networks: Answerer, config: PredictConfig) -> Predictor:
    return _with(own, networks, dataclasses.replace(config, tile=0))


def tiled(own: Predictor, networks: Answerer, config: PredictConfig, tile: int) -> Predictor:
    return _with(own, networks, dataclasses.replace(config, tile=tile or own.tile))


def _with(own: Predictor, networks: Answerer, config: PredictConfig) -> Predictor:
    calibration = own.calibration if networks is own.networks else None
    return Predictor(networks, config=config, classes=own.classes, background=own.background, calibration=calibration)


def measure(predictor: Predictor, paths: Sequence[Path], ground_truth: Path, title: str) -> dict[str, Any]:
    """Predict the photos, and return what :func:`compare` counts."""
    found = track(predictor.photos(paths, lambda path, why: log(why)), title, total=len(paths))
    small = [dataclasses.replace(p, grid=p.grid[:1, :1], regions=p.regions[:1, :1]) for p in found]
    return compare(ground_truth, [p.path.name for p in small], small)


def compare(ground_truth: Path, names: Sequence[str], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return COCO's numbers at IoU 0.5, in percent; recall also by the object's size (limits: 32 x 32 and 96 x 96 pixels)."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(ground_truth))
        ids = {Path(image["file_name"]).name: image["id"] for image in coco.loadImgs(coco.getImgIds())}
        rows = [
            {"image_id": ids[name], "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": float(score)}
            for name, found in zip(names, predictions, strict=True)
            for (x0, y0, x1, y1), score in zip(found.boxes.tolist(), found.box_scores, strict=True)
        ]
        evaluator = COCOeval(coco, coco.loadRes(rows), "bbox")
        evaluator.params.useCats = 0
        evaluator.params.imgIds = [ids[name] for name in names]
        evaluator.evaluate()
        evaluator.accumulate()
    precision, recall = evaluator.eval["precision"][0, :, 0, :, -1], evaluator.eval["recall"][0, 0, :, -1]
    of = dict(zip(("all", "small", "medium", "large"), recall, strict=True))
    assert evaluator.eval["recall"].shape[2] == 4  # of IoUs, classes, sizes, numbers of boxes
    return {
        "ap50": float(100 * precision[:, 0].mean()),
        "recall50": {name: None if value < 0 else float(100 * value) for name, value in of.items()},
        "boxes": len(rows),
    }


def false_alarms(predictor: Predictor, photos: Path, count: int) -> dict[str, int]:
    """Put empty photos together to ``count`` mosaics of 4 x 4, none twice in one; return how many get a box.

    Those are counted, too, that have one at the typical and at the cautious threshold.
    """
    paths, rng = list_images(photos), np.random.default_rng(0)
    alarms, calibration = {"with a box": 0}, predictor.calibration
    limits = {} if calibration is None else {"typical": calibration.typical, "cautious": calibration.cautious}
    alarms |= {f"at the {name} threshold": 0 for name in limits}
    for _ in track(range(count), "mosaics"):
        parts = [read_image(paths[i]) for i in rng.choice(len(paths), 16, replace=False)]
        rows = [np.concatenate(parts[start : start + 4], axis=1) for start in range(0, 16, 4)]
        (found,) = predictor.pictures([(Path("mosaic.png"), np.ascontiguousarray(np.concatenate(rows)))])
        alarms["with a box"] += len(found.boxes) > 0
        for name, limit in limits.items():
            alarms[f"at the {name} threshold"] += bool((found.box_scores >= limit).any())
    return {"mosaics": count, **alarms}


def timed(predictor: Predictor, photo: Path) -> dict[str, Any]:
    """Predict one photo; return seconds, and the most memory that this process has had so far."""
    started = time.perf_counter()
    (prediction,) = predictor.photos([photo], lambda path, why: log(why))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"size": prediction.size, "boxes": len(prediction.boxes), "seconds": time.perf_counter() - started, "peak_mib": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("ground_truth", metavar="GROUND_TRUTH", type=Path, nargs="?")
    parser.add_argument("--tile", default="auto", help="side of the tiles in pixels, or auto")
    parser.add_argument("--no-attention", action="store_true", help="the localizer alone, without the transformer's own map")
    parser.add_argument("--time", action="store_true", help="time and memory of PHOTOS, a single photo, in tiles")
    parser.add_argument("--empty", type=int, metavar="N", help="count false alarms on N mosaics of PHOTOS, which show nothing")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    tile = 0 if arguments.tile == "auto" else int(arguments.tile)
    model = Model.open(arguments.run, settings=[f"predict.tile={tile or -1}", *arguments.set])
    if arguments.time:
        side = model.networks.side
        model.networks.answer(PhotoBatch(np.zeros((1, side, side, 3), np.uint8)))  # loads everything
        result: dict[str, Any] = timed(model.predictor, arguments.photos)
        print(json.dumps(result))
    elif arguments.empty:
        result = false_alarms(model.predictor, arguments.photos, arguments.empty)
        print(json.dumps(result))
    else:
        paths = list_images(arguments.photos)
        result = {}
        for name, predictor in predictors(model, tile, not arguments.no_attention).items():
            result[name] = measure(predictor, paths, arguments.ground_truth, name)
            print(name, json.dumps(result[name]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
