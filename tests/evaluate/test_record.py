"""What evaluations write."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from dips.errors import RunError
from dips.evaluate import ImageRow, MapAccumulator, measure_boxes
from dips.evaluate.protocol import find_protocol
from dips.evaluate.record import baseline, summary, write_rows

COLUMNS = (
    *("id", "label", "predicted", "true_boxes", "tau", "iou", "iou_largest", "correct_30", "correct_50", "correct_70"),
    *("correct_v1", "error", "best_iou", "best_tau"),
)


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(tuple(row) == COLUMNS and None not in row.values() for row in rows), "every line has every cell"
    return rows


def test_a_line_per_photo_with_the_numbers_of_its_row(tmp_path: Path) -> None:
    photos = []
    for seed in range(8):
        random = np.random.default_rng(seed)
        score_map, start = np.kron(random.random((4, 4)), np.ones((8, 8))), random.integers(0, 15, 2)
        boxes = [[*start, *(start + random.integers(1, 16, 2))]]
        photos.append(measure_boxes(score_map, boxes, label=seed % 2, predicted=[0], id=str(seed), thresholds=50))
    rows = [photo.row(20) for photo in photos]
    write_rows(tmp_path / "e.csv", rows, tau=0.4, classes=["owl", "kite"], thresholds=50)
    found = lines(tmp_path / "e.csv")
    assert [line["id"] for line in found] == [row.id for row in rows]
    for line, row in zip(found, rows, strict=True):
        assert row.iou is not None and row.iou_largest is not None and row.best_place is not None
        assert (line["label"], line["predicted"]) == (("owl", "kite")[row.label or 0], "owl")
        assert (line["true_boxes"], line["tau"], line["error"]) == ("1", "0.4", row.error)
        for name in ("iou", "iou_largest", "best_iou"):
            assert float(line[name]) == pytest.approx(getattr(row, name), abs=1e-6)
        assert [line[f"correct_{delta}"] for delta in (30, 50, 70)] == [str(int(row.iou >= d)) for d in (0.3, 0.5, 0.7)]
        assert line["correct_v1"] == str(int(row.iou_largest >= 0.5)) and float(line["best_tau"]) == row.best_place / 50


def test_what_is_not_known_is_empty(tmp_path: Path) -> None:
    rows = [
        ImageRow("a.jpg", None, None, 0),
        ImageRow("b.jpg", 1, 7, 0),
        ImageRow("c.jpg", 0, None, 2, 0.5, 0.0, "other", 0.6, 3),
    ]
    write_rows(tmp_path / "e.csv", rows, tau=0.25, classes=["owl", "kite"])
    a, b, c = lines(tmp_path / "e.csv")
    assert [value for value in a.values() if value] == ["a.jpg", "0", "0.25"]
    assert [value for value in b.values() if value] == ["b.jpg", "kite", "7", "0", "0.25"], "a number where there is no name"
    assert (c["correct_50"], c["correct_70"], c["correct_v1"], c["best_tau"]) == ("1", "0", "0", "0.003")


@pytest.mark.parametrize("id", ["a, b.jpg", 'say "a".jpg', "ü 鳥.jpg", "two\nlines.jpg", " a.jpg ", "=1+1.jpg"])
def test_ids_survive(tmp_path: Path, id: str) -> None:
    write_rows(tmp_path / "e.csv", [ImageRow(id, 0, 0, 0)], tau=0.5, classes=["owl, barn"])
    (line,) = lines(tmp_path / "e.csv")
    assert (line["id"], line["label"]) == (id, "owl, barn")


def test_names_of_files_that_are_no_text(tmp_path: Path) -> None:
    write_rows(tmp_path / "e.csv", [ImageRow("owl/\udcff.jpg", 0, 0, 0)], tau=0.5, classes=["\udcfe"])
    assert lines(tmp_path / "e.csv")[0]["id"] == r"owl/\udcff.jpg"


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    def fails() -> list[ImageRow]:
        raise ZeroDivisionError

    (tmp_path / "e.csv").write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_rows(tmp_path / "e.csv", (row for _ in range(2) for row in fails()), tau=0.5, classes=[])
    assert (tmp_path / "e.csv").read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    write_rows(tmp_path / "new" / "e.csv", [], tau=0.5, classes=[])
    assert (tmp_path / "new" / "e.csv").read_text() == ",".join(COLUMNS) + "\n"
    with pytest.raises(RunError, match=r"cannot write .*new"):
        write_rows(tmp_path / "new", [], tau=0.5, classes=[])


def test_numbers_carry_their_protocol() -> None:
    accumulator = MapAccumulator(50, replicates=20)
    accumulator.add(np.kron(np.eye(4), np.ones((8, 8))), [[0, 0, 8, 8]], label=0, predicted=[0, 1], id="a")
    result = accumulator.result()
    for name in ("wsol-224", "original-pixels"):
        record = json.loads(json.dumps(summary(result, find_protocol(name)), allow_nan=False))
        assert record["protocol_name"] == name and "50 thresholds" in record["protocol"] and "oracle" in record["protocol"]
        assert (record["n_images"], record["n_boxes"], record["top1_cls"], record["pxap"]) == (1, 1, 100.0, None)
    other = baseline(result)
    assert other["max_box_acc_v2"] == record["max_box_acc_v2"] == result.boxes.max_box_acc_v2 and other["pxap"] is None
    assert set(other) == {"max_box_acc", "max_box_acc_v2", "max_box_acc_at", "best_tau", "intervals", "pxap"}


def test_nothing_to_count_is_none() -> None:
    record = json.loads(json.dumps(summary(MapAccumulator(replicates=5).result(), find_protocol("wsol-224")), allow_nan=False))
    assert all(record[name] is None for name in ("max_box_acc_v2", "top1_loc", "best_tau", "intervals", "pxap", "top5_cls"))
