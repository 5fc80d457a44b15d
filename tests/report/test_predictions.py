"""A page of any prediction, and of a new run's own photos: without networks, and without one true box."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import dips
from dips.config import PredictConfig
from dips.errors import ConfigError, RunError
from dips.predict.folder import PredictionFolder
from dips.predict.merging import Filled
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor
from dips.report.photo_section import photo_json
from dips.report.photos import read_shown
from dips.report.predictions import prediction_section, write_training_photos
from dips.report.run_report import write_folder_report
from dips.scoremaps.calibration import Calibration
from dips.scoremaps.object_classes import ClassCells
from dips.types import Answer, Answerer, PhotoBatch, Sample

CLASSES = ("none", "tower")
Fill = Callable[..., Filled]


@pytest.fixture
def predicted(tmp_path: Path, make_photo: Any, fill: Fill) -> Path:
    """Photos in ``tower/`` (found, called none, found nowhere, filled), ``none/`` and ``loose/``, and their prediction."""
    named = ("tower/0", "tower/1", "tower/2", "tower/3", "none/0", "loose/0")
    for seed, name in enumerate(named):
        make_photo(tmp_path / "photos" / f"{name}.png", (80, 64), seed=seed)
    out = tmp_path / "boxes"
    folder = PredictionFolder.plan([tmp_path / "photos"], out, formats=("json",), made_with={"model": "m"})

    def made(path: Path) -> Prediction:
        name = path.relative_to(tmp_path / "photos").with_suffix("").as_posix()
        grid = np.zeros((16, 20), np.float32)
        if name == "tower/3":
            grid[:] = 0.9
            grid[0, 0] = 0
        elif name != "tower/2":
            grid[4:8, 5:10] = 0.9
        odds = np.array([0.9, 0.1] if name in ("tower/1", "none/0") else [0.2, 0.8], np.float32)
        found = Prediction.from_map(path, (80, 64), grid, classes=CLASSES, probabilities=odds, background="none")
        return found.with_objects(threshold=0.5, min_area=0.005, min_score=0.0, max_boxes=100)

    fill(folder, made)
    return out


def test_every_photo_has_a_row_its_given_class_and_what_is_odd(predicted: Path) -> None:
    section = prediction_section(predicted)
    doubts = {row.id.removesuffix(".png"): found for row, found in zip(section.rows, section.doubts, strict=True)}
    assert doubts == {
        "tower/0": (),
        "tower/1": ("class",),
        "tower/2": ("no_box",),
        "tower/3": ("full",),
        "none/0": (),
        "loose/0": (),
    }
    rows = {row.id: row for row in section.rows}
    assert rows["loose/0.png"].label == "" and rows["none/0.png"].label == "none"
    assert section.shown is not None and [photo.id for photo in section.shown.photos][:3] == [
        "tower/1.png",
        "tower/2.png",
        "tower/3.png",
    ]
    assert (section.boxes, section.doubtful, section.measured, section.truth) == (3, 3, False, False)
    assert section.shown.photos[-1].found and " {} " in section.command


def test_the_page_begins_with_the_photos(predicted: Path) -> None:
    html = write_folder_report(predicted).read_text(encoding="utf-8")
    assert "A prediction of 6 photos: 3 boxes, 3 photos worth a look." in " ".join(html.split())
    assert "No evaluation yet" not in html and 'data-layer="truth"' not in html
    assert 'data-filter="label"' not in html and "Wrong class only" not in html, "nobody said what is true"
    assert f"<code>dips view {predicted}</code>" in html
    data = json.loads(html.split('id="photo-data">')[1].split("</script>")[0])
    assert len(data["photos"]) == 6 and data["rule"]["threshold"] == 0.5


class Counting(Answerer):
    """Says nothing, and counts what it is shown."""

    side, shown = 8, 0

    def answer(self, batch: PhotoBatch) -> Answer:
        self.shown += len(batch)
        return Answer(np.full((len(batch), 8, 8), 0.5, np.float32), np.full((len(batch), 2), 0.5, np.float32))


@pytest.mark.parametrize(
    ("tile", "count", "squares"),
    [(0, 96, 96), (160, 96, 96), (120, 96, 96 * 3), (90, 41, 41 * 7), (60, 22, 22 * 13), (20, 6, 6 * 89)],
)
def test_the_fewer_photos_of_a_run_are_shown_the_more_tiles_they_have(
    tile: int, count: int, squares: int, tmp_path: Path, make_photo: Any
) -> None:
    photo = make_photo(tmp_path / "0.png", (160, 120))
    samples = [Sample(photo, "0.png", 1)]
    for number in range(1, 120):
        shutil.copy(photo, path := tmp_path / f"{number}.png")
        samples.append(Sample(path, path.name, number % 2))
    config, networks = PredictConfig(threshold=0.5, tile=tile, batch=32), Counting()
    predictor = Predictor(networks, config=config, classes=CLASSES, background=0)
    parts = [("validation", samples[:10]), ("training", samples[10:])]
    assert write_training_photos(tmp_path / "shown.json", predictor, parts, classes=CLASSES) == count
    assert networks.shown == squares
    shown = read_shown(tmp_path / "shown.json").photos
    assert sum(item.part == "validation" for item in shown) == min(10, count), "the most telling ones first"


@pytest.mark.parametrize("filled", [12, 4])
def test_boxes_that_fill_most_photos_are_told(
    tmp_path: Path, make_photo: Any, fill: Fill, filled: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the page, and where it is written."""
    names = [make_photo(tmp_path / f"{number}.png", (80, 64)) for number in range(14)]
    folder = PredictionFolder.plan(names, tmp_path / "out", formats=("json",), made_with={})

    def made(path: Path) -> Prediction:
        number = int(path.stem)
        grid = np.zeros((16, 20), np.float32)
        grid[:, 1:] = 0.9
        if number >= filled:
            grid[:, 8:] = 0
        found = Prediction.from_map(path, (80, 64), grid, classes=CLASSES, probabilities=np.array([0.1, 0.9], np.float32))
        return found.with_objects(threshold=0.4, min_area=0.01, min_score=0, max_boxes=9)

    fill(folder, made)
    html, said = write_folder_report(tmp_path / "out").read_text(encoding="utf-8"), capsys.readouterr().err
    assert ("Boxes fill most photos" in html) == ("warning: boxes cover more than 80% of the photo in 12 of 14" in said)
    assert ("Boxes fill most photos" in html) == (filled == 12) and said.count("warning") == (filled == 12)


