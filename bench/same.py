"""Does another checkout do the same? The same commands from two checkouts, and all files that they write, byte for byte.

    python bench/same.py OLD NEW --data ../shared/data --work /tmp/same [--only train,predict]

In: two checkouts, and the folder of real photos that holds ``birds20`` and ``insulators``. Each side runs ``python -m dips``
from its ``src`` on a small cut of the photos (``WORK/data``), in a folder of the same name (``WORK/here``), so no path differs.
It becomes ``WORK/old-HASH``, which is kept and not run again while source and commands stay the same, or ``WORK/new-HASH``.
``--only`` adds what a step needs. Out: a table of files, and what differs where; the exit code is 0 if all are equal but for
``MASKS``, else 1. What commands print may differ ("text"), how they exit may not. Not run: ``view``, ``demo``, ``doctor``.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import safetensors.numpy

# What two runs of the same code differ in: wall-clock times, which follow the group in files of this name. Besides, a .sqlite
# may hold its records in any order ("masked", too): threads store the photos of ``compare``, each when it is done.
MASKS = (
    ("*.json*", r'("(?:seconds|fixed|needs_seconds|seconds_per_photo|harvest|training)": )[\d.e+-]+'),
    ("README.md", r"(\*\*Seed:\*\* \d+; )\d+(?= s of training)"),
    ("table*.*", r"(?m)([|&] )[\d.]+ [|&] [\d.]+(?= [|&] [\d.]+ (?:\||\\\\)$)"),  # columns: minutes, milliseconds per photo
    ("table*.*", r"( \()[\d.]+(?= min\))"),
    ("compare/said.txt", r"( \()[\d.]+(?= min\))"),
    ("compare/said.txt", r"(?m)( )[\d.]+ +[\d.]+(?= +[\d.]+ +$)"),
    ("said.txt", r"( |\()[\d.]+(?= s\b)"),
)
BIRDS, TILES = "../data/birds20", "../data/insulators"
FORMATS = "--format overlays,masks,coco,yolo,yolo-seg,voc,labelstudio,geojson,csv"
BRIEF = "--store compare/store --budget 0.0001 --photos 3 --set harvest.sizes=[224,266]"
DRONE = "--recipe drone --set harvest.sizes=[224] --set train.resize=256 --set train.crop=224 --set predict.size=224"
# A step and a command; a step writes into the folder of its name, into which it copies what it would change.
COMMANDS = f"""
train     train {BIRDS} --out train/birds --store train/store --set train.epochs=2 --set harvest.sizes=[224,266]
train     train {TILES} --out train/tiles --store train/store --set train.epochs=2 {DRONE}
predict   predict train/birds {BIRDS}/test --out predict/birds {FORMATS}
predict   predict train/birds {BIRDS}/test --out predict/accurate {FORMATS} --set predict.mode=accurate
predict   predict train/tiles {TILES}/photos --out predict/tiles {FORMATS} --tile auto
predict   predict train/tiles {TILES}/photos {BIRDS}/test --out predict/more --tile 400 --set predict.threshold=0.3
stream    stream train/birds ../data/flight.avi --out stream/video.json --fps 1
boxes     boxes predict/birds --out boxes/same {FORMATS}
boxes     boxes predict/tiles --out boxes/other {FORMATS} --threshold 0.3 --min-area 0.001 --min-score 0.2 --max-boxes 3
evaluate  cp -r train evaluate/runs
evaluate  evaluate evaluate/runs/birds {BIRDS} --json evaluate/birds.json --plots evaluate/plots
evaluate  evaluate evaluate/runs/tiles {TILES} --protocol original-pixels --photos 5
score     score ../data/maps.npz {BIRDS} --json score/a.json --csv score/a.csv --plots score/a --predicted ../data/predicted.csv
score     score predict/birds/maps {BIRDS}/test --resize --json score/b.json --csv score/b.csv --workers 1
compare   cp -r train/store compare/store
compare   compare {BIRDS} --methods dips,accurate,cam,ts-cam,centre,../data/eigen.py:EigenCam --out compare/birds {BRIEF}
compare   compare {TILES} --methods dips,cam,lost,mean --out compare/tiles --protocol original-pixels {BRIEF} {DRONE}
export    export train/birds --out export/birds.onnx --photos {BIRDS}/test/004.Groove_billed_Ani --set predict.mode=accurate
export    export train/tiles --out export/tiles.onnx --photos {TILES}/test/none --int8 {TILES}/train
export    predict export/birds.onnx {BIRDS}/test --out export/birds {FORMATS}
export    predict export/tiles.onnx {TILES}/photos --out export/tiles {FORMATS} --tile auto
report    cp -r evaluate/runs/birds report/birds
report    report report/birds
"""
HELP = "train predict stream boxes view export evaluate score compare report check settings doctor demo completion"
STEPS = {"help": ["--version", "settings", f"check {BIRDS}", f"check {TILES}", *(f"{name} --help" for name in HELP.split())]}
for line in COMMANDS.strip().splitlines():
    STEPS.setdefault(line.split()[0], []).append(line.split(maxsplit=1)[1])
CUT = {"birds20/train/0[01][49].*": 10, "birds20/test/0[01][49].*": 6}  # folders, and how many files are taken of each
CUT |= {"birds20/metadata/*": 4, "insulators/train/*": 20, "insulators/test/*": 12, "insulators/photos": 2}


def make_data(source: Path, out: Path, checkout: Path) -> None:
    """Write a small cut of the photos with its ground truth, a broken photo, a video, score maps and a method to ``out``."""
    for file in [item for cut, n in CUT.items() for each in source.glob(cut) for item in sorted(each.iterdir())[:n]]:
        (out / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, out / file.relative_to(source))
    birds, tiles = out / "birds20", out / "insulators"
    for file in birds.glob("metadata/*/*.txt"):
        rows = [row for row in file.read_text().splitlines() if (birds / row.split(",")[0]).is_file()]
        file.write_text("\n".join(rows) + "\n")
    for file in source.glob("insulators/*.coco.json"):
        coco = json.loads(file.read_text())
        images = [image for image in coco["images"] if (tiles / image["file_name"]).is_file()]
        boxes = [box for box in coco["annotations"] if box["image_id"] in {image["id"] for image in images}]
        (tiles / file.name).write_text(json.dumps({**coco, "images": images, "annotations": boxes}))
    (tiles / "photos" / "broken.jpg").write_text("no photo")
    video = cv2.VideoWriter(str(out / "flight.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 2, (320, 256))
    for photo in sorted(birds.glob("test/*/*"))[:8]:
        video.write(cv2.resize(np.asarray(cv2.imread(str(photo))), (320, 256)))
    random, rows = np.random.default_rng(0), (birds / "metadata/test/class_labels.txt").read_text().split()
    (out / "predicted.csv").write_text("".join(f"{row},{random.choice([0, 1, 6, 9])}\n" for row in rows))
    maps: dict[str, Any] = {row.split(",")[0]: cv2.resize(random.random((14, 14), "f4"), (224, 224)) for row in rows}
    np.savez(out / "maps.npz", **maps)
    (out / "eigen.py").write_text((checkout / "docs/compare.md").read_text().split("```python\n")[1].split("```")[0])


def run_step(commands: list[str], folder: Path, source: Path) -> None:
    """Run the commands of a step beside ``folder``, which they fill; what they print and their exit codes go there, too."""
    caches = str(folder.parents[1] / "caches" / source.parent.name)
    own = {"PYTHONPATH": str(source), **dict.fromkeys(("PYTHONPYCACHEPREFIX", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"), caches)}
    own |= {"PYTHONDONTWRITEBYTECODE": "", "DIPS_WEIGHTS": "", "DIPS_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for command in commands:
        called = command.split() if command.startswith("cp ") else [sys.executable, "-m", "dips", *command.split()]
        done = subprocess.run(called, cwd=folder.parent, env=os.environ | own, capture_output=True, text=True)
        with (folder / "said.txt").open("a") as said, (folder / "exit-codes.txt").open("a") as codes:
            said.write(f"$ {command}\n{done.stdout}{done.stderr}")
            codes.write(f"{done.returncode} {command}\n")
        if done.returncode not in (0, 1):  # 1: a photo could not be read
            print(f"{command}\nended with {done.returncode}: {done.stderr.strip()[-300:]}")


def run_side(side: str, checkout: Path, work: Path, steps: list[str]) -> Path:
    """Run the steps that are not kept from before, and return the folder with what they wrote."""
    package = (checkout / "src" / "dips").resolve(strict=True)  # else an installed dips would be run
    files = [file.read_bytes() for file in sorted(package.rglob("*.*")) if file.suffix != ".pyc"]
    made_by = hashlib.sha256(repr([STEPS, sys.version, files]).encode()).hexdigest()[:12]
    home, here = work / f"{side}-{made_by}", work / "here"
    for folder in [*work.glob("new-*"), *([] if (here / home.name).exists() else [here])]:
        shutil.rmtree(folder, ignore_errors=True)
    if not here.exists():  # else this comparison was killed, and goes on
        home.mkdir(exist_ok=True)
        (home / home.name).touch()
        home.rename(here)
    for step in steps:
        started, seconds = time.monotonic(), here / f"{step}.seconds"
        if not (kept := seconds.is_file()):
            run_step(STEPS[step], here / step, package.parent)
            seconds.write_text(f"{time.monotonic() - started:.0f}")
        print(f"{side} {step:9}{seconds.read_text():>4} s{' (kept)' if kept else ''}", flush=True)
    here.rename(home)
    return home


def contents(suffix: str, data: bytes) -> dict[str, Any]:
    """What a file holds by key: values of JSON, tensors, pixels, records of the store, else lines of text, or the bytes."""
    if suffix == ".json":
        return leaves(json.loads(data))
    if suffix == ".safetensors":
        return safetensors.numpy.load(data)
    if suffix in (".png", ".jpg"):
        return {"pixels": cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)}
    if suffix == ".sqlite":
        database = sqlite3.connect(":memory:")
        database.deserialize(data)
        return {key.hex()[:8]: record.hex() for key, record in database.execute("SELECT key, record FROM records")}
    if b"\0" in data:
        return {"bytes": np.frombuffer(data, np.uint8)}
    return {f"line {number}": line for number, line in enumerate(data.decode(errors="replace").splitlines(), 1)}


def leaves(value: Any, path: str = "") -> dict[str, str]:
    """The values inside of JSON by their paths."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {k: v for key, inner in items for k, v in leaves(inner, f"{path}.{key}").items()} or {path: json.dumps(value)}


