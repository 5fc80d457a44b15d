"""A review becomes records: whose boxes they are, what is left of the prediction, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dips.errors import RunError
from dips.formats.records import PredictionRecord, read_prediction
from dips.predict.results import read_records
from dips.system.records import write_json
from dips.view.predictions import read_predictions
from dips.view.review import JOURNAL, Review
from dips.view.reviewed import read_reviewed

FIRST = {"box": [20, 20, 60, 70], "label": "tower", "of": 0, "accepted": True}
MOVED = {"box": [101, 10, 180, 90.5], "label": "tower", "of": 1, "accepted": True}
DRAWN = {"box": [1, 2, 31, 42], "label": "mast", "of": None, "accepted": True}


def records(folder: Path) -> dict[str, PredictionRecord]:
    reviewed = read_reviewed(folder)
    return {record.name: reviewed.applied(record) for _, record in read_records(folder)}


def change(review: Review, index: int, *boxes: Any, reviewed: bool = True) -> None:
    review.change(index, {"reviewed": reviewed, "boxes": list(boxes)})


def test_accepted_moved_and_drawn_boxes(review: Review, predicted: Path) -> None:
    change(review, 0, FIRST, MOVED, DRAWN)
    review.close()
    before = read_prediction(predicted / "json" / "a.json")
    after = records(predicted)["a.jpg"]
    kept, moved, drawn = after.boxes
    assert (kept.box, kept.mask, kept.score) == (before.boxes[0].box, before.boxes[0].mask, 0.9)
    assert [entry.notes() for entry in (kept, moved, drawn)] == [
        {"score": 0.9, "review": "accepted"},
        {"review": "adjusted"},
        {"review": "drawn"},
    ]
    assert [after.label_of(entry) for entry in after.boxes] == ["tower", "tower", "mast"] and after.label == "tower"
    assert moved.box == (101, 10, 180, 90.5) and not moved.mask and moved.crop().all() and moved.certainty == 1


def test_another_class_keeps_the_mask_and_gives_the_photo_its_class(review: Review, predicted: Path) -> None:
    change(review, 0, {**FIRST, "label": "mast"})
    review.close()
    before, after = read_prediction(predicted / "json" / "a.json"), records(predicted)["a.jpg"]
    (entry,) = after.boxes
    assert entry.mask == before.boxes[0].mask and entry.notes() == {"review": "adjusted"}
    assert (after.label, after.label_score) == ("mast", 0.1)


@pytest.mark.parametrize("box", [DRAWN, {**DRAWN, "label": "tower", "box": [0, 0, 200, 100]}])
def test_a_box_drawn_on_a_photo_of_the_background_class(review: Review, predicted: Path, box: dict[str, Any]) -> None:
    change(review, 2, box)
    review.close()
    assert read_prediction(predicted / "json" / "c.json").label == "none"
    after = records(predicted)["c.jpg"]
    assert after.label == after.label_of(after.boxes[0]) == box["label"]


@pytest.mark.parametrize("background", ["none", None])
def test_a_photo_without_boxes_is_told_from_one_that_nobody_looked_at(predicted: Path, background: str | None) -> None:
    for file, record in read_records(predicted):
        write_json(file, {**json.loads(file.read_text()), "background": background}, indent=1)
        assert record.background == "none"
    with_review = Review(read_predictions(predicted))
    change(with_review, 1)
    with_review.close()
    after = records(predicted)
    assert [name for name, record in after.items() if record.reviewed] == ["b.jpg"]
    assert after["b.jpg"].boxes == () and after["b.jpg"].label == (background or "tower")
    untouched = {record.name: record for _, record in read_records(predicted)}
    assert all(after[name] == untouched[name] for name in after if name != "b.jpg")


def test_what_is_reviewed_once_stays_so(review: Review, predicted: Path) -> None:
    """Records that were written with a review are reviewed photos of the next one."""
    change(review, 0, FIRST, MOVED, DRAWN)
    change(review, 2)
    review.close()
    before = records(predicted)
    for file, record in list(read_records(predicted)):
        write_json(file, before[record.name], indent=1)
    (predicted / JOURNAL).unlink()
    assert records(predicted) == before and not (predicted / JOURNAL).exists()

    again = Review(read_predictions(predicted))
    assert again.counts() == (2, 3) and again.resume_at() == 1
    labels = [(box.label, box.accepted) for box in again.state(0).boxes]
    assert labels == [("tower", True), ("tower", True), ("mast", True)]
    change(again, 0, {**DRAWN, "of": 2}, reviewed=False)
    assert again.unfinished() == [0]
    change(again, 0, {**DRAWN, "of": 2})
    again.close()
    assert [entry.review for entry in records(predicted)["a.jpg"].boxes] == ["drawn"]


@pytest.fixture
def once(review: Review, predicted: Path) -> Path:
    """The prediction as ``dips boxes --reviewed`` writes it: two photos are reviewed, one of them without boxes."""
    change(review, 0, {**FIRST, "label": "mast"}, DRAWN)
    change(review, 1)
    review.close()
    made = records(predicted)
    for file, record in list(read_records(predicted)):
        write_json(file, made[record.name], indent=1)
    (predicted / JOURNAL).unlink()
    return predicted


@pytest.mark.parametrize(("index", "left"), [(0, [DRAWN | {"of": 1}]), (0, []), (1, []), (1, [DRAWN])])
def test_a_review_that_is_taken_back_is_not_kept(once: Path, index: int, left: list[Any]) -> None:
    """The photo is as predicted: of its predicted class, with boxes that are to be found in its map again."""
    again = Review(read_predictions(once))
    change(again, index, *left, reviewed=False)
    again.close()
    name, other = ("a.jpg", "b.jpg") if index == 0 else ("b.jpg", "a.jpg")
    reviewed, after = read_reviewed(once), records(once)
    assert reviewed.withdrawn == {name} and set(reviewed.states) == {other}
    record = after[name]
    assert not record.reviewed and (record.label, record.label_score, record.boxes) == ("tower", 0.8, ())
    assert after[other].reviewed
    assert reviewed.remarks(alone=False) == [f"1 photo was changed but not reviewed, and so as predicted: {name}"]


def test_a_review_of_which_all_is_taken_back(once: Path) -> None:
    before = read_reviewed(once)
    again = Review(read_predictions(once))
    change(again, 0, reviewed=False)
    assert read_reviewed(once).sha256 != before.sha256
    change(again, 1, reviewed=False)
    again.close()
    assert not any(record.reviewed for record in records(once).values())
    with pytest.raises(RunError, match=r"no photo of .* is reviewed, and 2 changed.*for the boxes that it holds"):
        read_reviewed(once, alone=True)


def test_what_is_not_in_it_is_told(review: Review, predicted: Path) -> None:
    change(review, 0, FIRST)
    change(review, 1, reviewed=False)
    review.close()
    with review.path.open("a") as journal:
        journal.write('{"photo": "gone.jpg", "reviewed": true, "boxes": []}\n' * 2)
    reviewed = read_reviewed(predicted)
    assert set(reviewed.states) == {"a.jpg"}
    unfinished, elsewhere = reviewed.remarks(alone=False)
    assert unfinished == "1 photo was changed but not reviewed, and so as predicted: b.jpg"
    assert elsewhere == "left out, as not in this prediction: 1 photo of the review: gone.jpg"
    assert "and so left out: b.jpg" in reviewed.remarks(alone=True)[0]


def test_no_review(predicted: Path) -> None:
    with pytest.raises(RunError, match=r"has no review: review\.jsonl is missing.*'dips view .*' makes one"):
        read_reviewed(predicted)
    assert not (predicted / JOURNAL).exists()
    Review(read_predictions(predicted)).close()
    with pytest.raises(RunError, match=r"no photo of .* is reviewed: the key a"):
        read_reviewed(predicted)


def test_photos_that_were_only_changed(review: Review, predicted: Path) -> None:
    change(review, 0, reviewed=False)
    change(review, 1, reviewed=False)
    review.close()
    with pytest.raises(RunError, match=r"no photo of .* is reviewed, and 2 changed"):
        read_reviewed(predicted)


def test_a_review_of_other_photos(review: Review, predicted: Path, tmp_path: Path) -> None:
    change(review, 0, FIRST)
    review.close()
    other = shutil.copytree(predicted, tmp_path / "other")
    for file in list((other / "json").rglob("*.json")):
        write_json(file, {**json.loads(file.read_text()), "name": f"new-{file.stem}.jpg"}, indent=1)
    with pytest.raises(RunError, match=r"is a review of other photos, such as a\.jpg, none of which is in"):
        read_reviewed(other)


@pytest.mark.parametrize(("key", "value", "words"), [("model", "f00d", "another model"), ("width", 50, "is damaged")])
def test_a_review_of_another_prediction(review: Review, predicted: Path, key: str, value: object, words: str) -> None:
    change(review, 0, MOVED)
    review.close()
    for file in list((predicted / "json").rglob("*.json")):
        record = {**json.loads(file.read_text()), key: value}
        write_json(file, {**record, "boxes": record["boxes"] if key == "model" else []}, indent=1)
    with pytest.raises(RunError, match=words):
        read_reviewed(predicted)


def test_it_is_read_while_the_page_is_open_and_left_as_it_is(review: Review, predicted: Path) -> None:
    change(review, 0, FIRST)
    review.path.chmod(0o400)
    before = review.path.read_bytes(), review.path.stat().st_mtime_ns
    first = read_reviewed(predicted)
    assert set(first.states) == {"a.jpg"} and (review.path.read_bytes(), review.path.stat().st_mtime_ns) == before
    change(review, 1)
    second = read_reviewed(predicted)
    assert set(second.states) == {"a.jpg", "b.jpg"} and second.sha256 != first.sha256
    change(review, 2, reviewed=False)
    assert read_reviewed(predicted).sha256 == second.sha256, "what is not reviewed makes no other review"


@pytest.mark.parametrize("cut", [1, 30])
def test_a_change_that_is_not_whole_is_passed_over(
    review: Review, predicted: Path, cut: int, capsys: pytest.CaptureFixture[str]
) -> None:
    change(review, 0, FIRST)
    change(review, 1)
    review.close()
    data = review.path.read_bytes()[:-cut]
    review.path.write_bytes(data)
    assert set(read_reviewed(predicted).states) == {"a.jpg"} and (
        "the last change is being written, or was cut short" in capsys.readouterr().err
    )
    assert review.path.read_bytes() == data


@pytest.mark.parametrize("content", [b"", b'{"schema_ver'])
def test_a_journal_without_its_first_line(predicted: Path, content: bytes) -> None:
    (predicted / JOURNAL).write_bytes(content)
    with pytest.raises(RunError, match=r"no photo of .* is reviewed"):
        read_reviewed(predicted)
    assert (predicted / JOURNAL).read_bytes() == content
