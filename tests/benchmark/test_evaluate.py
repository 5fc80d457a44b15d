"""``dips evaluate``: a row for each mode of prediction, what the run's own threshold gives, and how often networks look."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import torch

import dips
from dips.data import load_data
from dips.scoremaps.calibration import Calibration
from dips.types import FloatArray, Sample

pytestmark = pytest.mark.usefixtures("offline")

Box = tuple[float, float, float, float]


@pytest.fixture
def opened(tiny_model: dips.Model, tiny_weights: Path, tmp_path: Path) -> Any:
    """``opened("predict.mode=accurate", ...)`` opens a copy of the run."""

    def load(*settings: str, weights: bool = True) -> dips.Model:
        run = shutil.copytree(tiny_model.run, tmp_path / "run", dirs_exist_ok=True)
        if not weights:
            record = json.loads((run / "run.json").read_text())
            record["weights"]["transformer"]["origin"] = "/nowhere/test_vit.safetensors"
            (run / "run.json").write_text(json.dumps(record))
        given = [str(tiny_weights)] if weights else []
        model = dips.load(run, settings=settings, weights=given, device="cpu")
        assert isinstance(model, dips.Model)
        return model

    return load


@pytest.fixture
def marked(tiny_model: dips.Model, tiny_training: Any, tmp_path: Path) -> Path:
    """The test photos with boxes of which the model finds some: the towers of its few photos are too thin for it.

    Two boxes in each photo of a tower: a part of what the fast map says, smaller from photo to photo, and a corner.
    """
    lines = ["path,label,x0,y0,x1,y1"]
    for number, path in enumerate(sorted((tiny_training.data / "test").rglob("*.jpg"))):
        name = f"{path.parent.name}-{path.name}"
        (tmp_path / "marked").mkdir(exist_ok=True)
        shutil.copyfile(path, tmp_path / "marked" / name)
        if path.parent.name == "none":
            lines.append(f"{name},none,,,,")
            continue
        (prediction,) = tiny_model.predict(path)
        x, y = np.nonzero((prediction.score_map > 0.5 * prediction.score_map.max()).T)
        shares = np.array([0, 0, 1, 1 - 0.2 * (number % 3)])
        low, high = np.array([x.min(), y.min()]), np.array([x.max() + 1, y.max() + 1])
        box = np.round(low[[0, 1, 0, 1]] + shares * (high - low)[[0, 1, 0, 1]])
        lines += [f"{name},tower,{','.join(f'{value:.0f}' for value in box)}", f"{name},tower,70,50,80,64"]
    (tmp_path / "marked" / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "marked"


def rows(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {method["name"]: method for method in result["methods"]}


def test_there_is_a_row_for_each_mode(opened: Any, tiny_training: Any) -> None:
    model = opened()
    result = model.evaluate(tiny_training.data)
    found = rows(result)
    assert list(found) == ["localizer", "accurate", "unet", "mean_attention", "centre"]
    assert [name for name, row in found.items() if row["own"]] == ["localizer"]
    assert found["localizer"]["note"].endswith("no transformer (predict.mode=fast)")
    assert result["mode"] == "fast" and result["unet_share"] == 0 and "sst_share" not in result
    assert result["validation_tau_from"] == model.record.selection
    by_class = [row["accuracy"] for row in result["classes"]]
    assert result["class_accuracy"]["mean"] == pytest.approx(np.mean(by_class))
    assert result["class_accuracy"]["lowest"] == pytest.approx(min(by_class))
    thresholds = model.meta.thresholds
    for name, mode in (("localizer", "fast"), ("accurate", "accurate"), ("unet", "unet")):
        taus = found[name]["at_tau"]["tau"]
        assert taus == pytest.approx({key: thresholds[mode][key] for key in taus}, abs=1e-3) and set(taus) >= {"v1", "50"}
    assert found["mean_attention"]["at_tau"] is None and found["centre"]["at_tau"] is None
    assert result["at_validation_tau"] == found["localizer"]["at_tau"]


@pytest.mark.parametrize("mode", ["accurate", "unet"])
def test_the_row_of_a_mode_has_its_numbers(opened: Any, marked: Path, mode: str) -> None:
    """They are those of the localizer, where it predicts in this mode."""
    by_default = opened().evaluate(marked, split=None)
    result = opened(f"predict.mode={mode}").evaluate(marked, split=None)
    assert by_default["max_box_acc_v2"] > 0
    assert result["mode"] == mode and result["unet_share"] == 0
    here, there = rows(result), rows(by_default)
    assert set(here) == {"localizer", "fast", "accurate", "unet", "mean_attention", "centre"} - {mode}
    for one, other in (("localizer", mode), ("fast", "localizer")):
        assert here[one]["boxes"] == there[other]["boxes"] and here[one]["at_tau"] == there[other]["at_tau"]
        assert here[one]["pxap"] == there[other]["pxap"]
    assert here["localizer"]["boxes"] != here["fast"]["boxes"], "modes differ, or all of this says nothing"


def test_thresholds_are_those_of_other_maps_where_the_unet_is_mixed_in(
    opened: Any, marked: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = opened("predict.unet_share=0.25").evaluate(marked, split=None)
    assert (
        "no numbers at validation's thresholds: the thresholds were chosen for other settings of predict"
        in capfd.readouterr().err
    )
    assert result["mode"] == "fast" and result["unet_share"] == 0.25
    assert all(row["at_tau"] is None for row in result["methods"]) and result["at_validation_tau"] is None
    plain = opened().evaluate(marked, split=None)
    assert rows(result)["localizer"]["boxes"] != rows(plain)["localizer"]["boxes"]
    assert rows(result)["accurate"]["boxes"] == rows(plain)["accurate"]["boxes"], "the share is that of the chosen mode"


def test_a_mixed_run_has_no_thresholds_for_its_mode_alone(tiny_training: Any) -> None:
    """Those of ``meta.mode`` were chosen on maps with the U-Net in them; the row of the mode has it not."""
    model = tiny_training.fit("mixed", "predict.unet_share=0.25")
    found = rows(model.evaluate(tiny_training.data))
    assert {name for name, row in found.items() if row["at_tau"] is not None} == {"localizer", "accurate", "unet"}
    other = tiny_training.fit("mixed", "predict.unet_share=0.25", resume=True)
    reopened = dips.load(other.run, settings=["predict.mode=unet"], weights=[str(tiny_training.weights)], device="cpu")
    assert isinstance(reopened, dips.Model)
    found = rows(reopened.evaluate(tiny_training.data))
    assert {name for name, row in found.items() if row["at_tau"] is not None} == {"localizer", "accurate"}


# --- the run's own threshold


def maps_of(model: dips.Model, samples: list[Sample]) -> list[tuple[FloatArray, str]]:
    """Return score maps in the protocol's frame, and the names of the predicted classes."""
    found = list(model.predict([sample.path for sample in samples]))
    return [(np.clip(cv2.resize(p.grid, (224, 224), interpolation=cv2.INTER_LINEAR), 0, 1), p.label) for p in found]