@pytest.mark.parametrize("low", [0, 1, 3])
def test_the_page_says_how_many_score_far_below_the_others(tmp_path: Path, make_photo: Any, fill: Fill, low: int) -> None:
    names = [make_photo(tmp_path / f"{number:02}.png", (80, 64)) for number in range(14)]
    folder = PredictionFolder.plan(names, tmp_path / "out", formats=("json",), made_with={})

    def made(path: Path) -> Prediction:
        number = int(path.stem)
        grid = np.zeros((16, 20), np.float32)
        grid[4:8, 5:10] = 0.3 if number < low else 0.9
        found = Prediction.from_map(path, (80, 64), grid, classes=CLASSES, probabilities=np.array([0.1, 0.9], np.float32))
        return found.with_objects(threshold=0.4, min_area=0.01, min_score=0, max_boxes=9)

    found = fill(folder, made).found
    section = prediction_section(tmp_path / "out")
    limit = section.low_limit
    assert limit == found.scores.limit and (limit is None) == (not low) and section.far_below == low
    html = " ".join(write_folder_report(tmp_path / "out").read_text(encoding="utf-8").split())
    assert ("far below the others" in html) == (low > 0)
    assert low == 0 or f"{low} photo{' has' if low == 1 else 's have'} no box that scores {limit:g} or more" in html


