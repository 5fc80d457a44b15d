"""``dips.fit``: from folders to a run folder that is written once, by settings that are checked before any work."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import dips
from dips.data.depth import Depth
from dips.data.images import read_image, resize_image
from dips.errors import ConfigError
from dips.harvest.features import linear_maps
from dips.harvest.store import Shelf
from dips.report.photos import read_shown, small_map
from dips.report.predictions import TRAINING_PHOTOS

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
    meta = json.loads((tiny_model.run / "model.json").read_text())["meta"]
    assert set(meta["thresholds"]) == {"fast", "accurate", "unet"} and (meta["mode"], meta["unet_share"]) == ("fast", 0)
    assert record["best_tau"] == meta["thresholds"]["fast"] == tiny_model.best_tau


@pytest.fixture(scope="module")
def plain_model(tiny_training: Any, tiny_model: dips.Model) -> dips.Model:
    """A model as it is by default: without U-Net."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DIPS_WEIGHTS", raising=False)
        patch.setenv("DIPS_OFFLINE", "1")
        model: dips.Model = tiny_training.fit("plain", "train.epochs=0")
    return model


def test_by_default_a_run_holds_no_unet(plain_model: dips.Model, tiny_training: Any) -> None:
    run = plain_model.run
    names = {"config.toml", "model.safetensors", "model.json", "run.json", "README.md", "report.html", "training-photos.json"}
    assert {path.name for path in run.iterdir()} == names, "no metrics: there were no epochs"
    record, model = (json.loads((run / name).read_text()) for name in ("run.json", "model.json"))
    assert set(record["weights"]) == {"transformer", "classifier"} and set(record["accuracy"]) == {"classifier"}
    assert set(record["class_accuracy"]) == {"mean", "worst", "lowest", "photos"}
    assert (
        f"- **Validation accuracy:** CNN classifier {record['accuracy']['classifier']:.1f} (percent); "
        f"mean over classes {record['class_accuracy']['mean']:.1f}%" in (run / "README.md").read_text()
    )
    assert record["selection"].startswith("threshold by ") and "epoch" not in record["selection"]
    assert model["localizer"] is None and model["linear"]["stages"] == 3
    tensors = safetensors.torch.load((run / "model.safetensors").read_bytes())
    assert {name.split(".")[0] for name in tensors} == {"classifier", "linear"}
    assert plain_model.modes == ("fast", "accurate") and not plain_model.uses_transformer


def test_a_run_without_unet_predicts(plain_model: dips.Model, tiny_training: Any) -> None:
    photos = sorted((tiny_training.data / "test").rglob("*.jpg"))
    fast = list(plain_model.predict(photos))
    assert len(fast) == 6 and all(item.threshold == plain_model.best_tau["run"] for item in fast)
    weights = [str(tiny_training.weights)]
    settings = ["predict.mode=accurate", "predict.second_look=0"]  # which would see larger squares
    accurate = dips.load(plain_model.run, device="cpu", settings=settings, weights=weights)
    assert isinstance(accurate, dips.Model)
    for one, other in zip(fast, accurate.predict(photos), strict=True):
        np.testing.assert_allclose(one.class_scores, other.class_scores, atol=1e-5)
        assert not np.array_equal(one.score_map, other.score_map)
        assert other.threshold == accurate.meta.thresholds["accurate"]["run"]
    for settings in (["predict.mode=unet"], ["predict.unet_share=0.5"]):
        with pytest.raises(dips.ConfigError, match=r"need a U-Net"):
            loaded = dips.load(plain_model.run, device="cpu", settings=settings)
            list(loaded.predict(photos))


def test_a_finished_run_is_opened_not_made_again(
    plain_model: dips.Model, tiny_training: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in plain_model.run.iterdir()}
    monkeypatch.setattr("dips.fitting.fit.prepare", lambda *_, **__: pytest.fail("it is done"))
    again = tiny_training.fit("plain", "train.epochs=0", resume=True)
    assert again.best_tau == plain_model.best_tau and again.meta == plain_model.meta
    assert {path.name: path.read_bytes() for path in plain_model.run.iterdir()} == before
    with pytest.raises(dips.RunError, match=r"other settings \(train\.epochs\)"):
        tiny_training.fit("plain", resume=True)


def test_a_finished_run_of_other_photos_or_weights_is_refused(
    plain_model: dips.Model, tiny_training: Any, tmp_path: Path
) -> None:
    record = json.loads((plain_model.run / "run.json").read_text())
    other = tmp_path / "plain"
    shutil.copytree(plain_model.run, other)
    for key, value, words in (
        ("photos", record["photos"] | {"train": 1}, "other photos"),
        (
            "weights",
            record["weights"] | {"transformer": record["weights"]["transformer"] | {"sha256": "0" * 64}},
            "transformer",
        ),
    ):
        (other / "run.json").write_text(json.dumps(record | {key: value}))
        with pytest.raises(dips.RunError, match=rf"{words}.*; repeat the command that it belongs to"):
            tiny_training.fit(other, "train.epochs=0", resume=True)


