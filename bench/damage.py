"""Seeded random damage to every kind of file that the program reads: what do the commands make of it?

    python bench/damage.py --rounds 500 --seed 0 --out damage.json

A round copies the inputs of a tiny run (workshop.py), damages one file, and runs one command that reads it: bytes are cut,
flipped or swapped; fields of JSON and TOML dropped, retyped or nested; columns of CSV shuffled, cells dropped. A command may
answer, report the file, or refuse it in one line. Faults are: an exception that nobody caught, more than 30 s or 16 GiB, a
refusal without a reason, and any change to a file outside the output. ``--only N`` repeats one round.
"""

from __future__ import annotations

import argparse
import collections
import copy
import csv
import io
import json
import random
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workshop import CRASHED, Outcome, Workshop, files, run

TIMEOUT = 30.0
DEPTH = 100_000
VALUES: list[Any] = [
    None,
    "x",
    "",
    -1,
    0,
    1e308,
    2**70,
    True,
    [],
    {},
    [None],
    {"x": []},
    "../../../etc/passwd",
    "\x1b[31m",
    float("nan"),
]

Damage = Callable[[bytes, random.Random], bytes]


def cut(data: bytes, chance: random.Random) -> bytes:
    """Keep the first part."""
    return data[: chance.randrange(len(data) + 1)]


def flip(data: bytes, chance: random.Random) -> bytes:
    """Change some bytes, mostly near the beginning, where headers are."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 4, 64])):
        if changed:
            changed[min(int(chance.expovariate(8 / len(changed))), len(changed) - 1)] = chance.randrange(256)
    return bytes(changed)


def swap(data: bytes, chance: random.Random) -> bytes:
    """Exchange two parts."""
    a, b, c = sorted(chance.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def fields(data: bytes, chance: random.Random) -> bytes:
    """Drop, retype or nest a value of JSON, JSON lines or TOML."""
    text = data.decode()
    lines = text.splitlines()
    if re.match(r"\s*\[\w+\]\n", text):  # TOML
        number = chance.choice([number for number, line in enumerate(lines) if "=" in line])
        key, value = lines[number].partition("=")[0], chance.choice([json.dumps(chance.choice(VALUES)), "[" * DEPTH])
        lines[number] = "" if chance.random() < 0.25 else f"{key}= {value}"
        return "\n".join(lines).encode()
    if not lines[0].endswith("}"):  # not a document in each line
        lines = [text]
    number = chance.randrange(len(lines))
    lines[number] = json.dumps(_changed(json.loads(lines[number]), chance)).replace('"<deep>"', "[" * DEPTH + "]" * DEPTH)
    return "\n".join(lines).encode()


def _changed(value: Any, chance: random.Random) -> Any:
    value = copy.deepcopy(value)
    places = list(_places(value))
    if not places:
        return chance.choice(VALUES)
    parent, key = chance.choice(places)
    action = chance.choice(["drop", "retype", "retype", "nest"])
    if action == "drop":
        del parent[key]
    elif action == "nest":
        parent[key] = "<deep>" if chance.random() < 0.5 else [[parent[key]]]
    else:
        parent[key] = chance.choice(VALUES)
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(value, key), *_places(value[key])]]


def columns(data: bytes, chance: random.Random) -> bytes:
    """Shuffle the columns of a CSV, drop or double a cell, or lose the header."""
    rows = list(csv.reader(io.StringIO(data.decode())))
    action = chance.choice(["shuffle", "drop", "double", "header", "nul"])
    row = chance.choice(rows)
    if action == "shuffle":
        order = chance.sample(range(len(rows[0])), len(rows[0]))
        rows = [[each[i] for i in order if i < len(each)] for each in rows]
    elif action == "header":
        rows = rows[1:]
    elif action == "nul":
        row[0] += "\0"
    elif action == "drop":
        row.pop(chance.randrange(len(row)))
    else:
        row.append(row[0])
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


BYTES: list[Damage] = [cut, flip, swap]


def damages(path: Path) -> list[Damage]:
    """What can be done to a file of this kind."""
    if path.suffix in (".json", ".toml", ".jsonl"):
        return [*BYTES, *[fields] * 5]
    return [*BYTES, *[columns] * 3] if path.suffix == ".csv" else BYTES


Case = Callable[[Workshop, random.Random], tuple[Path, list[object]]]


def _one(folder: Path, pattern: str, chance: random.Random) -> Path:
    found: Path = chance.choice([path for path in files(folder) if path.match(pattern)])
    return found


def photo(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """A photo, for five commands."""
    top = shop.top
    test, train = _one(top / "data/test", "*.jpg", chance), _one(top / "data/train", "*.jpg", chance)
    return chance.choice(
        [
            (train, ["check", top / "data"]),
            (train, _quick(shop)),
            (test, ["predict", top / "run", top / "data/test", "--out", top / "out"]),
            (test, ["evaluate", top / "run", top / "data", "--json", top / "out.json"]),
            (test, ["predict", top / "model.onnx", test, "--out", top / "out"]),
        ]
    )


def annotation_file(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """The file that says what is on the photos."""
    file = shop.top / chance.choice(["coco.json", "list.csv", "data/boxes.json"])
    if not file.exists():
        file = _one(shop.top / "data", "*.json", chance)
    data = file if file.parent == shop.top else shop.top / "data"
    return file, chance.choice(
        [
            ["check", data],
            ["check", data],
            _quick(shop, data),
            ["evaluate", shop.top / "run", data, "--split", "all" if data == file else "test"],
            ["score", shop.top / "maps", data, "--workers", "1"],
        ]
    )


def weights(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """Pretrained weights: safetensors, PyTorch's own, or a graph."""
    if chance.random() < 0.4:
        return _one(shop.top / "weights", "*.safetensors", chance), _quick(shop)
    (shop.top / "weights/test_efficientnet.safetensors").unlink()
    (shop.top / "test_efficientnet.pth").rename(shop.top / "weights/test_efficientnet.pth")
    return shop.top / "weights/test_efficientnet.pth", _quick(shop)


