"""Every format, read back by a third party's reader: the same boxes within rounding, the same masks."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pytest
import shapely.geometry
import supervision
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dips.data.images import encode_image
from dips.errors import RunError
from dips.formats import FORMATS
from dips.formats.labelstudio import brush
from dips.formats.records import PredictionRecord
from dips.predict.prediction import Prediction

# pycocotools' own, when it hands arrays to NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")

MakePrediction = Callable[..., Prediction]
Item = tuple[PredictionRecord, str]  # and the stem of its results
CLASSES = ("none", 'tower "A", ü & <b>', "mast: #1")


@pytest.fixture
def items(make_prediction: MakePrediction) -> list[Item]:
    """A photo with several blobs, one with a ring that touches the border, and one of the background class."""
    random = np.random.default_rng(3)
    blobs = cv2.GaussianBlur(random.random((60, 80), np.float32), (0, 0), 3)
    blobs = (blobs - blobs.min()) / np.ptp(blobs)
    ring = np.zeros((40, 40), np.float32)
    cv2.circle(ring, (12, 20), 12, 0.9, 5)
    made: list[Item] = []
    for number, (grid, label, size) in enumerate(((blobs, 1, (160, 120)), (ring, 2, (40, 40)), (blobs, 0, (50, 70)))):
        probabilities = np.full(3, 0.1, np.float32)
        probabilities[label] = 0.8
        prediction = make_prediction(
            size=size,
            grid=grid,
            classes=CLASSES,
            class_scores=probabilities,
            label=CLASSES[label],
            label_score=0.8,
            background="none",
        )
        found = prediction.with_objects(threshold=0.65, min_area=0.004, min_score=0, max_boxes=20)
        stem = ("a b/ü", "ring", "none/empty")[number]
        name = f"{stem}.png"
        record = found.record(path=f"photos/new ones/{name}", name=name, folder="new ones", model="0123456789ab")
        made.append((record, stem))
    assert len(made[0][0].boxes) > 2 and len(made[1][0].boxes) == 1 and not made[2][0].boxes
    return made


def write(name: str, items: list[Item], folder: Path) -> Path:
    with FORMATS[name](folder) as add:
        for record, stem in items:
            add(record, stem)
    return folder


def mask_of(record: PredictionRecord, index: int) -> np.ndarray[Any, Any]:
    from pycocotools import mask

    coded = record.boxes[index].mask
    return np.asarray(mask.decode({"size": list(coded.size), "counts": coded.counts.encode()}), bool)


def boxes_of(record: PredictionRecord) -> np.ndarray[Any, Any]:
    return np.array([entry.box for entry in record.boxes]).reshape(-1, 4)


def photos(items: list[Item], folder: Path) -> Path:
    """Empty photos of the right size, where a reader wants to see them."""
    for record, _ in items:
        path = folder / record.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(np.zeros((record.height, record.width, 3), np.uint8), ".png"))
    return folder


def flattened(items: list[Item]) -> list[Item]:
    """The same in one folder: some readers know no folders below ``images/``."""
    return [(replace(record, name=record.name.replace("/", "_")), stem.replace("/", "_")) for record, stem in items]


def test_coco(items: list[Item], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("coco", items, tmp_path) / "coco.json"
    coco = COCO(str(path))
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == [record.name for record, _ in items]
    assert {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())} == dict(enumerate(CLASSES, 1))
    for number, (record, _) in enumerate(items, 1):
        found = coco.loadAnns(coco.getAnnIds(imgIds=[number]))
        assert len(found) == len(record.boxes)
        for index, annotation in enumerate(found):
            x, y, width, height = annotation["bbox"]
            assert [x, y, x + width, y + height] == list(record.boxes[index].box)
            mask = coco.annToMask(annotation)
            assert np.array_equal(mask, mask_of(record, index)) and annotation["area"] == mask.sum()
            rows, columns = np.nonzero(mask)
            assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == list(record.boxes[index].box)
            assert CLASSES[annotation["category_id"] - 1] == record.label
    for kind in ("bbox", "segm"):
        results = coco.loadRes(json.loads(path.read_text())["annotations"])
        judged = COCOeval(coco, results, kind)
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
        assert judged.stats[0] == pytest.approx(1), "against itself everything is right"
    capsys.readouterr()


def test_coco_of_nothing(tmp_path: Path) -> None:
    found = json.loads((write("coco", [], tmp_path) / "coco.json").read_text())
    assert found.pop("info") == {"description": "Predicted by DiPS"}
    assert found == {"licenses": [], "images": [], "categories": [], "annotations": []}


@pytest.mark.parametrize("name", ["coco", "yolo", "labelstudio"])
def test_two_models_in_one_file_are_refused(items: list[Item], tmp_path: Path, name: str) -> None:
    other = (replace(items[0][0], name="x.png", class_scores={"mast": 1.0}, label="mast"), "x")
    with pytest.raises(RunError, match=r"x\.png was predicted with other classes"):
        write(name, [items[0], other], tmp_path)
    assert not (tmp_path / f"{name}.json").exists()


@pytest.mark.parametrize("name", ["yolo", "yolo-seg"])
def test_yolo(items: list[Item], tmp_path: Path, name: str) -> None:
    folder = write(name, items, tmp_path) / name
    flat = flattened(items)
    flat_folder = write(name, flat, tmp_path / "flat") / name
    images = photos(flat, flat_folder / "images")
    found = supervision.DetectionDataset.from_yolo(
        str(images), str(flat_folder / "labels"), str(flat_folder / "data.yaml"), force_masks=name == "yolo-seg"
    )
    assert found.classes == list(CLASSES[1:])
    for (record, stem), (_, nested) in zip(flat, items, strict=True):
        assert (folder / "labels" / f"{nested}.txt").read_text() == (flat_folder / "labels" / f"{stem}.txt").read_text()
        detections = found.annotations[str(images / record.name)]
        assert len(detections) == len(record.boxes)
        for index in range(len(detections)):
            assert detections.class_id is not None and CLASSES[detections.class_id[index] + 1] == record.label
            if name == "yolo":
                np.testing.assert_allclose(detections.xyxy[index], boxes_of(record)[index], atol=1e-4)
            else:
                np.testing.assert_allclose(detections.xyxy[index], boxes_of(record)[index], atol=1.01)
                assert detections.mask is not None
                read, filled = detections.mask[index], _filled(mask_of(record, index))  # the format has no holes
                assert not (read & ~_moved(filled, cv2.dilate)).any() and not (_moved(filled, cv2.erode) & ~read).any()
    assert (folder / "labels" / "none" / "empty.txt").read_text() == ""
    setup = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    # Ultralytics takes the folder of data.yaml where it names no other
    assert setup == {"train": "images", "val": "images", "names": dict(enumerate(CLASSES[1:]))}


def test_outlines_as_ultralytics_fills_them(items: list[Item], tmp_path: Path) -> None:
    folder = write("yolo-seg", items, tmp_path) / "yolo-seg" / "labels"
    for record, stem in items[:2]:
        height, width = record.height, record.width
        for index, line in enumerate((folder / f"{stem}.txt").read_text().splitlines()):
            ring = np.array([float(number) for number in line.split()[1:]]).reshape(-1, 2) * [width, height]
            # it cuts off decimals and fills what is inside together with the border
            drawn = cv2.fillPoly(np.zeros((height, width), np.uint8), [ring.astype(np.int32)], 1)
            assert np.array_equal(drawn.astype(bool), _filled(mask_of(record, index)))
            np.testing.assert_allclose([*ring.min(0), *ring.max(0)], boxes_of(record)[index], atol=0.251)


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=20)


@settings(deadline=None, max_examples=60)
@given(st.lists(names, min_size=1, max_size=4, unique=True))
def test_any_class_name(classes: list[str]) -> None:
    record = PredictionRecord(
        path="x.png",
        name="x.png",
        folder="",
        width=9,
        height=9,
        label=classes[-1],
        label_score=1.0,
        class_scores=dict.fromkeys(classes, 1.0),
        background=None,
        boxes=(),
        threshold=0.5,
        min_area=0.0,
        min_score=0.0,
        max_boxes=9,
        model="",
    )
    with TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("coco", "yolo", "csv"):
            write(kind, [(record, "x")], folder)
        read = yaml.safe_load((folder / "yolo" / "data.yaml").read_text(encoding="utf-8"))
        assert read["names"] == dict(enumerate(classes))
        categories = json.loads((folder / "coco.json").read_text(encoding="utf-8"))["categories"]
        assert [category["name"] for category in categories] == classes
        with (folder / "boxes.csv").open(encoding="utf-8", newline="") as file:
            assert [row["label"] for row in csv.DictReader(file)] == [classes[-1]]


def _filled(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros(mask.shape, np.uint8), contours, -1, 1, cv2.FILLED).astype(bool)


def _moved(mask: np.ndarray[Any, Any], move: Callable[..., Any]) -> np.ndarray[Any, Any]:
    """Its border a pixel further out or in: readers round polygons to whole pixels."""
    return np.asarray(move(mask.astype(np.uint8), np.ones((3, 3), np.uint8)), bool)


def test_voc(items: list[Item], tmp_path: Path) -> None:
    flat = flattened(items)
    folder = write("voc", flat, tmp_path) / "voc"
    images = photos(flat, tmp_path / "images")
    found = supervision.DetectionDataset.from_pascal_voc(str(images), str(folder))
    for record, _ in flat:
        detections = found.annotations[str(images / record.name)]
        assert np.array_equal(detections.xyxy, boxes_of(record))
        assert detections.class_id is not None
        assert {found.classes[label] for label in detections.class_id} == {record.label} or not len(detections)
    import xml.etree.ElementTree as ElementTree

    write("voc", items, tmp_path / "nested")
    tree = ElementTree.parse(tmp_path / "nested" / "voc" / "a b" / "ü.xml")
    assert (tree.findtext("folder"), tree.findtext("filename")) == ("a b", "ü.png")
    box = tree.find("object/bndbox")
    assert box is not None and float(box.findtext("xmin", "")) == boxes_of(items[0][0])[0][0] + 1


def test_geojson(items: list[Item], tmp_path: Path) -> None:
    write("geojson", items, tmp_path)
    for record, stem in items:
        found = json.loads((tmp_path / "geojson" / f"{stem}.geojson").read_text())
        assert found["type"] == "FeatureCollection" and len(found["features"]) == len(record.boxes)
        for index, feature in enumerate(found["features"]):
            shape = shapely.geometry.shape(feature["geometry"])
            mask = mask_of(record, index)
            assert shape.is_valid and feature["properties"]["label"] == record.label
            assert list(shape.bounds) == feature["bbox"] == boxes_of(record)[index].tolist() and shape.area == mask.sum()
            assert feature["properties"]["measurements"] == {"score": record.boxes[index].score}
            rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
            assert np.array_equal(shapely.contains_xy(shape, columns, rows), mask), "the middle of a pixel tells"


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


@settings(deadline=None, max_examples=100)
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


def test_csv(items: list[Item], tmp_path: Path) -> None:
    with (write("csv", items, tmp_path) / "boxes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["photo"] for row in rows] == [record.name for record, _ in items for _ in record.boxes or [None]]
    assert [float(rows[0][name]) for name in ("x0", "y0", "x1", "y1")] == list(items[0][0].boxes[0].box)
    assert rows[0]["label"] == CLASSES[1] and int(rows[0]["mask_pixels"]) == mask_of(items[0][0], 0).sum()
    assert rows[-1]["label"] == "none" and rows[-1]["x0"] == rows[-1]["score"] == ""
