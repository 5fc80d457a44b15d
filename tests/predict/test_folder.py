"""A folder of predictions: names that never meet, nothing overwritten, nothing lost by an interruption."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import msgspec
import numpy as np
import pytest

import dips
from dips.batch.predict import BoxesJob
from dips.data.camera import Camera
from dips.data.images import read_image
from dips.errors import ConfigError, DataError, ImageError, RunError
from dips.predict import merging
from dips.predict.folder import ALONE, FORMATS, PredictionFolder, parse_formats, require_other
from dips.predict.inputs import path_of
from dips.predict.merging import Filled, merge_predictions
from dips.predict.prediction import Prediction
from dips.predict.writing import PhotoWriter
from dips.shards import stores
from dips.shards.files import LocalFiles
from dips.shards.launch import Crew
from dips.shards.lease import Holder, this_process
from dips.shards.plan import PLAN, WORK, read_plan, work_of
from dips.shards.remote import RemoteFiles
from dips.shards.work import Skipped, Work
from dips.system.records import to_json
from dips.view.review import JOURNAL

MakePhoto = Callable[..., Path]
Fill = Callable[..., Filled]
ALL = parse_formats("overlays,masks,coco")


def predict(path: Path) -> Prediction:
    height, width = read_image(path).shape[:2]
    mask = np.zeros((height, width), np.bool_)
    mask[: max(1, height // 2)] = True
    return Prediction(
        path=path,
        label="tower",
        label_score=0.75,
        class_scores=np.array([0.25, 0.75], np.float32),
        classes=("none", "tower"),
        boxes=np.array([[0, 0, width, max(1, height // 2)]], np.float32),
        box_scores=np.array([1], np.float32),
        size=(width, height),
        regions=mask.astype(np.uint16),
        grid=mask.astype(np.float32),
    )


def plan(
    images: list[Path], out: str | Path, formats: tuple[str, ...] = ALL, model: str = "m", *, step: int = 1, crew: Crew = ALONE
) -> PredictionFolder:
    made_with = {"model": model, "settings": []}
    return PredictionFolder.plan(images, out, formats=formats, made_with=made_with, step=step, crew=crew)


class Stop:
    """Predicts so many photos, then is interrupted."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, path: Path) -> Prediction:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return predict(path)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def expected(*stems: str) -> list[str]:
    """What a folder with everything holds."""
    kinds = (("json", "json"), ("maps", "png"), ("masks", "png"), ("overlays", "jpg"))
    return sorted(["coco.json", "predictions.json", *(f"{kind}/{stem}.{end}" for kind, end in kinds for stem in stems)])


def test_formats() -> None:
    assert parse_formats("masks, JSON") == ("json", "masks")
    assert parse_formats("coco") == ("json", "coco")
    with pytest.raises(ConfigError, match="did you mean 'overlays'"):
        parse_formats("json,overlay")