def run_folder(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """Any file of a trained run."""
    top, out = shop.top, shop.top / "out"
    return _one(top / "run", "*", chance), chance.choice(
        [
            ["predict", top / "run", top / "data/test", "--out", out],
            ["evaluate", top / "run", top / "data", "--json", top / "out.json"],
            ["report", top / "run"],
            ["export", top / "run", "--out", top / "out.onnx", "--photos", top / "data/test"],
            ["stream", top / "run", top / "video.avi", "--out", top / "out.json"],
            ["view", top / "run", top / "predictions", "--no-open"],
        ]
    )


def predictions(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """Any file of a prediction folder."""
    folder = shop.top / "predictions"
    return _one(folder, "*", chance), chance.choice(
        [
            ["boxes", folder, "--out", shop.top / "out", "--threshold", "0.3"],
            ["view", folder, "--no-open"],
        ]
    )


def exported(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """An exported model."""
    return shop.top / "model.onnx", ["predict", shop.top / "model.onnx", shop.top / "data/test", "--out", shop.top / "out"]


def recipe(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """Settings."""
    return shop.top / "tiny.toml", _quick(shop)


def maps(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """A score map."""
    return _one(shop.top / "maps", "*.npy", chance), ["score", shop.top / "maps", shop.top / "data", "--workers", "1"]


def video(shop: Workshop, chance: random.Random) -> tuple[Path, list[object]]:
    """A video."""
    return shop.top / "video.avi", ["stream", shop.top / "run", shop.top / "video.avi", "--out", shop.top / "out.json"]


def _quick(shop: Workshop, data: Path | None = None) -> list[object]:
    return [*shop.train(shop.top / "out", data), "--set", "train.epochs=0"]


CASES: list[Case] = [
    photo,
    annotation_file,
    annotation_file,
    weights,
    run_folder,
    run_folder,
    predictions,
    exported,
    recipe,
    maps,
    video,
]
OUTPUTS = ("out", "out.json", "out.onnx", "out.json.part", "store")
OWN = {"evaluate": "run", "report": "run", "view": "predictions"}  # these write into a folder that they read


def state(top: Path, command: str) -> dict[str, bytes]:
    """The contents of everything that the command must leave alone."""
    left_out = {*OUTPUTS, OWN.get(command, "")}
    return {
        str(path.relative_to(top)): path.read_bytes() for path in files(top) if path.relative_to(top).parts[0] not in left_out
    }


def fault(done: Outcome, before: dict[str, bytes], after: dict[str, bytes]) -> str | None:
    """Say what is wrong with how a command ended, if anything is."""
    if done.late:
        return f"more than {TIMEOUT:g} s"
    if done.code not in (0, 1, 2, 130):
        return f"exit code {done.code}" if done.code != CRASHED else done.err.strip().splitlines()[-1][:300]
    if "Traceback" in done.err:
        return "a traceback"
    if done.code == 2 and not done.err.strip().splitlines()[-1].startswith("dips: error: "):
        return "refused without a line that says why"
    if "\x1b" in done.err:
        return "a terminal escape"
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return f"changed {', '.join(changed[:3])}" if changed else None


def main() -> None:
    """Damage, run, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="repeat this round alone and print what the command said")
    parser.add_argument("--out", type=Path, help="JSON with all counts and faults")
    arguments = parser.parse_args()
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    faults: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        whole = Workshop.build(Path(folder) / "whole")
        for number in range(arguments.rounds) if arguments.only is None else [arguments.only]:
            chance = random.Random(f"{arguments.seed}/{number}")
            shop = Workshop(Path(folder) / "case")
            shutil.rmtree(shop.top, ignore_errors=True)
            shutil.copytree(whole.top, shop.top)
            case = chance.choice(CASES)
            file, command = case(shop, chance)
            damage = chance.choice(damages(file))
            try:
                file.write_bytes(damage(file.read_bytes(), chance))
            except (ValueError, IndexError):  # nothing to damage, e.g. an empty file
                file.write_bytes(b"")
            before = state(shop.top, str(command[0]))
            done = run(*command, timeout=TIMEOUT, interrupt_after=2.0 if command[0] == "view" else 0.0)
            wrong = fault(done, before, state(shop.top, str(command[0])))
            outcome = "fault" if wrong else {0: "answered", 1: "reported", 130: "answered"}.get(done.code, "refused")
            counts[case.__name__][outcome] += 1
            if wrong or arguments.only is not None:
                name = str(file.relative_to(shop.top))
                said = done.err[-3000:] if arguments.only is not None else done.err.strip().splitlines()[-1:]
                faults.append(
                    {
                        "round": number,
                        "file": name,
                        "damage": damage.__name__,
                        "command": str(command[0]),
                        "fault": wrong,
                        "said": said,
                    }
                )
                print(*faults[-1].values(), sep=" | ", flush=True)
    for name, each in sorted(counts.items()):
        print(f"{name}: " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(each.items())))
    print(f"{sum(each['fault'] for each in counts.values())} faults in {arguments.rounds} rounds, seed {arguments.seed}")
    if arguments.out:
        arguments.out.write_text(json.dumps({"seed": arguments.seed, "counts": counts, "faults": faults}, indent=2) + "\n")


if __name__ == "__main__":
    main()
