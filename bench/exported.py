"""An exported model against torch: how far their answers are apart, and how fast each is, in one run and by turns.

    python bench/exported.py RUN PHOTOS --threads 1 --set predict.sst_share=0

Photos are read and made squares beforehand, so that the networks alone are timed. Each round asks torch, then onnxruntime,
about the same batches; the ratio is that of the medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
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
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)  # before torch is loaded, and read by dips.export.onnx_model

    import torch

    from dips.data.images import read_image, resize_image
    from dips.data.photo_files import list_images
    from dips.export.onnx_model import load_onnx
    from dips.model import Model

    torch.set_num_threads(given.threads)
    paths = list_images(given.photos)[: given.count]
    model = Model.open(given.run, device="cpu", settings=given.settings)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        print(model.export(file, photos=paths, tolerance=0.1).line())
        networks, exported = model.networks, load_onnx(file, device="cpu").predictor.networks
        print(f"{file.stat().st_size / 1e6:.1f} MB, squares of {networks.side} pixels, {given.threads} threads")
        squares = [resize_image(read_image(path, max_side=networks.side), (networks.side,) * 2) for path in paths[:16]]
        batches = [squares[i : i + given.batch] for i in range(0, len(squares), given.batch)]
        seconds: dict[str, list[float]] = {"torch": [], "onnxruntime": []}
        for answers in (networks, exported):
            answers.answer(batches[0])  # what is prepared at first use is not timed
        for _ in range(given.rounds):
            for name, answers in (("torch", networks), ("onnxruntime", exported)):
                begun = time.perf_counter()
                for batch in batches:
                    answers.answer(batch)
                seconds[name].append((time.perf_counter() - begun) / len(squares))
    for name, each in seconds.items():
        print(f"{name}: {statistics.median(each) * 1000:.0f} ms per photo (fastest round {min(each) * 1000:.0f})")
    print(f"torch takes {statistics.median(seconds['torch']) / statistics.median(seconds['onnxruntime']):.2f} times as long")


if __name__ == "__main__":
    sys.exit(main())