def test_another_file_is_none_that_a_prediction_writes(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    good, bad = make_photo(tmp_path / "p" / "x.jpg"), tmp_path / "p" / "bad.jpg"
    bad.write_text("no photo")
    folder = plan([good, bad], tmp_path / "out", FORMATS)
    fill(folder, predict)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    top = {file.partition("/")[0] for file in files(tmp_path / "out")}
    assert {"json", "maps", "coco.json", "labelstudio.xml", "skipped.json"} < top and len(top) >= 14
    for name in top:
        for file in (tmp_path / "out" / name, tmp_path / "link" / name, tmp_path / "out" / "a" / ".." / name.upper()):
            with pytest.raises(RunError, match=r"--problems .* is what the prediction itself writes"):
                require_other(folder.out, "--problems", file)
    for other in ("out/problems.json", "out/mine/coco.json", "coco.json", "out.json", "outer/coco.json"):
        require_other(folder.out, "--problems", tmp_path / other)


def test_what_is_written(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    for name in ("a/x.jpg", "b c/x.jpg", "ü.png"):
        make_photo(tmp_path / "photos" / name)
    out = tmp_path / "out"
    done = fill(plan([tmp_path / "photos"], out), predict)
    assert (done.found.photos, done.found.boxes, done.skipped) == (3, 3, [])
    assert files(out) == expected("a/x", "b c/x", "ü")
    records = json.loads((out / "predictions.json").read_text())["predictions"]
    names = ["a/x.jpg", "b c/x.jpg", "ü.png"]
    assert [record["path"] for record in records] == [(tmp_path / "photos" / name).as_posix() for name in names]
    assert records[0] == json.loads((out / "json/a/x.json").read_text())
    coco = json.loads((out / "coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == names
    mask = cv2.imdecode(np.fromfile(out / "masks/ü.png", np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask is not None and mask.shape == (24, 32) and set(np.unique(mask)) == {0, 255}
    assert read_image(out / "overlays/a/x.jpg").shape == (24, 32, 3)


@pytest.mark.parametrize("kinds", ["overlays", "heatmaps", "overlays,heatmaps"])
def test_only_heatmaps_hide_what_is_below(tmp_path: Path, make_photo: MakePhoto, fill: Fill, kinds: str) -> None:
    photo = make_photo(tmp_path / "x.png", (160, 120))
    fill(plan([photo], tmp_path / "out", parse_formats(kinds)), predict)
    assert {file.partition("/")[0] for file in files(tmp_path / "out") if file.endswith(".jpg")} == set(kinds.split(","))
    inside = np.s_[25:40, 20:140]  # of the object
    for kind in kinds.split(","):
        drawn = read_image(tmp_path / "out" / kind / "x.jpg")
        difference = np.abs(drawn.astype(int) - read_image(photo))[inside].mean()
        assert difference > 40 if kind == "heatmaps" else difference < 4, kind


@pytest.mark.parametrize("kinds", ["json", "masks,voc,csv"])
def test_what_was_written_is_not_predicted(tmp_path: Path, make_photo: MakePhoto, fill: Fill, kinds: str) -> None:
    make_photo(tmp_path / "x.jpg")
    fill(plan([tmp_path], tmp_path / "deep" / "out", parse_formats(kinds)), predict)
    with pytest.raises(KeyboardInterrupt):
        fill(plan([tmp_path], tmp_path / "unfinished"), Stop(0))
    make_photo(tmp_path / "unfinished" / "overlays" / "x.jpg")
    assert [item.id for item in plan([tmp_path], tmp_path / "again").listing.source.each()] == ["x.jpg"]


def test_json_alone(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    photo = make_photo(tmp_path / "x.jpg")
    fill(plan([photo], tmp_path / "out", parse_formats("json")), predict)
    assert files(tmp_path / "out") == ["json/x.json", "maps/x.png", "predictions.json"]


def test_photos_that_differ_in_their_suffix_or_case_alone(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    names = ("a.jpg", "A.PNG", "a.jpg.jpg", "b.jpg", "c" * 230 + "1.jpg", "c" * 230 + "2.jpg")
    photos = [make_photo(tmp_path / "p" / name) for name in names]
    stems = {Path(item.uri): item.stem for item in plan(photos, tmp_path / "out").listing.source.each()}
    assert stems[photos[0]] == "a.jpg" and stems[photos[1]] == "A.PNG" and stems[photos[3]] == "b"
    assert len({stem.casefold() for stem in stems.values()}) == len(names)
    done = fill(plan(photos, tmp_path / "out"), predict)
    assert done.found.photos == len(names)


ODD_NAMES = (b"M\xfchle", b"M\xf6hle", b"M\xe4hle", b"M%FChle", "\u5854".encode(), b"sub\xff/a", b"a %41 \xed\xa0\x80")


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_names_that_are_no_text(tmp_path: Path, make_photo: MakePhoto, fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    """Each photo has files with its own bytes in every format, and inside of them a text of its own."""
    photo = make_photo(tmp_path / "x.jpg")
    for odd in ODD_NAMES:
        path = tmp_path / "p" / f"{os.fsdecode(odd)}.jpg"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, path)
        except OSError:
            pytest.skip("this disk takes no such names")
    out = tmp_path / "out"
    assert fill(plan([tmp_path / "p"], out, FORMATS), predict).found.photos == len(ODD_NAMES)
    said = [line for line in capsys.readouterr().err.splitlines() if "not UTF-8" in line]
    assert len(said) == 1 and said[0].startswith("5 names are not UTF-8 text, such as ")
    for kind, suffix in (
        ("json", ".json"),
        ("voc", ".xml"),
        ("yolo/labels", ".txt"),
        ("geojson", ".geojson"),
        ("masks", ".png"),
    ):
        there = {os.fsencode(path.relative_to(out / kind)) for path in (out / kind).rglob(f"*{suffix}")}
        assert there == {name + suffix.encode() for name in ODD_NAMES}, kind
    names = {image["file_name"] for image in json.loads((out / "coco.json").read_text())["images"]}
    assert len(names) == len(ODD_NAMES) and {"M%F6hle.jpg", "M%FChle.jpg", "\u5854.jpg", "sub%FF/a.jpg"} < names
    with (out / "boxes.csv").open(encoding="utf-8", newline="") as file:
        assert {row["photo"] for row in csv.DictReader(file)} == names
    # and back: the photos are found again, in this locale and in one that knows ASCII alone
    again = PredictionFolder.from_finished(out, tmp_path / "again", formats=("json", "overlays"), made_with={})
    done = again.fill(BoxesJob(out, tmp_path / "again"))
    assert done.found.photos == len(ODD_NAMES) and done.skipped == []
    command = [sys.executable, "-m", "dips", "boxes", "out", "--out", "ascii", "--format", ",".join(FORMATS)]
    source = str(Path(dips.__file__).parents[1])
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": source, "PATH": os.environ["PATH"]}
    subprocess.run(command, cwd=tmp_path, env=plain, check=True, capture_output=True)
    for name in ("coco.json", "boxes.csv", "predictions.json"):
        assert (tmp_path / "ascii" / name).read_bytes() == (out / name).read_bytes(), name


def test_a_class_that_is_no_text(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    photo = make_photo(tmp_path / "x.jpg")
    folder = plan([photo], tmp_path / "out", FORMATS)

    def made(path: Path) -> Prediction:
        scores = np.array([0.1, 0.9], np.float32)
        score_map = np.zeros((24, 32), np.float32)
        score_map[4:20, 8:24] = 0.9
        prediction = Prediction.from_map(path, (32, 24), score_map, classes=("none", "T\udcfcr"), probabilities=scores)
        return prediction.with_objects(threshold=0.5, min_area=0.01, min_score=0, max_boxes=5)

    fill(folder, made)
    for file in (
        "coco.json",
        "voc/x.xml",
        "labelstudio.json",
        "labelstudio.xml",
        "geojson/x.geojson",
        "boxes.csv",
        "yolo/data.yaml",
    ):
        assert "T%FCr" in (tmp_path / "out" / file).read_text(encoding="utf-8")


def test_no_photos(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    with pytest.raises(DataError, match="no photos"):
        plan([tmp_path / "p"], tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        plan([tmp_path / "q"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_broken_photos_are_skipped(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    make_photo(tmp_path / "p/good.jpg")
    (tmp_path / "p/text.jpg").write_text("hello")
    done = fill(plan([tmp_path / "p"], tmp_path / "out"), predict)
    assert done.found.photos == 1 and [problem.path.name for problem in done.skipped] == ["text.jpg"]
    listed = json.loads((tmp_path / "out/skipped.json").read_text())["skipped"]
    assert listed[0]["path"].endswith("p/text.jpg") and "not a photo" in listed[0]["reason"]


@pytest.mark.parametrize("content", [b"hello", b"", b"\xff\xd8\xff\xe0cut"])
def test_what_failed_is_told_apart_from_what_shows_nothing(
    tmp_path: Path, make_photo: MakePhoto, fill: Fill, content: bytes
) -> None:
    for name in "abc":
        make_photo(tmp_path / f"p/{name}.png")
    (tmp_path / "p/lost.jpg").write_bytes(content)
    kinds = parse_formats("coco,csv,yolo,yolo-seg,voc,labelstudio,geojson,camera-points")
    folder = PredictionFolder.plan([tmp_path / "p"], tmp_path / "out", formats=kinds, made_with={"model": "m"})

    def made(path: Path) -> Prediction:
        if path.name == "lost.jpg":
            raise ImageError(f"{path} is not a photo")
        grid = np.full((16, 16), 0.0 if path.name == "b.png" else 0.1, np.float32)
        grid[4:9, 4:9] = 0.0 if path.name == "b.png" else 0.9
        chances = np.array([0.9, 0.1] if path.name == "c.png" else [0.1, 0.9], np.float32)
        return Prediction.from_map(
            path, (64, 48), grid, classes=("none", "mast"), probabilities=chances, background="none"
        ).with_objects(threshold=0.5, min_area=0.0, min_score=0.0, max_boxes=5)

    fill(folder, made)
    told_apart(tmp_path / "out", "p")
    for source, name in (("out", "again"), ("again", "once more")):  # also in what is made of it, and of that
        later = PredictionFolder.from_finished(tmp_path / source, tmp_path / name, formats=kinds, made_with={})
        assert later.fill(BoxesJob(tmp_path / source, tmp_path / name)).skipped == []
        told_apart(tmp_path / name, "p")


def told_apart(out: Path, top: str) -> None:
    states = {"a.png": "found", "b.png": "nothing found", "c.png": "not looked at"}
    every = json.loads((out / "predictions.json").read_text())
    assert {record["name"]: record["state"] for record in every["predictions"]} == states
    assert {name: json.loads((out / "json" / name).with_suffix(".json").read_text())["state"] for name in states} == states
    coco = json.loads((out / "coco.json").read_text())
    assert {image["file_name"]: image["state"] for image in coco["images"]} == states
    assert list(coco["info"]["failed"]) == list(every["failed"]) == ["lost.jpg"]
    with (out / "boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["photo"]: row["state"] for row in rows} == {**states, "lost.jpg": "failed"}
    assert {name for name, value in rows[-1].items() if value} == {"photo", "state"}
    points = [item["properties"] for item in json.loads((out / "camera-points.geojson").read_text())["features"]]
    assert {point["photo"]: point["state"] for point in points} == {**states, "lost.jpg": "failed"}
    tasks = json.loads((out / "labelstudio.json").read_text())
    here = f"/data/local-files/?d={top}/"
    assert {task["data"]["image"].removeprefix(here): task["data"]["state"] for task in tasks} == {
        **states,
        "lost.jpg": "failed",
    }
    assert set(tasks[-1]) == {"data"} and "not a photo" in tasks[-1]["data"]["reason"]
    voc = {file.name: ElementTree.parse(file).findtext("state") for file in (out / "voc").iterdir()}
    assert voc == {f"{name[0]}.xml": state for name, state in states.items()}
    shapes = {file.name: json.loads(file.read_text())["state"] for file in (out / "geojson").iterdir()}
    assert shapes == {f"{name[0]}.geojson": state for name, state in states.items()}
    for kind in ("yolo", "yolo-seg"):
        labels = {file.name: bool(file.read_text()) for file in (out / kind / "labels").iterdir()}
        assert labels == {"a.txt": True, "b.txt": False, "c.txt": False}, "a photo without file failed"
    assert [record["name"] for record in json.loads((out / "skipped.json").read_text())["skipped"]] == ["lost.jpg"]


def test_what_failed_is_not_among_what_was_reviewed(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    make_photo(tmp_path / "p/good.jpg")
    (tmp_path / "p/text.jpg").write_text("hello")
    fill(plan([tmp_path / "p"], tmp_path / "out"), predict)
    later = PredictionFolder.from_finished(tmp_path / "out", tmp_path / "new", formats=ALL, made_with={}, only=["good.jpg"])
    assert later.listing.context["failed"] == []
    old = json.loads((tmp_path / "out/skipped.json").read_text())
    del old["skipped"][0]["name"]  # as of an earlier version, or a photo of which only the overlay is missing
    (tmp_path / "out/skipped.json").write_text(json.dumps(old))
    later = PredictionFolder.from_finished(tmp_path / "out", tmp_path / "new", formats=ALL, made_with={})
    assert later.listing.context["failed"] == []
    (tmp_path / "out/skipped.json").write_text("{")
    with pytest.raises(RunError, match=r"skipped\.json is damaged.*remove it"):
        PredictionFolder.from_finished(tmp_path / "out", tmp_path / "new", formats=ALL, made_with={})


def test_extreme_sizes(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    make_photo(tmp_path / "p/dot.png", size=(1, 1))
    make_photo(tmp_path / "p/strip.png", size=(20000, 30))
    assert fill(plan([tmp_path / "p"], tmp_path / "out"), predict).found.photos == 2


def test_an_existing_folder_is_left_alone(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    photo = make_photo(tmp_path / "x.jpg")
    (tmp_path / "out").mkdir()
    with pytest.raises(RunError, match="already exists"):
        plan([photo], tmp_path / "out")
    assert files(tmp_path / "out") == []
    fill(plan([photo], tmp_path / "new"), predict)
    with pytest.raises(RunError, match="already exists"):
        plan([photo], tmp_path / "new")


class Full:
    """``os.replace`` on a disk that is full after a few files."""

    def __init__(self, room: int) -> None:
        self.room, self.real = room, os.replace

    def __call__(self, source: Path, target: Path) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.real(source, target)


@pytest.mark.parametrize("room", range(15))
def test_a_full_disk_loses_nothing(
    room: int, tmp_path: Path, make_photo: MakePhoto, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what is renamed: two lists, for each of two photos four files and a part, the summaries, the plan at the end
    photos = [make_photo(tmp_path / "p" / f"{i}.jpg", seed=i) for i in range(2)]
    monkeypatch.setattr(os, "replace", Full(room))
    with pytest.raises(RunError, match="No space left"):
        fill(plan(photos, tmp_path / "out"), predict)
    monkeypatch.undo()
    asked: list[Path] = []

    def counting(path: Path) -> Prediction:
        asked.append(path)
        return predict(path)

    assert fill(plan(photos, tmp_path / "out"), counting).found.photos == 2
    assert len(asked) == (2 if room < 6 else 1 if room < 11 else 0)
    assert files(tmp_path / "out") == expected("0", "1")


def test_only_the_same_work_goes_on(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    photos = [make_photo(tmp_path / "p" / f"{i}.jpg", seed=i) for i in range(2)]
    out = tmp_path / "out"

    with pytest.raises(KeyboardInterrupt):
        fill(plan(photos, out), Stop(1))
    (out / "json" / ".1.json.ab12cd34.dips_tmp").write_text("left by a kill")
    with pytest.raises(RunError, match="another model"):
        plan(photos, out, model="n")
    with pytest.raises(RunError, match="another --format"):
        plan(photos, out, parse_formats("json"))
    with pytest.raises(RunError, match="other photos"):
        plan(photos[:1], out)
    assert fill(plan(photos, out), predict).found.photos == 2
    assert not [name for name in files(out) if "/." in name or name.startswith(".")]


def test_an_overlay_that_cannot_be_drawn_loses_nothing_else(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    photos = [make_photo(tmp_path / "p" / f"{i}.jpg", seed=i) for i in range(2)]

    def predict_and_move(path: Path) -> Prediction:
        prediction = predict(path)
        if path == photos[0]:
            path.unlink()
        return prediction

    done = fill(plan(photos, tmp_path / "out"), predict_and_move)
    assert done.found.photos == 2 and [problem.path for problem in done.skipped] == photos[:1]
    assert "only the overlay is missing: 'dips boxes' draws it later" in done.skipped[0].message
    (record,) = json.loads((tmp_path / "out/skipped.json").read_text())["skipped"]
    assert set(record) == {"path", "reason"}, "it is no photo that failed"
    assert files(tmp_path / "out") == sorted({*expected("0", "1"), "skipped.json"} - {"overlays/0.jpg"})


def test_what_a_kill_left_is_removed_everywhere(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    photo = make_photo(tmp_path / "p" / ".a.b2345678.jpg")
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        fill(plan([photo], out), Stop(0))
    for left in (".coco.json.1_od4hc8.dips_tmp", "voc/.a.xml.dips_tmp", "json/.a.json.abcdefgh.dips_tmp"):
        (out / left).parent.mkdir(parents=True, exist_ok=True)
        (out / left).touch()
    notes = [".notes.markdown", "json/.label.settings", "voc/.a.dips_tmp.txt"]  # a user's own
    for name in notes:
        (out / name).touch()
    assert fill(plan([photo], out), predict).found.photos == 1
    assert files(out) == sorted([*expected(".a.b2345678"), *notes])


def test_other_boxes_are_of_the_same_camera(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    """Every file says the same about it, also what ``dips boxes`` makes of it later."""
    places = {f"{number}.jpg": Camera(latitude=10.5 + number, longitude=-3.0, heading=90.0) for number in range(2)}
    photos = [make_photo(tmp_path / "p" / name) for name in (*places, "nowhere.jpg")]

    def placed(path: Path) -> Prediction:
        return replace(predict(path), camera=places.get(path.name))

    kinds = parse_formats("coco,csv,labelstudio,camera-points")
    fill(plan(photos, tmp_path / "out", kinds), placed)
    again = PredictionFolder.from_finished(tmp_path / "out", tmp_path / "again", formats=kinds, made_with={})
    again.fill(BoxesJob(tmp_path / "out", tmp_path / "again", threshold=0.9))
    for folder in (tmp_path / "out", tmp_path / "again"):
        records = json.loads((folder / "predictions.json").read_text())["predictions"]
        images = json.loads((folder / "coco.json").read_text())["images"]
        points = json.loads((folder / "camera-points.geojson").read_text())["features"]
        with (folder / "boxes.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for record, image, point, row in zip(records, images, points, rows, strict=True):
            place = places.get(record["name"])
            if place is None:
                assert "camera" not in record and "camera_latitude" not in image and row["camera_latitude"] == ""
                assert point["geometry"] is None
                continue
            assert record["camera"] == {"latitude": place.latitude, "longitude": -3.0, "heading": 90.0}
            assert image["camera_latitude"] == float(row["camera_latitude"]) == place.latitude
            assert point["geometry"]["coordinates"] == [-3.0, place.latitude]
            assert image["file_name"] == point["properties"]["photo"] == row["photo"] == record["name"]


@pytest.mark.parametrize("name", [JOURNAL, "reviewed.coco.json"])
def test_a_review_is_no_folder_to_be_removed(tmp_path: Path, make_photo: MakePhoto, fill: Fill, name: str) -> None:
    photo = make_photo(tmp_path / "x.jpg")
    fill(plan([photo], tmp_path / "out"), predict)
    with pytest.raises(RunError, match="remove it"):
        plan([photo], tmp_path / "out")
    (tmp_path / "out" / name).touch()
    with pytest.raises(
        RunError, match=r"out holds a review by 'dips view'; nothing was changed. New photos go to another --out$"
    ):
        plan([photo], tmp_path / "out")
    with pytest.raises(RunError, match="holds a review"):
        PredictionFolder.from_finished(tmp_path / "out", tmp_path / "out", formats=ALL, made_with={})


@pytest.mark.parametrize("names", [["a.jpg"], ["a.png", "b/c.tif"]])
def test_nothing_but_unreadable_photos_leaves_no_folder(
    tmp_path: Path, make_photo: MakePhoto, fill: Fill, names: list[str]
) -> None:
    for name in names:
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_text("no photo")
    with pytest.raises(DataError, match=rf"nothing is predicted, as DiPS cannot read .*{names[0]} is"):
        fill(plan([tmp_path / "p"], tmp_path / "out"), predict)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
    for name in names:
        make_photo(tmp_path / "p" / name)
    assert fill(plan([tmp_path / "p"], tmp_path / "out"), predict).found.photos == len(names), "the same command goes on"


def test_a_file_of_another_option_stays_where_no_photo_can_be_read(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    (tmp_path / "a.jpg").write_text("no photo")
    folder = plan([tmp_path / "a.jpg"], tmp_path / "out")

    def noted(path: Path) -> Prediction:
        (tmp_path / "out" / "problems.json").touch()
        return predict(path)

    with pytest.raises(DataError):
        fill(folder, noted)
    assert (tmp_path / "out" / "problems.json").exists()
    make_photo(tmp_path / "a.jpg")
    assert fill(plan([tmp_path / "a.jpg"], tmp_path / "out"), predict).found.photos == 1, "the same command goes on"


@pytest.mark.parametrize(
    ("name", "hint"), [("cvat", "coco or voc"), ("Pascal-VOC", "voc"), ("ultralytics", "yolo"), ("QGIS", "geojson")]
)
def test_a_tool_is_answered_with_what_it_reads(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{name.lower()}' is unknown \(write {hint}\); there are json, "):
        parse_formats(f"json,{name}")


KINDS = parse_formats("overlays,masks,coco,yolo,voc,csv")


def stored(place: str) -> dict[str, bytes]:
    return {name: stores.read_url(f"{place}/{name}") for name in stores.each_name(place)}


def test_a_store_holds_what_a_folder_would(
    tmp_path: Path, make_photo: MakePhoto, fill: Fill, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [make_photo(tmp_path / "p" / name, seed=seed) for seed, name in enumerate(("a/1.jpg", "a/2.jpg", "\u00fc.png"))]
    (tmp_path / "p" / "bad.jpg").write_text("no photo")
    here = fill(plan([tmp_path / "p"], tmp_path / "out", KINDS), predict)
    monkeypatch.setattr(merging, "_SENT", 2)
    there = fill(plan([tmp_path / "p"], f"{bucket}/out", KINDS, step=2), predict)
    assert there.found.photos == 3 and there.skipped == here.skipped and len(here.skipped) == 1
    folder = {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out")}
    assert stored(f"{bucket}/out") == folder and "yolo/labels/a/1.txt" in folder
    with pytest.raises(RunError, match=r"s3://\S+/out already exists; nothing was changed"):
        plan(photos, f"{bucket}/out", KINDS)


def test_work_in_a_store_goes_on(
    tmp_path: Path, make_photo: MakePhoto, fill: Fill, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [make_photo(tmp_path / "p" / f"{number}.jpg", seed=number) for number in range(5)]
    place = f"{bucket}/goes-on"
    for after in (0, 2, 2):
        with pytest.raises(KeyboardInterrupt):
            fill(plan(photos, place), Stop(after))
    assert "predictions.json" not in stored(place) and ".unfinished/plan.json" in stored(place)
    with pytest.raises(RunError, match=r"goes-on holds an interrupted prediction made with another model; choose"):
        plan(photos, place, model="other")
    with pytest.raises(RunError, match="other photos"):
        plan(photos[:1], place)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dips.shards.merge.clear", killed)
        with pytest.raises(KeyboardInterrupt):
            fill(plan(photos, place), predict)
    assert fill(plan(photos, place), predict).found.photos == 5
    assert not [name for name in stored(place) if name.startswith(".unfinished")]


def test_a_kill_while_the_work_is_removed_from_a_store(
    tmp_path: Path, make_photo: MakePhoto, fill: Fill, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "bad.jpg").write_text("no photo")
    make_photo(tmp_path / "p" / "1.jpg")
    place = f"{bucket}/removed"
    with monkeypatch.context() as patch:

        def discard(self: RemoteFiles, folder: str) -> None:
            raise KeyboardInterrupt

        patch.setattr(RemoteFiles, "discard", discard)
        with pytest.raises(KeyboardInterrupt):
            fill(plan([tmp_path / "p"], place), predict)
    done = fill(plan([tmp_path / "p"], place), predict)
    assert done.found.photos == 1 and [problem.path.name for problem in done.skipped] == ["bad.jpg"]
    assert sorted(stored(place)) == sorted({*expected("1"), "skipped.json"})


def test_nothing_but_unreadable_photos_leaves_nothing_in_a_store(tmp_path: Path, fill: Fill, bucket: str) -> None:
    (tmp_path / "a.jpg").write_text("no photo")
    with pytest.raises(DataError, match="nothing is predicted, as DiPS cannot read the only photo"):
        fill(plan([tmp_path], f"{bucket}/nothing"), predict)
    assert stored(f"{bucket}/nothing") == {}


def test_what_an_earlier_version_began_is_refused(tmp_path: Path, make_photo: MakePhoto) -> None:
    photo = make_photo(tmp_path / "x.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".unfinished.json").write_text("{}")
    with pytest.raises(RunError, match=r"out holds a prediction that an earlier version of DiPS began .*; remove .*out or"):
        plan([photo], tmp_path / "out")


@pytest.mark.parametrize("there", ["lists/00000.jsonl", "driver/work~1", ""])
def test_a_kill_while_it_was_planned_starts_anew(tmp_path: Path, make_photo: MakePhoto, fill: Fill, there: str) -> None:
    photo = make_photo(tmp_path / "x.jpg")
    if there:
        LocalFiles(tmp_path / "out" / WORK).write(there, to_json(dead()).encode())
    else:
        (tmp_path / "out" / WORK).mkdir(parents=True)
    assert fill(plan([photo], tmp_path / "out"), predict).found.photos == 1
    assert not (tmp_path / "out" / WORK).exists()


def dead() -> Holder:
    """A process that is dead."""
    return msgspec.structs.replace(this_process(), started="1", session="")


def test_a_file_in_the_place_of_the_folder(tmp_path: Path, make_photo: MakePhoto) -> None:
    photo = make_photo(tmp_path / "x.jpg")
    (tmp_path / "out").touch()
    with pytest.raises(RunError, match="out already exists; nothing was changed"):
        plan([photo], tmp_path / "out")


def test_a_damaged_plan_is_named(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    photo = make_photo(tmp_path / "x.jpg")
    with pytest.raises(KeyboardInterrupt):
        fill(plan([photo], tmp_path / "out"), Stop(0))
    (tmp_path / "out" / WORK / PLAN).write_text("{")
    with pytest.raises(RunError, match=r"plan\.json is damaged .*; remove .*out or choose another --out$"):
        plan([photo], tmp_path / "out")
    (tmp_path / "out" / JOURNAL).touch()
    with pytest.raises(RunError, match=r"plan\.json is damaged .*; it holds a review by 'dips view': choose another --out$"):
        plan([photo], tmp_path / "out")


@pytest.mark.parametrize(
    "change",
    [
        {"context": {}},
        {"context": {"folder": 1}},
        {"context": {"folder": "p", "depth": "deep"}},
        {"context": {"folder": "p", "failed": [{}]}},
        {"size": 0},
        {"step": 0},
        {"items": -1},
    ],
)
def test_a_plan_that_says_something_else_is_damaged(
    tmp_path: Path, make_photo: MakePhoto, fill: Fill, change: dict[str, object]
) -> None:
    photo = make_photo(tmp_path / "x.jpg")
    with pytest.raises(KeyboardInterrupt):
        fill(plan([photo], tmp_path / "out"), Stop(0))
    file = tmp_path / "out" / WORK / PLAN
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(RunError, match=r"plan\.json is damaged .*; remove .*out or choose another --out$"):
        plan([photo], tmp_path / "out")
    with pytest.raises(RunError, match=r"plan\.json is damaged"):
        merge_predictions(tmp_path / "out")


def test_a_skipped_photo_of_an_earlier_call_is_remembered(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    photos = [make_photo(tmp_path / "p" / f"{i}.jpg", seed=i) for i in range(3)]
    photos[0].write_text("no photo")
    with pytest.raises(KeyboardInterrupt):
        fill(plan(photos, tmp_path / "out"), Stop(2))
    make_photo(photos[0])
    done = fill(plan(photos, tmp_path / "out"), predict)
    assert done.found.photos == 2 and [problem.path for problem in done.skipped] == photos[:1]
    (record,) = json.loads((tmp_path / "out/skipped.json").read_text())["skipped"]
    assert record["name"] == "0.jpg" and "not a photo" in record["reason"]


def test_the_same_photos_from_elsewhere_are_others(
    tmp_path: Path, make_photo: MakePhoto, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path means other photos in another folder, even if they have the same names."""
    for top in ("a", "b"):
        make_photo(tmp_path / top / "p" / "x.jpg")
    monkeypatch.chdir(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fill(plan([Path("p")], tmp_path / "out"), Stop(0))
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(RunError, match="other photos"):
        plan([Path("p")], tmp_path / "out")
    make_photo(tmp_path / "a" / "p" / "y.jpg")
    monkeypatch.chdir(tmp_path / "a")
    with pytest.raises(RunError, match="other photos"):
        fill(plan([Path("p")], tmp_path / "out"), predict)


def test_a_task_of_an_array_does_not_look_for_photos_that_are_planned(
    tmp_path: Path, make_photo: MakePhoto, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = make_photo(tmp_path / "p" / "x.jpg")
    task = Crew(turn=0, of=2)
    with pytest.raises(KeyboardInterrupt):
        fill(plan([photo.parent], tmp_path / "out"), Stop(0))
    monkeypatch.setattr("dips.predict.folder.read_source", lambda *_, **__: pytest.fail("it looks for the photos"))
    folder = plan([photo.parent], tmp_path / "out", crew=task)
    folder.work(Done(folder), task)
    assert list(folder.left_out) == []
    with pytest.raises(RunError, match="another model"):
        plan([photo.parent], tmp_path / "out", model="n", crew=task)


@dataclass(frozen=True)
class Done:
    """A job that finds nothing to do."""

    folder: PredictionFolder

    def open(self) -> Work:
        return lambda attempt: [Skipped(item.id, "not now") for item in attempt.items]


@dataclass(frozen=True)
class Behind:
    """Predicts photos behind URLs, which nobody fetches."""

    out: Path
    made: Callable[..., Prediction]

    def open(self) -> Work:
        plan = read_plan(work_of(self.out))
        assert plan is not None
        return PhotoWriter.of(self.out, plan).work(lambda items, _: (self.made(path=path_of(item.uri)) for item in items))


def test_boxes_of_photos_behind_urls_keep_the_urls(tmp_path: Path, make_prediction: Callable[..., Prediction]) -> None:
    urls = ["s3://b/p/1.jpg", "s3://b/p//1.jpg", "https://h/2.jpg"]
    kinds = parse_formats("coco,csv")
    plan(urls, tmp_path / "out", kinds).fill(Behind(tmp_path / "out", make_prediction))  # type: ignore[arg-type]
    again = PredictionFolder.from_finished(tmp_path / "out", tmp_path / "again", formats=kinds, made_with={})
    assert again.fill(BoxesJob(tmp_path / "out", tmp_path / "again")).found.photos == 3
    assert files(tmp_path / "again") == files(tmp_path / "out")
    records = json.loads((tmp_path / "again" / "predictions.json").read_text())["predictions"]
    assert sorted(record["path"] for record in records) == sorted(urls)
    assert json.loads((tmp_path / "again" / "json" / "h/2.json").read_text())["path"] == urls[2]