def boxes_of(score_map: FloatArray, tau: float, min_area: float) -> list[Box]:
    """Return the boxes of a map by the words of docs/metrics.md, best first: components above ``tau`` times the maximum."""
    count, labels = cv2.connectedComponents((score_map > tau * score_map.max()).astype(np.uint8), connectivity=8)
    found: list[tuple[float, float, Box]] = []
    for number in range(1, count):
        y, x = np.nonzero(labels == number)
        box = (float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1))
        found.append((-float(score_map[labels == number].mean()), (box[2] - box[0]) * (box[3] - box[1]) / 224**2, box))
    large = [item for item in found if item[1] >= min_area] or sorted(found, key=lambda item: -item[1])[:1]
    return [box for _, _, box in sorted(large)]


def overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return common / (sum(areas) - common)


def in_frame(sample: Sample) -> list[Box]:
    """Return the ground-truth boxes in whole pixels of the protocol's frame; photos have 80 x 64."""
    assert sample.boxes is not None
    scaled = np.floor(sample.boxes * np.array([224 / 80, 224 / 64] * 2)).tolist()
    return [(box[0], box[1], box[2], box[3]) for box in scaled]


def by_hand(model: dips.Model, samples: list[Sample], tau: float) -> dict[str, float]:
    """Count the boxes of photos at a threshold, photo by photo."""
    right = boxes = objects = 0
    for sample, (score_map, label) in zip(samples, maps_of(model, samples), strict=True):
        free = in_frame(sample) if sample.boxed else []
        objects += len(free)
        for box in [] if label == "none" else boxes_of(score_map, tau, model.config.predict.min_area):
            boxes += 1
            if free and overlap(box, best := max(free, key=lambda each, box=box: overlap(box, each))) >= 0.5:  # type: ignore[misc]
                right += 1
                free.remove(best)
    f1 = 2 * right / (boxes + objects)
    return {"precision": right / max(1, boxes), "recall": right / objects, "f1": f1, "boxes": boxes, "objects": objects}


