"""A folder of predictions is read as it was written, and its objects are found again."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest

from dips.batch.predict import BoxesJob
from dips.data.naming import NamedPhotos
from dips.errors import ImageError, RunError
from dips.formats.records import BoxRecord, PredictionRecord, read_prediction
from dips.predict.folder import PredictionFolder
from dips.predict.merging import Filled
from dips.predict.prediction import Prediction
from dips.predict.results import Found, find_records, is_finished, locate, moved, predict_again, read_records
from dips.scoremaps.calibration import Calibration
from dips.shards.files import LocalFiles
from dips.shards.plan import WORK
from dips.system.records import write_json

MakePhoto = Callable[..., Path]
Fill = Callable[..., Filled]
NAMES = ("a/x.jpg", "b.png")


@pytest.fixture
def folder(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> Path:
    """Predictions of two photos, a bright rectangle in each."""
    for name in NAMES:
        make_photo(tmp_path / "photos" / name)
    filled = PredictionFolder.plan([tmp_path / "photos"], tmp_path / "out", formats=("json",), made_with={"model": "m"})

    def made(path: Path) -> Prediction:
        score_map = np.zeros((24, 32), np.float32)
        score_map[4:20, 8:24] = 0.9
        score_map[8:12, 12:16] = 1
        scores = np.array([0.25, 0.75], np.float32)
        prediction = Prediction.from_map(path, (32, 24), score_map, classes=("none", "tower"), probabilities=scores)
        return prediction.with_objects(threshold=0.5, min_area=0.01, min_score=0, max_boxes=5)

    fill(filled, made)
    return tmp_path / "out"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The records that are read from here on."""
    files: list[Path] = []

    def noted(file: Path) -> PredictionRecord:
        files.append(file)
        return read_prediction(file)

    monkeypatch.setattr("dips.predict.results.read_prediction", noted)
    return files


def test_some_records_are_found_without_reading_the_others(folder: Path, read: list[Path]) -> None:
    assert [record.name for record in find_records(folder, ["b.png"])] == ["b.png"]
    assert [file.name for file in read] == ["b.json"]
    read.clear()
    assert [record.name for record in find_records(folder, NAMES)] == sorted(NAMES) and len(read) == 2
    assert list(find_records(folder, [])) == []


@pytest.mark.parametrize(
    ("names", "wanted", "count"),
    [
        (("a.jpg", "a.png", "c.png"), ("a.png",), 1),  # they share a stem
        (("A.jpg", "a.png"), ("A.jpg", "a.png"), 2),
        ((f"{'long' * 50}.png", "c.png"), (f"{'long' * 50}.png",), 2),  # its file has a shorter name
        (("b.jpg", "c.png"), ("c.png", "gone.png", "../json/b.jpg", "/b.jpg"), 3),
    ],
)
def test_records_are_found_whatever_their_files_are_called(
    tmp_path: Path,
    make_prediction: Callable[..., Prediction],
    read: list[Path],
    names: Sequence[str],
    wanted: Sequence[str],
    count: int,
) -> None:
    photos = NamedPhotos()
    for name in names:
        photos.add(f"/p/{name}")
    photos.finish()
    for item in photos:
        write_json(tmp_path / "json" / f"{item.stem}.json", make_prediction().record(name=item.id))
    records = [record.name for record in find_records(tmp_path, wanted)]
    assert sorted(records) == sorted(set(wanted) & set(names)) and len(read) == count


def test_no_records_are_found_in_what_is_unfinished(folder: Path) -> None:
    LocalFiles(folder / WORK).write("plan.json", b"{}")
    with pytest.raises(RunError, match="is unfinished"):
        list(find_records(folder, ["b.png"]))


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


def test_reviewed_photos_are_counted_apart() -> None:
    made = Found()
    for number in range(20):
        made.add("tower", "none", [0.9], f"{number}.jpg")
    made.add("tower", "none", [0.1, 1.0], "a.jpg", reviewed=True)
    made.add("none", "none", [], "b.jpg", reviewed=True)
    assert (made.photos, made.boxes, made.reviewed, made.reviewed_boxes, made.empty) == (22, 22, 2, 2, 0)
    made.add("tower", "none", [0.05], "c.jpg", reviewed=True)
    assert made.scores.remark() == "", "a person looked at it"
    made = Found()
    made.add("none", "none", [], reviewed=True)
    assert made.remark() == ""
    made.add("none", "none", [])
    assert "1 of 1 is predicted as 'none'" in made.remark()


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


