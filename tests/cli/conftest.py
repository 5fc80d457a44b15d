"""A tiny trained run that all tests of the command line share, and the command line itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

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
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


Dips = Callable[..., Said]


@dataclass(frozen=True)
class Tiny:
    """``train/`` and ``test/`` with boxes, tiny random weights, a recipe for both, and what was trained with them."""

    data: Path
    weights: Path
    recipe: Path
    run: Path
    store: Path

    def train(self, out: Path, *more: object, data: Path | None = None) -> list[str]:
        """The command line that trains ``out``."""
        given = ["train", data or self.data, "--out", out, "--recipe", self.recipe, "--weights", self.weights]
        return [str(item) for item in (*given, "--store", self.store, *more)]


@pytest.fixture
def dips(capfd: pytest.CaptureFixture[str]) -> Dips:
    """``dips("check", path)`` runs the command in this process."""

    def run(*arguments: object) -> Said:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return run


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No weights and no cache but those of the test."""
    monkeypatch.delenv("DIPS_WEIGHTS", raising=False)
    monkeypatch.setenv("DIPS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # the demo sets it; this has pytest take it away again
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    """The shared run, trained once through the command line."""
    import safetensors.torch
    import torch

    from dips.demo.scenes import write_sample
    from dips.models.backbones import timm

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
    made = Tiny(top / "data", weights, top / "tiny.toml", top / "run", top / "store")
    assert main(made.train(made.run)) == 0
    yield made
    torch.set_num_threads(threads)
