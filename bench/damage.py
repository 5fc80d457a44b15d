"""Seeded random damage to every kind of file that the program reads: what do the commands make of it?

    python bench/damage.py --rounds 500 --seed 0 --out damage.json

A round copies the inputs of a tiny run (workshop.py), damages one file (damages.py), and runs one command that reads it. A
command may answer, report the file, or refuse it in one line. Faults are: an exception that nobody caught, more than 30 s of
computing, 120 s of waiting or 16 GiB, a refusal without a reason, an escape sequence on the terminal, a photo that a prediction
passes over in silence, and any change outside of the output. ``--only N`` repeats one round; the same command again goes on
with the rounds that are not in ``--out``, or were faults.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import http.client
import json
import os
import random
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
from damages import damages
from forks import Outcome, Started, start
from workshop import Workshop, files

from dips.data.photo_files import SUFFIXES

COMPUTING, WAITING = 30.0, 120.0  # seconds; other programs may run on the same cores

Case = Callable[[Workshop, random.Random], tuple[Path, list[object]]]


def _one(folder: Path, pattern: str, chance: random.Random) -> Path:
    found: Path = chance.choice([path for path in files(folder) if path.match(pattern)])
    return found


def photo(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """A photo of any format, for the commands that read photos."""
    top = shop.top
    test, train = _one(top / "data/test", "*.jpg", chance), _one(top / "data/train", "*.jpg", chance)
    formats = "overlays,masks,coco,yolo,voc"
    file, command = chance.choice(
        [
            (train, ["check", top / "data/train"]),
            (train, _quick(shop, top / "data/train")),
            (
                test,
                ["predict", top / "run", top / "data/test", "--out", top / "out", "--format", formats],
            ),
            (test, ["predict", top / "run", top / "data/test", "--out", top / "out", "--tile", "64"]),
            (test, ["evaluate", top / "run", top / "data", "--json", top / "out.json"]),
            (test, ["predict", top / "model.onnx", test, "--out", top / "out"]),
            (train, ["boxes", top / "predictions", "--out", top / "out", "--threshold", "0.3"]),
            (train, ["view", top / "predictions", "--no-open"]),
            (train, ["report", top / "predictions"]),
            (train, ["stream", top / "run", top / "data/train", "--out", top / "out.json", "--idle", "0"]),
        ]
    )
    suffix = chance.choice([".jpg", ".jpg", ".png", ".webp", ".bmp", ".tif", ".16.tif", ".16.png"])
    if command[0] in ("check", "predict", "stream") and suffix != ".jpg":  # nothing else names the photo
        picture = cv2.imread(str(file))
        assert picture is not None
        other = file.with_suffix(suffix)
        cv2.imwrite(str(other), picture.astype("uint16") * 37 + 7000 if "16" in suffix else picture)
        file.unlink()
        command = [other if word == file else word for word in command]
        file = other
    return file, command


def annotation_file(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """A file that says what is on the photos: COCO with polygons or run lengths, CSV with or without boxes, WSOL metadata."""
    top = shop.top
    names = ["coco.json", "list.csv", "boxes.csv", "data/train.coco.json", "data/test.coco.json", "wsol"]
    name = chance.choice(names)
    file = _one(top / "wsol/metadata", "*.txt", chance) if name == "wsol" else top / name
    data = top / {"wsol": "wsol"}.get(name, "data" if "/" in name else name)
    split = "all" if data == file else "test"
    commands = [
        ["check", data],
        ["check", data, "--problems", top / "out.csv"],
        ["evaluate", top / "run", data, "--split", split],
        ["score", top / "maps", data, "--split", "test", "--workers", "1"],
        ["score", top / "maps", data, "--split", "test", "--workers", "1", "--csv", top / "out.csv", "--partial"],
        _quick(shop, data),
    ]
    choice = commands[:3] if data == file else commands[:-1] if name == "wsol" else commands  # wsol has no photos to train on
    return file, chance.choice(choice)


def weights(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """Pretrained weights: safetensors, or PyTorch's own."""
    if chance.random() < 0.5:
        return _one(shop.top / "weights", "*.safetensors", chance), _quick(shop)
    (shop.top / "weights/test_efficientnet.safetensors").unlink()
    (shop.top / "test_efficientnet.pth").rename(shop.top / "weights/test_efficientnet.pth")
    return shop.top / "weights/test_efficientnet.pth", _quick(shop)


