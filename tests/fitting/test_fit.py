"""``dips.fit``: from folders to a run folder that is written once, by settings that are checked before any work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dips

MakePhoto = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("offline")


def test_what_a_run_holds(tiny_model: dips.Model) -> None:
    names = {"config.toml", "metrics.jsonl", "model.safetensors", "model.json", "run.json", "README.md", "report.html"}
    assert {path.name for path in tiny_model.run.iterdir()} >= names
    assert not (tiny_model.run / "resume.safetensors").exists(), "of no further use"
    assert tiny_model.classes == ("none", "tower") and tiny_model.background == 0
    assert tiny_model.record.environment["device"] == "cpu"
    record = json.loads((tiny_model.run / "run.json").read_text())
    assert list(record)[:2] == ["schema_version", "data"] and record["schema_version"] == 1
    assert set(record["weights"]) == {"transformer", "classifier", "encoder"} and record["photos"]["skipped"] == 0


def test_the_same_seed_gives_the_same_bytes(tiny_training: Any, tiny_model: dips.Model) -> None:
    again, other = tiny_training.fit("again"), tiny_training.fit("other", "train.seed=3")
    first = (tiny_model.run / "model.safetensors").read_bytes()
    assert (again.run / "model.safetensors").read_bytes() == first
    assert (other.run / "model.safetensors").read_bytes() != first
    assert other.record.seed == 3


def test_runs_are_not_overwritten(tiny_training: Any, tiny_model: dips.Model) -> None:
    with pytest.raises(dips.RunError, match="--resume"):
        tiny_training.fit("run")
    with pytest.raises(dips.RunError, match=r"other settings \(train\.epochs\)"):
        tiny_training.fit("run", "train.epochs=2", resume=True)
    assert tiny_training.fit("run", resume=True).best_tau == tiny_model.best_tau


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["train.crop=96"], r"train\.crop \(96\)"),
        (["train.lambda_cpa=0", "train.lambda_crf=0"], "all 0"),
        (["harvest.refine=none", "predict.sst_share=0.5"], r"predict\.sst_share"),
        (["train.select_on=boxes"], r"train\.select_on"),
        ("train.epoch=3", "did you mean 'train.epochs'"),  # a single one need not be in a list
    ],
)
def test_settings_are_checked_before_any_work(
    tiny_training: Any, tmp_path: Path, make_photo: MakePhoto, settings: Any, says: str
) -> None:
    for name in ("none", "tower"):
        for number in range(2):
            make_photo(tmp_path / "photos" / name / f"{number}.png", seed=number)
    with pytest.raises(dips.ConfigError, match=says):
        dips.fit(tmp_path / "photos", out=tmp_path / "run", recipe=tiny_training.recipe, settings=settings)
    assert not (tmp_path / "run").exists()
