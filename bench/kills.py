"""Kills at random moments: is anything lost, and does the same command then give what it gives without?

    python bench/kills.py --kills 1000 --seed 0 --out kills.jsonl

The commands are harvest and training, prediction, streams of a video and of a folder, the review page, score and boxes, with
the tiny run of workshop.py; prediction, score and harvest also with two workers and as an array (kills_many.py). In a round
the command is killed (SIGKILL) once to six times, then repeated to its end, as a person would (``dips train`` with ``--resume``
once its run folder exists). Half of the kills come at moments drawn from the time that it computes, half at moments drawn from
what it does on the disk (forks.py); a kill counts if the command was at work.
Afterwards the output is compared with that of an undisturbed command: all files must be there, none more, with the same
contents but for times; the store must hold the same records, each once; processes that a killed command started must end. Every
change that the review page confirmed must be there.
The same command again goes on with the rounds that are not in ``--out``, or were faults.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import itertools
import json
import random
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forks import KILLED, Outcome, run, start
from kills_many import many_round
from kills_view import view_round
from safetensors import safe_open
from workshop import Workshop, files

TIMES = re.compile(r"seconds|_s$|time|date|created|photos_per")  # names of fields and files that differ from run to run
PAGES = (".html", ".md", ".toml")  # made from the rest; only their presence is compared
COMMAND_LINE = "command"  # of the environment: --resume may be part of it

Command = Callable[[Workshop, Path], list[object]]


def train(shop: Workshop, out: Path) -> list[object]:
    """Harvest and training, with a store of its own."""
    command = shop.train(out / "run", store=out / "store")
    return [*command, "--resume"] if (out / "run").exists() else command


def train_tiles(shop: Workshop, out: Path) -> list[object]:
    """The same in tiles, by which a photo is many records of the store."""
    return [*train(shop, out), "--set", "train.tile=48", "--set", "train.epochs=0"]


def predict(shop: Workshop, out: Path) -> list[object]:
    """Prediction with all files."""
    formats = "json,overlays,masks,coco,yolo,voc,csv"
    return ["predict", shop.top / "run", shop.top / "data/train", "--out", out / "out", "--format", formats]


def boxes(shop: Workshop, out: Path) -> list[object]:
    """Boxes with another threshold."""
    return ["boxes", shop.top / "predictions", "--out", out / "out", "--threshold", "0.3"]


def stream(shop: Workshop, out: Path) -> list[object]:
    """A video."""
    return ["stream", shop.top / "run", shop.top / "video.avi", "--out", out / "frames.json", "--fps", "0", "--track"]


def watch(shop: Workshop, out: Path) -> list[object]:
    """A watched folder."""
    return ["stream", shop.top / "run", shop.top / "data/train", "--out", out / "frames.json", "--idle", "0.3"]


def score(shop: Workshop, out: Path) -> list[object]:
    """Score maps against ground truth, in this process."""
    result = ["--json", out / "score.json", "--csv", out / "score.csv"]
    return ["score", shop.top / "maps", shop.top / "data", "--workers", "1", *result]


def many_maps(shop: Workshop) -> Path:
    """Return a folder with maps of many photos, and their ground truth."""
    top = shop.top / "many"
    if not top.exists():
        for copy in range(16):
            for photo in files(shop.top / "data/test/tower"):
                name = f"{copy}-{photo.stem}"
                for kind, source in (("test", photo), ("maps", shop.top / f"maps/tower/{photo.stem}.npy")):
                    target = top / f"{kind}/tower/{name}{source.suffix}"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(source, target)
        names = [path.relative_to(top / "test").as_posix() for path in files(top / "test")]
        folder = top / "metadata/test"
        folder.mkdir(parents=True)
        for name, fields in {
            "image_ids": "",
            "class_labels": ",0",
            "image_sizes": ",96,72",
            "localization": ",9,9,40,60",
        }.items():
            (folder / f"{name}.txt").write_text("\n".join(f"{each}{fields}" for each in names) + "\n")
    return top


def score_many(shop: Workshop, out: Path) -> list[object]:
    """Score many maps against ground truth, and keep what was measured."""
    top = many_maps(shop)
    return ["score", top / "maps", top, "--out", out / "scores"]


def harvest(shop: Workshop, out: Path) -> list[object]:
    """What a training does with each photo, with a store of its own."""
    recipe = ["--recipe", shop.top / "tiny.toml", "--set", "harvest.batch=2"]
    return ["harvest", shop.top / "data", "--store", out / "store", "--weights", shop.top / "weights", *recipe]


COMMANDS: list[Command] = [train, train_tiles, predict, boxes, stream, watch, score, score_many, harvest]
MANY: dict[str, tuple[Command, str]] = {
    f"{command.__name__}_{how}": (command, how) for command in (predict, score_many, harvest) for how in ("workers", "array")
}
PLACES: dict[Command, str] = {predict: "out", score_many: "scores", harvest: "store"}


def contents(folder: Path, *, strict: bool = False) -> dict[str, Any]:
    """What must be the same, by the name of the file; ``strict``: photos were always in the same batches."""
    found: dict[str, Any] = {}
    for path in files(folder):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".sqlite":
            with closing(sqlite3.connect(path)) as shelf:  # records of another batch may differ in the last bits
                rows = shelf.execute(f"SELECT key, {'record' if strict else '0'} FROM records ORDER BY key")
                found[name] = hashlib.sha256(repr(rows.fetchall()).encode()).hexdigest()
        elif TIMES.search(path.name):
            found[name] = None
        elif path.suffix in (".json", ".jsonl"):
            found[name] = [timeless(json.loads(line)) for line in documents(path)]
        elif path.suffix == ".safetensors":  # the order of its notes is random
            with safe_open(path, "np") as file:
                tensors = {key: file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118  # no mapping
                found[name] = tensors, file.metadata()
        else:
            found[name] = None if path.suffix in PAGES else path.read_bytes().replace(str(folder).encode(), b"")
    return found


def documents(path: Path) -> list[str]:
    """The JSON documents of a file."""
    text = path.read_text().replace(str(path.parents[1]), "").replace(str(path.parent), "")
    return text.splitlines() if path.suffix == ".jsonl" else [text]


def timeless(value: Any) -> Any:
    """Drop what differs from run to run."""
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if key != COMMAND_LINE and not TIMES.search(key)}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def difference(expected: dict[str, Any], found: dict[str, Any]) -> str | None:
    """Name the first file that is not as expected."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} is left over"
        if expected[name] != found[name]:
            return f"{name} differs"
    return None


