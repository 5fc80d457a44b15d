"""Tasks of Label Studio."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dips.data import load_data
from dips.errors import DataError
from dips.types import DataSet

from .conftest import MakePhoto, boxes_of


def chosen(*names: str, question: str = "kind") -> dict[str, Any]:
    return {"type": "choices", "from_name": question, "to_name": "image", "value": {"choices": list(names)}}


def region(kind: str, names: Sequence[str], value: dict[str, Any], **changes: Any) -> dict[str, Any]:
    size = {"original_width": 200, "original_height": 100}
    return {"type": kind, "from_name": "box", **size, "value": {**value, kind: list(names)}} | changes


def rectangle(name: str, x: float, y: float, width: float, height: float, **changes: Any) -> dict[str, Any]:
    return region("rectanglelabels", [name], {"x": x, "y": y, "width": width, "height": height}, **changes)


def task(address: str, *results: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    """A task, answered unless its only result is None."""
    annotations = [] if results == (None,) else [{"id": 1, "result": list(results)}]
    return {"id": 7, "data": {"image": address}, "annotations": annotations, "predictions": []} | changes


@pytest.fixture
def folder(tmp_path: Path, make_photo: MakePhoto) -> Path:
    for number, name in enumerate("abcd"):
        make_photo(tmp_path / f"{name}.jpg", (200, 100), seed=number)
    return tmp_path


def write(folder: Path, *tasks: Any, name: str = "project-1-at-2026.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return path


def labels(data: DataSet) -> dict[str, tuple[str, ...]]:
    return {sample.id: tuple(data.classes[label] for label in sample.labels) for sample in data.samples}


def test_choices_are_labels(folder: Path) -> None:
    path = write(
        folder,
        task("/data/local-files/?d=photos/a.jpg", chosen("tower", "crane")),
        task("/data/upload/3/0a1b2c3d-b.jpg", chosen("crane")),
        task("s3://bucket/year/c.jpg", chosen("none")),
        task("https://example.org/x/d.jpg?token=1", None, predictions=[{"result": [chosen("tower")]}]),
    )
    for data in (load_data(path), load_data(folder)):
        assert labels(data) == {"a.jpg": ("tower", "crane"), "b.jpg": ("crane",), "c.jpg": ("none",), "d.jpg": ()}
        assert data.layout == "labelstudio" and data.background == 1 and not data.problems
        assert all(sample.boxes is None for sample in data.samples)


def test_regions_are_boxes(folder: Path) -> None:
    polygon = region("polygonlabels", ["crane"], {"points": [[10, 20], [30, 10], [20, 40]]})
    ellipse = region("ellipselabels", ["tower"], {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20})
    turned = rectangle("tower", 50, 10, 20, 20)
    turned["value"]["rotation"] = 90  # around the upper left corner, in pixels
    path = write(
        folder,
        task("a.jpg", rectangle("tower", 10, 20, 50, 60), rectangle("crane", 0, 0, 10, 10)),
        task("b.jpg", polygon, ellipse),
        task("c.jpg"),
        task("d.jpg", turned),
    )
    data = load_data(path)
    first, second, third, fourth = data.samples
    assert data.classes == ("crane", "none", "tower") and labels(data)["a.jpg"] == ("tower", "crane")
    assert boxes_of(first) == [[20, 20, 120, 80], [0, 0, 20, 10]] and first.box_labels == (2, 0) and first.frame == (200, 100)
    assert boxes_of(second) == [[20, 10, 60, 40], [80, 30, 120, 70]] and second.box_labels == (0, 2)
    assert boxes_of(third) == [] and labels(data)["c.jpg"] == ("none",), "answered, without any region"
    np.testing.assert_allclose(boxes_of(fourth), [[80, 10, 100, 50]], atol=1e-4)


def test_choices_beside_regions(folder: Path) -> None:
    inside = {
        "type": "choices",
        "from_name": "state",
        "value": {"x": 1, "y": 1, "width": 9, "height": 9, "choices": ["broken"]},
    }
    path = write(
        folder, task("a.jpg", rectangle("tower", 10, 20, 50, 60), inside, chosen("crane")), task("b.jpg", chosen("crane"))
    )
    data = load_data(path)
    assert labels(data) == {"a.jpg": ("tower", "crane"), "b.jpg": ("crane",)} and len(boxes_of(data.samples[0])) == 1
    assert data.classes == ("crane", "tower"), "a choice about a region is no label of the photo"


def test_several_questions(folder: Path) -> None:
    tasks = [task("a.jpg", chosen("tower"), chosen("good", question="quality")), task("b.jpg", chosen("crane"))]
    path = write(folder, *tasks)
    with pytest.raises(DataError, match=r"choices are given for kind, quality; name the one .*data\.label_column=NAME"):
        load_data(path)
    assert labels(load_data(path, label_column="kind")) == {"a.jpg": ("tower",), "b.jpg": ("crane",)}
    assert labels(load_data(folder, label_column="quality")) == {"a.jpg": ("good",), "b.jpg": (), "c.jpg": (), "d.jpg": ()}


def test_what_is_left_out_is_told(folder: Path) -> None:
    brush = region("brushlabels", ["crane"], {"format": "rle", "rle": [1, 2]})
    sizeless = rectangle("tower", 1, 1, 9, 9, original_width=None)
    flat = rectangle("tower", 1, 1, 0, 9)
    both = region("rectanglelabels", ["tower", "crane"], {"x": 0, "y": 0, "width": 50, "height": 50})
    old = {"id": 2, "updated_at": "2025", "result": [chosen("crane")]}
    newest = {"id": 1, "updated_at": "2026", "result": [chosen("tower")]}
    dropped = {"id": 3, "updated_at": "2027", "was_cancelled": True, "result": [chosen("crane")]}
    path = write(
        folder,
        task("a.jpg", brush, sizeless, flat),
        task("b.jpg", both),
        task("c.jpg", annotations=[newest, old, dropped]),
        task("c.jpg", chosen("crane")),
        task("gone.jpg", chosen("crane")),
        task("", chosen("crane"), data={"text": "no photo"}),
        "nothing",
    )
    data = load_data(path)
    assert labels(data) == {"a.jpg": ("crane", "tower"), "b.jpg": ("tower",), "c.jpg": ("tower",)}
    assert data.samples[0].boxes is None and len(boxes_of(data.samples[1])) == 1
    said = "\n".join(problem.message for problem in data.problems)
    for words in (
        "3 regions are left out (brushlabels, rectanglelabels)",
        "1 region has several labels, of which the first counts: b.jpg",
        "has 2 annotations; the newest one counts",
        "1 photo is in several tasks, of which the first counts: c.jpg",
        "gone.jpg",
        "1 task names no photo",
    ):
        assert words in said, words


def test_photos_of_no_task_and_class_folders(folder: Path, make_photo: MakePhoto) -> None:
    write(folder, task("a.jpg", chosen("tower")), task("b.jpg", chosen("crane")))
    data = load_data(folder)
    assert labels(data)["c.jpg"] == () and "2 photos are in no task" in data.problems[0].message
    (folder / "predicted.json").write_text(
        json.dumps([{"data": {"image": "a.jpg"}, "predictions": [{"result": [chosen("x")]}]}])
    )
    assert labels(load_data(folder)) == labels(data), "what a model said describes no photos"
    for name in ("tower", "crane"):
        make_photo(folder / "sorted" / name / "1.jpg")
    write(folder / "sorted", task("tower/1.jpg", chosen("crane")))
    assert labels(load_data(folder / "sorted")) == {"crane/1.jpg": ("crane",), "tower/1.jpg": ("tower",)}, "folders are labels"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"data": {"image": "a.jpg"}, "annotations": [', "not readable as JSON"),
        ('[{"data": {"image": "z.jpg"}, "annotations": []}]', "none of the photos that its annotations list was found"),
        ('[{"image": "a.jpg", "id": 1, "kind": "tower", "annotator": 1}]', "JSON-MIN of Label Studio.*export it as JSON"),
    ],
)
def test_files_that_cannot_be_used(folder: Path, text: str, message: str) -> None:
    path = folder / "x.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_data(path)