def reviewed(folder: Path, name: str, boxes: list[dict[str, Any]], **more: Any) -> None:
    file = folder / "json" / f"{name}.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "reviewed": True, "boxes": boxes, **more}))


def test_a_reviewed_photo_is_shown_as_the_person_left_it(predicted: Path) -> None:
    kept = json.loads((predicted / "json" / "tower" / "0.json").read_text())["boxes"][0]
    low = {**kept, "score": 0.3, "review": "accepted"}
    assert kept["score"] > 0.5
    drawn = {"box": [1, 2, 31.5, 42], "label": "tower", "review": "drawn"}
    reviewed(predicted, "tower/0", [drawn, low, kept | {"review": "accepted"}])
    reviewed(predicted, "tower/1", [drawn], label="tower", label_score=0.1)
    reviewed(predicted, "tower/2", [], background=None)
    reviewed(predicted, "tower/3", [{"box": [0, 0, 80, 64], "review": "adjusted"}])
    reviewed(predicted, "loose/0", [], label="none", label_score=0.2)
    section = prediction_section(predicted)
    rows = {row.id.removesuffix(".png"): row for row in section.rows}
    told = {name: (row.predicted, row.boxes, row.score, row.probability) for name, row in rows.items() if row.reviewed}
    assert told == {
        "tower/0": ("tower", 3, kept["score"], None),
        "tower/1": ("tower", 1, None, None),
        "tower/2": ("", 0, None, None),  # predicted as a tower, and none is there
        "tower/3": ("tower", 1, None, None),
        "loose/0": ("none", 0, None, None),
    }
    assert section.reviewed == 5 and section.doubtful == 0 and section.filling == ""
    html = " ".join(write_folder_report(predicted).read_text(encoding="utf-8").split())
    assert "5 photos were reviewed: their boxes are a person" in html
    data = json.loads(html.split('id="photo-data">')[1].split("</script>")[0])
    told_rows = [dict(zip(data["columns"], row, strict=True)) for row in data["rows"]]
    assert {row["id"].removesuffix(".png") for row in told_rows if row["reviewed"]} == set(told)


def test_many_adjusted_boxes_make_no_normal_score_a_low_one(tmp_path: Path, make_photo: Any, fill: Fill) -> None:
    """A box that a person adjusted counts as certain, which says nothing of the model's scores."""
    names = [make_photo(tmp_path / f"{number:02}.png", (80, 64)) for number in range(24)]
    folder = PredictionFolder.plan(names, tmp_path / "out", formats=("json",), made_with={})

    def made(path: Path) -> Prediction:
        number = int(path.stem)
        grid = np.zeros((16, 20), np.float32)
        grid[4:8, 5:10] = 0.72 + 0.01 * (number % 5)
        found = Prediction.from_map(path, (80, 64), grid, classes=CLASSES, probabilities=np.array([0.1, 0.9], np.float32))
        return found.with_objects(threshold=0.4, min_area=0.01, min_score=0, max_boxes=9)

    fill(folder, made)
    for number in range(14):
        reviewed(tmp_path / "out", f"{number:02}", [{"box": [21, 16, 40, 32], "label": "tower", "review": "adjusted"}])
    section = prediction_section(tmp_path / "out")
    assert (section.low_limit, section.far_below) == (None, 0)