@pytest.mark.parametrize("min_score", [None, 0.0, 0.99])
def test_a_reviewed_photo_has_its_boxes_whatever_the_gate_says(folder: Path, min_score: float | None) -> None:
    calibration = Calibration(slope=2.0, offset=-4.0, gate=0.95, typical=0.5, cautious=0.9)
    kept = {}
    for file, record in read_records(folder):
        (accepted,) = (msgspec.structs.replace(box, score=0.1, review="accepted") for box in record.boxes)
        drawn = BoxRecord(box=(1, 2, 20, 22), review="drawn")
        kept[record.name] = (accepted, drawn) if record.name == "b.png" else ()
        write_json(
            file,
            msgspec.structs.replace(record, calibration=calibration, boxes=kept[record.name], reviewed=True),
        )
    made = Found()
    for stem, name in zip(("a/x", "b"), NAMES, strict=True):
        (again,) = predict_again(folder, [stem], min_score=min_score)
        assert again.record().boxes == kept[name] and again.record().state == ("found" if kept[name] else "nothing found")
        scores = again.box_scores.tolist()
        assert scores == pytest.approx([0.1, 1.0] if kept[name] else [])
        made.add("tower", None, scores, name, reviewed=True, calibration=calibration)
    assert (made.reviewed, made.reviewed_boxes, made.scores.limit) == (2, 2, None)


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


@pytest.mark.parametrize("stem", ["a/x", "b"])
def test_what_an_earlier_version_predicted_gets_its_priority_from_the_map(folder: Path, stem: str) -> None:
    file = folder / "json" / f"{stem}.json"
    record = json.loads(file.read_text())
    expected = record.pop("priority")
    file.write_text(json.dumps(record))
    (again,) = predict_again(folder, [stem])
    assert again.record().priority == expected == 0
    (narrow,) = predict_again(folder, [stem], threshold=0.9)
    assert narrow.record().priority == 0.4688, "16 pixels at this threshold, 256 at a lower one"


def test_folders_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a prediction"):
        list(read_records(tmp_path / "photos"))
    (tmp_path / "empty" / "json").mkdir(parents=True)
    with pytest.raises(RunError, match="holds no photos"):
        list(read_records(tmp_path / "empty"))
    assert is_finished(folder) and not is_finished(tmp_path / "none")
    LocalFiles(folder / WORK).write("plan.json", b"{}")
    assert not is_finished(folder)
    with pytest.raises(RunError, match="is unfinished"):
        list(read_records(folder))
    LocalFiles(folder / WORK).remove("plan.json")
    (folder / WORK / "driver").mkdir(parents=True)  # a kill at the very end
    assert is_finished(folder) and list(read_records(folder))
    (folder / ".unfinished.json").touch()
    assert not is_finished(folder)
    with pytest.raises(RunError, match=r"begun by an earlier version of DiPS, and is unfinished; predict the photos again"):
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


@pytest.mark.parametrize("relative", [False, True])
def test_moved_photos_are_found_by_their_paths_below_the_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    (tmp_path / "disk").mkdir()
    now = (tmp_path / "photos").rename(tmp_path / "disk" / "summer")
    monkeypatch.chdir(tmp_path / "disk")
    where = Path("summer") if relative else now
    records = [record for _, record in read_records(folder, where)]
    assert [Path(record.path) for record in records] == [where / name for name in NAMES]
    assert {(record.folder, locate(Path(record.path), folder).read_bytes()) for record in records} == {
        ("summer", (now / name).read_bytes()) for name in NAMES
    }
    before = [record for _, record in read_records(folder)]
    assert before[0].folder == "photos" and [moved(record, where) for record in before] == records
    assert all(moved(record, None) is record for record in before)

    again = PredictionFolder.from_finished(folder, tmp_path / "b", formats=("json", "overlays"), made_with={}, photos_dir=where)
    assert not again.fill(BoxesJob(folder, tmp_path / "b", photos_dir=where)).skipped
    assert len(list((tmp_path / "b" / "overlays").rglob("*.jpg"))) == 2
    assert [record for _, record in read_records(tmp_path / "b")] == records, "the new folder needs no option"


