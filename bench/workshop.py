"""What damage.py and kills.py break: tiny photos, networks and a trained run, and a command in a process of its own.

A command is run in a fork of this process, in which the program is loaded already, so that thousands of them take minutes.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "DIPS_OFFLINE": "1"}

import cv2
import numpy as np
import safetensors.torch
import torch

from dips.cli import main
from dips.data.images import read_image
from dips.demo.scenes import write_sample
from dips.models.backbones import timm  # type: ignore[attr-defined]  # not by itself: torchvision is mended first

__all__ = ["CRASHED", "Outcome", "Started", "Workshop", "files", "run", "start"]

for name in (
    "export.onnx",
    "export.onnx_model",
    "benchmark.score",
    "fitting.fit",
    "predict.stream",
    "report.run_report",
    "view",
):
    importlib.import_module(f"dips.{name}")  # what the commands load on demand
cv2.setNumThreads(1)
torch.set_num_threads(1)

MEMORY = 16 << 30  # bytes of address space; more is a fault
CRASHED = 70
RECIPE = """
[harvest]
sst = "test_vit"
sizes = [64]
[classifier]
arch = "test_efficientnet"
size = 64
[localizer]
encoder = "test_efficientnet"
[train]
epochs = 2
batch = 8
resize = 64
crop = 64
crf_size = 16
[predict]
size = 64
"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: its exit code, -9 where it was killed, 70 for an exception that nobody caught.
        err: what it printed on stderr.
        late: it was stopped after ``timeout`` seconds.
        seconds: its time.
    """

    code: int
    err: str
    late: bool
    seconds: float


class Started:
    """A command that runs in a fork; ``interrupt_after`` seconds it gets a Ctrl-C."""

    def __init__(self, argv: list[str], *, interrupt_after: float = 0.0) -> None:
        self._err = tempfile.TemporaryFile()  # noqa: SIM115 (closed by wait)
        self.began = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._command(argv, interrupt_after)

    def _command(self, argv: list[str], interrupt_after: float) -> None:
        os.setsid()
        code = CRASHED
        try:
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            os.dup2(self._err.fileno(), 2)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            if interrupt_after:
                signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
                signal.setitimer(signal.ITIMER_REAL, interrupt_after)
            code = main(argv)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def err(self) -> str:
        """What was printed on stderr until now."""
        return os.pread(self._err.fileno(), 1 << 24, 0).decode(errors="replace")

    def kill(self) -> None:
        """End it and its children without a chance to clean up."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):  # killed before it was the head of its group
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float, *, then_kill: bool = True) -> Outcome | None:
        """Wait for the end; kill it after ``timeout`` seconds, or return None then."""
        late = False
        while True:
            pid, status = os.waitpid(self.pid, 0 if late else os.WNOHANG)
            if pid:
                err = self.err()
                self._err.close()
                return Outcome(os.waitstatus_to_exitcode(status), err, late, time.monotonic() - self.began)
            if time.monotonic() - self.began > timeout:
                if not then_kill:
                    return None
                late = True
                self.kill()
            time.sleep(0.002)


def start(*argv: object, interrupt_after: float = 0.0) -> Started:
    """Start a command of dips."""
    return Started([str(word) for word in argv], interrupt_after=interrupt_after)


def run(*argv: object, timeout: float = 120.0, interrupt_after: float = 0.0) -> Outcome:
    """Run a command of dips to its end."""
    outcome = start(*argv, interrupt_after=interrupt_after).wait(timeout)
    assert outcome is not None
    return outcome


@dataclass(frozen=True)
class Workshop:
    """A folder with everything that commands read.

    ``data/`` has ``train/`` and ``test/`` with boxes, ``coco.json`` and ``list.csv`` describe the photos of ``data/train``,
    ``weights/`` and ``tiny.toml`` are for training, ``run/`` was trained with them, ``predictions/`` and ``model.onnx`` come
    from it, ``maps/`` holds a score map per test photo, ``video.avi`` has 12 frames.
    """

    top: Path

    @classmethod
    def build(cls, top: Path) -> Workshop:
        """Make all of it; takes about half a minute."""
        shop = cls(top)
        shop._inputs()
        for argv in (
            shop.train(top / "run"),
            ["predict", top / "run", top / "data/test", "--out", top / "predictions", "--format", "coco,masks"],
            ["evaluate", top / "run", top / "data"],
            ["export", top / "run", "--out", top / "model.onnx", "--photos", top / "data/test"],
        ):
            done = run(*argv)
            if done.code:
                raise RuntimeError(f"{argv}: {done.err}")
        return shop

    def _inputs(self) -> None:
        (self.top / "weights").mkdir(parents=True)
        for name in ("test_vit", "test_efficientnet"):
            torch.manual_seed(0)
            net = timm.create_model(name)
            safetensors.torch.save_file(net.state_dict(), self.top / "weights" / f"{name}.safetensors")
            if name == "test_efficientnet":
                torch.save(net.state_dict(), self.top / "test_efficientnet.pth")
        (self.top / "tiny.toml").write_text(RECIPE)
        write_sample(self.top / "data", train=18, test=6, size=(96, 72))
        photos = sorted((self.top / "data/train").rglob("*.jpg"))
        classes = {"none": 1, "tower": 2}
        images = [
            {"id": i, "file_name": p.relative_to(self.top).as_posix(), "width": 96, "height": 72} for i, p in enumerate(photos)
        ]
        box = {"bbox": [20.5, 10, 30, 50], "iscrowd": 0, "area": 1500, "segmentation": [[20.5, 10, 50.5, 10, 50, 60]]}
        boxes = [
            {"id": i, "image_id": i, "category_id": classes[p.parent.name]} | box
            for i, p in enumerate(photos)
            if p.parent.name == "tower"
        ]
        categories = [{"id": number, "name": name} for name, number in classes.items()]
        coco = {"images": images, "annotations": boxes, "categories": categories}
        (self.top / "coco.json").write_text(json.dumps(coco))
        rows = [f"{p.relative_to(self.top).as_posix()},{p.parent.name}" for p in photos]
        (self.top / "list.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
        writer = cv2.VideoWriter(str(self.top / "video.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 4, (96, 72))
        for photo in photos[:12]:
            writer.write(np.ascontiguousarray(read_image(photo)[..., ::-1]))
        writer.release()
        for photo in sorted((self.top / "data/test").rglob("*.jpg")):
            score_map = (self.top / "maps" / photo.relative_to(self.top / "data/test")).with_suffix(".npy")
            score_map.parent.mkdir(parents=True, exist_ok=True)
            np.save(score_map, np.random.default_rng(0).random((224, 224), np.float32))

    def train(self, out: Path, data: Path | None = None, *, store: Path | None = None) -> list[object]:
        """The command that trains ``out``."""
        return [
            *("train", data or self.top / "data", "--out", out, "--recipe", self.top / "tiny.toml"),
            *("--weights", self.top / "weights", "--store", store or self.top / "store"),
        ]


def files(folder: Path) -> Iterator[Path]:
    """All files below ``folder``, by name."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
