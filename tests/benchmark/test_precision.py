"""Which class the boxes of an answer or of a prediction folder count with, and in which pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from dips.benchmark.precision import BoxPrecision, PrecisionRecord, precision_of_folder
from dips.errors import RunError
from dips.formats.records import BoxRecord
from dips.predict.prediction import Prediction
from dips.system.records import write_json
from dips.types import Sample

MakePrediction = Callable[..., Prediction]
BOXES = np.array([[4, 4, 28, 60], [36, 4, 60, 60]], np.float32)
REGIONS = np.zeros((64, 64), np.uint16)
REGIONS[4:60, 4:28], REGIONS[4:60, 36:60] = 1, 2
SCORES = np.array([0.9, 0.8], np.float32)


def cells(left: int, right: int, classes: int = 3) -> np.ndarray:
    logits = np.zeros((classes, 8, 8), np.float32)
    logits[left, :, :4], logits[right, :, 4:] = 9, 9
    return logits


def counted(sample: Sample, heard: np.ndarray | None, predicted: int, background: int | None = None) -> dict[int, float]:
    precision = BoxPrecision(background)
    if heard is not None:
        precision.hear(heard)
    precision.counter(sample, sample.boxes, predicted)(BOXES, SCORES, REGIONS)
    return {label: item.ap50 for label, item in precision.counted.classes().items()}


def test_boxes_have_the_class_of_their_cells_else_that_of_the_photo() -> None:
    both = Sample(Path("a.jpg"), "a.jpg", 1, BOXES, others=(2,), box_labels=(1, 2))
    assert counted(both, cells(1, 2), predicted=0) == {1: 100, 2: 100}
    assert counted(both, cells(2, 1), predicted=0) == {1: 0, 2: 0}
    half = counted(both, None, predicted=1)
    assert half[2] == 0 and half[1] == pytest.approx(100), "the wrong box has the lower score"
    assert counted(both, cells(0, 2), predicted=2, background=0)[2] == 100, "the background is no class of a box"


def test_what_is_unknown_does_not_count() -> None:
    for sample in (Sample(Path("a.jpg"), "a.jpg", None, BOXES), Sample(Path("a.jpg"), "a.jpg", 1, None)):
        assert counted(sample, cells(1, 1), predicted=1) == {}


@pytest.mark.parametrize("box_labels", [(), (1,)])
def test_boxes_of_a_class_that_is_named_without_a_box_do_not_count(box_labels: tuple[int, ...]) -> None:
    """A photo of a tower with its box, and of a crane somewhere: of two cranes that are found nobody knows."""
    named = Sample(Path("a.jpg"), "a.jpg", 1, BOXES[:1], others=(2,), box_labels=box_labels)
    crane = Sample(Path("b.jpg"), "b.jpg", 2, BOXES[1:])
    precision = BoxPrecision(None)
    for sample, own in ((crane, (1, 2)), (named, (2, 2)), (named, (1, 2))):
        precision.hear(cells(*own))
        precision.counter(sample, sample.boxes, 1)(BOXES, SCORES, REGIONS)
    found = {label: (item.objects, round(item.ap50)) for label, item in precision.counted.classes().items()}
    assert found == {1: (2, 25), 2: (1, 100)}


def test_cells_are_those_of_one_photo() -> None:
    precision = BoxPrecision(None)
    precision.hear(cells(2, 2))
    precision.counter(Sample(Path("a.jpg"), "a.jpg", 1), None, 1)  # of a photo that does not count
    sample = Sample(Path("b.jpg"), "b.jpg", 1, BOXES)
    precision.counter(sample, BOXES, 1)(BOXES, SCORES, REGIONS)
    assert precision.counted.classes()[1].ap50 == 100


@pytest.mark.parametrize("frame", [None, (120, 90), (480, 360)])
def test_a_folder_of_predictions(tmp_path: Path, make_prediction: MakePrediction, frame: tuple[int, int] | None) -> None:
    """Ground truth may be that of a larger copy of the photo."""
    prediction = make_prediction()  # a tower at 30, 20, 80, 60 of 120 x 90
    write_json(tmp_path / "json" / "sub" / "a.b.json", prediction.record())
    factor = 1 if frame is None else frame[0] / 120
    true = factor * np.array([[30, 20, 80, 60], [90, 70, 110, 88]], np.float32)
    sample = Sample(Path("a.b.jpg"), "sub/a.b.jpg", 1, true, frame=frame)
    found = precision_of_folder(tmp_path, [(sample, "sub/a.b.png")], ("none", "tower"))
    assert found is not None and found.by_name("none") is None
    tower = found.by_name("tower")
    assert tower is not None and tower.objects == 2 and tower.ap50 == found.ap50 == pytest.approx(100 * 51 / 101)


def test_boxes_in_photos_of_nothing_and_of_other_classes(tmp_path: Path, make_prediction: MakePrediction) -> None:
    record = make_prediction(background="none").record()
    own = record.boxes[0]
    for name, label in (("a", "tower"), ("b", "tower"), ("c", "mast")):
        box = BoxRecord(box=own.box, score=0.5, mask=own.mask, label=label)
        scores = {"none": 0.1, "tower": 0.8, "mast": 0.1}
        changed = replace(record, boxes=(box,), class_scores=scores, label="tower")
        write_json(tmp_path / "json" / f"{name}.json", changed)
    true = np.array([own.box], np.float32)
    samples = [
        (Sample(Path("b.jpg"), "b.jpg", 0), "b.png"),  # no box is known, as there is no object
        (Sample(Path("a.jpg"), "a.jpg", 1, true), "a.png"),
        (Sample(Path("c.jpg"), "c.jpg", 1, true), "c.png"),  # another class, which the ground truth does not know
    ]
    found = precision_of_folder(tmp_path, samples, ("none", "tower"))
    assert found is not None and found.ap50 == pytest.approx(100 * 0.5 * 51 / 101)


def test_a_record_that_is_missing_or_damaged_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sample = Sample(Path("a.jpg"), "a.jpg", 0, BOXES)
    assert precision_of_folder(tmp_path, [(sample, "a.png")], ("tower",)) is None
    assert "no average precision of the boxes: " in (told := capfd.readouterr().err) and "a.json is missing" in told
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "a.json").write_text("{")
    with pytest.raises(RunError, match=r"a\.json is damaged"):
        precision_of_folder(tmp_path, [(sample, "a.png")], ("tower",))


def test_no_true_box(tmp_path: Path, make_prediction: MakePrediction) -> None:
    write_json(tmp_path / "json" / "a.json", make_prediction().record())
    assert precision_of_folder(tmp_path, [(Sample(Path("a.jpg"), "a.jpg", 1), "a.png")], ("none", "tower")) is None
    assert PrecisionRecord.of(BoxPrecision(None).counted, ()) is None