def compare(name: str, one: bytes, two: bytes) -> tuple[str, str]:
    """How two files of a name are alike, a column of the table; and what differs."""
    for kind in ("equal", "masked"):
        if one == two:
            return kind, ""
        for expression in (expression for pattern, expression in MASKS if Path(name).match(pattern)):
            one, two = (re.sub(expression.encode(), rb"\g<1>0", data) for data in (one, two))
    old, new = (contents(Path(name).suffix, data) for data in (one, two))
    words = []
    for key in {**old, **new}:
        a, b = old.get(key, ""), new.get(key, "")
        if isinstance(a, str) and isinstance(b, str):
            start = max(0, len(os.path.commonprefix([a, b])) - 20)  # noqa: RUF071 (of letters, not of folders)
            words += [f"{key}: {a[start : start + 70]!r} / {b[start : start + 70]!r}"] if a != b else []
        elif np.shape(a) != np.shape(b):
            words.append(f"{key}: {np.shape(a)} / {np.shape(b)}")
        elif not np.array_equal(a, b):
            words.append(f"{key}: {(a != b).sum()} of {a.size} differ, by up to {np.abs(a - b.astype(float)).max():.3g}")
    if not words and name.endswith(".sqlite"):
        return "masked", ""
    told = "; ".join(words[:3] or ["the same contents in other bytes"]) + (f"; {len(words)} in all" if len(words) > 3 else "")
    return "text" if name.endswith("/said.txt") else "different", told


