"""``dips.fit``, ``dips.load``, ``Model``: from folders to a run and back, damaged runs, and what an evaluation says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dips
from dips.config import Config, to_toml

MakePhoto = Callable[..., Path]
Fit = Callable[..., dips.Model]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DIPS_WEIGHTS", raising=False)
    monkeypatch.setenv("DIPS_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> Path:
    top = tmp_path_factory.mktemp("api")
    (top / "tiny.toml").write_text(to_toml(tiny_config), encoding="utf-8")
    return top


@pytest.fixture(scope="module")
def data(top: Path) -> Path:
    from dips.demo.scenes import write_sample

    write_sample(top / "data", train=10, test=6, size=(80, 64))
    return top / "data"


@pytest.fixture(scope="module")
def fit(top: Path, data: Path, tiny_weights: Path) -> Fit:
    def run(name: str, *settings: str, **more: Any) -> dips.Model:
        given: dict[str, Any] = {"recipe": top / "tiny.toml", "store": top / "store", "weights": str(tiny_weights)}
        return dips.fit(data, out=top / name, settings=settings, device="cpu", **(given | more))

    return run


@pytest.fixture(scope="module")
def model(fit: Fit) -> Iterator[dips.Model]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DIPS_WEIGHTS", raising=False)
        patch.setenv("DIPS_OFFLINE", "1")
        yield fit("run")


@pytest.fixture
def copy(model: dips.Model, tmp_path: Path) -> Path:
    """A copy of the run that a test may damage."""
    return Path(shutil.copytree(model.run, tmp_path / "copy"))


# --- fit


def test_what_a_run_holds(model: dips.Model) -> None:
    names = {"config.toml", "metrics.jsonl", "model.safetensors", "model.json", "run.json", "README.md", "report.html"}
    assert {path.name for path in model.run.iterdir()} >= names
    assert not (model.run / "resume.safetensors").exists(), "of no further use"
    assert model.classes == ("none", "tower") and model.background == 0
    assert model.record.environment["device"] == "cpu"


def test_the_same_seed_gives_the_same_bytes(fit: Fit, model: dips.Model) -> None:
    again, other = fit("again"), fit("other", "train.seed=3")
    first = (model.run / "model.safetensors").read_bytes()
    assert (again.run / "model.safetensors").read_bytes() == first
    assert (other.run / "model.safetensors").read_bytes() != first
    assert other.record.seed == 3


def test_runs_are_not_overwritten(fit: Fit, model: dips.Model) -> None:
    with pytest.raises(dips.RunError, match="--resume"):
        fit("run")
    with pytest.raises(dips.RunError, match=r"other settings \(train\.epochs\)"):
        fit("run", "train.epochs=2", resume=True)
    assert fit("run", resume=True).best_tau == model.best_tau


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
    top: Path, tmp_path: Path, make_photo: MakePhoto, settings: Any, says: str
) -> None:
    for name in ("none", "tower"):
        for number in range(2):
            make_photo(tmp_path / "photos" / name / f"{number}.png", seed=number)
    with pytest.raises(dips.ConfigError, match=says):
        dips.fit(tmp_path / "photos", out=tmp_path / "run", recipe=top / "tiny.toml", settings=settings)
    assert not (tmp_path / "run").exists()


# --- load


def test_load_predicts_as_fit_does(model: dips.Model, data: Path, tiny_weights: Path) -> None:
    photos = sorted((data / "test").rglob("*.jpg"))[:2]
    loaded = dips.load(model.run, device="cpu", weights=[str(tiny_weights)])
    for one, other in zip(model.predict(photos), loaded.predict(photos), strict=True):
        assert np.array_equal(one.score_map, other.score_map) and one.label == other.label
        assert one.threshold == model.best_tau["v2"]
    assert loaded.key_map is not None and loaded.config.predict.sst_share == 0.6, "what -1 stood for in training"


def test_settings_at_load(model: dips.Model) -> None:
    assert dips.load(model.run, settings="predict.threshold=0.25", device="cpu").config.predict.threshold == 0.25
    with pytest.raises(dips.ConfigError, match="fixed by the training"):
        dips.load(model.run, settings=["train.epochs=3"])


def test_without_the_transformer_the_unet_still_predicts(model: dips.Model, data: Path) -> None:
    photo = next((data / "test").rglob("*.jpg"))
    with pytest.raises(dips.WeightsError, match="--weights"):
        list(dips.load(_moved(model), device="cpu").predict(photo))
    alone = dips.load(_moved(model), device="cpu", settings=["predict.sst_share=0"])
    assert len(list(alone.predict(photo))) == 1
    with pytest.raises(dips.WeightsError, match="--weights"):
        alone.evaluate(data)


def _moved(model: dips.Model) -> Path:
    """The run as on a machine without its weights."""
    folder = model.run.with_name("moved")
    shutil.copytree(model.run, folder, dirs_exist_ok=True)
    record = json.loads((folder / "run.json").read_text())
    record["weights"]["transformer"]["origin"] = "/nowhere/test_vit.safetensors"
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_other_weights_of_the_same_name_are_refused(model: dips.Model, data: Path, tmp_path: Path) -> None:
    import safetensors.torch

    from dips.models.backbones import timm

    torch.manual_seed(7)
    safetensors.torch.save_file(timm.create_model("test_vit").state_dict(), tmp_path / "test_vit.safetensors")
    other = dips.load(model.run, device="cpu", weights=str(tmp_path / "test_vit.safetensors"))
    with pytest.raises(dips.WeightsError, match="made with other weights"):
        list(other.predict(data / "test"))
    with pytest.raises(dips.WeightsError, match="made with other weights"):
        other.evaluate(data)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "run.json", "config.toml"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "other"])
def test_damaged_runs_say_so(copy: Path, name: str, damage: str) -> None:
    file = copy / name
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"cut": file.read_bytes()[:-40] + b"\xff", "empty": b"", "other": b"{}"}[damage])
    if (name, damage) == ("config.toml", "empty"):
        return  # all defaults: no damage that could be seen
    with pytest.raises(dips.RunError, match=r"train|copy"):
        dips.load(copy, device="cpu")


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(dips.RunError, match=r"no run folder.*dips train"):
        dips.load(tmp_path)


# --- predict, evaluate


def test_there_must_be_photos(model: dips.Model, tmp_path: Path) -> None:
    with pytest.raises(dips.DataError, match="no photo in"):
        model.predict(tmp_path)
    told: list[Path] = []
    assert list(model.predict([tmp_path / "no.jpg"], skipped=lambda path, why: told.append(path))) == []
    assert told == [tmp_path / "no.jpg"]


def test_evaluation(model: dips.Model, data: Path, top: Path, tmp_path: Path) -> None:
    result = model.evaluate(data, store=top / "store", json_path=tmp_path / "e.json")
    assert json.loads((tmp_path / "e.json").read_text()) == json.loads(json.dumps(result, allow_nan=False))
    assert (model.run / "evaluation.json").read_text() == (tmp_path / "e.json").read_text()
    assert result["split"] == "test" and "Choe" in result["protocol"] and result["n_images"] == 6
    assert 0 < result["n_boxes"] < 6, "photos of the background class have no part in the localization"
    card = (model.run / "README.md").read_text()
    assert f"{result['n_boxes']} photos with ground-truth boxes: MaxBoxAccV2 {result['max_box_acc_v2']:.1f} at the best" in card
    assert set(result["max_box_acc_at"]) == {"30", "50", "70"}
    assert result["max_box_acc_v2"] == pytest.approx(np.mean(list(result["max_box_acc_at"].values())))
    for name in ("max_box_acc", "max_box_acc_v2", "gt_known", "top1_loc", "top1_cls"):
        assert 0 <= result[name] <= 100
    assert set(result["baselines"]) == {"mean_attention", "linear_map", "centre"}
    assert all("max_box_acc_v2" in baseline for baseline in result["baselines"].values())
    assert result["sst"] == "test_vit" and set(result["weights"]) == {"transformer", "classifier", "encoder"}
    shown = json.loads((model.run / "evaluation-photos.json").read_text())
    assert len(shown["photos"]) == 6 and shown["threshold"] == model.best_tau["v2"] and shown["background"] == "none"
    assert set(result["files"]) == {"evaluation.csv", "evaluation-photos.json"}
    assert (model.run / "report.html").read_text().count('id="photo-data"') == 1
    assert result["seed"] == 0 and result["at_validation_tau"]["tau"]["50"] == pytest.approx(model.best_tau["50"], abs=1e-3)


def test_evaluation_of_all_splits_and_of_none(model: dips.Model, data: Path, top: Path, tmp_path: Path) -> None:
    assert model.evaluate(data, split="all", store=top / "store", photos=0)["n_images"] == 16
    shutil.copytree(data / "test" / "tower", tmp_path / "new" / "tower")
    result = model.evaluate(tmp_path / "new", split=None, store=top / "store")
    assert result["n_boxes"] == 0 and result["max_box_acc_v2"] is None and result["top1_cls"] is not None
    with pytest.raises(dips.DataError, match="split 'all'"):
        model.evaluate(tmp_path / "new", store=top / "store")


def test_a_damaged_run_has_no_report(copy: Path) -> None:
    from dips.report.run_report import write_run_report

    (copy / "metrics.jsonl").write_text("{")
    with pytest.raises(dips.RunError, match="damaged"):
        write_run_report(copy)
