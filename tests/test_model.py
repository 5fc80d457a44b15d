"""``dips.load`` and ``Model``: a run opened again, damaged runs, predictions, and what an evaluation says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dips
from dips.config import to_toml
from dips.report.photos import PHOTOS, read_shown, small_map

pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture
def data(tiny_training: Any) -> Path:
    """The photos that the model was trained and is tested on."""
    return Path(tiny_training.data)


@pytest.fixture
def copy(tiny_model: dips.Model, tmp_path: Path) -> Path:
    """A copy of the run that a test may damage."""
    return Path(shutil.copytree(tiny_model.run, tmp_path / "copy"))


# --- load


def load(run: Path, **options: Any) -> dips.Model:
    model = dips.load(run, device="cpu", **options)
    assert isinstance(model, dips.Model)
    return model


def test_load_predicts_as_fit_does(tiny_model: dips.Model, data: Path, tiny_weights: Path) -> None:
    photos = sorted((data / "test").rglob("*.jpg"))[:2]
    loaded = load(tiny_model.run, weights=[str(tiny_weights)])
    for one, other in zip(tiny_model.predict(photos), loaded.predict(photos), strict=True):
        assert np.array_equal(one.score_map, other.score_map) and one.label == other.label
        assert one.threshold == tiny_model.best_tau["run"]
    assert loaded.modes == ("fast", "accurate", "unet") and loaded.config.predict.mode == "fast"
    assert loaded.best_tau == loaded.meta.thresholds["fast"]


@pytest.mark.parametrize("mode", ["fast", "accurate", "unet"])
def test_each_mode_has_its_threshold(tiny_model: dips.Model, data: Path, tiny_weights: Path, mode: str) -> None:
    photo = next((data / "test").rglob("*.jpg"))
    other = load(tiny_model.run, settings=[f"predict.mode={mode}"], weights=[str(tiny_weights)])
    (found,) = other.predict(photo)
    assert found.threshold == tiny_model.meta.thresholds[mode]["run"] and other.as_trained
    roles = {"fast": {"teacher"}, "accurate": {"transformer"}, "unet": {"teacher", "encoder"}}
    assert set(other.weights_inside()) == {"classifier", *roles[mode]}
    (by_default,) = tiny_model.predict(photo)
    assert np.array_equal(found.grid, by_default.grid) == (mode == "fast")


def test_a_threshold_for_other_maps_is_warned_of(
    tiny_model: dips.Model, data: Path, tiny_weights: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mixed = load(tiny_model.run, settings=["predict.unet_share=0.5"], weights=[str(tiny_weights)])
    list(mixed.predict(next((data / "test").rglob("*.jpg"))))
    assert not mixed.as_trained and "the threshold was chosen for other settings of predict" in capfd.readouterr().err


def test_a_run_without_unet(tiny_training: Any, data: Path, tiny_weights: Path) -> None:
    """As by default: it offers two modes, and its report and card do without epochs."""
    model = tiny_training.fit("plain", "train.epochs=0")
    assert model.modes == ("fast", "accurate") and not (model.run / "metrics.jsonl").exists()
    assert set(model.record.weights) == {"transformer", "classifier"} and set(model.record.accuracy) == {"classifier"}
    result = model.evaluate(data)
    assert [method["name"] for method in result["methods"]] == ["localizer", "accurate", "mean_attention", "centre"]
    assert (model.run / "report.html").stat().st_size > 10_000 and "encoder" not in (model.run / "README.md").read_text()
    with pytest.raises(dips.ConfigError, match=r"train\.epochs"):
        load(model.run, settings=["predict.mode=unet"])
    assert model.made_with() == "classifier test_efficientnet, teacher test_vit"


@pytest.mark.parametrize("flip", ["true", "false"])
def test_what_is_evaluated_is_what_is_predicted(tiny_training: Any, data: Path, tiny_weights: Path, flip: str) -> None:
    """Mirror images have the same part in both, in the harvest (``harvest.flip``) and in prediction (``predict.flip``)."""
    name = "mirrored"
    run = tiny_training.folder / name
    if not run.exists():
        tiny_training.fit(name, "harvest.flip=true", "train.epochs=1")
    for mode in ("fast", "accurate", "unet"):
        settings = [f"predict.mode={mode}", f"predict.flip={flip}"]
        model = load(run, settings=settings, weights=[str(tiny_weights)])
        model.evaluate(data)
        shown = {photo.id: photo for photo in read_shown(run / PHOTOS).photos}
        for prediction in model.predict(data / "test"):
            photo = shown[prediction.path.relative_to(data / "test").as_posix()]
            levels, peak = small_map(prediction.grid)
            assert abs(photo.peak - peak) < 1e-4 and np.abs(photo.levels().astype(int) - levels).max() <= 1
            assert photo.predicted == prediction.label


def test_a_model_of_thermal_photos(tiny_training: Any, tmp_path: Path, tiny_weights: Path, tiny_config: Any) -> None:
    """The scale of the training photos is found once, kept, and used wherever photos like them are shown."""
    thermal = tmp_path / "thermal"
    for path in tiny_training.data.rglob("*.jpg"):
        grey = np.asarray(Image.open(path).convert("L"), np.uint16)
        new = thermal / path.relative_to(tiny_training.data).with_suffix(".png")
        new.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey * np.uint16(4) + np.uint16(7000)).save(new)
    config = dips.load_config(tiny_training.recipe, ["train.epochs=0"])
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(to_toml(config))
    options: dict[str, Any] = {"recipe": recipe, "store": tmp_path / "store", "weights": str(tiny_weights), "device": "cpu"}
    model = dips.fit(thermal, out=tmp_path / "run", **options)
    (scale,) = model.meta.depth.scales
    assert 6990 < scale[0] < 7250 and 7700 < scale[1] < 8030
    photo = next((thermal / "test").rglob("*.png"))
    (alone,), (loaded,) = model.predict(photo), load(model.run).predict(photo)
    assert alone.scale == loaded.scale == scale and np.array_equal(alone.grid, loaded.grid)
    assert model._description().depth == model.meta.depth
    degrees = tmp_path / "degrees.tif"
    Image.fromarray((np.asarray(Image.open(photo), np.float32) - 7000) / 48 - 10).save(degrees)
    (other,) = model.predict(degrees)
    assert other.scale is not None and -11 < other.scale[0] < 0 and other.label == alone.label
    again = dips.fit(thermal, out=tmp_path / "full", settings=["data.depth=full"], **options)
    assert again.meta.depth.rule == "full"
    (dark,) = again.predict(photo)
    assert dark.scale == (0, 65535), "nothing that another depth left in the store is used"
    assert not torch.equal(again.stored.classifier.head.weight, model.stored.classifier.head.weight)


def test_settings_at_load(tiny_model: dips.Model) -> None:
    assert load(tiny_model.run, settings="predict.threshold=0.25").config.predict.threshold == 0.25
    with pytest.raises(dips.ConfigError, match="fixed by the training"):
        dips.load(tiny_model.run, settings=["train.epochs=3"])


def test_only_the_accurate_mode_needs_the_transformer(tiny_model: dips.Model, data: Path) -> None:
    photo = next((data / "test").rglob("*.jpg"))
    for mode in ("fast", "unet"):
        alone = load(_moved(tiny_model), settings=[f"predict.mode={mode}"])
        assert len(list(alone.predict(photo))) == 1
    accurate = load(_moved(tiny_model), settings=["predict.mode=accurate"])
    for use in (lambda: list(accurate.predict(photo)), lambda: accurate.evaluate(data)):
        with pytest.raises(dips.WeightsError, match="--weights"):
            use()


def _moved(tiny_model: dips.Model) -> Path:
    """The run as on a machine without its weights."""
    folder = tiny_model.run.with_name("moved")
    shutil.copytree(tiny_model.run, folder, dirs_exist_ok=True)
    record = json.loads((folder / "run.json").read_text())
    record["weights"]["transformer"]["origin"] = "/nowhere/test_vit.safetensors"
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_other_weights_of_the_same_name_are_refused(
    tiny_model: dips.Model, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import safetensors.torch

    from dips.models.backbones import timm  # type: ignore[attr-defined]

    torch.manual_seed(7)
    safetensors.torch.save_file(timm.create_model("test_vit").state_dict(), tmp_path / "test_vit.safetensors")
    weights = str(tmp_path / "test_vit.safetensors")
    fast = load(tiny_model.run, weights=weights)
    capfd.readouterr()
    assert set(fast.evaluate(data)["baselines"]) == {"unet", "centre"}
    assert "evaluated without the mean attention" in (said := capfd.readouterr().err) and "made with other weights" in said
    other = load(tiny_model.run, settings=["predict.mode=accurate"], weights=weights)
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
    with pytest.raises(dips.RunError, match=r"not a run folder.*dips train"):
        dips.load(tmp_path)


# --- predict, evaluate


def test_there_must_be_photos(tiny_model: dips.Model, tmp_path: Path) -> None:
    with pytest.raises(dips.DataError, match="no photo in"):
        tiny_model.predict(tmp_path)
    told: list[Path] = []
    assert list(tiny_model.predict([tmp_path / "no.jpg"], skipped=lambda path, why: told.append(path))) == []
    assert told == [tmp_path / "no.jpg"]
    with pytest.raises(dips.DataError, match="nowhere does not exist"):
        tiny_model.predict("nowhere")


def test_pictures_in_memory_are_predicted_as_their_files_are(tiny_model: dips.Model, tmp_path: Path) -> None:
    from PIL import Image

    path = next((Path(tiny_model.record.data) / "test").rglob("*.jpg"))
    (file,) = tiny_model.predict(path)
    with Image.open(path) as picture:
        given: list[Any] = [np.array(picture), picture, path.read_bytes(), b"broken", path]
        told: list[tuple[Path, str]] = []
        found = list(tiny_model.predict(given, skipped=lambda *problem: told.append(problem)))
    assert [prediction.path.name for prediction in found] == ["picture-0", "picture-1", "picture-2", path.name]
    assert [problem[0].name for problem in told] == ["picture-3"]
    for prediction in found:
        np.testing.assert_allclose(prediction.grid, file.grid, atol=0.02)
        assert prediction.label == file.label and prediction.size == file.size
    with pytest.raises(dips.ImageError, match=r"picture-0 is no file; give the picture that was predicted, save\(folder"):
        found[0].save(tmp_path)
    with pytest.raises(dips.DataError, match="this picture has another size"):
        found[0].save(tmp_path, np.zeros((8, 8, 3), np.uint8))
    assert not list(tmp_path.iterdir())
    found[0].save(tmp_path, given[0])
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        f"picture-0.{end}" for end in ("json", "mask.png", "overlay.jpg")
    ]


def test_evaluation(tiny_model: dips.Model, data: Path, tmp_path: Path) -> None:
    result = tiny_model.evaluate(data, json_path=tmp_path / "e.json")
    assert json.loads((tmp_path / "e.json").read_text()) == json.loads(json.dumps(result, allow_nan=False))
    assert (tiny_model.run / "evaluation.json").read_text() == (tmp_path / "e.json").read_text()
    assert result["split"] == "test" and "Choe" in result["protocol"] and result["n_images"] == 6
    assert 0 < result["n_boxed"] < 6, "photos of the background class have no part in the localization"
    card = (tiny_model.run / "README.md").read_text()
    assert f"{result['n_boxed']} photos with ground-truth boxes: MaxBoxAccV2 {result['max_box_acc_v2']:.1f} at the best" in card
    assert set(result["max_box_acc_at"]) == {"30", "50", "70"}
    assert result["max_box_acc_v2"] == pytest.approx(np.mean(list(result["max_box_acc_at"].values())))
    for name in ("max_box_acc", "max_box_acc_v2", "gt_known", "top1_loc", "top1_cls"):
        assert 0 <= result[name] <= 100
    assert set(result["baselines"]) == {"accurate", "unet", "mean_attention", "centre"}
    assert all("max_box_acc_v2" in baseline for baseline in result["baselines"].values())
    assert result["sst"] == "test_vit" and set(result["weights"]) == {"transformer", "classifier", "encoder"}
    shown = json.loads((tiny_model.run / "evaluation-photos.json").read_text())
    assert len(shown["photos"]) == 6 and shown["threshold"] == tiny_model.best_tau["run"] and shown["background"] == "none"
    assert set(result["files"]) == {"evaluation.csv", "evaluation-photos.json"}
    assert (tiny_model.run / "report.html").read_text().count('id="photo-data"') == 1
    assert result["seed"] == 0 and result["at_validation_tau"]["tau"]["50"] == pytest.approx(
        tiny_model.best_tau["50"], abs=1e-3
    )


def test_evaluation_of_all_splits_and_of_none(tiny_model: dips.Model, data: Path, tmp_path: Path) -> None:
    assert tiny_model.evaluate(data, split="all", photos=0)["n_images"] == 16
    shutil.copytree(data / "test" / "tower", tmp_path / "new" / "tower")
    result = tiny_model.evaluate(tmp_path / "new", split=None)
    assert result["n_boxed"] == 0 and result["max_box_acc_v2"] is None and result["top1_cls"] is not None
    with pytest.raises(dips.DataError, match="--split all"):
        tiny_model.evaluate(tmp_path / "new")


def test_a_damaged_run_has_no_report(copy: Path) -> None:
    from dips.report.run_report import write_run_report

    (copy / "metrics.jsonl").write_text("{")
    with pytest.raises(dips.RunError, match="damaged"):
        write_run_report(copy)


def test_a_model_says_what_it_is(tiny_model: dips.Model) -> None:
    text = repr(tiny_model)
    assert text.startswith(f"<Model {tiny_model.run}: 2 classes ('none', 'tower'), background 'none'; mode ")
    assert text.endswith(f" {tiny_model.config.classifier.size} px>") and tiny_model.config.predict.mode in text
