"""Photos per second of several models, of this checkout or others, in one run, taking turns.

    git worktree add /tmp/before 2181da2 && PYTHONPATH=/tmp/before/src python -m dips train DATA/train --out RUN_BEFORE
    python bench/speed.py PHOTOS --side "before | /tmp/before | RUN_BEFORE" --side "fast | . | RUN" \\
        --side "accurate | . | RUN | predict.mode=accurate" --side "int8 | . | MODEL.onnx"

In: sides, each a name, a checkout, a run folder or exported file, and settings of prediction, separated by ``|``. Each has a
process of its own, which loads the model once; a round asks one after the other for the predictions of all photos, from file to
boxes. Out: seconds per photo (median over the rounds), the ratio to the first side, and the most memory of each process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

CHILD = """
import resource, sys, time
from pathlib import Path
import dips
model, settings, photos = sys.argv[1], sys.argv[2].split(), [Path(line) for line in sys.stdin.readline().split(chr(0))[:-1]]
predictor = dips.load(model, settings=settings).predictor
skip = lambda path, reason: print(reason, file=sys.stderr)
list(predictor.photos(photos[:2], skip))
print("ready", flush=True)
for _ in sys.stdin:
    started = time.perf_counter()
    boxes = sum(len(prediction.boxes) for prediction in predictor.photos(photos, skip))
    print(time.perf_counter() - started, boxes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)
"""


class Side:
    """One model in its process.

    Attributes:
        seconds: of each round.
        boxes: predicted in a round.
        memory: the most that the process had, MiB.
    """

    def __init__(self, text: str, photos: list[Path], threads: int) -> None:
        self.name, checkout, model, *settings = (part.strip() for part in text.split("|"))
        environment = {**os.environ, "PYTHONPATH": str(Path(checkout).resolve() / "src"), "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-c", CHILD, str(Path(model).resolve()), " ".join(settings)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self._ask("".join(f"{path.resolve()}\0" for path in photos))
        self.seconds: list[float] = []
        self.boxes = self.memory = 0

    def run(self) -> None:
        """Predict all photos once."""
        seconds, boxes, memory = self._ask("go").split()
        self.seconds.append(float(seconds))
        self.boxes, self.memory = int(boxes), int(memory)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} ended, see above")
        return answer


def main() -> None:
    """Load all sides, then take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder, or one photo")
    parser.add_argument("--side", action="append", required=True, metavar="NAME | CHECKOUT | MODEL | SETTING ...")
    parser.add_argument("--count", type=int, default=64, help="photos, evenly spread over all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    names = {".jpg", ".jpeg", ".png"}
    every = sorted(path for path in arguments.photos.rglob("*") if path.suffix.lower() in names) or [arguments.photos]
    count = min(len(every), arguments.count)
    photos = [every[i * len(every) // count] for i in range(count)]
    sides = [Side(text, photos, arguments.threads) for text in arguments.side]
    for _ in range(arguments.rounds):
        for side in sides:
            side.run()
    first = statistics.median(sides[0].seconds)
    print(f"| side | s per photo | times as fast as '{sides[0].name}' | boxes | MiB |\n|---|---|---|---|---|")
    for side in sides:
        middle = statistics.median(side.seconds)
        print(f"| {side.name} | {middle / count:.4f} | {first / middle:.2f} | {side.boxes} | {side.memory} |")
        side.close()


if __name__ == "__main__":
    main()