def run_folder(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """Any file of a trained run."""
    top, out = shop.top, shop.top / "out"
    command = chance.choice(
        [
            ["predict", top / "run", top / "data/test", "--out", out],
            ["predict", top / "run", top / "data/test", "--out", out, "--set", "predict.mode=unet"],
            ["evaluate", top / "run", top / "data", "--json", top / "out.json"],
            ["report", top / "run"],
            ["export", top / "run", "--out", top / "out.onnx", "--photos", top / "data/test"],
            ["stream", top / "run", top / "video.avi", "--out", top / "out.json"],
            ["view", top / "run", top / "predictions", "--no-open"],
        ]
    )
    names = ["model.json", "model.json", "model.safetensors", "config.toml", "run.json"]
    if command[0] in ("report", "evaluate"):
        names += ["evaluation.json", "evaluation-photos.json", "training-photos.json", "metrics.jsonl"]
    return top / "run" / chance.choice(names), command


def interrupted(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """What a training, a prediction or a stream left that was killed: the same command goes on."""
    top = shop.top
    train = [*shop.train(top / "cut-run", store=top / "cut-store"), "--resume"]
    predict = ["predict", top / "run", top / "data/train", "--out", top / "cut-predictions", "--format", "coco"]
    stream = ["stream", top / "run", top / "data/train", "--out", top / "cut-stream.json", "--idle", "0"]
    where, command = chance.choice(
        [("cut-run", train), ("cut-store", train), ("cut-predictions", predict), ("cut-stream.json.part", stream)]
    )
    return top / where if where.endswith(".part") else _one(top / where, "*", chance), command


def predictions(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """Any file of a prediction folder, its review included."""
    folder = shop.top / "predictions"
    with_boxes = [path for path in files(folder / "json") if '"counts"' in path.read_text()]
    kinds = [_one(folder / "json", "*", chance), _one(folder / "maps", "*", chance), chance.choice(with_boxes)]
    file = chance.choice([*kinds, folder / "review.jsonl"])
    commands = [
        ["boxes", folder, "--out", shop.top / "out", "--threshold", "0.3", "--format", "overlays,masks,coco,yolo,voc,csv"],
        ["view", folder, "--no-open"],
        ["report", folder],
    ]
    return file, commands[1] if file.name == "review.jsonl" else chance.choice(commands)


def exported(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """An exported model."""
    model = shop.top / "model.onnx"
    return model, chance.choice(
        [
            ["predict", model, shop.top / "data/test", "--out", shop.top / "out"],
            ["stream", model, shop.top / "video.avi", "--out", shop.top / "out.json"],
        ]
    )


def recipe(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """Settings."""
    return shop.top / "tiny.toml", _quick(shop)


def scored(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """A score map, and the thresholds and classes that go with them."""
    top = shop.top
    file = chance.choice([_one(top / "maps", "*.npy", chance), top / "taus.json", top / "classes.csv"])
    more = ["--tau-from", top / "taus.json", "--predicted", top / "classes.csv", "--csv", top / "out.csv"]
    return file, ["score", top / "maps", top / "data", "--workers", "1", *more]


def video(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """A video."""
    return shop.top / "video.avi", ["stream", shop.top / "run", shop.top / "video.avi", "--out", shop.top / "out.json"]


def _quick(shop: Workshop, data: Path | None = None) -> list[object]:
    return [*shop.train(shop.top / "out", data), "--set", "train.epochs=0"]


CASES: list[Case] = [
    *(photo, photo, annotation_file, annotation_file, weights, run_folder, run_folder),
    *(predictions, predictions, interrupted, exported, recipe, scored, video),
]
OUTPUTS = re.compile(r"home/.*|case/(out\b.*|store(/.*)?|cut-.*)")
OWN = {  # what commands write into a folder that they read
    "evaluate": re.compile(r"case/run(/evaluation[-.].*|/report\.html|/README\.md)?"),
    "report": re.compile(r"case/(run|predictions)(/report\.html)?"),
    "view": re.compile(r"case/predictions(/review\.jsonl|/reviewed\.coco\.json)?"),
}


State = dict[str, tuple[int, ...]]


def state(top: Path, command: str) -> State:
    """Everything around the command that it must leave alone, with sizes and times."""
    found: State = {}
    for path in top.rglob("*"):
        name = path.relative_to(top).as_posix()
        if not (OUTPUTS.fullmatch(name) or (command in OWN and OWN[command].fullmatch(name))):
            stat = path.lstat()
            found[name] = (stat.st_mode, *((stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) if path.is_file() else ()))
    return found


def look_around(started: Started) -> None:
    """Use the review page: all photos and pictures, a change of each photo; then a Ctrl-C."""
    deadline = time.monotonic() + 60
    while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", started.err())):
        if time.monotonic() > deadline or started.ended():
            return
        time.sleep(0.01)
    line = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
    head = {"Authorization": f"Bearer {found[2]}", "Content-Type": "application/json"}

    def ask(way: str, address: str, body: str | None = None) -> bytes:
        line.request(way, address, body, head)
        return line.getresponse().read()

    photos = json.loads(ask("GET", "/api/photos"))["photos"]
    for index, item in enumerate(photos):
        ask("GET", f"/api/photos/{index}/small")
        ask("GET", f"/api/photos/{index}/large")
        change = {"version": item["state"]["version"], "reviewed": True, "boxes": item["state"]["boxes"]}
        ask("POST", f"/api/photos/{index}", json.dumps(change))
    os.kill(started.pid, 2)


def execute(command: list[object]) -> Outcome:
    """Run a command; a review page is used meanwhile."""
    is_view = command[0] == "view"
    started = start(*command, interrupt_after=20.0 if is_view else 0.0)
    if is_view:
        person = threading.Thread(target=_quietly, args=(started,), daemon=True)
        person.start()
        outcome = started.wait(WAITING)
        person.join(10)
        return outcome
    return started.wait(WAITING)


def _quietly(started: Started) -> None:
    try:
        look_around(started)
    except (OSError, ValueError, http.client.HTTPException):  # the page ended; what it printed is looked at
        return


def fault(done: Outcome, shop: Workshop, command: list[object], before: State, after: State) -> str | None:
    """Say what is wrong with how a command ended, if anything is."""
    said = done.out + done.err
    if done.late or done.cpu > COMPUTING:
        return f"{done.cpu:.0f} s of computing, {done.seconds:.0f} s in all"
    if done.code not in (0, 1, 2, 130):
        last = (said.strip().splitlines() or ["without a word"])[-1][:300]
        return f"exit code {done.code}: {last}"
    for words in ("Traceback", "a request failed", "Warning:", "\x1b"):
        if words in said:
            return repr(words)
    if done.code == 2 and not done.err.strip().rpartition("\n")[2].startswith("dips: error: "):
        return "refused without a line that says why"
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        return f"changed {', '.join(changed[:3])}"
    if command[0] == "predict" and done.code < 2:
        return _silence(Path(str(command[2])), Path(str(command[command.index("--out") + 1])))
    return None


def _silence(photos: Path, out: Path) -> str | None:
    given = [path for path in files(photos) if path.suffix in SUFFIXES] if photos.is_dir() else [photos]
    done = len(list((out / "json").rglob("*.json")))
    skipped = len(json.loads((out / "skipped.json").read_text())["skipped"]) if (out / "skipped.json").is_file() else 0
    return None if done + skipped == len(given) else f"{done} photos done and {skipped} skipped of {len(given)}"


def reseal(shop: Workshop, file: Path) -> None:
    """Let the checksum of a run fit its networks, so that what is read behind it is tried, too."""
    record = shop.top / "run/model.json"
    if file == shop.top / "run/model.safetensors":
        content = json.loads(record.read_text()) | {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        record.write_text(json.dumps(content))


def case_of(number: int, seed: int) -> tuple[Case, random.Random]:
    """Return the case of a round, and what its other choices are drawn from."""
    chance = random.Random(f"{seed}/{number}")
    return chance.choice(CASES), chance


def one_round(top: Path, number: int, seed: int) -> tuple[str, dict[str, Any], Outcome]:
    """Return the case of a round, what was done, and how it ended.

    Args:
        top: has ``whole``, from which ``case`` is made.
    """
    case, chance = case_of(number, seed)
    shop = Workshop(top / "case")
    shutil.rmtree(shop.top, ignore_errors=True)
    shutil.copytree(top / "whole", shop.top, ignore=None if case is interrupted else shutil.ignore_patterns("cut-*"))
    file, command = case(shop, chance)
    damage = chance.choice(damages(file))
    try:
        file.write_bytes(damage(file.read_bytes(), chance))
    except (ValueError, IndexError, StopIteration):  # nothing to damage, e.g. an empty file
        file.write_bytes(b"")
    if chance.random() < 0.7:
        reseal(shop, file)
    before = state(top, str(command[0]))
    done = execute(command)
    wrong = fault(done, shop, command, before, state(top, str(command[0])))
    about = {
        "seed": seed,
        "round": number,
        "file": str(file.relative_to(shop.top)),
        "damage": damage.__name__,
        "command": str(command[0]),
        "ended": "fault" if wrong else {0: "answered", 1: "reported", 130: "answered"}.get(done.code, "refused"),
        "fault": wrong,
        "seconds": round(done.cpu, 1),
        "said": done.err.strip().splitlines()[-1:],
    }
    return case.__name__, about, done


def main() -> None:
    """Damage, run, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--cases", nargs="*", choices=sorted({case.__name__ for case in CASES}), help="only rounds of these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="repeat this round alone and print what the command said")
    parser.add_argument("--out", type=Path, help="JSON lines, one per round")
    arguments = parser.parse_args()
    rounds: list[dict[str, Any]] = []
    if arguments.out and arguments.out.is_file():
        rounds = [json.loads(line) for line in arguments.out.read_text().splitlines()]
        rounds = [each for each in rounds if each.get("seed") == arguments.seed and each["round"] < arguments.rounds]
        rounds = list({each["round"]: each for each in rounds}.values())  # the last of those that were repeated
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"HOME": f"{folder}/home", "XDG_CACHE_HOME": f"{folder}/home/cache"}
        shutil.copytree(Workshop.build(Path(folder) / "case").top, Path(folder) / "whole")  # its files name their places
        done_well = {each["round"] for each in rounds if not each["fault"]}
        rounds = [each for each in rounds if not each["fault"]]
        todo = [number for number in range(arguments.rounds) if number not in done_well]
        for number in todo if arguments.only is None else [arguments.only]:
            if (
                arguments.only is None
                and arguments.cases
                and case_of(number, arguments.seed)[0].__name__ not in arguments.cases
            ):
                continue
            name, about, done = one_round(Path(folder), number, arguments.seed)
            rounds.append({"case": name, **about})
            if about["fault"] or arguments.only is not None:
                print(*about.values(), sep=" | ", flush=True)
            if arguments.only is not None:
                print(done.out[-1000:], done.err[-4000:], sep="\n")
            elif arguments.out:
                with arguments.out.open("a") as file:
                    file.write(json.dumps(rounds[-1]) + "\n")
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for each in rounds:
        counts[each["case"]][each["ended"]] += 1
    for name, ended in sorted(counts.items()):
        print(f"{name}: " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(ended.items())))
    print(f"{sum(each['fault'] for each in counts.values())} faults in {len(rounds)} rounds, seed {arguments.seed}")


if __name__ == "__main__":
    main()
