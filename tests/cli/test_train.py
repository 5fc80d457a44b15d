"""``dips train``: what is passed on, and what is printed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from .conftest import Dips, fake


def test_train(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    calls = fake(monkeypatch, "dips.fitting.fit.fit", SimpleNamespace(run=Path("my runs/x")))
    said = dips("train", "data", "--out", "my runs/x")
    assert said.code == 0
    plain = {"recipe": None, "settings": (), "weights": (), "store": None, "device": "auto", "resume": False}
    assert calls[0] == {"0": Path("data"), "out": Path("my runs/x"), **plain}
    assert "dips predict 'my runs/x' PHOTOS" in said.out
    dips(
        *("train", "data", "--out", "x", "--set", "train.epochs=4", "--set", "harvest.sizes=[224,448]", "--set=train.lr=-1"),
        *("--weights", "a.pth", "--weights", "vit=b.pth", "--store", "s", "--recipe", "paper", "--device", "cpu", "--resume"),
    )
    assert calls[1]["settings"] == ["train.epochs=4", "harvest.sizes=[224,448]", "train.lr=-1"]
    assert calls[1]["weights"] == ["a.pth", "vit=b.pth"]
    assert (calls[1]["store"], calls[1]["recipe"], calls[1]["device"], calls[1]["resume"]) == (Path("s"), "paper", "cpu", True)
