"""A comparison in seconds: drawn scenes, tiny networks, and methods that count how often they are asked."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dips.comparison import compare
from dips.config import Config, to_toml

Compare = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DIPS_WEIGHTS", raising=False)
    monkeypatch.setenv("DIPS_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dips.demo.scenes import write_sample

    folder = tmp_path_factory.mktemp("scenes") / "data"
    write_sample(folder, train=10, test=6, size=(80, 64))
    return folder


@pytest.fixture
def run(scenes: Path, tmp_path: Path, tiny_config: Config, tiny_weights: Path) -> Compare:
    """``run(methods, **options)`` compares on the scenes, or ``data``, in ``tmp_path / "out"``."""
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(to_toml(tiny_config), encoding="utf-8")

    def call(methods: Any, *, data: Path = scenes, **more: Any) -> dict[str, Any]:
        given: dict[str, Any] = {"out": tmp_path / "out", "recipe": recipe, "store": tmp_path / "store", "device": "cpu"}
        return compare(data, methods=methods, weights=[str(tiny_weights)], **({"budget": 0.001} | given | more))

    return call


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The methods of ``methods.py``, as a module of the user, with the count of fits at 0."""
    name = "comparison_methods"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("methods.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def _run(seed: int, v2: float | None, *, top1: float | None = None, learned: float = 0.0, needs: float = 0.0) -> dict[str, Any]:
    """A run whose numbers are ``v2`` and what is easily told from it."""
    tau = np.linspace(0, 1, 11).tolist()
    at = {key: None if v2 is None else v2 + more for key, more in (("30", 8.0), ("50", 0.0), ("70", -8.0))}
    boxes: dict[str, Any] = {
        "max_box_acc": None if v2 is None else v2 - 1,
        "max_box_acc_v2": v2,
        "max_box_acc_at": at,
        "gt_known": at["50"],
        "top1_loc": top1,
    }
    if v2 is not None:
        boxes["curves"] = {"tau": tau, **{key: [(best or 0) * (1 - t) for t in tau] for key, best in at.items()}}
    return {
        "seed": seed,
        "boxes": boxes,
        "at_tau": None if v2 is None else {"box_acc": v2 - 3, "box_acc_v2": v2 - 2},
        "pxap": None,
        "fit": {"seconds": learned, "steps": round(learned), "epochs": 1.0, "chosen": ""},
        "needs_seconds": needs,
        "seconds_per_photo": 0.0125,
        "parameters": 3_400_000,
    }


@pytest.fixture
def comparison() -> dict[str, Any]:
    """A comparison with two seeds: DiPS first, two rivals, of which one lacks a seed, and one that learns nothing."""
    methods = [
        ("dips", "DiPS", "image", [_run(0, 85.0, top1=61.0, learned=120), _run(1, 86.0, top1=62.0, learned=180)]),
        (
            "cam",
            "CAM",
            "image",
            [_run(0, 50.0, top1=70.0, learned=60, needs=30), _run(1, 53.0, top1=None, learned=60, needs=90)],
        ),
        ("a_b", "A_B & 50% <#1>|", "image", [_run(0, 40.0, learned=60)]),
        ("centre", "Centred Gaussian", "none", [_run(0, 45.0), _run(1, 45.0)]),
    ]
    return {
        "data": "photos/my_birds",
        "split": "test",
        "protocol": "224 x 224 pixels, 1000 thresholds",
        "protocol_name": "wsol-224",
        "n_images": 9,
        "n_boxed": 8,
        "n_skipped": 0,
        "budget_minutes": 3.0,
        "limits": "",
        "stride": 16,
        "seeds": [0, 1],
        "photos": {"train": 20, "val": 8, "val_boxed": 7},
        "cnn": "EfficientNet-Lite0, ImageNet (embedded)",
        "transformer": "DINOv2-S, saliency-tuned (embedded)",
        "weights": {"cnn": None, "transformer": None},
        "environment": {"device": "cpu", "cpus": 2},
        "methods": [
            {
                "name": name,
                "title": title,
                "paper": f"Some & Other, {title}",
                "labels": labels,
                "own": name == "dips",
                "needs": [],
                "caveat": "",
                "runs": runs,
            }
            for name, title, labels, runs in methods
        ],
        "failed": [{"name": "a_b", "title": "A_B & 50% <#1>|", "seed": 1, "why": "ValueError: a_1 | b\n at 5%"}],
    }


@pytest.fixture
def result() -> dict[str, Any]:
    """The numbers of a method on a split."""
    return {
        "boxes": {"max_box_acc_v2": 50.0, "curves": {"tau": [0.0, 0.5], "30": [10.0, 20.0]}},
        "at_tau": None,
        "pxap": None,
        "activations": None,
        "dissection": None,
        "top1_cls": None,
        "parameters": 4,
        "seconds_per_photo": 0.5,
        "skipped": [{"path": "a.jpg", "why": "cut short"}],
        "ground_truth": "1f",
    }