@pytest.mark.parametrize(("gate", "boxes"), [(0.0, 1), (0.1, 1), (0.5, 0)])
def test_chances_are_told_with_what_made_them_and_reviewed_photos_are_not_compared(
    tmp_path: Path, make_photo: Any, fill: Fill, gate: float, boxes: int
) -> None:
    calibration = Calibration(slope=3.0, offset=-1.0, gate=gate, typical=0.5, cautious=0.9)
    names = [make_photo(tmp_path / f"{number:02}.png", (80, 64)) for number in range(24)]
    folder = PredictionFolder.plan(names, tmp_path / "out", formats=("json",), made_with={})

    def made(path: Path) -> Prediction:
        number = int(path.stem)
        grid = np.zeros((16, 20), np.float32)
        grid[4:8, 5:10] = 0.5 if number in (3, 4) else 0.9
        odds = np.array([0.1, 0.9], np.float32)
        found = Prediction.from_map(path, (80, 64), grid, classes=CLASSES, probabilities=odds, calibration=calibration)
        return found.with_objects(threshold=0.4, min_area=0.01, min_score=0, max_boxes=9)

    found = fill(folder, made).found
    reviewed(tmp_path / "out", "04", [{"box": [21, 16, 40, 32], "label": "tower", "score": 0.1, "review": "adjusted"}])
    section = prediction_section(tmp_path / "out")
    assert section.shown is not None and section.shown.calibration == calibration and section.min_score == gate
    rows = {row.id: row for row in section.rows}
    assert rows["03.png"].boxes == boxes and rows["04.png"].boxes == 1 and rows["04.png"].reviewed
    assert section.far_below == boxes and (section.low_limit is None) == (not boxes)
    assert section.low_limit == found.scores.limit


def test_the_page_says_where_a_class_scores_lower_as_a_whole(tmp_path: Path, make_photo: Any, fill: Fill) -> None:
    names = [make_photo(tmp_path / f"{number:02}.png", (80, 64)) for number in range(27)]
    folder = PredictionFolder.plan(names, tmp_path / "out", formats=("json",), made_with={})

    def made(path: Path) -> Prediction:
        number = int(path.stem)
        grid = np.zeros((16, 20), np.float32)
        grid[4:8, 5:10] = 0.9 if number < 15 else 0.6
        odds = np.array([0.1, 0.9] if number < 15 else [0.9, 0.1], np.float32)
        found = Prediction.from_map(path, (80, 64), grid, classes=("wren", "owl"), probabilities=odds)
        return found.with_objects(threshold=0.4, min_area=0.01, min_score=0, max_boxes=9)

    found = fill(folder, made).found
    section = prediction_section(tmp_path / "out")
    assert "12 of 12 of class wren" in section.low_classes and section.low_classes == found.scores.classes()
    html = " ".join(write_folder_report(tmp_path / "out").read_text(encoding="utf-8").split())
    assert "far below the others: among them 12 of 12 of class wren; perhaps" in html


@pytest.mark.parametrize("least", [0.6, 0.95])
def test_a_photo_in_tiles_has_its_own_smallest_box(tmp_path: Path, make_photo: Any, fill: Fill, least: float) -> None:
    """Photos of one prediction differ in size, and so in what their boxes must have."""
    folder = PredictionFolder.plan(
        [make_photo(tmp_path / f"{name}.png", (80, 64)) for name in "ab"], tmp_path / "out", formats=("json",), made_with={}
    )

    def made(path: Path) -> Prediction:
        grid = np.zeros((16, 20), np.float32)
        grid[4:8, 5:10], grid[11:14, 14:18] = 0.9, 0.5
        found = Prediction.from_map(path, (80, 64), grid, classes=CLASSES, probabilities=np.array([0.1, 0.9], np.float32))
        rule = {"min_area": 0.002, "min_score": least} if path.stem == "b" else {"min_area": 0.005, "min_score": 0.0}
        return found.with_objects(threshold=0.4, max_boxes=100, **rule)

    fill(folder, made)
    shown = prediction_section(tmp_path / "out").shown
    assert shown is not None
    rules = {photo.id: shown.rule_of(photo)[:3] for photo in shown.photos}
    assert rules == {"a.png": (0.4, 0.005, 0.0), "b.png": (0.4, 0.002, least)}


