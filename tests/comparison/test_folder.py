"""What a comparison keeps: whole, readable again, and refused where it is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dips.baselines.method import Fit
from dips.comparison.folder import MethodFolder, begin
from dips.config import Config
from dips.errors import RunError


def test_a_fit_is_read_back(tmp_path: Path, kinds: Any) -> None:
    method, folder = kinds.Learner(), MethodFolder(tmp_path / "learner")
    method.net = nn.Conv2d(3, 1, 1)
    fit = Fit(steps=4, epochs=1.5, seconds=2.5, chosen="step 4", curve=({"step": 4, "v2": 50.0},))
    assert folder.fit() is None
    folder.save_fit(method, fit)
    assert folder.fit() == Fit(4, 1.5, 2.5, "step 4", [{"step": 4, "v2": 50.0}])  # type: ignore[arg-type]
    assert torch.equal(folder.state()["weight"], method.net.weight)


def test_a_result_is_read_back_with_its_maps(tmp_path: Path) -> None:
    folder, maps = MethodFolder(tmp_path / "m"), {"a/b.jpg": np.eye(3, dtype=np.float32)}
    assert folder.result("test") is None and folder.maps("test") == {}
    folder.save_result("test", {"pxap": None}, maps)
    assert folder.result("test") == {"pxap": None}
    np.testing.assert_array_equal(folder.maps("test")["a/b.jpg"], maps["a/b.jpg"])


@pytest.mark.parametrize("file", ["fit.json", "state.safetensors", "test.json", "test.maps.safetensors"])
def test_a_damaged_file_is_named(tmp_path: Path, kinds: Any, file: str) -> None:
    method, folder = kinds.Learner(), MethodFolder(tmp_path)
    method.net = nn.Conv2d(3, 1, 1)
    folder.save_fit(method, Fit())
    folder.save_result("test", {}, {"a": np.eye(3, dtype=np.float32)})
    (tmp_path / file).write_bytes(b"\x00damaged")
    with pytest.raises(RunError, match="remove"):
        folder.fit(), folder.state(), folder.result("test"), folder.maps("test")


def test_a_comparison_is_known_again(tmp_path: Path) -> None:
    identity: dict[str, Any] = {"data": "/photos", "budget": 3.0}
    begin(tmp_path / "out", identity, Config())
    begin(tmp_path / "out", identity, Config())
    with pytest.raises(RunError, match=r"budget 3\.0, now 4\.0"):
        begin(tmp_path / "out", {**identity, "budget": 4.0}, Config())
    with pytest.raises(RunError, match=r"train\.epochs"):
        begin(tmp_path / "out", identity, Config().replace(**{"train.epochs": 9}))
