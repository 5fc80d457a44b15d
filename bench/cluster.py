"""The same prediction and the same scores by one process, four, a Ray cluster, an array, and under kills: are they identical?

    python bench/cluster.py --run RUN --folder /tmp/cluster [--photos 5000] [--maps 10000] [--rows one four ray array killed]

Makes small photos (those of the folder ``--source`` at 160 pixels, each with a comment of its own in the file) and score maps
(bench/score.py) in ``--folder``, once. Then each row does both commands: in this process's place, with four workers, on a Ray
cluster of two nodes on loopback, as an array of eight tasks of which two run at a time, and with four workers of which one is
killed every few seconds, the command itself now and then (SIGKILL; it is repeated). What is left is compared byte for byte with
that of the row ``one``. Rows that are done are kept in ``rows.jsonl``, and are not done again unless they are removed there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
from living import workers_of
from score import make as make_maps

os.environ.setdefault("OMP_NUM_THREADS", "1")  # with other numbers of threads the last bits differ
SIDE, WORKERS, TASKS = 160, 4, 8
DIPS = [sys.executable, "-m", "dips"]
Words = list[str]


def make_photos(folder: Path, source: Path, count: int) -> None:
    """Write small photos, no two of which have the same bytes."""
    photos = []
    for path in islice(sorted(source.rglob("*.jpg")), 500):
        image = np.asarray(cv2.imread(str(path)))
        scale = SIDE / max(image.shape[:2])
        photos.append(
            cv2.imencode(".jpg", cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))[1].tobytes()
        )
    for number, data in zip(range(count), cycle(photos)):
        comment = f"{number:08d}".encode()
        target = folder / f"{number // 1000:03d}" / f"{number:07d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:])


def contents(out: Path) -> str:
    """Return a hash of all files; of scores.json without the machine and the command."""
    digest = hashlib.sha256()
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.name == "scores.json":
            data = json.dumps({**json.loads(data), "environment": None}).encode()
        digest.update(f"{path.relative_to(out)} {hashlib.sha256(data).hexdigest()}\n".encode())
    return digest.hexdigest()


def call(words: Words) -> subprocess.Popen[bytes]:
    """Start a command."""
    return subprocess.Popen([*DIPS, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end, which must be a good one."""
    _, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args!r}: {err.decode(errors='replace')[-2000:]}")


def one(words: Words, out: Path) -> None:
    """One process."""
    finish(call([*words, "--workers", "1"]))


def four(words: Words, out: Path) -> None:
    """Four workers."""
    finish(call([*words, "--workers", str(WORKERS)]))


def ray(words: Words, out: Path) -> None:
    """A Ray cluster of two nodes, one core each."""
    with _ray_cluster():
        finish(call([*words, "--engine", "ray"]))


@contextmanager
def _ray_cluster() -> Iterator[None]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield
    finally:
        del os.environ["RAY_ADDRESS"]
        cluster.shutdown()  # type: ignore[no-untyped-call]


def array(words: Words, out: Path) -> None:
    """An array of eight tasks, two at a time, and the command that merges."""
    waiting = [[*words, "--shard", f"{task}/{TASKS}"] for task in range(1, TASKS + 1)]
    running: list[subprocess.Popen[bytes]] = []
    while waiting or running:
        while waiting and len(running) < 2:
            running.append(call(waiting.pop(0)))
        finish(running.pop(0))
    finish(call(["merge", str(out)]))


def killed(words: Words, kills: int, drivers: int, every: float, chance: random.Random) -> dict[str, int]:
    """Four workers, of which one is killed every few seconds, and at times the command that started them."""
    done = {"worker": 0, "driver": 0}
    moments = sorted(chance.sample(range(kills), drivers)) if drivers else []
    process = call([*words, "--workers", str(WORKERS)])
    while process.poll() is None:
        end = time.monotonic() + chance.uniform(0, 2 * every)
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        workers = workers_of(process.pid)
        if process.poll() is not None or done["worker"] >= kills or not workers:
            continue
        if moments and done["worker"] >= moments[0]:
            moments.pop(0)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            done["driver"] += 1
            process = call([*words, "--workers", str(WORKERS)])
            continue
        os.kill(chance.choice(workers), signal.SIGKILL)
        done["worker"] += 1
    finish(process)
    return done


ROWS: dict[str, Callable[[Words, Path], None]] = {"one": one, "four": four, "ray": ray, "array": array}


def main() -> None:
    """Do the rows that are not done, and print all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--source", type=Path, default=Path(os.environ.get("DIPS_TEST_DATA", ".")) / "birds20/train")
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--maps", type=int, default=10000)
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, "killed"], default=[*ROWS, "killed"])
    parser.add_argument("--commands", nargs="+", choices=["predict", "score"], default=["predict", "score"])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--drivers", type=int, default=10, help="kills of the command itself")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two kills, on average")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    photos, maps, log = folder / f"photos-{arguments.photos}", folder / f"maps-{arguments.maps}", folder / "rows.jsonl"
    for place, make in (
        (photos, lambda to: make_photos(to, arguments.source, arguments.photos)),
        (maps, _maps(arguments.maps)),
    ):
        if not place.exists():
            begun = place.with_suffix(".part")
            shutil.rmtree(begun, ignore_errors=True)
            begun.mkdir(parents=True)
            make(begun)
            begun.rename(place)
    words = {
        "predict": ["predict", str(arguments.run), str(photos), "--format", "json", "--out"],
        "score": ["score", str(maps / "maps"), str(maps), "--out"],
    }
    counts = {"predict": arguments.photos, "score": arguments.maps}
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    found = {(line["command"], line["row"], line["items"]): line for line in lines}
    print("| command | items | who | seconds | per second | killed | identical |\n|---|---|---|---|---|---|---|")
    for command in arguments.commands:
        for row in dict.fromkeys(["one", *arguments.rows]):
            key = (command, row, counts[command])
            if key not in found:
                out = folder / f"out-{command}-{row}"
                shutil.rmtree(out, ignore_errors=True)
                chance, begun_at = random.Random(f"{arguments.seed} {command}"), time.monotonic()
                if row == "killed":
                    more = killed([*words[command], str(out)], arguments.kills, arguments.drivers, arguments.every, chance)
                else:
                    more = {}
                    ROWS[row]([*words[command], str(out)], out)
                seconds = round(time.monotonic() - begun_at, 1)
                line = {
                    "command": command,
                    "row": row,
                    "items": counts[command],
                    "seconds": seconds,
                    "hash": contents(out),
                    **more,
                }
                with log.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                found[key] = line
                shutil.rmtree(out)
            line, first = found[key], found[command, "one", counts[command]]
            kills = f"{line['worker']} workers, {line['driver']} commands" if "worker" in line else ""
            same = "yes" if line["hash"] == first["hash"] else "NO"
            speed = line["items"] / line["seconds"]
            print(f"| {command} | {line['items']} | {row} | {line['seconds']} | {speed:.1f} | {kills} | {same} |", flush=True)


def _maps(count: int) -> Callable[[Path], None]:
    return lambda to: make_maps(to, count)


if __name__ == "__main__":
    main()
