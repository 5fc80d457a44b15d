"""A folder of predictions is read as it was written, and its objects are found again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from dips.errors import ImageError, RunError
from dips.predict.folder import PredictionFolder
from dips.predict.prediction import Prediction
from dips.predict.results import MARK, Found, is_finished, locate, predict_again, read_records
from dips.scoremaps.calibration import Calibration
from dips.system.records import write_json

MakePhoto = Callable[..., Path]
NAMES = ("a/x.jpg", "b.png")


@pytest.fixture
def folder(tmp_path: Path, make_photo: MakePhoto) -> Path:
    """Predictions of two photos, a bright rectangle in each."""
    for name in NAMES:
        make_photo(tmp_path / "photos" / name)
    filled = PredictionFolder.plan([tmp_path / "photos"], tmp_path / "out", formats=("json",), made_with={"model": "m"})
    for path in filled.begin():
        score_map = np.zeros((24, 32), np.float32)
        score_map[4:20, 8:24] = 0.9
        score_map[8:12, 12:16] = 1
        scores = np.array([0.25, 0.75], np.float32)
        prediction = Prediction.from_map(path, (32, 24), score_map, classes=("none", "tower"), probabilities=scores)
        filled.write(prediction.with_objects(threshold=0.5, min_area=0.01, min_score=0, max_boxes=5))
    filled.finish()
    return tmp_path / "out"


def found(*photos: tuple[str, int], background: str | None = "none") -> Found:
    """What was found in photos, each with its class and its number of boxes."""
    made = Found()
    for label, boxes in photos:
        made.add(label, background, [0.9] * boxes)
    return made


def test_why_there_is_no_box_at_all() -> None:
    assert found().remark() == found(("none", 0), ("tower", 1)).remark() == found(("none", 0), ("none", 2)).remark() == ""
    for count, words in ((1, "1 of 1 is predicted as 'none'"), (20, "20 of 20 are predicted as 'none'")):
        line = found(*[("none", 0)] * count).remark()
        assert line.startswith(f"no photo shows an object: {words}. If") and "'dips check'" in line and "\n" not in line
    assert "predicted as 'sky'" in found(("sky", 0), background="sky").remark()
    line = found(("none", 0), ("tower", 0), ("crane", 0)).remark()
    assert line.startswith(
        "no photo has a box, though 2 of 3 are predicted to show something: lower --min-score or --threshold"
    )
    assert "predict." not in line
    assert "though 1 of 1 is predicted" in found(("none", 0), background=None).remark(), (
        "a class like others, if there is no background"
    )


def test_photos_far_below_the_others_are_remembered_by_name() -> None:
    made = Found()
    for number in range(12):
        made.add("tower", "none", [0.9], f"{number}.jpg")
    made.add("none", "none", [], "empty.jpg")
    made.add("tower", "none", [0.3, 0.2], "cat.jpg")
    assert (made.photos, made.boxes) == (14, 14) and ": cat.jpg. Look" in made.scores.remark()


@pytest.mark.parametrize(("gate", "boxes"), [(0.05, 1), (0.6, 1), (0.65, 0), (0.95, 0)])
def test_the_gate_holds_until_a_lowest_score_is_asked_for(folder: Path, gate: float, boxes: int) -> None:
    """The calibration is in the record, so that a later call finds the same objects, or those that a person wants to see."""
    calibration = Calibration(slope=2.0, offset=-4.0, gate=gate, typical=0.5, cautious=0.9)
    for file, record in read_records(folder):
        write_json(file, msgspec.structs.replace(record, calibration=calibration))
    for prediction in predict_again(folder, ["a/x", "b"]):
        assert len(prediction.boxes) == len(prediction.record().boxes) == boxes and prediction.calibration == calibration
    for asked in (0.0, 0.3, 0.99):
        for prediction in predict_again(folder, ["b"], min_score=asked):
            assert len(prediction.boxes) == int(asked < 0.6)  # its chance is 0.63
            assert prediction.box_scores.tolist() == pytest.approx(
                [float(calibration.chance(0.9063))] * (asked < 0.6), abs=0.02
            )


def test_records_come_with_their_files(folder: Path) -> None:
    records = list(read_records(folder))
    assert [file.relative_to(folder / "json").as_posix() for file, _ in records] == ["a/x.json", "b.json"]
    assert [record.name for _, record in records] == list(NAMES)
    assert [[entry.box for entry in record.boxes] for _, record in records] == [[(8, 4, 24, 20)]] * 2


def test_objects_are_found_again(folder: Path) -> None:
    before = {record.path: record for _, record in read_records(folder)}
    for prediction in predict_again(folder, ["a/x", "b"]):
        record = before[prediction.path.as_posix()]
        assert prediction.record(name=record.name, folder=record.folder, model=record.model) == record
    (narrow,) = predict_again(folder, ["b"], threshold=0.95)
    assert narrow.boxes.tolist() == [[12, 8, 16, 12]] and narrow.threshold == 0.95 and narrow.min_area == 0.01
    (none,) = predict_again(folder, ["b"], min_score=1.0)
    assert len(none.boxes) == 0


def test_folders_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a prediction"):
        list(read_records(tmp_path / "photos"))
    (tmp_path / "empty" / "json").mkdir(parents=True)
    with pytest.raises(RunError, match="holds no photos"):
        list(read_records(tmp_path / "empty"))
    assert is_finished(folder) and not is_finished(tmp_path / "none")
    (folder / MARK).write_text("{}")
    assert not is_finished(folder)
    with pytest.raises(RunError, match="is unfinished"):
        list(read_records(folder))
    (folder / "maps" / "b.png").unlink()
    with pytest.raises(RunError, match=r"b\.png is missing or damaged"):
        list(predict_again(folder, ["b"]))


def test_a_relative_photo_is_found_from_here_and_from_around_the_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate(Path("photos/b.png"), folder) == Path("photos/b.png")
    monkeypatch.chdir(folder / "json")
    assert locate(Path("photos/b.png"), folder) == tmp_path / "photos" / "b.png"
    with pytest.raises(ImageError, match=r"photos.c\.png does not exist"):
        locate(Path("photos", "c.png"), folder)


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_a_class_name_that_is_no_text_is_read_back(tmp_path: Path, make_photo: MakePhoto) -> None:
    photo = make_photo(tmp_path / "x.jpg")
    out = PredictionFolder.plan([photo], tmp_path / "out", formats=("json", "csv"), made_with={})
    for path in out.begin():
        classes, scores = ("a", "b\udcff"), np.array([0.25, 0.75], np.float32)
        score_map = np.eye(8, dtype=np.float32)
        prediction = Prediction.from_map(path, (32, 24), score_map, classes=classes, probabilities=scores)
        out.write(prediction.with_objects(threshold=0.5, min_area=0.01, min_score=0, max_boxes=5))
    assert out.finish().photos == 1
    assert [record.label for _, record in read_records(tmp_path / "out")] == ["b%FF"]


@pytest.mark.parametrize("path", [r"\\evil\share\a.jpg", r"\\evil@80\dav\a.jpg", r"\\?\UNC\evil\x\a.jpg", r"\\.\pipe\a.jpg"])
def test_no_other_computer_is_asked(folder: Path, path: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is on another computer, which is not asked; give its folder a drive letter"):
        locate(Path(path), folder)
    record = folder / "json" / "b.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "path": path}))
    again = PredictionFolder.from_finished(folder, tmp_path / "new", formats=("json", "overlays"), made_with={})
    for prediction in predict_again(folder, [again.stems[each] for each in again.begin()]):
        again.write(prediction)
    assert ["is on another computer" in problem.message for problem in again.skipped] == [True]
