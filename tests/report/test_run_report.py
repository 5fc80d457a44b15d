"""The report is of what the run folder holds, and says what it lacks."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import dips
from dips.benchmark.photo_rows import write_rows
from dips.errors import RunError
from dips.evaluate.result import ImageRow
from dips.predict.folder import PredictionFolder
from dips.report.photos import PHOTOS, ROWS, MapSpool, Rule, read_shown, write_photos, write_shown
from dips.report.predictions import TRAINING_PHOTOS
from dips.report.run_report import write_folder_report, write_run_report
from dips.system.files import file_sha256
from dips.types import Sample

CLASSES = ("none", "tower")


@pytest.fixture
def run(tmp_path: Path, make_photo: Any) -> Path:
    """A run folder as an evaluation leaves it, but for the networks."""
    folder, spool, samples, rows = tmp_path / "run", MapSpool(io.BytesIO()), [], []
    folder.mkdir()
    for i in range(5):
        path = make_photo(tmp_path / f"{i}.png", (64, 48), seed=i)
        samples.append(Sample(path, path.name, 1, np.array([[10, 10, 30, 20]], np.float32)))
        correct = dict.fromkeys(("30", "50", "70", "v1"), i > 2)
        more: dict[str, Any] = {"iou_largest": 0.5, "error": "part", "oracle_iou": 0.6, "oracle_tau": 0.5}
        rows.append(ImageRow(path.name, 1, 1, 1, correct, iou=i / 5, **more))
        spool.add(np.eye(16, dtype=np.float32))
    write_rows(folder / ROWS, rows, classes=CLASSES)
    write_shown(folder / PHOTOS, samples, rows, spool, photos=4, rule=Rule(0.4, 0, 0, 9, "none"), classes=CLASSES)
    evaluation = {
        "data": "photos",
        "split": "test",
        "methods": [],
        "classes": [],
        "top1_cls": 50.0,
        "protocol": "WSOL",
        "n_images": 5,
        "files": {name: file_sha256(folder / name) for name in (ROWS, PHOTOS)},
    }
    accuracy = {"classifier": 90.0, "linear_probe": 80.0}
    record = {"environment": {}, "weights": {}, "accuracy": accuracy, "selection": "on photos", "label_free": True}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "config.toml").write_text("")
    return folder


def data(run: Path) -> dict[str, Any]:
    text = write_run_report(run).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text.split('id="photo-data">')[1].split("</script>")[0])
    return found


def test_all_photos_are_listed_and_some_shown(run: Path) -> None:
    found = data(run)
    assert [row[0] for row in found["rows"]] == [f"{i}.png" for i in range(5)] and len(found["photos"]) == 4
    assert [row[4] for row in found["rows"]] == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert found["rule"] == {"threshold": 0.4, "min_score": 0, "max_boxes": 9}
    assert {(photo["min_area"], photo["min_score"]) for photo in found["photos"]} == {(0, 0)}
    assert found["background"] == -1, "no photo is of that class"
    assert sorted(row[7] for row in found["rows"]) == [-1, 0, 1, 2, 3]
    assert write_run_report(run).read_bytes() == write_run_report(run, run / "again.html").read_bytes()


def test_an_evaluation_of_before_has_a_table_and_no_pictures(run: Path) -> None:
    evaluation = json.loads((run / "evaluation.json").read_text())
    del evaluation["files"]
    (run / "evaluation.json").write_text(json.dumps({**evaluation, "shown": [{"id": "0.png", "jpeg": "", "iou": 0.1}]}))
    (run / PHOTOS).unlink()
    found = data(run)
    assert len(found["rows"]) == 5 and found["photos"] == []
    html = (run / "report.html").read_text(encoding="utf-8")
    assert "was evaluated by an earlier version, which kept no score maps" in html
    (run / ROWS).write_text("\n".join((run / ROWS).read_text().splitlines()[:-1]))  # of another evaluation
    html = write_run_report(run).read_text(encoding="utf-8")
    assert "No table here" in html and "photo-data" not in html


@pytest.mark.parametrize("lost", [True, False])
def test_files_of_another_evaluation_are_not_shown(run: Path, lost: bool) -> None:
    for name, said in (
        (PHOTOS, f"{PHOTOS} is missing in the run folder, or belongs to another evaluation"),
        (ROWS, "No table here"),
    ):
        if lost:
            (run / name).unlink()
        else:
            (run / name).write_text((run / name).read_text() + "\n")
        assert said in write_run_report(run).read_text(encoding="utf-8")


def test_no_photos_were_asked_for(run: Path) -> None:
    write_shown(run / PHOTOS, [], [], None, photos=0, rule=Rule(0.4, 0, 0, 9, None), classes=CLASSES)
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["files"][PHOTOS] = file_sha256(run / PHOTOS)
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    assert data(run)["photos"] == []
    assert "the evaluation was run without photos for the report" in (run / "report.html").read_text(encoding="utf-8")


def test_not_evaluated_yet(run: Path) -> None:
    (run / "evaluation.json").unlink()
    html = write_run_report(run).read_text(encoding="utf-8")
    assert "No evaluation yet." in html and 'id="photos"' not in html


@pytest.mark.parametrize("filled", [7, 6])
def test_a_training_warns_where_boxes_fill_most_of_its_photos(
    run: Path, make_photo: Any, filled: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "evaluation.json").unlink()
    shown = read_shown(run / PHOTOS).photos[0]
    photos = []
    for number in range(12):
        box = (0, 0, 64, 47 if number < filled else 20, 0.9)
        photos.append(msgspec.structs.replace(shown, id=f"{number}.png", true_boxes=None, label="tower", found=[box]))
    nothing = msgspec.structs.replace(shown, label="sky", predicted="sky", true_boxes=None, found=[])
    photos += [msgspec.structs.replace(nothing, id=f"sky {number}.png") for number in range(12)]
    write_photos(run / TRAINING_PHOTOS, iter(photos), rule=Rule(0.4, 0, 0, 9, "sky"), most=24)
    html, said = write_run_report(run).read_text(encoding="utf-8"), capsys.readouterr().err
    assert ("Boxes fill most photos" in html) == (filled == 7) and said.count("\n") == (filled == 7)
    assert filled == 6 or ("warning" in said and "in 7 of 12 photos" in said and "in a folder sky/" in said)


@pytest.mark.parametrize("value", ["much", "nan"])
def test_a_damaged_table_is_said(run: Path, value: str) -> None:
    (run / ROWS).write_text((run / ROWS).read_text().replace("0.400000", value))
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["files"][ROWS] = file_sha256(run / ROWS)
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    with pytest.raises(dips.RunError, match=r"evaluation\.csv is damaged .*evaluate again"):
        write_run_report(run)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("run.json", "{", "is damaged"),
        ("run.json", '{"environment": {}}', "weights"),
        ("run.json", '{"schema_version": 2}', "another version"),
        ("evaluation.json", "[1]", "is damaged"),
        ("evaluation.json", '{"schema_version": 2}', "another version"),
        ("evaluation.json", '{"data": "a", "split": "b", "protocol": "c", "n_images": "five"}', "n_images"),
        ("evaluation-photos.json", '{"schema_version": 2}', "another version"),
        ("metrics.jsonl", '{"epoch": 1}\n{', "is damaged"),
        ("metrics.jsonl", "[" * 100_000, "is damaged"),
        ("config.toml", None, "cannot read"),
    ],
)
def test_a_damaged_or_foreign_file_is_named(run: Path, name: str, text: str | None, words: str) -> None:
    (run / name).unlink(missing_ok=True)
    if text is not None:
        (run / name).write_text(text)
    if name == PHOTOS:
        evaluation = json.loads((run / "evaluation.json").read_text())
        evaluation["files"][PHOTOS] = file_sha256(run / PHOTOS)
        (run / "evaluation.json").write_text(json.dumps(evaluation))
    with pytest.raises(dips.RunError, match=rf"{name} .*evaluate again") as error:
        write_run_report(run)
    assert words in str(error.value) and not (run / "report.html").exists()


def test_a_folder_that_holds_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(dips.RunError, match=r"neither a finished run \(run\.json is missing\) nor a prediction"):
        write_run_report(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere is no folder; give one that 'dips train --out'"):
        write_run_report(tmp_path / "nowhere")


CURVE = {"tau": [0.0, 1.0], "30": [1.0, 2.0], "50": [1.0, 2.0], "70": [1.0, 2.0]}
ACTIVATIONS = {"edges": [0.0, 1.0], "foreground_pixels": 1, "background_pixels": 1, "truth": "boxes"}


@pytest.mark.parametrize(
    "method",
    [
        {"boxes": {"curves": {**CURVE, "50": [1.0]}}},
        {"boxes": {"curves": {**CURVE, "tau": []}}},
        {"boxes": {"curves": {key: value for key, value in CURVE.items() if key != "70"}}},
        {"activations": {**ACTIVATIONS, "foreground": [1.0, 2.0], "background": [1.0]}},
        {"activations": {**ACTIVATIONS, "foreground": [], "background": []}},
    ],
)
def test_numbers_that_do_not_fit_together_are_damage(run: Path, method: dict[str, Any]) -> None:
    path = run / "evaluation.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "methods": [{"name": "own", "boxes": {"curves": CURVE}}]}))
    write_run_report(run)
    path.write_text(json.dumps({**whole, "methods": [{"name": "own", **method}]}))
    with pytest.raises(RunError, match=r"evaluation\.json is damaged"):
        write_run_report(run)


def test_names_that_a_spreadsheet_would_compute_come_back(run: Path) -> None:
    rows = [ImageRow(f"=1+{i}.png", 1, 1, 0) for i in range(5)]
    write_rows(run / ROWS, rows, classes=("none", "@tower"))
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["files"] = {ROWS: file_sha256(run / ROWS), PHOTOS: file_sha256(run / PHOTOS)}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    found = data(run)
    assert [row[0] for row in found["rows"]] == [f"=1+{i}.png" for i in range(5)] and found["classes"] == ["@tower"]


@pytest.mark.parametrize("gone", ["moved", "deleted", "damaged"])
def test_a_report_stays_where_none_of_its_photos_is_found(
    tmp_path: Path, make_photo: Any, make_prediction: Any, fill: Any, gone: str
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    paths = [make_photo(photos / f"{number}.png", (120, 90), seed=number) for number in range(3)]
    folder = PredictionFolder.plan([photos], out, formats=("json",), made_with={"model": "m"})
    fill(folder, lambda path: make_prediction(path=path))
    before = write_folder_report(out).read_bytes()
    if gone == "moved":
        photos.rename(tmp_path / "elsewhere")
    for path in paths if gone != "moved" else ():
        path.unlink() if gone == "deleted" else path.write_text("no photo")
    with pytest.raises(
        RunError, match=r"none of the photos of .*out is found, so report.html is not written; .* --photos-dir$"
    ):
        write_folder_report(out)
    assert (out / "report.html").read_bytes() == before
    assert write_folder_report(out, photos=0).is_file(), "a table without pictures is made where it is asked for"
    if gone == "moved":
        assert len(write_folder_report(out, photos_dir=tmp_path / "elsewhere").read_bytes()) == pytest.approx(
            len(before), rel=0.01
        )
