"""``dips boxes``: the objects of a prediction again, without the networks; and ``--tile``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from dips.data.images import read_image
from dips.data.photo_files import list_images
from dips.model import Model
from dips.system.records import to_json

from .conftest import Dips, Tiny, read_map


@pytest.fixture(scope="module")
def predicted(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dips.cli import main

    out = tmp_path_factory.mktemp("boxes") / "first"
    assert main(["predict", str(tiny.run), str(tiny.data / "test"), "--out", str(out), "--format", "json"]) == 0
    return out


def records(folder: Path) -> list[dict[str, object]]:
    return list(json.loads((folder / "predictions.json").read_text())["predictions"])


def test_the_same_settings_give_the_same_boxes(predicted: Path, tmp_path: Path, dips: Dips) -> None:
    said = dips("boxes", predicted, "--out", tmp_path / "again", "--format", "csv,masks,overlays")
    assert said.code == 0 and "6 photos" in said.out
    assert (tmp_path / "again" / "predictions.json").read_bytes() == (predicted / "predictions.json").read_bytes()
    assert len(list((tmp_path / "again" / "overlays").rglob("*.jpg"))) == 6 and (tmp_path / "again" / "boxes.csv").is_file()


@pytest.mark.parametrize("options", [["--format", "yolo"], ["--threshold", "0.8", "--format", "json"]])
def test_a_review_that_is_not_in_the_boxes_is_told(predicted: Path, tmp_path: Path, dips: Dips, options: list[str]) -> None:
    assert "review" not in dips("boxes", predicted, "--out", tmp_path / "before", *options).err
    reviewed = shutil.copytree(predicted, tmp_path / "reviewed")
    (reviewed / "review.jsonl").touch()
    said = dips("boxes", reviewed, "--out", tmp_path / "after", *options)
    (line,) = (line for line in said.err.splitlines() if "review" in line)
    assert "is not in these boxes" in line and line.endswith(str(reviewed / "reviewed.coco.json"))


def test_photos_that_were_moved(tiny: Tiny, predicted: Path, tmp_path: Path, dips: Dips) -> None:
    shutil.copytree(tiny.data / "test", tmp_path / "now")
    said = dips("boxes", predicted, "--out", tmp_path / "new", "--photos-dir", tmp_path / "now", "--format", "overlays")
    assert said.code == 0, said.err
    assert all(str(record["path"]).startswith((tmp_path / "now").as_posix()) for record in records(tmp_path / "new"))
    for command in (["boxes", predicted, "--out", tmp_path / "no"], ["report", predicted], ["view", predicted, "--no-open"]):
        said = dips(*command, "--photos-dir", tmp_path / "new")
        assert said.code == 2 and f"--photos-dir {tmp_path / 'new'} holds none of the 6 photos" in said.err
    assert not (tmp_path / "no").exists() and not (predicted / "report.html").exists()


def test_another_threshold_is_what_the_model_would_say(tiny: Tiny, predicted: Path, tmp_path: Path, dips: Dips) -> None:
    said = dips("boxes", predicted, "--out", tmp_path / "new", "--threshold", "0.8", "--min-area", "0", "--format", "json")
    assert said.code == 0, said.err
    settings = ["predict.threshold=0.8", "predict.min_area=0"]
    expected = {str(p.path): p for p in Model.open(tiny.run, settings=settings).predict(tiny.data / "test")}
    changed = 0
    for record, before in zip(records(tmp_path / "new"), records(predicted), strict=True):
        prediction = expected[str(record["path"])]
        assert record["threshold"] == 0.8 and record["min_area"] == 0 and record["model"] == before["model"]
        assert record["boxes"] == json.loads(to_json(prediction.record()))["boxes"]
        changed += record["boxes"] != before["boxes"]
    assert changed
    said = dips("boxes", predicted, "--out", tmp_path / "none", "--min-score", "1")
    assert said.code == 0 and "no photo has a box, though " in said.out
    assert not any(record["boxes"] for record in records(tmp_path / "none"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--threshold", "1.5"], "--threshold must be between 0 and 1"),
        (["--min-area", "-1"], "--min-area must be between 0 and 1"),
        (["--max-boxes", "0"], "--max-boxes must be between 1 and 65535"),
        (["--format", "coko"], "did you mean 'coco'"),
    ],
)
def test_mistakes(predicted: Path, tmp_path: Path, dips: Dips, options: list[str], words: str) -> None:
    said = dips("boxes", predicted, "--out", tmp_path / "out", *options)
    assert said.code == 2 and words in said.err and not (tmp_path / "out").exists()


def test_a_folder_that_is_no_prediction(predicted: Path, tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    said = dips("boxes", tiny.data, "--out", tmp_path / "out")
    assert said.code == 2 and "is not a prediction" in said.err
    said = dips("boxes", predicted, "--out", predicted)
    assert said.code == 2 and "already exists" in said.err


def test_tiles(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    """Four photos in one: each of them is found in a tile of its own."""
    photos = [read_image(path) for path in list_images(tiny.data / "test")[:4]]
    side = min(min(photo.shape[:2]) for photo in photos)
    row = [np.hstack([photo[:side, :side] for photo in photos[i : i + 2]]) for i in (0, 2)]
    large = tmp_path / "photos" / "large.png"
    large.parent.mkdir()
    large.write_bytes(cv2.imencode(".png", np.vstack(row)[..., ::-1])[1].tobytes())
    for name, options in (("auto", ["--tile", "auto"]), ("side", ["--tile", str(side)]), ("off", [])):
        said = dips("predict", tiny.run, large, "--out", tmp_path / name, "--format", "json", *options)
        assert said.code == 0, said.err
    fine, coarse = (read_map(tmp_path / name / "maps" / "large.png") for name in ("side", "off"))
    assert fine.shape[0] == 2 * coarse.shape[0]
    assert read_map(tmp_path / "auto" / "maps" / "large.png").shape[0] > coarse.shape[0]
    said = dips("predict", tiny.run, large, "--out", tmp_path / "bad", "--tile", "huge")
    assert said.code == 2 and "--tile takes a side in pixels" in said.err
