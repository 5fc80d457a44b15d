"""The sample data of ``dips demo``: a folder of generated drone photos, labelled ``tower`` and ``none``, with
ground-truth boxes.

In: a folder, counts, a size and a seed. Out, written completely or not at all::

    train/{tower,none}/NNNN.jpg    test/{tower,none}/NNNN.jpg
    train.coco.json                test.coco.json         boxes, and the silhouettes as uncompressed RLE
    masks/{train,test}/NNNN.png    255 on the tower of train/tower/NNNN.jpg and test/tower/NNNN.jpg
    sample.json                    the arguments, so that the same call reuses the folder
    README.txt

The two classes share camera, light, land and everything on it; they differ only in the lattice tower with its shadow and
conductors. Training and test scenes use different seeds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dips.demo.render import render_scene
from dips.errors import DataError, RunError
from dips.scoremaps.rle import run_lengths
from dips.system.console import track
from dips.system.files import new_folder
from dips.system.journal import Claim

__all__ = ["write_sample"]

SAMPLE_VERSION = 2
CLASSES = ("none", "tower")

README_TEXT = """\
These photos are not photos: they are GENERATED scenes, drawn by the program DiPS (dips.demo) from random numbers
(seed {seed}). No drone flew, no place or building in them exists. They are here to try DiPS without your own data
and to check an installation. Accuracy on them says nothing about accuracy on real photos.

train/, test/          photos in the folders 'tower' (one lattice tower of a power line) and 'none'
*.coco.json            the towers' ground-truth boxes and masks (category 'tower'); nothing is trained on those of train/,
                       but the validation part of them chooses the threshold
masks/                 the masks as pictures, 255 = tower: the outer silhouette with the lattice's holes filled, without
                       shadow, insulators and wires, and without what something else hides
sample.json            how the folder was made
"""


def write_sample(folder: Path, *, train: int = 120, test: int = 40, size: tuple[int, int] = (480, 360), seed: int = 0) -> None:
    """Fill ``folder`` with ``train`` and ``test`` scenes of ``size`` (width, height), half of them with a tower.

    A folder that already contains the same sample is not changed.

    Raises:
        DataError: ``folder`` is incomplete, or an argument is out of range.
        RunError: ``folder`` exists and contains something else, or cannot be written to.
    """
    folder = Path(folder)
    if min(train, test) < 2 or min(size) < 64 or max(size) > 4096 or seed < 0:
        raise DataError(
            f"the sample needs at least 2 photos per split, sides of 64 to 4096 pixels and a seed >= 0, "
            f"not train={train}, test={test}, size={size}, seed={seed}"
        )
    made_with = {"version": SAMPLE_VERSION, "train": train, "test": test, "size": list(size), "seed": seed}
    claim = Claim(
        folder=folder,
        mark="sample.json",
        identity=made_with,
        holds="a sample",
        unmarked="and is no sample of dips demo",
        remedy="choose another folder or remove it",
    )
    if claim.check() is not None:
        _check_complete(folder, made_with)
        return
    with new_folder(folder) as work:
        for split, count in (("train", train), ("test", test)):
            _write_split(work, split, count, size, seed)
        (work / "README.txt").write_text(README_TEXT.format(seed=seed), encoding="utf-8")
        _write_json(work / claim.mark, made_with)


def _check_complete(folder: Path, made_with: dict[str, Any]) -> None:
    for split in ("train", "test"):
        for name, label, _ in _plan(split, int(made_with[split])):
            for path in (folder / split / CLASSES[label] / name, *([folder / _mask_name(split, name)] if label else [])):
                if not path.is_file():
                    raise DataError(f"{folder} is incomplete: {path} is missing; remove the folder, and it will be rebuilt")


def _plan(split: str, count: int) -> list[tuple[str, int, list[int]]]:
    """Return the file name, label and seed numbers of each scene; the first half (rounded up) has towers."""
    towers = (count + 1) // 2
    which = {"train": 0, "test": 1}[split]
    return [
        (f"{index:04d}.jpg", label, [which, label, index])
        for label, number in ((1, towers), (0, count - towers))
        for index in range(number)
    ]


def _mask_name(split: str, name: str) -> str:
    return f"masks/{split}/{Path(name).stem}.png"


def _write_split(work: Path, split: str, count: int, size: tuple[int, int], seed: int) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for name, label, numbers in track(_plan(split, count), f"drawing {split} scenes"):
        rng = np.random.default_rng([seed, *numbers])
        scene = render_scene(rng, tower=bool(label), size=size)
        place = f"{split}/{CLASSES[label]}/{name}"
        quality = int(rng.integers(78, 95))
        _write_picture(work / place, scene.image[..., ::-1], ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])
        images.append({"id": len(images), "file_name": place, "width": size[0], "height": size[1]})
        if scene.box is None:
            continue
        _write_picture(work / _mask_name(split, name), scene.mask.astype(np.uint8) * 255, ".png", [])
        x0, y0, x1, y1 = scene.box
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": images[-1]["id"],
                "category_id": 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": int(scene.mask.sum()),
                "iscrowd": 0,
                "segmentation": {"size": [size[1], size[0]], "counts": run_lengths(scene.mask).tolist()},
            }
        )
    content = {
        "info": {"description": "generated scenes of dips demo, not photos", "version": str(SAMPLE_VERSION)},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "tower"}],
    }
    _write_json(work / f"{split}.coco.json", content)


def _write_picture(path: Path, pixels: NDArray[np.uint8], kind: str, options: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # encoded separately from writing, so that any file name works on any system
    done, data = cv2.imencode(kind, np.ascontiguousarray(pixels), options)
    if not done:
        raise RunError(f"{path} cannot be written as {kind}; install opencv-python-headless again")
    path.write_bytes(data.tobytes())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
