"""``dips evaluate``: what is passed on, and the table that is printed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from .conftest import Calls, Dips, Tiny, fake


@pytest.mark.usefixtures("unchecked")
def test_evaluate(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    boxes = {"max_box_acc_v2": 51.25, "max_box_acc_at": {"30": 80.0, "50": 60.0, "70": 13.75}, "max_box_acc": 55.0}
    result: dict[str, Any] = {"data": "d", "split": "val", "n_images": 9, "n_boxed": 5, "top1_cls": 88.88, "top5_cls": None}
    result |= {
        "sst": "tuned one",
        "methods": [
            {"name": "localizer", "boxes": boxes, "at_tau": {"box_acc_v2": 49.9}},
            {"name": "unet", "boxes": {**boxes, "max_box_acc_v2": 2.0}, "at_tau": {"box_acc_v2": 1.5}},
            {"name": "centre", "boxes": {**boxes, "max_box_acc_v2": 1.0}, "at_tau": None},
        ],
        "skipped": [{}],
        "class_accuracy": {"mean": 61.1, "worst": "[b]mast", "lowest": 25.0, "photos": 4},
    }
    evaluate = Calls(result)
    calls = fake(monkeypatch, "dips.model.Model.open", SimpleNamespace(evaluate=evaluate))
    said = dips("evaluate", "run", "data", "--split", "val", "--json", "e.json", "--set", "predict.flip=false")
    assert said.code == 0
    assert calls[0] == {"0": Path("run"), "device": "auto", "settings": ["predict.flip=false"], "weights": ()}
    plain = {"split": "val", "json_path": Path("e.json"), "photos": 300, "protocol": "wsol-224", "problems": None}
    assert evaluate[0] == {"0": Path("data"), **plain}
    rows = {line.split("  ")[1].strip(): line for line in said.out.splitlines() if line.startswith("  ")}
    assert "oracle" in rows["MaxBoxAccV2"] and rows["MaxBoxAccV2"].split()[-3:] == ["51.2", "2.0", "1.0"]
    assert "validation" in rows["BoxAccV2"] and "49.9" in rows["BoxAccV2"]
    assert "U-Net" in said.out and rows["BoxAccV2"].split()[-2:] == ["49.9", "1.5"]
    assert "Top-1 localization" not in said.out and "PxAP" not in said.out
    for words in (
        "split val: 9 photos, 5 with ground-truth boxes",
        "top 1: 88.9%",
        "top 1: mean over classes 61.1%, worst '[b]mast': 25.0% of 4 photos",
        "transformer: tuned one",
        "skipped: 1 photo",
        "rests on 5 photos: a rough guess",
        "report  run/report.html",
    ):
        assert words in said.out


@pytest.mark.usefixtures("unchecked")
def test_evaluate_without_boxes(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    result = {"data": "d", "split": "test", "n_images": 9, "n_boxed": 0, "methods": [], "top1_cls": 50.0}
    fake(monkeypatch, "dips.model.Model.open", SimpleNamespace(evaluate=Calls(result)))
    said = dips("evaluate", "run", "data")
    assert (
        "no photo has ground-truth boxes or masks: only the classification" in said.out
        and "50.0%" in said.out
        and "MaxBoxAcc" not in said.out
    )


def test_two_options_cannot_share_a_file(tmp_path: Path, dips: Dips) -> None:
    """Refused before anything is looked at."""
    said = dips("evaluate", "run", "data", "--json", tmp_path / "x.json", "--problems", tmp_path / "x.json")
    assert said.code == 2 and "--json and --problems both name" in said.err and not (tmp_path / "x.json").exists()


def annotate(tiny: Tiny, data: Path, *, swapped: bool, scale: float) -> None:
    """Copy the shared test photos as COCO, all with a box of the middle, in ``scale`` of its pixels."""
    photos = sorted((tiny.data / "test" / "tower").glob("*.*"))
    shutil.copytree(tiny.data / "test", data / "test")
    width, height = (72, 96) if swapped else (96, 72)
    tree = {
        "images": [{"id": n, "file_name": f"tower/{p.name}", "width": width, "height": height} for n, p in enumerate(photos)],
        "categories": [{"id": 1, "name": "tower"}],
        "annotations": [
            {"image_id": n, "category_id": 1, "bbox": [scale * x for x in (20, 10, 40, 50)]} for n in range(len(photos))
        ],
    }
    (data / "test.coco.json").write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("swapped", "scale", "words"),
    [
        (True, 1.0, "width and height are exchanged"),
        (False, 1 / 96, "all 3 boxes of this data: smaller than 2 pixels"),
        (False, 3.0, "its only box reaches beyond the photo (96 x 72)"),
    ],
)
def test_evaluate_tells_what_check_tells(
    tiny: Tiny, tmp_path: Path, dips: Dips, swapped: bool, scale: float, words: str
) -> None:
    run, data, file = tmp_path / "run", tmp_path / "data", tmp_path / "p.json"
    shutil.copytree(tiny.run, run)
    annotate(tiny, data, swapped=swapped, scale=scale)
    (data / "test" / "none" / "broken.jpg").write_text("no photo")
    said = dips("evaluate", run, data, "--weights", tiny.weights, "--problems", file)
    assert said.code == 0 and words in said.err and "broken.jpg: is left out, as it is not a photo" in said.err, said.err
    written = json.loads(file.read_text())["problems"]
    assert json.loads((run / "evaluation.json").read_text())["problems"] == written
    checked = dips("check", data, "--problems", tmp_path / "c.json")
    assert words in checked.out and "left out: 1 photo that cannot be read" in checked.out
    of_check = json.loads((tmp_path / "c.json").read_text())["problems"]
    assert sorted(map(str, of_check)) == sorted(map(str, written))


@pytest.mark.parametrize("split", ["test", "val", "nowhere"])
def test_a_folder_that_is_not_divided_is_taken_as_a_whole(tiny: Tiny, dips: Dips, split: str) -> None:
    said = dips("evaluate", tiny.run, tiny.data / "train", "--split", split)
    assert said.code == 2 and f"no split '{split}'" in said.err and "--split all" in said.err
