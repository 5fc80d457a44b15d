"""Kills at random moments: is anything lost, and does the same command then give what it gives without?

    python bench/kills.py --kills 1000 --seed 0 --out kills.json

The commands are harvest and training, prediction, streams of a video and of a folder, the review page, score and boxes, with
the tiny run of workshop.py. In a round the command is killed (SIGKILL, with its children) once to four times at moments drawn
from its usual duration, then repeated to its end, as a person would (``dips train`` with ``--resume`` once its run folder
exists). Afterwards the output is compared with that of an undisturbed command: all files must be there, none more, with the
same contents but for times; score maps may differ by 2 of 65,535, as other photos share a batch. Every change that the review
page confirmed must be there.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from workshop import Outcome, Started, Workshop, files, run, start

SCORE_MAP_TOLERANCE = 2
TIMES = re.compile(r"seconds|_s$|time|date|created|photos_per")  # names of fields that differ from run to run
PAGES = (".html", ".md", ".toml")  # made from the rest; only their presence is compared

Command = Callable[[Workshop, Path], list[object]]


def train(shop: Workshop, out: Path) -> list[object]:
    """Harvest and training, with a store of its own."""
    command = shop.train(out / "run", store=out / "store")
    return [*command, "--resume"] if (out / "run").exists() else command


def predict(shop: Workshop, out: Path) -> list[object]:
    """Prediction with all files."""
    formats = "json,overlays,masks,coco,yolo,voc,csv"
    return ["predict", shop.top / "run", shop.top / "data/train", "--out", out / "out", "--format", formats]


def boxes(shop: Workshop, out: Path) -> list[object]:
    """Boxes with another threshold."""
    return ["boxes", shop.top / "predictions", "--out", out / "out", "--threshold", "0.3"]


def stream(shop: Workshop, out: Path) -> list[object]:
    """A video."""
    return ["stream", shop.top / "run", shop.top / "video.avi", "--out", out / "frames.json", "--fps", "0"]


def watch(shop: Workshop, out: Path) -> list[object]:
    """A watched folder."""
    return ["stream", shop.top / "run", shop.top / "data/train", "--out", out / "frames.json", "--idle", "0.3"]


def score(shop: Workshop, out: Path) -> list[object]:
    """Score maps against ground truth, in two processes."""
    result = ["--json", out / "score.json", "--csv", out / "score.csv"]
    return ["score", shop.top / "maps", shop.top / "data", "--workers", "2", *result]


COMMANDS: list[Command] = [train, predict, boxes, stream, watch, score]


def contents(folder: Path) -> dict[str, Any]:
    """What must be the same, by the name of the file."""
    found: dict[str, Any] = {}
    for path in files(folder):
        name = path.relative_to(folder).as_posix()
        if name.startswith("store/"):
            continue  # its records are compared by what is made of them; a second run would find damage
        if path.suffix in (".json", ".jsonl"):
            found[name] = [timeless(json.loads(line)) for line in documents(path)]
        elif path.suffix == ".png" and "maps" in name:
            found[name] = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
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
        return {key: timeless(each) for key, each in value.items() if not TIMES.search(key)}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def difference(expected: dict[str, Any], found: dict[str, Any]) -> str | None:
    """Name the first file that is not as expected."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} is left over"
        a, b = expected[name], found[name]
        if isinstance(a, np.ndarray):
            if a.shape != b.shape or np.abs(a.astype(int) - b.astype(int)).max() > SCORE_MAP_TOLERANCE:
                return f"{name} differs"
        elif a != b:
            return f"{name} differs"
    return None


def undisturbed(command: Command, shop: Workshop, out: Path) -> tuple[float, dict[str, Any]]:
    """Return how long a command takes, and what it writes; ``out`` is empty afterwards."""
    done = run(*command(shop, out))
    if done.code:
        raise RuntimeError(done.err)
    found = contents(out)
    shutil.rmtree(out)
    out.mkdir()
    return done.seconds, found


