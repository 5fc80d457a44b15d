"""An exported model against torch: how far their answers are apart, and how fast each is, in one run, taking turns.

    python bench/exported.py RUN PHOTOS --threads 1 --set predict.mode=accurate

Photos are read and made squares beforehand, so that the networks alone are timed. Each round asks torch, then onnxruntime,
about the same batches; the ratio is that of the medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Export, compare, time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--count", type=int, default=50, help="photos")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # before torch is loaded, and read by dips.export.onnx_model

    import numpy as np
    import torch

    from dips.data.images import read_image, resize_image
    from dips.data.photo_files import list_images
    from dips.export.onnx_model import load_onnx
    from dips.model import Model
    from dips.types import PhotoBatch

    torch.set_num_threads(arguments.threads)
    paths = list_images(arguments.photos)[: arguments.count]
    model = Model.open(arguments.run, device="cpu", settings=arguments.settings)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        print(model.export(file, photos=arguments.photos, tolerance=0.1).line())
        networks, exported = model.networks, load_onnx(file, device="cpu").predictor.networks
        print(f"{file.stat().st_size / 1e6:.1f} MB, squares of {networks.side} pixels, {arguments.threads} threads")
        squares = [resize_image(read_image(path, max_side=networks.side), (networks.side,) * 2) for path in paths[:16]]
        batches = [PhotoBatch(np.stack(squares[i : i + arguments.batch])) for i in range(0, len(squares), arguments.batch)]
        seconds: dict[str, list[float]] = {"torch": [], "onnxruntime": []}
        for answerer in (networks, exported):
            answerer.answer(batches[0])  # preparations at first use are not timed
        for _ in range(arguments.rounds):
            for name, answerer in (("torch", networks), ("onnxruntime", exported)):
                started = time.perf_counter()
                for batch in batches:
                    answerer.answer(batch)
                seconds[name].append((time.perf_counter() - started) / len(squares))
    for name, each in seconds.items():
        print(f"{name}: {statistics.median(each) * 1000:.0f} ms per photo (fastest round {min(each) * 1000:.0f})")
    print(f"torch takes {statistics.median(seconds['torch']) / statistics.median(seconds['onnxruntime']):.2f} times as long")


if __name__ == "__main__":
    main()
