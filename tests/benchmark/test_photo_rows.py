"""A line per photo."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from dips.benchmark.photo_rows import write_rows
from dips.errors import RunError
from dips.evaluate import BoxAccumulator, ImageRow, measure_boxes

COLUMNS = (
    *("id", "label", "predicted", "true_boxes", "iou", "correct_30", "correct_50", "correct_70"),
    *("iou_largest", "correct_v1", "error", "oracle_iou", "oracle_tau"),
)
TAU = {"v1": 0.5, "30": 0.2, "50": 0.4, "70": 0.6}


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(tuple(row) == COLUMNS and None not in row.values() for row in rows), "every line has every cell"
    return rows


def test_a_line_per_photo_with_the_numbers_of_its_row(tmp_path: Path) -> None:
    photos, accumulator = [], BoxAccumulator(50, frame=None, tau=TAU)
    for seed in range(30):
        random = np.random.default_rng(seed)
        score_map, start = np.kron(random.random((4, 4)), np.ones((8, 8))), random.integers(0, 15, 2)
        boxes = [[*start, *(start + random.integers(1, 16, 2))]]
        photos.append(measure_boxes(score_map, boxes, label=seed % 2, predicted=[0], id=str(seed), thresholds=50))
        accumulator.count(photos[-1])
    rows = [photo.row(TAU) for photo in photos]
    write_rows(tmp_path / "e.csv", rows, classes=["owl", "kite"])
    found, result = lines(tmp_path / "e.csv"), accumulator.result()
    assert tuple(rows) == result.images
    for line, row in zip(found, rows, strict=True):
        assert (line["id"], line["label"], line["predicted"]) == (row.id, ("owl", "kite")[row.label or 0], "owl")
        assert (line["true_boxes"], line["error"]) == ("1", row.error)
        for name in ("iou", "iou_largest", "oracle_iou", "oracle_tau"):
            assert float(line[name]) == pytest.approx(getattr(row, name), abs=1e-6)
    # the lines add up to the numbers of the split
    chosen, errors = result.at_tau(TAU), result.dissected(TAU["v1"])
    for name, value in {**chosen.box_acc_at, "v1": chosen.box_acc}.items():
        assert value == pytest.approx(100 * np.mean([line[f"correct_{name}"] == "1" for line in found])), name
    assert errors is not None and any(errors.values())
    for kind, value in errors.items():
        assert value == pytest.approx(100 * np.mean([line["error"] == kind for line in found])), kind


def test_what_is_not_known_is_empty(tmp_path: Path) -> None:
    rows = [
        ImageRow("a.jpg", None, None, 0),
        ImageRow("b.jpg", 1, 7, 0),
        ImageRow("c.jpg", 0, None, 2, {"30": True, "50": True, "70": False, "v1": False}, 0.5, 0.0, "other", 0.6, 0.003),
    ]
    write_rows(tmp_path / "e.csv", rows, classes=["owl", "kite"])
    a, b, c = lines(tmp_path / "e.csv")
    assert [value for value in a.values() if value] == ["a.jpg", "0"]
    assert [value for value in b.values() if value] == ["b.jpg", "kite", "7", "0"], "a number where there is no name"
    assert (c["correct_50"], c["correct_70"], c["correct_v1"], c["oracle_tau"]) == ("1", "0", "0", "0.003")


@pytest.mark.parametrize("id", ["a, b.jpg", 'say "a".jpg', "ü 鳥.jpg", "two\nlines.jpg", " a.jpg "])
def test_ids_survive(tmp_path: Path, id: str) -> None:
    write_rows(tmp_path / "e.csv", [ImageRow(id, 0, 0, 0)], classes=["owl, barn"])
    (line,) = lines(tmp_path / "e.csv")
    assert (line["id"], line["label"]) == (id, "owl, barn")


def test_names_of_files_that_are_no_text(tmp_path: Path) -> None:
    write_rows(tmp_path / "e.csv", [ImageRow("owl/\udcff.jpg", 0, 0, 0)], classes=["\udcfe"])
    assert lines(tmp_path / "e.csv")[0]["id"] == "owl/%FF.jpg"


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    def fails() -> list[ImageRow]:
        raise ZeroDivisionError

    (tmp_path / "e.csv").write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_rows(tmp_path / "e.csv", (row for _ in range(2) for row in fails()), classes=[])
    assert (tmp_path / "e.csv").read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    write_rows(tmp_path / "new" / "e.csv", [], classes=[])
    assert (tmp_path / "new" / "e.csv").read_text() == ",".join(COLUMNS) + "\n"
    with pytest.raises(RunError, match=r"cannot write .*new"):
        write_rows(tmp_path / "new", [], classes=[])


# --- through a file