def kill_round(command: Command, shop: Workshop, out: Path, kills: int, seconds: float, chance: random.Random) -> Outcome:
    """Kill the command some times, then let it end."""
    for _ in range(kills):
        started = start(*command(shop, out))
        time.sleep(chance.uniform(0, seconds))
        started.kill()
        started.wait(10)
    return run(*command(shop, out))


def view_round(folder: Path, kills: int, chance: random.Random) -> str | None:
    """Kill the page while photos are changed; return what was lost, if anything."""
    confirmed: dict[int, Any] = {}
    for number in range(kills + 1):
        started = start("view", folder, "--no-open")
        port, token = _address(started)
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        head = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        line.request("GET", "/api/photos", headers=head)
        photos = json.loads(line.getresponse().read())["photos"]
        for index, state in confirmed.items():
            if photos[index]["state"]["boxes"] != state["boxes"] or not photos[index]["state"]["reviewed"]:
                started.kill()
                started.wait(10)
                return f"photo {index}: {photos[index]['state']} in place of {state}"
        if number == kills:
            started.kill()
            started.wait(10)
            return None
        end = time.monotonic() + chance.uniform(0, 0.1)
        while time.monotonic() < end:
            index = chance.randrange(len(photos))
            state = photos[index]["state"]
            corner = [float(chance.randrange(40)), float(chance.randrange(30))]
            box = {"box": [*corner, corner[0] + 20, corner[1] + 20], "label": "tower", "of": None, "accepted": True}
            change = {"version": state["version"], "reviewed": True, "boxes": [box]}
            line.request("POST", f"/api/photos/{index}", json.dumps(change), head)
            answer = line.getresponse()
            body = json.loads(answer.read())
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {body}")
            confirmed[index] = photos[index]["state"] = body["state"]
        # the kill meets a change on its way: the request is sent, its answer is not awaited
        state = photos[0]["state"]
        change = {"version": state["version"], "reviewed": True, "boxes": []}
        line.request("POST", "/api/photos/0", json.dumps(change), head)
        time.sleep(chance.uniform(0, 0.004))
        started.kill()
        started.wait(10)
        confirmed.pop(0, None)
    return None


def _address(started: Started) -> tuple[int, str]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", started.err())
        if found:
            return int(found[1]), found[2]
        time.sleep(0.01)
    raise RuntimeError(f"no page: {started.err()}")


def main() -> None:
    """Kill, repeat, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", nargs="*", help="names of commands (default: all)")
    parser.add_argument("--out", type=Path, help="JSON with counts and faults")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    counts: collections.Counter[str] = collections.Counter()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        shop = Workshop.build(top / "shop")
        usual: dict[Command, tuple[float, dict[str, Any]]] = {}
        chosen: list[Command | None] = [c for c in COMMANDS if not arguments.commands or c.__name__ in arguments.commands]
        chosen += [None] if not arguments.commands or "view" in arguments.commands else []
        while counts.total() < arguments.kills:
            command = chosen[len(counts)] if len(counts) < len(chosen) else chance.choice(chosen)  # each once at least
            kills = chance.randint(1, 4)
            out = top / "out"
            shutil.rmtree(out, ignore_errors=True)
            name = command.__name__ if command else "view"
            if command is None:
                shutil.copytree(shop.top / "predictions", out)
                wrong = view_round(out, kills, chance)
            else:
                out.mkdir()
                if command not in usual:
                    usual[command] = undisturbed(command, shop, out)
                seconds, expected = usual[command]
                done = kill_round(command, shop, out, kills, seconds, chance)
                ended = "already exists" in done.err  # a kill after its last file: there is nothing left to do
                wrong = f"{done.code}: {done.err[-500:]}" if done.code and not ended else difference(expected, contents(out))
            counts[name] += kills
            if wrong:
                faults.append(f"{name}, after {counts.total()} kills: {wrong}")
                print(faults[-1], flush=True)
    print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    print(f"{len(faults)} faults in {counts.total()} kills, seed {arguments.seed}")
    if arguments.out:
        arguments.out.write_text(json.dumps({"seed": arguments.seed, "kills": counts, "faults": faults}, indent=2) + "\n")


if __name__ == "__main__":
    main()