@pytest.mark.parametrize("place", ["photos/a", "", "none"])
def test_a_folder_without_any_of_the_photos_names_the_option(folder: Path, tmp_path: Path, place: str) -> None:
    (folder / "json" / "b.json").unlink()
    with pytest.raises(RunError, match=r"--photos-dir .* holds none of the 1 photo of .* below which 'a/x\.jpg' lies now"):
        list(read_records(folder, tmp_path / place))
    assert list(read_records(folder, tmp_path / "photos")), "one photo that is there is enough"


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
@pytest.mark.parametrize(("then", "now"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_that_another_computer_writes_otherwise(
    tmp_path: Path, make_photo: MakePhoto, then: Literal["NFC", "NFD"], now: Literal["NFC", "NFD"]
) -> None:
    photo = make_photo(tmp_path / "Möwen" / "Ã ö.jpg")
    here = photo.parent.rename(tmp_path / unicodedata.normalize(now, "Möwen"))
    photo = (here / photo.name).rename(here / unicodedata.normalize(now, photo.name))
    told = tmp_path / unicodedata.normalize(then, f"Möwen/{photo.name}")
    assert told != photo and locate(told, tmp_path / "out").samefile(photo)


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
@pytest.mark.parametrize("folder_form", ["NFC", "NFD"])
@pytest.mark.parametrize("file_form", ["NFC", "NFD"])
@pytest.mark.parametrize("name_form", ["NFC", "NFD"])
def test_each_part_of_a_path_may_have_its_accents_otherwise(
    folder: Path,
    tmp_path: Path,
    make_photo: MakePhoto,
    folder_form: Literal["NFC", "NFD"],
    file_form: Literal["NFC", "NFD"],
    name_form: Literal["NFC", "NFD"],
) -> None:
    """A folder that was typed in one form may hold files from a computer with the other."""
    now = tmp_path / unicodedata.normalize(folder_form, "Möwen")
    photo = make_photo(now / unicodedata.normalize(file_form, "Ö/é.jpg"))
    name = unicodedata.normalize(name_form, "Ö/") + unicodedata.normalize(file_form, "é.jpg")
    (folder / "json" / "a" / "x.json").unlink()
    record = folder / "json" / "b.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "name": name}))
    ((_, found),) = read_records(folder, now)
    assert locate(Path(found.path), folder, now).samefile(photo)


@pytest.mark.parametrize("name", ["a" * 300 + ".jpg", "x/" * 3000 + "a.jpg", "a\0b.jpg"], ids=["part", "path", "nul"])
def test_a_name_that_the_system_refuses_is_not_there(folder: Path, tmp_path: Path, name: str) -> None:
    for photos_dir in (None, tmp_path):
        with pytest.raises(ImageError, match="does not exist"):
            locate(tmp_path / name, folder, photos_dir)
    with pytest.raises(RunError, match="holds none of the 2 photos"):
        list(read_records(folder, tmp_path / name))


@pytest.mark.skipif(os.name == "nt", reason="there this is a folder of another computer")
@pytest.mark.parametrize("share", ["\\\\srv\\share", "\\\\10.0.0.7\\photos"])
def test_a_folder_on_another_computer_that_a_person_names_is_asked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").rename(tmp_path / share)
    records = [record for _, record in read_records(folder, Path(share))]
    assert [locate(Path(record.path), folder, Path(share)) for record in records] == [Path(share) / name for name in NAMES]
    again = PredictionFolder.from_finished(
        folder, tmp_path / "b", formats=("json", "overlays"), made_with={}, photos_dir=Path(share)
    )
    assert not again.fill(BoxesJob(folder, tmp_path / "b", photos_dir=Path(share))).skipped
    assert len(list((tmp_path / "b" / "overlays").rglob("*.jpg"))) == 2
    for there in (None, tmp_path):
        with pytest.raises(ImageError, match="is on another computer"):
            locate(Path(share) / "b.png", folder, there)


def test_a_photo_that_is_not_below_the_named_folder_is_told_so(folder: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photos" / "b.png"
    photo.unlink()
    with pytest.raises(ImageError, match=r"does not exist: it is not below --photos-dir .*photos; copy it there"):
        locate(photo, folder, tmp_path / "photos")
    with pytest.raises(ImageError, match="give --photos-dir the folder"):
        locate(photo, folder)


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_a_class_name_that_is_no_text_is_read_back(tmp_path: Path, make_photo: MakePhoto, fill: Fill) -> None:
    photo = make_photo(tmp_path / "x.jpg")
    out = PredictionFolder.plan([photo], tmp_path / "out", formats=("json", "csv"), made_with={})

    def made(path: Path) -> Prediction:
        classes, scores = ("a", "b\udcff"), np.array([0.25, 0.75], np.float32)
        score_map = np.eye(8, dtype=np.float32)
        prediction = Prediction.from_map(path, (32, 24), score_map, classes=classes, probabilities=scores)
        return prediction.with_objects(threshold=0.5, min_area=0.01, min_score=0, max_boxes=5)

    assert fill(out, made).found.photos == 1
    assert [record.label for _, record in read_records(tmp_path / "out")] == ["b%FF"]


@pytest.mark.parametrize("path", [r"\\evil\share\a.jpg", r"\\evil@80\dav\a.jpg", r"\\?\UNC\evil\x\a.jpg", r"\\.\pipe\a.jpg"])
def test_no_other_computer_is_asked(folder: Path, path: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is on another computer, which is not asked unless --photos-dir names its folder"):
        locate(Path(path), folder)
    record = folder / "json" / "b.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "path": path}))
    again = PredictionFolder.from_finished(folder, tmp_path / "new", formats=("json", "overlays"), made_with={})
    done = again.fill(BoxesJob(folder, tmp_path / "new"))
    assert ["is on another computer" in problem.message for problem in done.skipped] == [True]


def test_photos_behind_urls_are_not_looked_for(tmp_path: Path, make_photo: Callable[..., Path]) -> None:
    with pytest.raises(ImageError, match=r"^s3://b/p/a\.jpg is not on this computer; give --photos-dir a folder with a copy"):
        locate(Path("s3://b/p/a.jpg"), tmp_path)
    copy = make_photo(tmp_path / "copy" / "a.jpg")
    assert locate(copy, tmp_path, tmp_path / "copy") == copy