def main() -> int:
    """Run both sides, compare and print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs=2, metavar="CHECKOUT", help="the old one and the new one")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", type=lambda text: set(text.split(",")), default=set(STEPS), help=", ".join(STEPS))
    given = parser.parse_args()
    for step in (step for step in reversed(STEPS) if step in given.only):
        given.only |= {other for other in STEPS if any(f" {other}/" in command for command in STEPS[step])}
    steps, work = sorted(given.only, key=[*STEPS].index), given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    fcntl.flock(_lock := (work / "lock").open("w"), fcntl.LOCK_EX)  # comparisons in one folder take turns
    if not (work / "data").exists():
        make_data(given.data, work / "data", given.checkouts[0])
    sides = [run_side(*each, work, steps) for each in zip(("old", "new"), given.checkouts, strict=True)]
    columns, differences = ("files", "equal", "masked", "different", "text"), []
    print(f"\n{'step':9}", *(f"{column:>9}" for column in columns))
    for step in steps:
        counts: Counter[str] = Counter()
        for name in sorted({str(f.relative_to(side)) for side in sides for f in (side / step).rglob("*") if f.is_file()}):
            both = [(side / name).read_bytes() for side in sides if (side / name).is_file()]
            kind, told = compare(name, *both) if len(both) == 2 else ("different", "is there on one side only")
            counts.update(["files", kind])
            differences += [f"{kind:9} {name}: {told}"] if told else []
        print(f"{step:9}", *(f"{counts[column]:9}" for column in columns), flush=True)
    print("", *differences, sep="\n")
    return int(any(line.startswith("different") for line in differences))


if __name__ == "__main__":
    sys.exit(main())