@dataclass(frozen=True)
class Usual:
    """How a command goes that is not disturbed: its time, how many moments it has, and what it writes."""

    seconds: float
    cpu: float
    moments: int
    written: dict[str, Any]


def undisturbed(command: Command, shop: Workshop, out: Path) -> Usual:
    """Run a command; ``out`` is empty afterwards."""
    done = run(*command(shop, out), kill_at=0)
    if done.code:
        raise RuntimeError(done.err)
    usual = Usual(done.seconds, done.cpu, done.moments, contents(out, strict=command is harvest))
    shutil.rmtree(out)
    out.mkdir()
    return usual


def kill_round(
    command: Command, shop: Workshop, out: Path, usual: Usual, chance: random.Random
) -> tuple[list[str], Outcome, str | None]:
    """Kill the command some times, then let it end.

    Returns:
        for each kill how it was chosen, and how far the command was, in tenths of what it does on the disk; how it ended; and
        what was wrong after a kill.
    """
    kills: list[str] = []
    wrong = None
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(1, usual.moments) if chance.random() < 0.5 else 0
        started = start(*command(shop, out), kill_at=at)
        if not at:
            waits = command is watch
            span = usual.seconds if waits else usual.cpu  # of computing, as other programs run on the same cores
            started.kill_after(chance.uniform(0, span), computing=not waits, alone=chance.random() < 0.5)
        done = started.wait(60)
        if done.late:
            wrong = f"it hangs: {done.err[-300:]}"
        if started.leaves_children(10):
            wrong = f"processes stay, killed at {at} of {usual.moments}"
        if done.code != KILLED:
            return kills, done, wrong
        kills.append(f"{'disk' if at else 'time'} {min(9, 10 * done.moments // usual.moments)}")
    return kills, run(*command(shop, out)), wrong


def one_round(number: int, seed: int, shop: Workshop, usual: dict[Command, Usual], names: list[str]) -> dict[str, Any]:
    """Return what was killed in a round, when, and what was wrong afterwards."""
    chance = random.Random(f"{seed}/{number}")
    name = names[number % len(names)]
    command, how = MANY.get(name, ({each.__name__: each for each in COMMANDS}.get(name), ""))
    out = shop.top.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    if command is None:
        shutil.copytree(shop.top / "predictions", out)
        kills, wrong = view_round(out, chance)
    else:
        out.mkdir()
        if command not in usual:
            usual[command] = undisturbed(command, shop, out)
        if how:
            kills, done, wrong = many_round(command(shop, out), how, out / PLACES[command], usual[command].seconds, chance)
        else:
            kills, done, wrong = kill_round(command, shop, out, usual[command], chance)
        ended = "already exists" in done.err  # a kill after its last file: there is nothing left to do
        if done.code and not ended:
            wrong = f"{done.code}: {done.err[-500:]}"
        wrong = wrong or difference(usual[command].written, contents(out, strict=command is harvest))
    return {"seed": seed, "round": number, "command": name, "kills": kills, "fault": wrong}


def main() -> None:
    """Kill, repeat, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    names = [*(command.__name__ for command in COMMANDS), "view"] * 2 + [*MANY]
    parser.add_argument("--commands", nargs="+", choices=sorted(set(names)), default=names, help="default: all")
    parser.add_argument("--out", type=Path, help="JSON lines, one per round")
    arguments = parser.parse_args()
    rounds: list[dict[str, Any]] = []
    if arguments.out and arguments.out.is_file():
        every = [json.loads(line) for line in arguments.out.read_text().splitlines()]
        every = [each for each in every if each.get("seed") == arguments.seed]
        rounds = [each for each in {each["round"]: each for each in every}.values() if not each["fault"]]
    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop.build(Path(folder) / "shop")
        usual: dict[Command, Usual] = {}
        while sum(len(each["kills"]) for each in rounds) < arguments.kills:
            number = next(number for number in itertools.count() if number not in {each["round"] for each in rounds})
            rounds.append(one_round(number, arguments.seed, shop, usual, arguments.commands))
            if rounds[-1]["fault"]:
                print(*rounds[-1].values(), sep=" | ", flush=True)
            if arguments.out:
                with arguments.out.open("a") as file:
                    file.write(json.dumps(rounds[-1]) + "\n")
    for name in dict.fromkeys(arguments.commands):
        own = [each for each in rounds if each["command"] == name]
        tenths = collections.Counter(kill for each in own for kill in each["kills"])
        print(f"{name}: {tenths.total()} kills in {len(own)} rounds; {dict(sorted(tenths.items()))}")
    total = sum(len(each["kills"]) for each in rounds)
    print(f"{sum(bool(each['fault']) for each in rounds)} faults after {total} kills, seed {arguments.seed}")


if __name__ == "__main__":
    main()