def test_few_are_shown_and_all_are_listed(predicted: Path) -> None:
    section = prediction_section(predicted, photos=2)
    assert section.pictures == 2 and len(section.rows) == 6


def test_photos_that_have_gone_are_counted_and_the_page_is_written(predicted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (predicted.parent / "photos" / "tower").iterdir():
        path.unlink()
    section = prediction_section(predicted, photos_dir=predicted.parent / "photos")
    assert section.pictures == 2 and "copy them to where they were below" in capsys.readouterr().err
    section = prediction_section(predicted)
    assert section.pictures == 2 and section.missing.startswith("not where predicted: 4 of 6 photos to be shown")
    assert "Some pictures are missing" in write_folder_report(predicted).read_text(encoding="utf-8")


def test_photos_that_were_moved_are_shown(predicted: Path, tmp_path: Path) -> None:
    now = (predicted.parent / "photos").rename(tmp_path / "elsewhere")
    assert prediction_section(predicted).pictures == 0
    section = prediction_section(predicted, photos_dir=now)
    assert section.pictures == 6 and not section.missing
    assert section.command.endswith(f"--photos-dir {now}") and section.review.endswith(f"--photos-dir {now}")
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match="--photos-dir is for predictions"):
        write_folder_report(tmp_path / "run", photos_dir=now)


@pytest.mark.parametrize("damage", ["unfinished", "no map", "no folder"])
def test_what_is_no_finished_prediction_is_refused(predicted: Path, damage: str) -> None:
    folder = predicted
    if damage == "unfinished":
        (folder / ".unfinished").mkdir()
        (folder / ".unfinished" / "plan.json").write_text("{}")
    elif damage == "no map":
        next((folder / "maps").rglob("*.png")).unlink()
    else:
        folder = folder / "nowhere"
    with pytest.raises(RunError, match=r"unfinished|missing or damaged|is no folder"):
        write_folder_report(folder)


def test_a_training_on_class_folders_leaves_photos(tiny_model: dips.Model) -> None:
    html = (tiny_model.run / "report.html").read_text(encoding="utf-8")
    data = json.loads(html.split('id="photo-data">')[1].split("</script>")[0])
    assert len(data["photos"]) == tiny_model.record.photos.train + tiny_model.record.photos.val
    assert data["parts"] == ["validation", "training"] and data["command"].startswith("dips predict ")
    assert html.index('id="photos"') < html.index('id="how"')


@pytest.mark.parametrize("own", [True, False])
def test_classes_of_objects_are_kept(tmp_path: Path, make_photo: Any, fill: Fill, own: bool) -> None:
    photo = make_photo(tmp_path / "photos" / "a.png", (80, 64))
    folder = PredictionFolder.plan([photo], tmp_path / "out", formats=("json",), made_with={"model": "m"})
    grid = np.zeros((16, 20), np.float32)
    grid[4:12, 2:8], grid[4:12, 12:18] = 0.9, 0.8
    logits = np.zeros((2, 4, 10), np.float32)
    logits[0, :, 5:], logits[1, :, :5] = 5, 5

    def made(path: Path) -> Prediction:
        cells = ClassCells.of(logits, None) if own else None
        odds = np.array([0.3, 0.7], np.float32)
        found = Prediction.from_map(path, (80, 64), grid, classes=("owl", "wren"), probabilities=odds, cells=cells)
        return found.with_objects(threshold=0.5, min_area=0.005, min_score=0.0, max_boxes=100)

    fill(folder, made)
    section = prediction_section(tmp_path / "out")
    assert section.shown is not None
    (shown,) = section.shown.photos
    exact = json.loads(photo_json(section))["photos"][0]["exact"]
    assert (shown.names or []) == (["wren", "owl"] if own else [])
    assert [box[5:] for box in exact] == ([["wren"], ["owl"]] if own else [[], []])
    with pytest.raises(ValueError, match="more or fewer classes than boxes"):
        replace(shown, names=["owl"])
