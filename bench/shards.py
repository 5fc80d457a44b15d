"""Time and memory of the shards of very many photos, with a stub in the place of the model.

    python bench/shards.py [--counts 10000 100000 1000000] [--folder /tmp]

Plans, works through all shards in one process with a line of 200 bytes per photo, is called again when half of them are done
(as after a kill), and merges all lines into one file. Peak memory is that of the process, as the system counts it, so each
count runs in one of its own; the row for one photo is what Python and the imports take.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dips.shards import merge
from dips.shards.files import LocalFiles
from dips.shards.lease import take_alone
from dips.shards.plan import Item, make_plan, shard_size
from dips.shards.work import Attempt, Shards, work_through


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


def main() -> None:
    """Print a row per count; called with ``--inside`` it measures one and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
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