def test_a_run_that_was_stopped_before_its_model_was_written_goes_on(
    plain_model: dips.Model, tiny_training: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dips.fitting.fit.save_model", stop)
        with pytest.raises(KeyboardInterrupt):
            tiny_training.fit("stopped", "train.epochs=0")
    with pytest.raises(dips.RunError, match=r"holds no finished run|is missing"):
        dips.load(tiny_training.folder / "stopped", device="cpu")
    model = tiny_training.fit("stopped", "train.epochs=0", resume=True)
    assert (model.run / "model.safetensors").read_bytes() == (plain_model.run / "model.safetensors").read_bytes()


@pytest.mark.parametrize("refine", ["none", "image"])
def test_a_run_without_linear_maps(tiny_training: Any, refine: str) -> None:
    model = tiny_training.fit(f"refine-{refine}", f"harvest.refine={refine}", "predict.mode=unet")
    assert model.modes == ("unet",) and set(model.meta.thresholds) == {"unet"} and model.stored.linear is None
    photos = sorted((tiny_training.data / "test").rglob("*.jpg"))
    assert len(list(model.predict(photos))) == 6
    with pytest.raises(dips.ConfigError, match=r"harvest\.refine=dataset"):
        list(dips.load(model.run, device="cpu", settings=["predict.mode=fast"]).predict(photos))


def test_a_unet_with_a_share(tiny_training: Any) -> None:
    """Thresholds are chosen for the mixture, and only for the mode that was asked for."""
    model = tiny_training.fit("share", "predict.unet_share=0.5")
    assert model.meta.unet_share == 0.5 and set(model.meta.thresholds) == {"fast", "accurate", "unet"} and model.as_trained
    photos = sorted((tiny_training.data / "test").rglob("*.jpg"))
    assert next(iter(model.predict(photos))).threshold == model.best_tau["run"]
    other = dips.load(model.run, device="cpu", settings=["predict.unet_share=0"])
    assert isinstance(other, dips.Model) and not other.as_trained


def test_the_whole_classifier(tiny_training: Any) -> None:
    model = tiny_training.fit("full", "train.epochs=0", "classifier.mode=full", "classifier.epochs=1")
    assert model.modes == ("fast", "accurate")
    assert len(list(model.predict(sorted((tiny_training.data / "test").rglob("*.jpg"))))) == 6


def test_the_same_seed_gives_the_same_bytes(tiny_training: Any, tiny_model: dips.Model) -> None:
    again, other = tiny_training.fit("again"), tiny_training.fit("other", "train.seed=3")
    first = (tiny_model.run / "model.safetensors").read_bytes()
    assert (again.run / "model.safetensors").read_bytes() == first
    assert (again.run / "model.json").read_bytes() == (tiny_model.run / "model.json").read_bytes()
    assert (other.run / "model.safetensors").read_bytes() != first
    assert other.record.seed == 3


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("left", [(), (".config.toml.dips_tmp",), (".config.toml.a1b2c3d4.dips_tmp", ".config.toml.dips_tmp")])
def test_a_run_that_was_killed_before_its_settings_were_written_starts(
    tiny_training: Any, monkeypatch: pytest.MonkeyPatch, left: tuple[str, ...], resume: bool
) -> None:
    run = tiny_training.folder / f"killed-{len(left)}-{resume}"
    run.mkdir()
    for name in left:
        (run / name).write_text("[harv")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("dips.fitting.fit.prepare", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        tiny_training.fit(run.name, "train.epochs=0", resume=resume)
    (run / "notes.txt").touch()
    with pytest.raises(dips.RunError, match="nothing was changed"):
        tiny_training.fit(run.name, "train.epochs=0", resume=resume)


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
        (["harvest.refine=none"], r"predict\.mode=fast needs harvest\.refine=dataset"),
        (["train.epochs=0", "predict.mode=unet"], r"predict\.mode=unet.*set train\.epochs"),
        (["train.epochs=0", "predict.unet_share=0.5"], r"predict\.unet_share.*set train\.epochs"),
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


def test_a_training_on_counts_shows_its_photos_as_it_saw_them(tiny_training: Any, tmp_path: Path) -> None:
    """14-bit counts, each photo a little brighter than the last: one scale for all of them, in maps, boxes and pictures."""
    for number, path in enumerate(sorted((tiny_training.data / "train").rglob("*.jpg"))):
        counts = 7000 + 60 * number + 4 * cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY).astype(np.uint16)
        file = tmp_path / "data" / path.parent.name / f"{path.stem}.tif"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(counts.astype(np.uint16)).save(file)
    given = {"recipe": tiny_training.recipe, "store": tiny_training.store, "weights": [str(tiny_training.weights)]}
    model = dips.fit(tmp_path / "data", out=tmp_path / "run", settings=["train.epochs=0"], device="cpu", **given)
    (scale,) = model.meta.depth.scales
    assert 6900 < scale[0] < 7400 and 7800 < scale[1] < 8700
    shown, page = read_shown(model.run / TRAINING_PHOTOS).photos, (model.run / "report.html").read_text(encoding="utf-8")
    assert len(shown) == 10
    others = 0
    for photo in shown:
        picture = cv2.imdecode(np.frombuffer(photo.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        file = tmp_path / "data" / photo.id

        def difference(depth: Depth, picture: Any = picture, file: Path = file) -> float:
            seen = resize_image(read_image(file, depth=depth), picture.shape[1::-1])[..., 0]
            return float(np.abs(seen.astype(float) - picture).mean())

        assert difference(Depth.at(scale)) < 6
        others += difference(Depth()) > 12
        (prediction,) = model.predict([file])
        levels = cv2.imdecode(np.frombuffer(photo.map, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(levels, small_map(prediction.grid)[0], err_msg="as the run that is opened predicts")
        assert prediction.scale == scale and photo.found == [
            (*box, score) for box, score in zip(prediction.boxes.tolist(), prediction.box_scores.tolist(), strict=True)
        ]
        assert base64.b64encode(photo.jpeg).decode() in page
    assert others >= 3, "by its own range alone a photo would look otherwise"


@pytest.mark.parametrize("epochs", [0, 1])
def test_photos_are_learned_from_in_tiles(
    epochs: int, tiny_training: Any, tiny_model: dips.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten photos of 80 x 64 in nine tiles each; all that counts photos counts photos."""
    model = tiny_training.fit(f"tiles{epochs}", "train.tile=32", f"train.epochs={epochs}")
    said = capsys.readouterr().err
    assert "photos are seen in 90 tiles of 32 x 32 pixels" in said
    (line,) = (line for line in said.splitlines() if line.startswith("tiles: "))
    shown, empty, left_out = (int(word) for word in line.split() if word.isdigit())
    assert shown + empty + left_out == 90 and empty >= 45 and shown >= 5
    if not epochs:  # later the store has the maps
        assert re.search(r"linear maps are fitted on \d+ tiles", said), "they are no photos"
    assert model.meta.photo_side == 32 and model.config.predict.tile == -1 and model.predictor.tile == 32
    assert model.record.photos == tiny_model.record.photos
    shown_photos = read_shown(model.run / TRAINING_PHOTOS).photos
    assert len(shown_photos) == 10 and all(photo.size == (80, 64) for photo in shown_photos)
    (photo,) = model.predict(min((tiny_training.data / "test" / "tower").iterdir()))
    assert photo.size == (80, 64) and photo.min_score == 0.6, "in tiles"


def test_tiles_are_not_predicted_in_where_a_person_says_so(tiny_training: Any) -> None:
    model = tiny_training.fit("tiles-whole", "train.tile=32", "train.epochs=0", "predict.tile=0")
    assert model.meta.photo_side == 32 and model.config.predict.tile == model.predictor.tile == 0


def test_a_training_on_tiles_that_was_stopped_goes_on(tiny_training: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ("train.tile=48", "train.epochs=0")
    with monkeypatch.context() as patch:
        patch.setattr("dips.fitting.fit.save_model", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tiny_training.fit("stopped-tiles", *settings)
    monkeypatch.setattr("dips.harvest.squares.read_tiles", lambda *_: pytest.fail("all of it is in the store"))
    again = tiny_training.fit("stopped-tiles", *settings, resume=True)
    assert again.meta.photo_side == 48


@pytest.mark.parametrize("killed_at", [2, 7])
def test_a_training_on_tiles_that_was_killed_gives_the_same_model(
    killed_at: int, tiny_training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, put, puts = ("train.tile=32", "train.epochs=0", "harvest.batch=16"), Shelf.put, 0

    def put_and_stop(shelf: Shelf, records: Any) -> None:
        nonlocal puts
        put(shelf, records)
        puts += 1
        if puts == killed_at:
            raise KeyboardInterrupt

    whole = tiny_training.fit(f"whole{killed_at}", *settings, store=tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Shelf, "put", put_and_stop)
        with pytest.raises(KeyboardInterrupt):
            tiny_training.fit(f"killed{killed_at}", *settings, store=tmp_path / "killed")
        again = tiny_training.fit(f"killed{killed_at}", *settings, store=tmp_path / "killed")
    assert puts > killed_at, "the rest was done"
    expected, found = (safetensors.torch.load_file(model.run / "model.safetensors") for model in (whole, again))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert again.best_tau == pytest.approx(whole.best_tau, abs=1e-4) and again.record.accuracy == whole.record.accuracy


@pytest.mark.parametrize("mode", ["head", "full"])
def test_reviewed_photos_are_certain_in_tiles(
    mode: str, tiny_training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has a box in its lower right corner, one is empty; both lie in the folder of the towers."""
    boxed, empty = sorted((tiny_training.data / "train" / "tower").iterdir())[:2]
    images = [{"id": i, "file_name": f"tower/{path.name}", "width": 80, "height": 64} for i, path in enumerate((boxed, empty))]
    box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [50, 34, 28, 28], "area": 784, "iscrowd": 0}
    coco = {"images": images, "annotations": [box], "categories": [{"id": 1, "name": "tower"}]}
    (tmp_path / "reviewed.json").write_text(json.dumps(coco))
    seen: dict[Path, dict[Any, Any]] = {boxed: {}, empty: {}}

    def spy(reader: Any, labels: Any, *, reviews: Any, **rest: Any) -> Any:
        for sample, digest in zip(reader.samples, reader.digests, strict=True):
            if sample.path in seen:
                own = reviews[digest].boxes.tolist() if digest in reviews else None
                seen[sample.path][sample.window] = labels.get(digest), own
        return linear_maps(reader, labels, reviews=reviews, **rest)

    monkeypatch.setattr("dips.fitting.prepare.linear_maps", spy)
    settings = ("train.tile=32", "train.epochs=0", f"classifier.mode={mode}", "classifier.epochs=1")
    model = tiny_training.fit(f"reviewed-tiles-{mode}", *settings, reviewed=tmp_path / "reviewed.json")
    assert len(model.record.reviewed) == 2, "photos, not tiles"
    assert all(found == (-1, []) for found in seen[empty].values()) and len(seen[empty]) == 9
    tiles = seen[boxed]
    label, corner = tiles.pop((48, 32, 80, 64))
    assert label == 0 and np.allclose(np.multiply(corner, 32), [[2, 2, 30, 30]])
    label, half = tiles.pop((48, 16, 80, 48))
    assert label == 0 and np.allclose(np.multiply(half, 32), [[2, 18, 30, 32]])
    crumbs = [tiles.pop((24, 32, 56, 64)), tiles.pop((24, 16, 56, 48))]
    assert all(own is None and label in (0, None) for label, own in crumbs), "unknown: a guess, or left out"
    assert len(tiles) == 5 and all(found == (-1, []) for found in tiles.values())
    (photo,) = model.predict(min((tiny_training.data / "test" / "tower").iterdir()))
    assert photo.min_score == 0.6, "in tiles"


def test_tiles_need_a_background_class(tiny_training: Any) -> None:
    with pytest.raises(ConfigError, match=r"train\.tile needs photos that show no object"):
        tiny_training.fit("no-background", "train.tile=32", "data.background_class=''")
    with pytest.raises(ConfigError, match=r"train\.tile=8: give at least 32 pixels"):
        tiny_training.fit("no-background", "train.tile=8")


def test_photos_with_several_labels(tiny_training: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a list to a run that knows it, reopened, with a U-Net that is told to have the first labels alone."""
    lines, names = ["path,label"], ("tower|mast", "mast", "mast|tower", "tower")
    for name in ("none", "tower"):
        for number, path in enumerate(sorted((tiny_training.data / "train" / name).iterdir())):
            lines.append(f"{path},{names[number % 4] if name == 'tower' else 'none'}")
    (tmp_path / "photos.csv").write_text("\n".join(lines), encoding="utf-8")
    given = {
        "recipe": tiny_training.recipe,
        "store": tmp_path / "store",
        "weights": str(tiny_training.weights),
        "device": "cpu",
    }
    model = dips.fit(tmp_path / "photos.csv", out=tmp_path / "run", **given)
    said = capsys.readouterr().err
    assert model.classes == ("mast", "none", "tower") and model.meta.object_classes and model.record.several > 0
    assert f"{model.record.several} training photos have several labels" in said
    assert "several labels: the U-Net, which knows one for each photo, takes the first" in said
    again = dips.fit(tmp_path / "photos.csv", out=tmp_path / "run", resume=True, **given)
    assert again.meta.object_classes and again.record.several == model.record.several
    capsys.readouterr()
    alone = "\n".join(line.partition("|")[0] for line in lines)
    (tmp_path / "alone.csv").write_text(alone, encoding="utf-8")
    plain = dips.fit(tmp_path / "alone.csv", out=tmp_path / "plain", **given)
    assert not plain.meta.object_classes and plain.record.several == 0 and "several labels" not in capsys.readouterr().err
