"""``dips evaluate``: what is passed on, and the table that is printed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from .conftest import Calls, Dips, fake


def test_evaluate(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    boxes = {"max_box_acc_v2": 51.25, "max_box_acc_at": {"30": 80.0, "50": 60.0, "70": 13.75}, "max_box_acc": 55.0}
    result: dict[str, Any] = {"data": "d", "split": "val", "n_images": 9, "n_boxes": 5, "top1_cls": 88.88, "top5_cls": None}
    result |= {
        "sst": "tuned one",
        "methods": [
            {"name": "localizer", "boxes": boxes, "at_tau": {"box_acc_v2": 49.9}},
            {"name": "unet", "boxes": {**boxes, "max_box_acc_v2": 2.0}, "at_tau": {"box_acc_v2": 1.5}},
            {"name": "centre", "boxes": {**boxes, "max_box_acc_v2": 1.0}, "at_tau": None},
        ],
        "skipped": [{}],
    }
    evaluate = Calls(result)
    calls = fake(monkeypatch, "dips.model.Model.open", SimpleNamespace(evaluate=evaluate))
    said = dips("evaluate", "run", "data", "--split", "val", "--json", "e.json", "--set", "predict.flip=false")
    assert said.code == 0
    assert calls[0] == {"0": Path("run"), "device": "auto", "settings": ["predict.flip=false"], "weights": ()}
    plain = {"split": "val", "json_path": Path("e.json"), "photos": 300, "protocol": "wsol-224"}
    assert evaluate[0] == {"0": Path("data"), **plain}
    rows = {line.split("  ")[1].strip(): line for line in said.out.splitlines() if line.startswith("  ")}
    assert "oracle" in rows["MaxBoxAccV2"] and rows["MaxBoxAccV2"].split()[-3:] == ["51.2", "2.0", "1.0"]
    assert "validation" in rows["BoxAccV2"] and "49.9" in rows["BoxAccV2"]
    assert "U-Net" in said.out and rows["BoxAccV2"].split()[-2:] == ["49.9", "1.5"]
    assert "Top-1 localization" not in said.out and "PxAP" not in said.out
    for words in (
        "split val: 9 photos, 5 with ground-truth boxes",
        "top 1: 88.9%",
        "transformer: tuned one",
        "skipped: 1 photo",
    ):
        assert words in said.out


def test_evaluate_without_boxes(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    result = {"data": "d", "split": "test", "n_images": 9, "n_boxes": 0, "methods": [], "top1_cls": 50.0}
    fake(monkeypatch, "dips.model.Model.open", SimpleNamespace(evaluate=Calls(result)))
    said = dips("evaluate", "run", "data")
    assert (
        "no photo has ground-truth boxes or masks: only the classification" in said.out
        and "50.0%" in said.out
        and "MaxBoxAcc" not in said.out
    )
