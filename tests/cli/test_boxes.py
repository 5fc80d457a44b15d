"""``dips boxes``: the objects of a prediction again, without the networks; and ``--tile``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from dips.batch.predict import BoxesJob
from dips.data.images import read_image
from dips.data.photo_files import list_images
from dips.model import Model
from dips.predict.folder import PredictionFolder
from dips.system.records import to_json
from dips.view.predictions import read_predictions
from dips.view.review import Review
from dips.view.reviewed import read_reviewed

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
    assert "is not in these boxes" in line and line.endswith("--reviewed takes it")


def reviewed(predicted: Path, folder: Path) -> tuple[Path, list[str]]:
    """A copy with a review, and the names of its photos: two accepted, the first with a box that is drawn, and one begun."""
    review = Review(read_predictions(shutil.copytree(predicted, folder)))
    photos = review.predictions.photos
    (label,) = review.predictions.object_classes
    drawn = {"box": [10, 20, 40.5, 60], "label": label, "of": None, "accepted": True}
    review.change(0, {"reviewed": True, "boxes": [drawn]})
    review.change(1, {"reviewed": True, "boxes": []})
    review.change(2, {"reviewed": False, "boxes": [drawn]})
    review.close()
    return folder, [photo.name for photo in photos]


FORMATS = "coco,yolo,yolo-seg,voc,labelstudio,geojson,csv,masks,overlays,heatmaps"


def test_reviewed_boxes_win_in_every_format(predicted: Path, tmp_path: Path, dips: Dips) -> None:
    folder, names = reviewed(predicted, tmp_path / "reviewed")
    out = tmp_path / "out"
    said = dips("boxes", folder, "--out", out, "--reviewed", "--format", FORMATS)
    assert said.code == 0, said.err
    assert "reviewed: 2 photos with 1 box; the others are as predicted" in said.out.splitlines()
    assert f"1 photo was changed but not reviewed, and so as predicted: {names[2]}" in said.err

    made, before = records(out), records(predicted)
    assert [record.get("reviewed", False) for record in made] == [record["name"] in names[:2] for record in before]
    assert [record for record in made if not record.get("reviewed")] == [r for r in before if r["name"] not in names[:2]]
    drawn, empty = (next(record for record in made if record["name"] == name) for name in names[:2])
    assert drawn["boxes"] == [{"box": [10, 20, 40.5, 60], "label": "tower", "review": "drawn"}] and drawn["label"] == "tower"
    assert empty["boxes"] == [] and empty["label"] == "none"

    coco = json.loads((out / "coco.json").read_text())
    first, second = (next(image for image in coco["images"] if image["file_name"] == name) for name in names[:2])
    assert [image for image in coco["images"] if image.get("reviewed")] == [first, second]
    (annotation,) = (item for item in coco["annotations"] if item["image_id"] == first["id"])
    assert annotation["bbox"] == [10, 20, 30.5, 40] and annotation["review"] == "drawn" and "score" not in annotation
    assert not [item for item in coco["annotations"] if item["image_id"] == second["id"]]

    stems = [name.rpartition(".")[0] for name in names]
    cx, cy, width, height = (float(v) for v in (out / "yolo" / "labels" / f"{stems[0]}.txt").read_text().split()[1:])
    assert (cx * 96, cy * 72, width * 96, height * 72) == pytest.approx((25.25, 40, 30.5, 40), abs=1e-5)
    assert (out / "yolo-seg" / "labels" / f"{stems[1]}.txt").read_text() == ""
    mask = cv2.imread(str(out / "masks" / f"{stems[0]}.png"), cv2.IMREAD_UNCHANGED)
    assert mask is not None and np.argwhere(mask).min(0).tolist() == [20, 10] and (mask > 0).sum() == 40 * 31
    assert not np.asarray(cv2.imread(str(out / "masks" / f"{stems[1]}.png"), cv2.IMREAD_UNCHANGED)).any()
    assert all((out / kind / f"{stem}.jpg").is_file() for kind in ("overlays", "heatmaps") for stem in stems)


def test_a_review_stays_through_further_conversions(predicted: Path, tmp_path: Path, dips: Dips) -> None:
    folder, names = reviewed(predicted, tmp_path / "reviewed")
    assert dips("boxes", folder, "--out", tmp_path / "a", "--reviewed", "--format", "json").code == 0
    for options in ([], ["--threshold", "0.9"], ["--reviewed", "--min-score", "1"]):
        out = tmp_path / f"b{len(options)}"
        said = dips("boxes", tmp_path / "a", "--out", out, "--format", "csv", *options)
        assert said.code == 0 and "reviewed: 2 photos with 1 box" in said.out, said.err
        kept = [[r for r in records(folder) if r["name"] in names[:2]] for folder in (tmp_path / "a", out)]
        assert kept[0] == kept[1]
    assert dips("report", out).code == 0 and (out / "report.html").is_file()


def test_a_photo_whose_review_is_taken_back_is_as_predicted(predicted: Path, tmp_path: Path, dips: Dips) -> None:
    folder, names = reviewed(predicted, tmp_path / "reviewed")
    assert dips("boxes", folder, "--out", tmp_path / "a", "--reviewed", "--format", "json").code == 0
    for number, left in ((0, 1), (1, 0)):
        review = Review(read_predictions(tmp_path / "a"))
        review.change(number, {"reviewed": False, "boxes": []})
        review.close()
        said = dips("boxes", tmp_path / "a", "--out", tmp_path / f"b{number}", "--reviewed", "--format", "json")
        assert said.code == 0 and ("reviewed: 1 photo with 0 boxes" in said.out) == bool(left), said.err
        taken = names[: number + 1]
        assert f"changed but not reviewed, and so as predicted: {', '.join(taken)}" in said.err
        made, before = ({r["name"]: r for r in records(at)} for at in (tmp_path / f"b{number}", predicted))
        assert all(made[name] == before[name] for name in taken)
    said = dips("boxes", tmp_path / "a", "--out", tmp_path / "c", "--only-reviewed", "--format", "json")
    assert said.code == 2 and "no photo of" in said.err and "is reviewed, and 2 changed" in said.err
    assert not (tmp_path / "c").exists()


def test_only_the_reviewed_photos(predicted: Path, tmp_path: Path, dips: Dips) -> None:
    folder, names = reviewed(predicted, tmp_path / "reviewed")
    said = dips("boxes", folder, "--out", tmp_path / "out", "--only-reviewed", "--format", "yolo")
    assert said.code == 0 and "reviewed: 2 photos with 1 box; no photo is as predicted" in said.out
    assert f"not reviewed, and so left out: {names[2]}" in said.err and "no photo shows an object" not in said.out
    assert sorted(str(record["name"]) for record in records(tmp_path / "out")) == sorted(names[:2])
    assert len(list((tmp_path / "out" / "yolo" / "labels").rglob("*.txt"))) == 2


def test_an_interrupted_conversion_goes_on_with_the_same_review_alone(predicted: Path, tmp_path: Path, dips: Dips) -> None:
    folder, _ = reviewed(predicted, tmp_path / "reviewed")
    command = ["boxes", folder, "--out", tmp_path / "new", "--reviewed", "--format", "json,labelstudio"]
    review = read_reviewed(folder)
    begun = PredictionFolder.from_finished(
        folder,
        tmp_path / "new",
        formats=("json", "labelstudio"),
        made_with={
            "settings": ["threshold=None", "min_area=None", "min_score=None", "max_boxes=None"],
            "review": review.sha256,
        },
    )

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begun.work(BoxesJob(folder, begun.out), begun=interrupted)
    assert "another review" in dips(*[each for each in command if each != "--reviewed"]).err
    with (folder / "review.jsonl").open("rb") as file:
        lines = file.readlines()
    (folder / "review.jsonl").write_bytes(b"".join(lines[:-2]))
    said = dips(*command)
    assert said.code == 2 and "another review; choose another --out or remove it" in said.err
    (folder / "review.jsonl").write_bytes(b"".join(lines))
    assert dips(*command).code == 0


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
