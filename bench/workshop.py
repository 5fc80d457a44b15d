"""What damage.py and kills.py break: tiny photos, networks and a trained run, and what commands left that were killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import safetensors.torch
import torch
from forks import KILLED, run, start, timm

from dips.data.images import read_image
from dips.demo.scenes import write_sample
from dips.view.predictions import read_predictions
from dips.view.review import Review

__all__ = ["Workshop", "files"]

RECIPE = """
[harvest]
sst = "test_vit"
sizes = [64]
[classifier]
arch = "test_efficientnet"
size = 64
[localizer]
encoder = "test_efficientnet"
[train]
epochs = 2
batch = 8
resize = 64
crop = 64
crf_size = 16
[predict]
size = 64
"""


@dataclass(frozen=True)
class Workshop:
    """A folder with everything that commands read.

    ``data/`` has ``train/`` and ``test/`` with boxes as COCO; ``coco.json``, ``list.csv`` and ``boxes.csv`` describe the photos
    of ``data/train``, ``wsol/`` those of ``data/test`` as WSOL metadata. ``weights/`` and ``tiny.toml`` are for training,
    ``run/`` was trained with them, ``predictions/`` (with a review that was begun) and ``model.onnx`` come from it. ``maps/``
    holds a score map per test photo, ``taus.json`` and ``classes.csv`` go with them; ``video.avi`` has 12 frames. Killed in the
    middle were ``cut-run/`` (with its store ``cut-store/``), ``cut-predictions/`` and ``cut-stream.json``.
    """

    top: Path

    @classmethod
    def build(cls, top: Path) -> Workshop:
        """Make all of it; takes about half a minute."""
        shop = cls(top)
        shop._inputs()
        for argv in (
            shop.train(top / "run"),
            ["predict", top / "run", top / "data/train", "--out", top / "predictions", "--format", "coco,masks"],
            ["evaluate", top / "run", top / "data"],
            ["score", top / "maps", top / "data", "--workers", "1", "--json", top / "taus.json"],
            ["export", top / "run", "--out", top / "model.onnx", "--photos", top / "data/test"],
            ["report", top / "predictions"],
        ):
            done = run(*argv)
            if done.code:
                raise RuntimeError(f"{argv}: {done.err}")
        for command, file in shop._cut().items():
            started = start(*command)
            while not (file.is_file() and file.stat().st_size > 1000 * (file.suffix == ".part")):
                time.sleep(0.002)
            started.kill()
            if started.wait(10).code != KILLED:
                raise RuntimeError(f"{command} came to its end")
        review = Review(read_predictions(top / "predictions"))
        for index, photo in enumerate(review.predictions.photos[:6]):
            box = {"box": [3, 4, 40, 50], "label": "tower", "of": 0 if photo.boxes else None, "accepted": True}
            review.change(index, {"reviewed": True, "boxes": [box]})
        review.close()
        return shop

    def _cut(self) -> dict[tuple[object, ...], Path]:
        """The commands that are killed in the middle: as soon as there is such a file."""
        run, data = self.top / "run", self.top / "data/train"
        folder, stream = self.top / "cut-predictions", self.top / "cut-stream.json"
        return {
            tuple(self.train(self.top / "cut-run", store=self.top / "cut-store")): self.top / "cut-run/resume.safetensors",
            ("predict", run, data, "--out", folder, "--format", "coco"): folder / "json/none/0004.json",
            ("stream", run, data, "--out", stream, "--idle", "0"): stream.with_name("cut-stream.json.part"),
        }

    def _inputs(self) -> None:
        (self.top / "weights").mkdir(parents=True)
        for name in ("test_vit", "test_efficientnet"):
            torch.manual_seed(0)
            net = timm.create_model(name)
            safetensors.torch.save_file(net.state_dict(), self.top / "weights" / f"{name}.safetensors")
            if name == "test_efficientnet":
                torch.save(net.state_dict(), self.top / "test_efficientnet.pth")
        (self.top / "tiny.toml").write_text(RECIPE)
        write_sample(self.top / "data", train=18, test=6, size=(96, 72))
        photos = sorted((self.top / "data/train").rglob("*.jpg"))
        classes = {"none": 1, "tower": 2}
        images = [
            {"id": i, "file_name": p.relative_to(self.top).as_posix(), "width": 96, "height": 72} for i, p in enumerate(photos)
        ]
        box = {"bbox": [20.5, 10, 30, 50], "iscrowd": 0, "area": 1500, "segmentation": [[20.5, 10, 50.5, 10, 50, 60]]}
        boxes = [
            {"id": i, "image_id": i, "category_id": classes[p.parent.name]} | box
            for i, p in enumerate(photos)
            if p.parent.name == "tower"
        ]
        categories = [{"id": number, "name": name} for name, number in classes.items()]
        coco = {"images": images, "annotations": boxes, "categories": categories}
        (self.top / "coco.json").write_text(json.dumps(coco))
        rows = [f"{p.relative_to(self.top).as_posix()},{p.parent.name}" for p in photos]
        (self.top / "list.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
        corners = [f"{row},10,12,40,60" if row.endswith("tower") else f"{row},,,," for row in rows]
        (self.top / "boxes.csv").write_text("path,label,xmin,ymin,xmax,ymax\n" + "\n".join(corners) + "\n")
        self._wsol(sorted((self.top / "data/test").rglob("*.jpg")))
        writer = cv2.VideoWriter(str(self.top / "video.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 4, (96, 72))
        for photo in photos[:12]:
            writer.write(np.ascontiguousarray(read_image(photo)[..., ::-1]))
        writer.release()
        for photo in sorted((self.top / "data/test").rglob("*.jpg")):
            score_map = (self.top / "maps" / photo.relative_to(self.top / "data/test")).with_suffix(".npy")
            score_map.parent.mkdir(parents=True, exist_ok=True)
            np.save(score_map, np.random.default_rng(0).random((224, 224), np.float32))

    def _wsol(self, photos: list[Path]) -> None:
        names = [photo.relative_to(self.top / "data/test").as_posix() for photo in photos]
        folder = self.top / "wsol/metadata/test"
        folder.mkdir(parents=True)
        lines = {
            "image_ids": names,
            "class_labels": [f"{name},{int(name.startswith('tower'))}" for name in names],
            "image_sizes": [f"{name},96,72" for name in names],
            "localization": [f"{name},10,12,40,60" for name in names],
        }
        for name, each in lines.items():
            (folder / f"{name}.txt").write_text("\n".join(each) + "\n")
        for name, photo in zip(names, photos, strict=True):
            copy = self.top / "wsol/test" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(photo.read_bytes())
        (self.top / "classes.csv").write_text("id,class\n" + "\n".join(f"{name},tower,none" for name in names) + "\n")

    def train(self, out: Path, data: Path | None = None, *, store: Path | None = None) -> list[object]:
        """The command that trains ``out``."""
        return [
            *("train", data or self.top / "data", "--out", out, "--recipe", self.top / "tiny.toml"),
            *("--weights", self.top / "weights", "--store", store or self.top / "store"),
        ]


def files(folder: Path) -> Iterator[Path]:
    """All files below ``folder``, by name."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
