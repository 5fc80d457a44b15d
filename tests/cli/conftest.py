"""A tiny trained run that all tests of the command line share, and the command line itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dips.cli import main

TINY = """
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
    """What a command returned and printed."""

    code: int
    out: str
    err: str


Dips = Callable[..., Outcome]


@dataclass(frozen=True)
class Tiny:
    """Data with ``train/`` and ``test/`` and boxes, tiny random weights, a recipe for both, and the run trained with them."""

    data: Path
    weights: Path
    recipe: Path
    run: Path
    store: Path

    def train(self, out: Path, *more: object, data: Path | None = None) -> list[str]:
        """The command line that trains ``out``."""
        command = ["train", data or self.data, "--out", out, "--recipe", self.recipe, "--weights", self.weights]
        return [str(item) for item in (*command, "--store", self.store, *more)]


@pytest.fixture
def dips(capfd: pytest.CaptureFixture[str]) -> Dips:
    """``dips("check", path)`` runs the command in this process."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return run


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide all weights and caches but those of the test."""
    monkeypatch.delenv("DIPS_WEIGHTS", raising=False)
    monkeypatch.setenv("DIPS_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    """Train the shared run once, through the command line."""
    import safetensors.torch
    import torch

    from dips.demo.scenes import write_sample
    from dips.models.backbones import timm  # type: ignore[attr-defined]  # not by itself: torchvision is mended first

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    top = tmp_path_factory.mktemp("tiny")
    weights = top / "weights"
    weights.mkdir()
    for name in ("test_vit", "test_efficientnet"):
        torch.manual_seed(0)
        safetensors.torch.save_file(timm.create_model(name).state_dict(), weights / f"{name}.safetensors")
    (top / "tiny.toml").write_text(TINY)
    write_sample(top / "data", train=18, test=6, size=(96, 72))
    tiny = Tiny(top / "data", weights, top / "tiny.toml", top / "run", top / "store")
    assert main(tiny.train(tiny.run)) == 0
    yield tiny
    torch.set_num_threads(threads)


class Calls(list[dict[str, Any]]):
    """A stand-in for a function of the API; a list of the arguments of each call."""

    def __init__(self, answer: Any = None) -> None:
        super().__init__()
        self.answer = answer

    def __call__(self, *positional: Any, **named: Any) -> Any:
        self.append({**{str(i): value for i, value in enumerate(positional)}, **named})
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def read_map(file: Path) -> NDArray[Any]:
    """Read a score map as it is stored, ``(H, W) uint16``."""
    values = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert values is not None
    return np.asarray(values)


def fake(monkeypatch: pytest.MonkeyPatch, name: str, answer: Any = None) -> Calls:
    """Put a stand-in for the function of the dotted ``name`` in its place; it returns ``answer``, or raises it."""
    calls = Calls(answer)
    monkeypatch.setattr(name, calls)
    return calls


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ``dips train`` and ``dips evaluate`` take any run and any data, for tests of what is done with them."""
    fake(monkeypatch, "dips.cli.train.require_training")
    fake(monkeypatch, "dips.cli.evaluate.require_model")
