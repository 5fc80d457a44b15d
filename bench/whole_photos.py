"""Photos with one label each, learned from in tiles, against the very same tiles with a label each: AP50 on full photos.

    python bench/whole_photos.py ../shared/data/insulators --out DIR --seeds 3

56 photos are put together from 4 x 4 training tiles, no tile twice: 36 labelled ones that show 1 to 8 insulator tiles, the
others none. One model learns from these (``train.tile``), the other from their 896 parts in folders of their own. No box is
used. Both are measured on the full photos in tiles, as photos.py does. What DIR holds is not made again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from photos import measure

import dips
from dips.data import list_images

SIDE, ACROSS = 256, 4
LABELLED, EMPTY = 36, 20


def make_photos(tiles: Path, out: Path, seed: int) -> tuple[Path, Path]:
    """Make the photos, and the folder of their parts; return both folders."""
    rng = np.random.default_rng(seed)
    shown, empty = (list_images(tiles / name) for name in ("insulator", "none"))
    shown, empty = ([paths[i] for i in rng.permutation(len(paths))] for paths in (shown, empty))
    photos, parts = out / "photos", out / "parts"
    for number in range(LABELLED + EMPTY):
        count = int(rng.integers(1, 9)) if number < LABELLED else 0
        cells = [("insulator", shown.pop()) for _ in range(count)]
        cells += [("none", empty.pop()) for _ in range(ACROSS**2 - count)]
        photo = np.zeros((ACROSS * SIDE, ACROSS * SIDE, 3), np.uint8)
        places = rng.permutation(ACROSS**2)
        for place, (_, path) in zip(places, cells, strict=True):
            cell(photo, place)[:] = cv2.imread(str(path))
        file = photos / ("insulator" if count else "none") / f"{number:02}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), photo, [cv2.IMWRITE_JPEG_QUALITY, 95])
        stored = cv2.imread(str(file), cv2.IMREAD_COLOR)
        assert stored is not None
        for place, (name, _) in zip(places, cells, strict=True):
            part = parts / name / f"{number:02}-{place:02}.png"
            part.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(part), cell(stored, place))
    return photos, parts


def cell(photo: NDArray[Any], place: int) -> NDArray[Any]:
    """Return one of the parts of a photo."""
    row, column = divmod(int(place), ACROSS)
    return photo[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]


def main() -> None:
    """Train both and measure, seed by seed; print mean and standard deviation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the insulators")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tile", type=int, default=SIDE, help="train.tile")
    arguments = parser.parse_args()

    full, ground_truth = list_images(arguments.data / "photos"), arguments.data / "photos.coco.json"
    found: dict[str, list[float]] = {"photos": [], "parts": []}
    for seed in range(arguments.seeds):
        out = arguments.out / str(seed)
        folders = make_photos(arguments.data / "train", out, seed)
        for folder, tile in zip(folders, (arguments.tile, 0), strict=True):
            run = out / f"run-{folder.name}"
            settings = [f"train.tile={tile}", f"train.seed={seed}", "predict.tile=-1"]
            model = dips.fit(folder, out=run, store=out / "store", settings=settings, resume=run.exists())
            result = measure(model.predictor, full, ground_truth, "full photos")
            print(f"seed {seed}, {folder.name}: {json.dumps(result)}", flush=True)
            found[folder.name].append(result["ap50"])
    for name, values in found.items():
        print(f"{name}: AP50 {np.mean(values):.1f} ± {np.std(values):.1f} ({', '.join(f'{value:.1f}' for value in values)})")


if __name__ == "__main__":
    main()
