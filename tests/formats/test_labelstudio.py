"""Label Studio: its tasks, its labelling setup and its brush strokes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from dips.formats.labelstudio import brush

from .conftest import CAMERA, CLASSES, LABELS, Item, boxes_of, mask_of, write

# pycocotools' own, when it hands arrays to NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")


def test_label_studio(items: list[Item], tmp_path: Path) -> None:
    tasks = json.loads((write("labelstudio", items, tmp_path) / "labelstudio.json").read_text())
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=new%20ones/a%20b/%C3%BC.png"
    for (record, _), task in zip(items, tasks, strict=True):
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "dips-0123456789ab"
        boxes = [part for part in prediction["result"] if part["type"] == "rectanglelabels"]
        masks = [part for part in prediction["result"] if part["type"] == "brushlabels"]
        size = np.array([record.width, record.height] * 2)
        for index, (box, mask) in enumerate(zip(boxes, masks, strict=True)):
            value = box["value"]
            corners = np.array([value["x"], value["y"], value["x"] + value["width"], value["y"] + value["height"]])
            np.testing.assert_allclose(corners / 100 * size, boxes_of(record)[index], atol=1e-9)
            assert value["rectanglelabels"] == [record.label] and box["original_width"] == size[0]
            decoded = unpacked(mask["value"]["rle"]).reshape(record.height, record.width, 4)
            assert np.array_equal(decoded[..., 3] == 255, mask_of(record, index)) and set(np.unique(decoded)) <= {0, 255}
    import xml.etree.ElementTree as ElementTree

    setup = ElementTree.parse(tmp_path / "labelstudio.xml")
    assert [label.get("value") for label in setup.findall("RectangleLabels/Label")] == list(CLASSES[1:])


def unpacked(packed: list[int]) -> np.ndarray[Any, Any]:
    """Label Studio's run lengths, read bit by bit as its documentation of the format says."""
    bits = "".join(f"{byte:08b}" for byte in packed)
    position = 0

    def take(count: int) -> int:
        nonlocal position
        position += count
        return int(bits[position - count : position], 2)

    total, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        same, length = take(1), take(sizes[take(2)]) + 1
        values += [take(word)] * length if same else [take(word) for _ in range(length)]
    return np.array(values, np.uint8)


@pytest.mark.parametrize(
    ("folder", "name", "address"),
    [("photos", "a.jpg", "photos/a.jpg"), ("photos", "sub/a.jpg", "photos/sub/a.jpg"), ("", "c/a.jpg", "c/a.jpg")],
)
def test_label_studio_addresses(items: list[Item], tmp_path: Path, folder: str, name: str, address: str) -> None:
    item = (replace(items[2][0], folder=folder, name=name), "x")
    (task,) = json.loads((write("labelstudio", [item], tmp_path) / "labelstudio.json").read_text())
    assert task["data"]["image"] == f"/data/local-files/?d={address}" and task["predictions"][0]["result"] == []


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(0, 40), st.integers(0, 400), st.integers(0, 400))
def test_brush_strokes_of_a_part(seed: int, left: int, top: int, right: int, bottom: int) -> None:
    part = np.random.default_rng(seed).random((5, 7)) < 0.5
    photo = np.pad(part, ((top, bottom), (left, right)))
    strokes = brush(part, corner=(left, top), size=(photo.shape[1], photo.shape[0]))
    assert strokes == brush(photo)
    assert np.array_equal(unpacked(strokes).reshape(*photo.shape, 4)[..., 3] == 255, photo)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (700, 900)])
def test_label_studios_own_reader(size: tuple[int, int]) -> None:
    own = pytest.importorskip("label_studio_sdk.converter.brush", reason="label-studio-sdk is not installed")
    mask = np.random.default_rng(0).random(size) < 0.5 if size[0] < 10 else np.indices(size).sum(0) % 700 < 300
    assert np.array_equal(np.asarray(own.decode_rle(brush(mask))).reshape(*size, 4)[..., 3] == 255, mask)


def test_what_is_known_about_the_camera(drone_items: list[Item], tmp_path: Path) -> None:
    tasks = json.loads((write("labelstudio", drone_items, tmp_path) / "labelstudio.json").read_text())
    assert CAMERA.known().items() <= tasks[0]["data"].items() and set(tasks[2]["data"]) == {"image", "state", "priority"}


def test_reviewed_photos(items: list[Item], reviewed_items: list[Item], tmp_path: Path) -> None:
    tasks = json.loads(
        (write("labelstudio", [*reviewed_items[:2], items[2]], tmp_path) / "labelstudio.json").read_text(encoding="utf-8")
    )
    assert [sorted(task) for task in tasks] == [["annotations", "data"], ["annotations", "data"], ["data", "predictions"]]
    (done,), (empty,) = (task["annotations"] for task in tasks[:2])
    assert empty == {"result": []}
    kinds = [part["id"] for part in done["result"]]
    assert kinds == ["box0", "mask0", "box1", "box2", "box3", "mask3"], "nobody drew the mask of a drawn box"
    boxes = [part for part in done["result"] if part["type"] == "rectanglelabels"]
    assert [part["value"]["rectanglelabels"] for part in boxes] == [[label] for label in LABELS]
    assert boxes[1]["value"]["width"] == 100 * 31.5 / 160 and "score" not in boxes[1] and "score" in boxes[0]


def test_tasks_can_be_sorted_by_priority(items: list[Item], tmp_path: Path) -> None:
    """Its data manager sorts such values as text."""
    values = [0.0, 0.0001, 0.0213, 0.2, 0.95, 1.0]
    records = [(replace(items[2][0], priority=value), "x") for value in values]
    tasks = json.loads((write("labelstudio", records, tmp_path) / "labelstudio.json").read_text())
    found = [task["data"]["priority"] for task in tasks]
    assert found == values and sorted(found, key=json.dumps) == values
    (task,) = json.loads(
        (write("labelstudio", [(replace(items[0][0], priority=UNSET), "x")], tmp_path) / "labelstudio.json").read_text()
    )
    assert set(task["data"]) == {"image", "state"}
