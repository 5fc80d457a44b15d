"""Objects with classes of their own, from the networks' answer to the files, and again from these."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from dips.config import PredictConfig
from dips.errors import RunError
from dips.predict.folder import PredictionFolder, parse_formats
from dips.predict.frames import Frame, predict_frames
from dips.predict.predictor import Predictor
from dips.predict.results import predict_again
from dips.predict.stream import FrameJournal, write_stream
from dips.predict.writing import PhotoWriter
from dips.shards.files import LocalFiles
from dips.shards.plan import WORK, read_plan
from dips.shards.work import Work
from dips.system.records import to_json
from dips.types import Answer, Answerer, PhotoBatch

MakePhoto = Callable[..., Path]
CLASSES = ("none", "wren", "owl")


class Colours(Answerer):
    """Takes red for a wren and blue for an owl; of the photo it says wren."""

    side = 64

    def __init__(self, *, own: bool = True) -> None:
        self.own = own

    def answer(self, batch: PhotoBatch) -> Answer:
        pixels = batch.squares.astype(np.float32) / 255
        small = pixels.reshape(len(batch), 32, 2, 32, 2, 3).mean((2, 4))
        red, blue = small[..., 0], small[..., 2]
        maps = np.clip(0.1 * red * blue + 0.9 * np.maximum(red * (1 - blue), blue * (1 - red)), 0, 1)
        cells = small.reshape(len(batch), 8, 4, 8, 4, 3).mean((2, 4))
        logits = 8 * np.stack([0 * cells[..., 0], cells[..., 0], cells[..., 2]], axis=1)
        probabilities = np.tile(np.array([0.1, 0.6, 0.3], np.float32), (len(batch), 1))
        return Answer(maps.astype(np.float32), probabilities, logits.astype(np.float32) if self.own else None)


def photo_of(size: tuple[int, int], spots: list[tuple[tuple[int, int, int, int], str]]) -> np.ndarray:
    photo = np.zeros((*size[::-1], 3), np.uint8)
    for (x0, y0, x1, y1), colour in spots:
        photo[y0:y1, x0:x1, {"red": 0, "blue": 2}[colour]] = 255
    return photo


def predictor(*, own: bool = True, tile: int = 0) -> Predictor:
    config = PredictConfig(threshold=0.5, tile=tile, min_area=0.0, min_score=0.0)
    return Predictor(Colours(own=own), config=config, classes=CLASSES, background=0)


SPOTS = [((10, 10, 60, 60), "red"), ((100, 20, 150, 80), "blue"), ((20, 100, 70, 150), "blue")]
OWN = {(10, 10): "wren", (100, 20): "owl", (20, 100): "owl"}


@pytest.mark.parametrize("tile", [0, 90])
def test_each_object_has_its_class(tile: int) -> None:
    (found,) = predictor(tile=tile).pictures([(Path("a.png"), photo_of((160, 160), SPOTS))])
    assert found.label == "wren" and len(found.boxes) == 3
    for index, (x0, y0, _, _) in enumerate(found.boxes):
        nearest = min(OWN, key=lambda corner: abs(corner[0] - x0) + abs(corner[1] - y0))
        assert found.label_of(index) == found.box_labels[index] == OWN[nearest]
    assert (found.box_label_scores > 0.5).all()


def test_without_classes_of_objects_all_is_as_before() -> None:
    """The same class for all, no new key, and no new file."""
    (found,) = predictor(own=False).pictures([(Path("a.png"), photo_of((160, 160), SPOTS))])
    (other,) = predictor().pictures([(Path("a.png"), photo_of((160, 160), SPOTS))])
    assert found.box_labels == () and [found.label_of(index) for index in range(3)] == ["wren"] * 3
    record = json.loads(to_json(found.record()))
    assert "cell_classes" not in record and all(set(box) == {"box", "score", "mask"} for box in record["boxes"])
    assert np.array_equal(found.boxes, other.boxes) and np.array_equal(found.box_scores, other.box_scores)


@dataclass(frozen=True)
class Job:
    """Predicts with a predictor that is there."""

    out: Path
    model: Predictor

    def open(self) -> Work:
        plan = read_plan(LocalFiles(self.out / WORK))
        assert plan is not None
        return PhotoWriter.of(self.out, plan).work(
            lambda items, skip: self.model.photos((Path(item.uri) for item in items), skip)
        )


def filled(folder: Path, photos: list[Path], model: Predictor, formats: str = "json") -> PredictionFolder:
    plan = PredictionFolder.plan(photos, folder, formats=parse_formats(formats), made_with={"model": "m"})
    plan.fill(Job(folder, model))
    return plan


def write_photo(path: Path, size: tuple[int, int] = (160, 160)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), photo_of(size, SPOTS)[..., ::-1])
    return path


@pytest.mark.parametrize("threshold", [None, 0.3, 0.9])
def test_the_classes_are_found_again_without_networks(tmp_path: Path, threshold: float | None) -> None:
    photo = write_photo(tmp_path / "in" / "sub" / "a.png")
    out = tmp_path / "out"
    plan = filled(out, [photo], predictor())
    (stem,) = (item.stem for item in plan.listing.source.each())
    assert (out / "classes" / f"{stem}.png").is_file()
    (first,) = predictor().pictures([(photo, photo_of((160, 160), SPOTS))])
    (again,) = predict_again(out, [stem], threshold=threshold)
    if threshold is None:
        assert again.box_labels == first.box_labels and np.array_equal(again.box_label_scores, first.box_label_scores)
    assert set(again.box_labels) == {"wren", "owl"} and len(again.box_labels) == len(again.boxes)
    assert again.record().cell_classes == ("wren", "owl")


def test_a_class_per_photo_writes_no_classes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    filled(out, [write_photo(tmp_path / "a.png")], predictor(own=False))
    assert not (out / "classes").exists() and "label_score" not in (out / "json" / "a.json").read_text().split('"boxes"')[1]


@pytest.mark.parametrize("damage", ["missing", "empty", "colours", "rows"])
def test_a_damaged_file_of_classes_is_named(tmp_path: Path, damage: str) -> None:
    out = tmp_path / "out"
    filled(out, [write_photo(tmp_path / "a.png")], predictor())
    file = out / "classes" / "a.png"
    if damage == "missing":
        file.unlink()
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        cv2.imwrite(str(file), np.zeros((4, 4, 3), np.uint8) if damage == "colours" else np.zeros((7, 8), np.uint16))
    with pytest.raises(RunError, match=r"classes.a\.png is .*damaged .*predict the photos again"):
        list(predict_again(out, ["a"]))


def test_every_format_has_the_class_of_the_object(tmp_path: Path) -> None:
    out = tmp_path / "out"
    formats = "coco,csv,voc,yolo,yolo-seg,labelstudio,geojson,camera-points,overlays"
    filled(out, [write_photo(tmp_path / "a.png")], predictor(), formats)
    boxes = json.loads((out / "json" / "a.json").read_text())["boxes"]
    expected = [box["label"] for box in boxes]
    assert sorted(expected) == ["owl", "owl", "wren"]
    coco = json.loads((out / "coco.json").read_text())
    names = {item["id"]: item["name"] for item in coco["categories"]}
    assert [names[item["category_id"]] for item in coco["annotations"]] == expected
    assert [item["label_score"] for item in coco["annotations"]] == [box["label_score"] for box in boxes]
    rows = (out / "boxes.csv").read_text().splitlines()
    head = rows[0].split(",")
    column = [dict(zip(head, row.split(","), strict=True)) for row in rows[1:]]
    assert [row["label"] for row in column] == expected
    assert [float(row["label_score"]) for row in column] == [box["label_score"] for box in boxes]
    voc = (out / "voc" / "a.xml").read_text()
    assert [part.split("<")[0] for part in voc.split("<name>")[1:]] == expected
    for kind in ("yolo", "yolo-seg"):
        lines = (out / kind / "labels" / "a.txt").read_text().splitlines()
        assert [("wren", "owl")[int(line.split()[0])] for line in lines] == expected
    tasks = json.loads((out / "labelstudio.json").read_text())[0]["predictions"][0]["result"]
    assert [item["value"]["rectanglelabels"][0] for item in tasks if item["type"] == "rectanglelabels"] == expected
    shapes = json.loads((out / "geojson" / "a.geojson").read_text())["features"]
    assert [item["properties"]["classification"]["name"] for item in shapes] == expected


def test_a_reviewed_box_keeps_or_changes_its_class(tmp_path: Path) -> None:
    from dips.view.predictions import read_predictions
    from dips.view.review import Review
    from dips.view.reviewed import read_reviewed

    out = tmp_path / "out"
    filled(out, [write_photo(tmp_path / "a.png")], predictor())
    predictions = read_predictions(out)
    review = Review(predictions)
    state = review.state(0).as_json()
    before = [box["label"] for box in state["boxes"]]
    assert sorted(before) == ["owl", "owl", "wren"], "the page shows each box with its own class"
    state["boxes"][1]["label"] = "wren" if before[1] == "owl" else "owl"
    review.change(0, {"reviewed": True, "boxes": [{**box, "accepted": True} for box in state["boxes"]]})
    review.close()
    (again,) = predict_again(out, ["a"], review=read_reviewed(out).applied)
    assert [again.label_of(index) for index in (0, 2)] == [before[0], before[2]] and again.label_of(1) != before[1]
    kept, changed = again.record().boxes[0], again.record().boxes[1]
    assert kept.label_score == json.loads((out / "json" / "a.json").read_text())["boxes"][0]["label_score"]
    assert not changed.label_score and changed.review == "adjusted"


def test_frames_and_single_files_have_the_classes_of_objects(tmp_path: Path) -> None:
    """And say nothing of a file of cells, which is not there."""
    photo = write_photo(tmp_path / "a.png")
    journal = FrameJournal(tmp_path / "boxes.json", {"source": "a"})
    with closing(journal):
        frames = [(Frame(Path("a.mp4"), f"frame-{number}", number / 2), photo_of((160, 160), SPOTS)) for number in range(2)]
        made = list(write_stream(predict_frames(predictor(), frames), journal, model="m"))
        journal.finish(source="a.mp4", fps=2.0)
    made[0].save(tmp_path / "saved", photo)
    records = json.loads((tmp_path / "boxes.json").read_text())["frames"]
    records.append(next(json.loads(file.read_text()) for file in (tmp_path / "saved").glob("*.json")))
    for record in records:
        assert sorted(box["label"] for box in record["boxes"]) == ["owl", "owl", "wren"] and "cell_classes" not in record
