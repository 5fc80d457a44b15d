"""Time and peak memory of ``dips score`` for several numbers of maps.

    python bench/score.py [--counts 500 5000 50000] [--workers 2]

The metadata are made here, and so are 200 smooth maps of 224 x 224, which all photos share by hard links. Peak memory is that
of the largest process, as the system counts it, so each count runs as a command of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

_MAPS = 200


def make(folder: Path, count: int) -> None:
    """Write metadata of ``count`` photos and a map for each."""
    random = np.random.default_rng(0)
    (folder / "kinds").mkdir()
    for kind in range(_MAPS):
        score_map = cv2.resize(random.random((14, 14)).astype(np.float32), (224, 224), interpolation=cv2.INTER_CUBIC)
        np.save(folder / "kinds" / f"{kind}.npy", np.clip(score_map, 0, 1))
    metadata, maps = folder / "metadata" / "test", folder / "maps" / "test"
    metadata.mkdir(parents=True)
    maps.mkdir(parents=True)
    ids = [f"test/{number:07d}.jpg" for number in range(count)]
    corners = random.integers(0, 200, (count, 2)).tolist()
    rows = {
        "image_ids.txt": ids,
        "class_labels.txt": [f"{id},{number % 200}" for number, id in enumerate(ids)],
        "image_sizes.txt": [f"{id},500,375" for id in ids],
        "localization.txt": [f"{id},{x},{y},{x + 200},{y + 150}" for id, (x, y) in zip(ids, corners, strict=True)],
    }
    for name, lines in rows.items():
        (metadata / name).write_text("\n".join(lines) + "\n")
    for number, id in enumerate(ids):
        os.link(folder / "kinds" / f"{number % _MAPS}.npy", folder / "maps" / f"{id}.npy")


def main() -> None:
    """Print a row per count; called with one count and ``--inside`` it runs the command and says what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[500, 5000, 50000])
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside is not None:
        folder, started = arguments.inside, time.perf_counter()
        command = [sys.executable, "-m", "dips", "score", folder / "maps", folder, "--workers", arguments.workers]
        subprocess.run([*map(str, command), "--json", str(folder / "e.json")], check=True, stdout=subprocess.DEVNULL)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest descendant
        print(json.dumps([time.perf_counter() - started, peak]))
        return
    print("| maps | seconds | peak memory, MB |\n|---|---|---|")
    for count in arguments.counts:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), count)
            command = [sys.executable, __file__, "--inside", folder, "--workers", str(arguments.workers)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds, peak = json.loads(done.stdout)
        print(f"| {count} | {seconds:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
