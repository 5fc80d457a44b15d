"""Time and memory of the shards of very many photos, with a stub in the place of the model.

    python bench/shards.py [--counts 10000 100000 1000000] [--folder /tmp]
    python bench/shards.py --kills 100 --drivers 10 [--workers 4] [--seed 0]

The first form plans, works through all shards in one process with a line of 200 bytes per photo, is called again when half of
them are done (as after a kill), and merges all lines into one file. Peak memory is that of the process, as the system counts
it, so each count runs in one of its own; the row for one photo is what Python and the imports take.

The second form has 400,000 photos worked on by processes, kills these (SIGKILL) and the command that started them at random
moments, half of them after a shard was done, starts the command again, and compares all lines with those of one process that
nobody killed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dips.shards import merge
from dips.shards.files import LocalFiles
from dips.shards.launch import Crew, launch, planned
from dips.shards.lease import take_alone
from dips.shards.plan import Item, Plan, make_plan, read_plan, shard_size
from dips.shards.work import Attempt, Shards, Work, work_through

KILLED_ITEMS, KILLED_SECONDS = 400_000, 0.0005  # an item takes


def items(count: int) -> Iterator[Item]:
    """Return names like those of photos."""
    for number in range(count):
        name = f"flight-{number // 1000:04d}/photo-{number:07d}"
        yield Item(f"{name}.jpg", f"/photos/{name}.jpg", name)


def work(attempt: Attempt) -> Iterator[bytes]:
    """Write a line per photo."""
    for item in attempt.items:
        yield json.dumps({"name": item.id, "boxes": [0] * 50}).encode() + b"\n"


class _Killed(BaseException):
    """Ends the work in the middle."""


def measure(count: int, folder: Path) -> dict[str, float | str]:
    """Return seconds of each stage, and the peak of memory in MB."""
    files, seconds = LocalFiles(folder / "work"), {}
    last = time.perf_counter()

    def stage(name: str) -> None:
        nonlocal last
        seconds[name] = time.perf_counter() - last
        last = time.perf_counter()

    lease = take_alone(files)
    size = shard_size(count, 8)
    plan = make_plan(files, lambda: items(count), {"model": "stub"}, size=size, step=8)
    stage("plan")
    left = len(list(plan.shards())) // 2

    def half(attempt: Attempt) -> Iterator[bytes]:
        nonlocal left
        if not left:
            raise _Killed
        left -= 1
        return work(attempt)

    try:
        work_through(Shards(files, plan), half)
    except _Killed:
        stage("half")
    make_plan(files, lambda: items(count), {"model": "stub"}, size=size, step=8)
    shards = Shards(files, plan)
    assert shards.todo()
    stage("resume")
    work_through(shards, work)
    stage("rest")
    digest, lines = hashlib.sha256(), 0

    def merged() -> Iterator[bytes]:
        nonlocal lines
        for line in merge.results(shards):
            digest.update(line)
            lines += 1
            yield line

    LocalFiles(folder).write("all.jsonl", merged())
    assert lines == count
    stage("merge")
    merge.clear(files, plan, lease)
    stage("clear")
    return {**seconds, "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "sha256": digest.hexdigest()[:12]}


@dataclass(frozen=True)
class Slow:
    """The same lines, as if a model made them."""

    seconds: float

    def open(self) -> Work:
        """Return what makes them."""
        return self.lines

    def lines(self, attempt: Attempt) -> Iterator[bytes]:
        """Make a line per photo."""
        for line in work(attempt):
            time.sleep(self.seconds)
            yield line


def drive(folder: Path, workers: int, seconds: float) -> None:
    """Do what is left of the work in ``folder``."""
    files = LocalFiles(folder)

    def make() -> Plan:
        size = shard_size(KILLED_ITEMS, 8)
        return make_plan(files, lambda: items(KILLED_ITEMS), {"work": "stub"}, size=size, step=8)

    crew = Crew(workers)
    with planned(files, make, crew) as plan:
        launch(files, plan, Slow(seconds), crew)


def kill(folder: Path, workers: int, kills: int, drivers: int, seed: int) -> dict[str, float | str]:
    """Return how many were killed, and whether the lines are those of one process."""
    chance, begun = random.Random(seed), time.perf_counter()
    drive(folder / "one", 1, 0)
    program = [sys.executable, __file__, "--inside", "--folder", str(folder / "many"), "--workers", str(workers)]
    killed = ended = starts = 0
    while True:
        running, starts = subprocess.Popen(program, stderr=subprocess.PIPE), starts + 1
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        while running.poll() is None and (killed < kills or ended < drivers):
            before = len(LocalFiles(folder / "many").names("done")) if chance.random() < 0.5 else -1  # so that there is an end
            while running.poll() is None and len(LocalFiles(folder / "many").names("done")) == before:
                time.sleep(0.05)
            time.sleep(chance.uniform(0.1, 1.2))
            if ended < drivers and (killed >= kills or chance.random() < drivers / (kills + drivers)):
                running.kill()
                ended += 1
            elif running.poll() is None and (there := [int(each) for each in children.read_text().split()]):
                os.kill(chance.choice(there), signal.SIGKILL)
                killed += 1
        said = running.communicate()[1]
        if running.returncode == 0:
            break
        if running.returncode > 0:  # it was not killed
            raise SystemExit(said.decode())
    lines = [list(merge.results(_shards(folder / name))) for name in ("one", "many")]
    skipped = list(merge.skipped(_shards(folder / "many")))
    split = len(LocalFiles(folder / "many").names("split"))
    same = lines[0] == lines[1] and len(lines[0]) == KILLED_ITEMS and not skipped
    return {
        "processes killed": killed,
        "commands killed": ended,
        "starts": starts,
        "shards split": split,
        "seconds": round(time.perf_counter() - begun),
        "result": "the same" if same else "DIFFERENT",
    }


def _shards(folder: Path) -> Shards:
    files = LocalFiles(folder)
    plan = read_plan(files)
    assert plan is not None
    return Shards(files, plan)


def main() -> None:
    """Print a row per count, or one for kills; called with ``--inside`` it measures one, or is a command to be killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--drivers", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside and arguments.workers:
        drive(arguments.folder, arguments.workers, KILLED_SECONDS)
        return
    if arguments.kills or arguments.drivers:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            told = kill(Path(folder), arguments.workers or 4, arguments.kills, arguments.drivers, arguments.seed)
        print("  ".join(f"{key} {value}" for key, value in told.items()))
        return
    for count in arguments.counts:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            if arguments.inside:
                print(json.dumps(measure(count, Path(folder))))
                return
            command = [sys.executable, __file__, "--inside", "--counts", str(count), "--folder", folder]
            done = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        print(
            f"{count:>9} " + "  ".join(f"{key} {val:.2f}" if key != "sha256" else val for key, val in done.items()), flush=True
        )


if __name__ == "__main__":
    main()