@pytest.mark.parametrize("mode", ["fast", "accurate", "unet"])
@pytest.mark.parametrize("threshold", [None, 0.4, 0.8])
def test_the_runs_own_threshold(opened: Any, marked: Path, mode: str, threshold: float | None) -> None:
    model = opened(f"predict.mode={mode}", *([] if threshold is None else [f"predict.threshold={threshold}"]))
    with torch.no_grad():
        model.stored.classifier.head.bias[1 - model.background] += 1e3  # so that all photos have boxes
    tau = model.meta.thresholds[mode]["run"] if threshold is None else threshold
    told = model.evaluate(marked, split=None)["at_run_tau"]
    samples = [sample for sample in load_data(marked).samples if sample.boxed or sample.label == model.background]
    expected = by_hand(model, samples, tau)
    samples = [sample for sample in samples if sample.boxed]
    assert told["tau"] == tau and (told["boxes"], told["objects"]) == (expected["boxes"], expected["objects"])
    assert told["objects"] == 6
    for name in ("precision", "recall", "f1"):
        assert told[name] == pytest.approx(100 * expected[name]), name
    assert told["recall"] > 0 or threshold == 0.8, "little is left above that of tiny networks"
    if (mode, threshold) == ("fast", 0.4):
        assert told["precision"] > 0 and 100 / 6 < told["recall"] <= 50
    hits = dict.fromkeys((0.3, 0.5, 0.7), 0)
    for sample, (score_map, _) in zip(samples, maps_of(model, samples), strict=True):
        best = max(overlap(box, true) for box in boxes_of(score_map, tau, 0) for true in in_frame(sample))
        for at in hits:
            hits[at] += best >= at
    assert told["box_acc_v2"] == pytest.approx(100 * sum(hits.values()) / 9)


def test_what_the_background_class_takes_away(opened: Any, tiny_training: Any) -> None:
    model = opened()
    with torch.no_grad():
        model.stored.classifier.head.bias[model.background] = 1e4
    told = model.evaluate(tiny_training.data)["at_run_tau"]
    assert (told["boxes"], told["precision"], told["recall"], told["f1"]) == (0, 0, 0, 0) and told["objects"] == 3
    assert told["box_acc_v2"] is not None, "the field's metrics know no class without object"
    with torch.no_grad():
        model.stored.classifier.head.bias[model.background] = -1e4
    told = model.evaluate(tiny_training.data)["at_run_tau"]
    assert told["boxes"] >= 6, "each photo has a box, those without object, too"


@pytest.mark.parametrize("is_calibrated", [True, False])
def test_scores_are_said_to_be_chances_where_they_are(opened: Any, marked: Path, is_calibrated: bool) -> None:
    """Also in the report; a typical and a cautious threshold are measured where there are any."""
    model = opened("predict.mode=fast", "predict.threshold=0.4")
    with torch.no_grad():
        model.stored.classifier.head.bias[1 - model.background] += 1e3  # so that all photos have boxes
    calibration = Calibration(slope=1.0, offset=0.5, gate=0.0, typical=0.0, cautious=1.0)
    meta = msgspec.structs.replace(model.stored.meta, calibration={"fast": calibration} if is_calibrated else {})
    model.stored = dataclasses.replace(model.stored, meta=meta)
    told = model.evaluate(marked, split=None)["at_run_tau"]
    reliability = told["reliability"]
    assert told["calibrated"] == is_calibrated and 0 <= reliability["ece"] <= 1
    assert sum(reliability["curve"]["boxes"]) == told["boxes"] > 0
    if is_calibrated:
        assert reliability["typical"]["boxes"] == told["boxes"] and reliability["cautious"]["boxes"] == 0
        assert reliability["typical"]["precision"] == pytest.approx(told["precision"])
    else:
        assert set(reliability) == {"ece", "curve"}
    page = (model.run / "report.html").read_text(encoding="utf-8")
    assert "What the scores are worth" in page and ("expected calibration error" in page) == is_calibrated
    assert ("No box reaches the cautious threshold, 1." in page) == is_calibrated


def test_without_boxes_there_is_nothing_to_say(opened: Any, tiny_training: Any, tmp_path: Path) -> None:
    shutil.copytree(tiny_training.data / "test" / "tower", tmp_path / "new" / "tower")
    assert opened().evaluate(tmp_path / "new", split=None)["at_run_tau"] is None


# --- networks


def test_photos_pass_no_network_twice_for_the_same(opened: Any, tiny_training: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dips.models.backbones import Transformer
    from dips.models.frozen import FrozenNetworks
    from dips.models.localizer import Localizer

    calls: list[tuple[str, int]] = []
    for kind, name in ((FrozenNetworks, "cnn"), (Transformer, "forward"), (Localizer, "foreground")):
        plain = getattr(kind, name)

        def counted(self: Any, images: Any, kind: Any = kind, plain: Any = plain) -> Any:
            calls.append((kind.__name__, len(images)))
            return plain(self, images)

        monkeypatch.setattr(kind, name, counted)
    opened("predict.batch=4").evaluate(tiny_training.data)
    # the accurate mode sees larger squares, and looks twice: with the CNN, then with both at what it has found
    passes = {"FrozenNetworks": 3, "Transformer": 2, "Localizer": 1}
    assert sorted(calls) == sorted((name, count) for name, times in passes.items() for count in (4, 2) * times)


def test_without_the_transformers_weights(opened: Any, tiny_training: Any, capfd: pytest.CaptureFixture[str]) -> None:
    whole = rows(opened().evaluate(tiny_training.data))
    result = opened(weights=False).evaluate(tiny_training.data)
    said = capfd.readouterr().err
    assert "evaluated without the mean attention and predict.mode=accurate: " in said and "--weights" in said
    found = rows(result)
    assert list(found) == ["localizer", "unet", "centre"]
    assert all(row["boxes"] == whole[name]["boxes"] for name, row in found.items())
    assert found["unet"]["at_tau"] == whole["unet"]["at_tau"] is not None


def test_the_accurate_mode_needs_the_transformers_weights(opened: Any, tiny_training: Any) -> None:
    model = opened("predict.mode=accurate", weights=False)
    with pytest.raises(dips.WeightsError, match="--weights"):
        model.evaluate(tiny_training.data)
    assert not (model.run / "evaluation.json").exists()


def test_boxes_count_with_their_classes(opened: Any, marked: Path) -> None:
    """In the JSON, the report and the run's card."""
    model = opened("predict.mode=fast", "predict.threshold=0.4")
    with torch.no_grad():
        model.stored.classifier.head.bias[1 - model.background] += 1e3  # so that all photos have boxes
    told = model.evaluate(marked, split=None)
    own, tower = told["at_run_tau"], next(item for item in told["classes"] if item["name"] == "tower")
    assert 0 < own["ap"] <= own["ap50"] == tower["ap50"] <= own["recall"] + 1, "one class has objects"
    assert next(item for item in told["classes"] if item["name"] == "none")["ap50"] is None
    assert "AP50 of the boxes" in (model.run / "report.html").read_text(encoding="utf-8")
    assert f"AP50 {own['ap50']:.1f}" in (model.run / "README.md").read_text(encoding="utf-8")


def test_objects_with_classes_of_their_own_are_evaluated_with_them(opened: Any, marked: Path) -> None:
    """The numbers of the maps stay; where cells say what the photo says, those of the boxes do, too."""
    plain = opened("predict.mode=fast", "predict.threshold=0.4").evaluate(marked, split=None)
    own = opened("predict.mode=fast", "predict.threshold=0.4", "predict.object_class=object").evaluate(marked, split=None)
    assert own["methods"][0]["boxes"] == plain["methods"][0]["boxes"]
    assert own["at_run_tau"] == plain["at_run_tau"], "with a background and one class more there is one class of objects"
