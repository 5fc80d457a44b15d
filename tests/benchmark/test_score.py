"""``dips.benchmark.score``: ready score maps against made WSOL metadata; no photo, no network, no torch."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dips.benchmark import map_shards
from dips.benchmark import score as scoring
from dips.benchmark.mapfiles import MapFiles
from dips.benchmark.score import merge_scores
from dips.data import load_data
from dips.errors import ConfigError, DataError, ProtocolError, RunError
from dips.evaluate import (
    BoxAccumulator,
    best_iou_curve,
    boxes_at_thresholds,
    centre_map,
    dissect_errors,
    mask_to_frame,
    max_box_acc,
    max_box_acc_v2,
    pxap,
    tau_grid,
    to_frame,
    top_k_localization,
)
from dips.formats.records import BoxRecord, PredictionRecord
from dips.shards.launch import Crew
from dips.shards.plan import PLAN, WORK, work_of
from dips.system.records import write_json

Box = tuple[int, int, int, int]


def score_maps(maps: Path, data: Path, **more: Any) -> Any:
    """Return all numbers, or None for a task of several."""
    return scoring.score_maps(maps, data, **more)


@dataclass(frozen=True)
class Photo:
    """What the metadata says about a photo."""

    label: int
    size: tuple[int, int]
    boxes: list[Box]


def smooth(seed: int, shape: tuple[int, int] = (224, 224)) -> np.ndarray:
    coarse = np.random.default_rng(seed).random((5, 5)).astype(np.float32)
    return np.clip(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)


def made(count: int, seed: int = 0) -> dict[str, Photo]:
    """Photos of two classes, one box or two; every seventh one without."""
    random = np.random.default_rng(seed)
    photos = {}
    for number in range(count):
        width, height = (int(side) for side in random.integers(40, 90, 2))
        boxes: list[Box] = []
        for _ in range(0 if number % 7 == 6 else 1 + number % 2):
            x0, y0 = int(random.integers(0, width // 2)), int(random.integers(0, height // 2))
            boxes.append((x0, y0, int(random.integers(x0 + 5, width)), int(random.integers(y0 + 5, height))))
        label = number % 2
        photos[f"val/{('owl', 'red kite')[label]}/{number:02d}.jpg"] = Photo(label, (width, height), boxes)
    return photos


def write_metadata(top: Path, photos: dict[str, Photo], split: str = "val") -> Path:
    folder = top / "metadata" / split
    folder.mkdir(parents=True)
    (folder / "image_ids.txt").write_text("".join(f"{id}\n" for id in photos))
    (folder / "class_labels.txt").write_text("".join(f"{id},{photo.label}\n" for id, photo in photos.items()))
    (folder / "image_sizes.txt").write_text("".join(f"{id},{p.size[0]},{p.size[1]}\n" for id, p in photos.items()))
    lines = [f"{id},{','.join(map(str, box))}\n" for id, photo in photos.items() for box in photo.boxes]
    (folder / "localization.txt").write_text("".join(lines))
    return top


def write_maps(place: Path, maps: dict[str, np.ndarray]) -> Path:
    for id, score_map in maps.items():
        (place / id).parent.mkdir(parents=True, exist_ok=True)
        np.save(place / f"{id}.npy", score_map)
    return place


@dataclass(frozen=True)
class Case:
    """Metadata in ``data``, maps in ``maps``, and both in memory."""

    data: Path
    maps: Path
    photos: dict[str, Photo]
    values: dict[str, np.ndarray]

    @property
    def boxed(self) -> list[str]:
        return [id for id, photo in self.photos.items() if photo.boxes]

    def framed(self, id: str) -> np.ndarray:
        return to_frame(self.photos[id].boxes, self.photos[id].size)

    def score(self, **more: Any) -> Any:
        return score_maps(self.maps, self.data, **{"split": "val", **more})


def case(top: Path, count: int = 30, *, seed: int = 0) -> Case:
    photos = made(count, seed)
    values = {id: smooth(1000 * seed + number) for number, id in enumerate(photos)}
    return Case(write_metadata(top / "data", photos), write_maps(top / "maps", values), photos, values)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Made once; no test changes it."""
    return case(tmp_path_factory.mktemp("scored"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def alike(one: dict[str, Any], other: dict[str, Any], *but: str) -> bool:
    left_out = ("environment", "maps", "photos", *but)
    return all(one[name] == other[name] for name in one.keys() | other.keys() if name not in left_out)


# --- numbers


def test_numbers_are_those_of_the_metrics(scored: Case) -> None:
    result = scored.score()
    maps, boxes = [scored.values[id] for id in scored.boxed], [scored.framed(id) for id in scored.boxed]
    assert (result["n_images"], result["n_boxed"], result["n_truth"]) == (30, 26, 30)
    assert result["max_box_acc_v2"] == max_box_acc_v2(maps, boxes) and result["max_box_acc"] == max_box_acc(maps, boxes)
    assert result["max_box_acc_v2"] == pytest.approx(np.mean(list(result["max_box_acc_at"].values())))
    method = result["methods"][0]
    own = method["dissection"]
    assert own["tau_from"].startswith("this split") and own["percent"] == dissect_errors(maps, boxes, tau=own["tau"])
    assert own["tau"] == result["best_tau"]["v1"] and method["activations"]["truth"] == "boxes"
    assert result["pxap"] is None and result["at_validation_tau"] is None and not result["resized"] and not result["partial"]
    assert result["intervals"]["replicates"] == 1000 and result["protocol_name"] == "wsol-224"


def test_the_centre_is_counted_beside(scored: Case) -> None:
    accumulator = BoxAccumulator()
    levels = boxes_at_thresholds(centre_map())
    for id in scored.boxed:
        accumulator.add(levels, scored.framed(id), id=id)
    centre, counted = scored.score()["baselines"]["centre"], accumulator.result()
    assert centre["max_box_acc_v2"] == counted.max_box_acc_v2 and centre["best_tau"] == counted.best_tau
    assert centre["max_box_acc_at"] == counted.max_box_acc_at and centre["intervals"]["replicates"] == 1000


def test_what_is_returned_is_json(scored: Case, tmp_path: Path) -> None:
    result = scored.score()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    (tmp_path / "e.json").write_text("old")
    write_json(tmp_path / "e.json", result)
    assert json.loads((tmp_path / "e.json").read_text()) == result
    assert [method["name"] for method in result["methods"]] == ["maps", "centre"]
    assert set(result["environment"]) >= {"dips", "python", "numpy", "opencv", "boxes", "command"}


def test_a_single_photo_is_json(tmp_path: Path) -> None:
    one = case(tmp_path, 1)
    assert json.loads(json.dumps(result := one.score(), allow_nan=False)) == result and result["n_boxed"] == 1


def test_processes_make_no_difference(scored: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_STEP", 4)
    one = scored.score(csv_path=tmp_path / "1.csv", protocol="original-pixels", resize=True)
    two = scored.score(csv_path=tmp_path / "2.csv", protocol="original-pixels", resize=True, crew=Crew(workers=2))
    assert alike(one, two) and one["maps"] == two["maps"]
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()


@settings(max_examples=8)
@given(st.integers(1, 40), st.permutations(range(12)))
def test_neither_chunks_nor_order_make_a_difference(
    tmp_path_factory: pytest.TempPathFactory, chunk: int, order: list[int]
) -> None:
    """The metadata's order is also that of the CSV, and of nothing else."""
    top = tmp_path_factory.mktemp("order")
    plain = case(top, 12)
    ids = [list(plain.photos)[place] for place in order]
    other = write_metadata(top / "other", {id: plain.photos[id] for id in ids})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "_STEP", chunk)
        shuffled = score_maps(plain.maps, other, split="val", csv_path=top / "b.csv")
    assert alike(shuffled, plain.score(csv_path=top / "a.csv"), "data")
    assert [row["id"] for row in rows(top / "b.csv")] == ids
    assert sorted(map(str, rows(top / "b.csv"))) == sorted(map(str, rows(top / "a.csv")))


def test_one_archive_gives_the_same(scored: Case, tmp_path: Path) -> None:
    arrays: dict[str, Any] = dict(scored.values)
    np.savez(tmp_path / "maps.npz", **arrays)
    assert alike(scored.score(), score_maps(tmp_path / "maps.npz", scored.data, split="val"))


def test_original_pixels(tmp_path: Path) -> None:
    photos = made(9)
    maps = {id: smooth(number, photo.size[::-1]) for number, (id, photo) in enumerate(photos.items())}
    write_maps(tmp_path / "maps", maps)
    result = score_maps(tmp_path / "maps", write_metadata(tmp_path, photos), split="val", protocol="original-pixels")
    boxed = [id for id in photos if photos[id].boxes]
    assert result["max_box_acc_v2"] == max_box_acc_v2([maps[id] for id in boxed], [photos[id].boxes for id in boxed])
    assert result["protocol_name"] == "original-pixels" and "original photo" in result["protocol"]
    assert result["baselines"]["centre"]["max_box_acc_v2"] is not None


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (500, 300)])
def test_maps_of_other_sizes(scored: Case, tmp_path: Path, shape: tuple[int, int]) -> None:
    maps = {id: smooth(number, shape) for number, id in enumerate(scored.photos)}
    write_maps(tmp_path / "maps", maps)
    width = f"{shape[1]}x{shape[0]}"
    with pytest.raises(ProtocolError, match=rf"30 of 30 score maps cannot be used: .*{width} .*wants 224x224.*--resize"):
        score_maps(tmp_path / "maps", scored.data, split="val")
    result = score_maps(tmp_path / "maps", scored.data, split="val", resize=True)
    resized = [np.clip(cv2.resize(maps[id], (224, 224)), 0, 1) for id in scored.boxed]
    assert result["max_box_acc_v2"] == max_box_acc_v2(resized, [scored.framed(id) for id in scored.boxed])


# --- thresholds of the validation split, and the lines


def test_what_was_predicted_is_scored_without_being_computed_again(scored: Case, tmp_path: Path) -> None:
    (tmp_path / "out" / "json").mkdir(parents=True)
    small = {id: value[::2, ::2] for id, value in scored.values.items()}
    write_maps(tmp_path / "out" / "maps", small)
    there = score_maps(tmp_path / "out", scored.data, split="val")
    assert there["methods"] == score_maps(tmp_path / "out" / "maps", scored.data, split="val", resize=True)["methods"]
    assert "precision" not in there, "the JSON of the photos is missing"
    for id, photo in scored.photos.items():
        width, height = photo.size
        boxes = [
            BoxRecord(box=(2.0 * x0, 2.0 * y0, 2.0 * x1, 2.0 * y1), label="owl", review="drawn")
            for x0, y0, x1, y1 in photo.boxes
        ]
        record = PredictionRecord(
            path=id,
            name=id,
            folder="",
            width=2 * width,
            height=2 * height,
            label="owl",
            label_score=0.9,
            class_scores={"owl": 0.9, "red kite": 0.1},
            background=None,
            boxes=tuple(boxes),
            threshold=0.5,
            min_area=0.0,
            min_score=0.0,
            max_boxes=9,
            model="",
        )
        name = next((tmp_path / "out" / "maps").rglob(f"{Path(id).stem}*")).relative_to(tmp_path / "out" / "maps")
        write_json(tmp_path / "out" / "json" / name.with_suffix(".json"), record)
    found = score_maps(tmp_path / "out", scored.data, split="val")
    owl, kite = (item["ap50"] for item in found["precision"]["classes"])
    assert 40 < owl < 100 and kite == 0 and found["precision"]["ap50"] == owl / 2, "all are called owls"
    assert found["methods"] == there["methods"]
    (tmp_path / "out" / WORK).mkdir()
    (tmp_path / "out" / WORK / PLAN).touch()
    with pytest.raises(RunError, match="is unfinished; repeat the same 'dips predict'"):
        score_maps(tmp_path / "out", scored.data, split="val")


def test_thresholds_of_the_validation_split(scored: Case, tmp_path: Path) -> None:
    validation = case(tmp_path, 20, seed=1).score()
    write_json(tmp_path / "val.json", validation)
    result = scored.score(tau_from=tmp_path / "val.json", csv_path=tmp_path / "e.csv")
    tau = validation["best_tau"]
    chosen = result["at_validation_tau"]
    assert chosen["tau"] == {name: tau[name] for name in ("v1", "30", "50", "70")}
    assert result["validation_tau_from"] == str(tmp_path / "val.json")
    curves = np.array([_curve(scored, id) for id in scored.boxed])
    for delta in (30, 50, 70):
        place = int(np.abs(tau_grid() - tau[str(delta)]).argmin())
        assert chosen["box_acc_at"][str(delta)] == 100 * (curves[:, place] >= delta / 100).sum() / len(curves)
    assert result["max_box_acc_v2"] == scored.score()["max_box_acc_v2"] >= chosen["box_acc_v2"]
    own = result["methods"][0]["dissection"]
    assert own["tau_from"] == "validation" and own["tau"] == tau["v1"]
    lines = [row for row in rows(tmp_path / "e.csv") if row["error"]]
    for name, value in {**chosen["box_acc_at"], "v1": chosen["box_acc"]}.items():
        assert value == pytest.approx(100 * np.mean([row[f"correct_{name}"] == "1" for row in lines])), name


def test_a_split_does_not_validate_itself(scored: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = write_maps(tmp_path / "few", dict(list(scored.values.items())[:9]))
    records = {30: scored.score(), 9: score_maps(few, scored.data, split="val", partial_maps=True)}
    assert records[9]["photos"] == records[30]["photos"], "of the split, whatever had a map"
    monkeypatch.chdir(scored.data.parent)
    for record in records.values():
        write_json(tmp_path / "val.json", record)
        for data in (scored.data, Path("data"), Path("data") / "metadata", scored.data / "metadata" / "val"):
            with pytest.raises(DataError, match="with 30 of the photos that are scored now"):
                score_maps(scored.maps, data, split="val", tau_from=tmp_path / "val.json")


def test_each_method_has_a_threshold_of_its_own(scored: Case, tmp_path: Path) -> None:
    validation = case(tmp_path, 20, seed=1).score()
    write_json(tmp_path / "val.json", validation)
    centre = scored.score(tau_from=tmp_path / "val.json")["baselines"]["centre"]
    tau = validation["baselines"]["centre"]["best_tau"]
    assert centre["at_validation_tau"]["tau"] == {name: tau[name] for name in ("v1", "30", "50", "70")}
    assert scored.score()["baselines"]["centre"]["at_validation_tau"] is None


def test_maps_may_lie_below_the_name_of_the_split(tmp_path: Path, make_photo: Callable[..., Path]) -> None:
    make_photo(tmp_path / "test" / "owl" / "1.png", (60, 40))
    make_photo(tmp_path / "test" / "kite" / "1.png", (60, 40))
    (tmp_path / "test.csv").write_text("path,label,x0,y0,x1,y1\ntest/owl/1.png,owl,3,5,50,30\ntest/kite/1.png,kite,3,5,50,30\n")
    write_maps(tmp_path / "maps", {f"test/{name}/1.png": smooth(0) for name in ("owl", "kite")})
    assert score_maps(tmp_path / "maps", tmp_path / "test.csv", split="test")["n_images"] == 2


def _curve(scored: Case, id: str) -> np.ndarray:
    return best_iou_curve(scored.values[id], scored.framed(id), multi_contour=True)


def test_lines_are_of_the_best_threshold_where_none_was_chosen(scored: Case, tmp_path: Path) -> None:
    result = scored.score(csv_path=tmp_path / "e.csv")
    tau = result["best_tau"]["50"]
    place = int(np.abs(tau_grid() - tau).argmin())
    found = rows(tmp_path / "e.csv")
    assert [row["id"] for row in found] == list(scored.photos), "every photo, in the order of image_ids.txt"
    for row in found:
        photo = scored.photos[row["id"]]
        assert row["label"] == ("owl", "red kite")[photo.label] and row["true_boxes"] == str(len(photo.boxes))
        if not photo.boxes:
            assert row["iou"] == row["error"] == row["oracle_tau"] == ""
            continue
        curve = _curve(scored, row["id"])
        assert row["iou"] == f"{curve[place]:.6f}" and row["oracle_iou"] == f"{curve.max():.6f}"
        assert float(row["oracle_tau"]) == pytest.approx(tau_grid()[curve.argmax()])
    for name, value in {**result["max_box_acc_at"], "v1": result["max_box_acc"]}.items():
        right = sum(row[f"correct_{name}"] == "1" for row in found)
        assert value == pytest.approx(100 * right / result["n_boxed"]), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"\(No such file .*\); give the JSON that 'dips score' or 'dips evaluate' wrote for the validation split"),
        ("{", r"is damaged \(.*\); give the JSON that 'dips score' or 'dips evaluate' wrote"),
        ("[]", r"is damaged \(.*\); give the JSON"),
        ('{"best_tau": null}', r"is damaged \(.*best_tau.*\); give the JSON .* with ground-truth boxes"),
        ('{"best_tau": {"v1": 0.1, "30": 0.1, "50": 0.1}}', r"is damaged \(.*`70`.*best_tau.*\); give the JSON"),
        ('{"best_tau": {"v1": 0.1, "30": 0.1, "50": 1.5, "70": 0}}', r"is damaged \(.*<= 1.*best_tau.*\); give the JSON"),
        ('{"best_tau": {"v1": -0.1, "30": 0.1, "50": 0.5, "70": 0}}', r"is damaged \(.*>= 0.*best_tau.*\); give the JSON"),
        ('{"best_tau": {"v1": NaN, "30": 0.1, "50": 0.5, "70": 0}}', r"is damaged \(.*\); give the JSON"),
        (
            '{"protocol_name": "original-pixels", "best_tau": {"v1": 0.1, "30": 0.1, "50": 0.5, "70": 0}}',
            "holds thresholds of the protocol original-pixels, not of wsol-224",
        ),
    ],
)
def test_thresholds_that_are_none(scored: Case, tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "val.json").write_text(text)
    with pytest.raises(DataError, match=rf"val\.json {message}"):
        scored.score(tau_from=tmp_path / "val.json", csv_path=tmp_path / "e.csv")
    assert not (tmp_path / "e.csv").exists()


# --- classes


def test_predicted_classes(scored: Case, tmp_path: Path) -> None:
    said = {
        id: [photo.label, 1 - photo.label][:: 1 if number % 3 else -1]
        for number, (id, photo) in enumerate(scored.photos.items())
    }
    names = ("owl", "red kite")
    (tmp_path / "said.csv").write_text("id,classes\n" + "".join(f"{id},{names[a]},{b}\n" for id, (a, b) in said.items()))
    result = scored.score(predicted=tmp_path / "said.csv", csv_path=tmp_path / "e.csv")
    boxed = scored.boxed
    given = [scored.values[id] for id in boxed], [scored.framed(id) for id in boxed], [scored.photos[id].label for id in boxed]
    assert result["top1_loc"] == top_k_localization(*given, [said[id] for id in boxed])
    assert result["top5_loc"] is None and result["top5_cls"] is None, "there are two classes"
    assert result["top1_cls"] == pytest.approx(100 * 20 / 30)
    assert "class_wrong" in result["methods"][0]["dissection"]["percent"]
    assert [row["predicted"] for row in rows(tmp_path / "e.csv")] == [names[said[id][0]] for id in scored.photos]
    assert scored.score()["top1_loc"] is None


def test_predictions_of_photos_without_map_need_not_be_there(scored: Case, tmp_path: Path) -> None:
    ids = list(scored.photos)[:5]
    write_maps(tmp_path / "maps", {id: scored.values[id] for id in ids})
    (tmp_path / "said.csv").write_text("".join(f"{id},0\n" for id in ids))
    more = {"split": "val", "partial_maps": True, "predicted": tmp_path / "said.csv"}
    assert score_maps(tmp_path / "maps", scored.data, **more)["top1_cls"] == 60
    (tmp_path / "said.csv").write_text("".join(f"{id},0\n" for id in ids[1:]))
    with pytest.raises(DataError, match=rf"said\.csv predicts no class for 1 photo, among them {ids[0]}"):
        score_maps(tmp_path / "maps", scored.data, **more)


# --- masks


def test_masks_without_boxes(tmp_path: Path) -> None:
    """As OpenImages: several masks per photo, an ignored region, sizes of their own."""
    folder = write_metadata(tmp_path, photos := {f"val/x/{n}.jpg": Photo(0, (9, 9), []) for n in range(6)}) / "metadata" / "val"
    (folder / "image_sizes.txt").unlink()
    lines, maps, masks = [], {}, []
    for number, id in enumerate(photos):
        random = np.random.default_rng(number)
        files = [random.random((30, 40)) < 0.2 for _ in range(3)]
        for name, mask in zip(("a", "b", "i"), files, strict=True):
            path = tmp_path / "val" / "x" / f"{number}{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((mask * 255).astype(np.uint8)).save(path)
        lines += [f"{id},val/x/{number}a.png,val/x/{number}i.png\n", f"{id},val/x/{number}b.png,\n"]
        maps[id] = smooth(number)
        inside = files[0] | files[1]
        masks.append(mask_to_frame(np.where(inside, 1, np.where(files[2], 255, 0))))
    (folder / "localization.txt").write_text("".join(lines))
    write_maps(tmp_path / "maps", maps)
    result = score_maps(tmp_path / "maps", tmp_path, split="val", csv_path=tmp_path / "e.csv")
    assert result["pxap"] == pxap(maps.values(), masks) and result["n_boxed"] == 0 and result["max_box_acc_v2"] is None
    assert result["methods"][0]["activations"]["truth"] == "masks" and result["best_tau"] is None
    assert result["baselines"]["centre"]["pxap"] == pxap([centre_map()] * len(masks), masks)
    assert len(rows(tmp_path / "e.csv")) == 6 and json.dumps(result, allow_nan=False)


# --- maps and photos that do not belong together


def test_maps_that_are_missing(scored: Case, tmp_path: Path) -> None:
    ids = list(scored.photos)
    write_maps(tmp_path / "maps", {id: scored.values[id] for id in ids[:-8]})
    with pytest.raises(DataError, match=rf"no map for 8 of 30 photos: {ids[-8]}, .* and 5 more; make them, .*--partial"):
        score_maps(tmp_path / "maps", scored.data, split="val")
    result = score_maps(tmp_path / "maps", scored.data, split="val", partial_maps=True)
    kept = [id for id in scored.boxed if id in ids[:-8]]
    assert (result["n_images"], result["n_truth"]) == (22, 30)
    assert result["max_box_acc_v2"] == max_box_acc_v2([scored.values[id] for id in kept], map(scored.framed, kept))


def test_maps_of_other_photos(scored: Case, tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", {**scored.values, "val/owl/stray.jpg": smooth(0)})
    with pytest.raises(
        DataError,
        match=r"has 1 map of photos that .* does not list in this split, or second ones of a photo: val/owl/stray\.jpg\.npy",
    ):
        score_maps(tmp_path / "maps", scored.data, split="val")
    assert alike(
        score_maps(tmp_path / "maps", scored.data, split="val", partial_maps=True), scored.score(), "partial", "problems"
    )


def test_no_map_fits(scored: Case, tmp_path: Path) -> None:
    write_maps(tmp_path / "maps", {"elsewhere.jpg": smooth(0)})
    for partial in (False, True):
        with pytest.raises(DataError, match=r"no map in .*maps belongs .*split 'val'.* called val/owl/00\.jpg\.npy"):
            score_maps(tmp_path / "maps", scored.data, split="val", partial_maps=partial)


def test_bad_maps_are_counted_and_named(scored: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = list(scored.photos)
    bad = {ids[3]: np.full((224, 224), np.nan), ids[20]: smooth(0) * 255, ids[6]: np.full((9, 9), np.nan)}
    write_maps(tmp_path / "maps", {**scored.values, **bad})
    (tmp_path / "e.csv").write_text("old")
    for workers in (1, 2):
        with pytest.raises(ProtocolError, match=r"^3 of 30 score maps cannot be used: ") as caught:
            score_maps(tmp_path / "maps", scored.data, split="val", csv_path=tmp_path / "e.csv", crew=Crew(workers=workers))
        assert all(f"{id}.npy" in str(caught.value) for id in bad) and "NaN" in str(caught.value)
    assert (tmp_path / "e.csv").read_text() == "old"
    write_maps(tmp_path / "maps", {id: np.full((224, 224), 2.0) for id in ids})
    with pytest.raises(ProtocolError, match=r"30 of 30 .* and 27 more$"):
        score_maps(tmp_path / "maps", scored.data, split="val")
    monkeypatch.setattr(map_shards, "MAX_BAD_MAPS", 7)
    with pytest.raises(
        ProtocolError, match=r"^7 of the first 7 of 30 score maps cannot be used"
    ):  # where nothing fits, it ends early
        score_maps(tmp_path / "maps", scored.data, split="val")


def test_truth_that_is_none(tmp_path: Path, make_photo: Callable[..., Path]) -> None:
    make_photo(tmp_path / "data" / "owl" / "1.jpg")
    make_photo(tmp_path / "data" / "kite" / "2.jpg")
    write_maps(tmp_path / "maps", {id: smooth(0) for id in ("owl/1.jpg", "kite/2.jpg")})
    with pytest.raises(DataError, match=r"data: of 2 photos with a map none has ground-truth boxes or masks; give DATA"):
        score_maps(tmp_path / "maps", tmp_path / "data", split="all")
    with pytest.raises(DataError, match="split 'val'"):
        score_maps(tmp_path / "maps", tmp_path / "data", split="val")


def test_photos_of_other_layouts(tmp_path: Path, make_photo: Callable[..., Path]) -> None:
    lines = ["path,label,x0,y0,x1,y1\n"]
    for number in range(4):
        make_photo(tmp_path / "owl" / f"{number}.png", (60, 40), seed=number)
        lines.append(f"owl/{number}.png,owl,{number},5,50,30\n")
    (tmp_path / "test.csv").write_text("".join(lines))
    ids = [sample.id for sample in load_data(tmp_path, split="test").samples]
    maps = {id: smooth(number) for number, id in enumerate(ids)}
    for name, shorten in (("long", str), ("short", lambda id: id.split("/")[-1])):
        write_maps(tmp_path / name, {shorten(id): score_map for id, score_map in maps.items()})
        result = score_maps(tmp_path / name, tmp_path)
        boxes = [to_frame([[n, 5, 50, 30]], (60, 40)) for n in range(4)]
        assert result["max_box_acc_v2"] == max_box_acc_v2(maps.values(), boxes)
    with pytest.raises(ProtocolError, match=r"4 of 4 .*wants 60x40"):
        score_maps(tmp_path / "long", tmp_path, protocol="original-pixels")


def test_what_cannot_be_asked(scored: Case, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no protocol 'voc'"):
        scored.score(protocol="voc")
    with pytest.raises(DataError, match="no metadata of the split 'test'; there are val"):
        scored.score(split="test")
    with pytest.raises(DataError, match="gone does not exist"):
        score_maps(tmp_path / "gone", scored.data, split="val")
    with pytest.raises(RunError, match="cannot write"):
        scored.score(csv_path=tmp_path)


# --- shards


def test_shards_make_no_difference(scored: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process, and an array of which a task comes late, is repeated, or is the only one; merged by another command."""
    one = scored.score(csv_path=tmp_path / "1.csv", protocol="original-pixels", resize=True)
    monkeypatch.setattr(scoring, "_STEP", 4)
    for turns in ((0, 1, 2), (2, 0, 2, 1)):
        out, more = tmp_path / f"out{len(turns)}", {"protocol": "original-pixels", "resize": True}
        for turn in turns:
            crew = Crew(turn=turn, of=3)
            assert scored.score(out=out, crew=crew, csv_path=tmp_path / "2.csv", **more) is None
            if turn == turns[0]:
                with pytest.raises(RunError, match=r"is unfinished: .* of 30 photos are not done"):
                    merge_scores(out)
        (tmp_path / "2.csv").unlink(missing_ok=True)
        found = merge_scores(out)
        assert alike(one, found) and one["maps"] == found["maps"]
        assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
        assert os.listdir(out) == ["scores.json"] and json.loads((out / "scores.json").read_text()) == found
        with pytest.raises(RunError, match="holds no unfinished scores"):
            merge_scores(out)
        with pytest.raises(RunError, match=r"holds scores\.json already; nothing was changed"):
            scored.score(out=out)


def test_interrupted_work_goes_on(scored: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_STEP", 4)
    measured: list[str] = []
    read = MapFiles.read

    def counted(files: MapFiles, name: str) -> Any:
        if len(measured) == 17:
            measured.append("")
            raise KeyboardInterrupt
        measured.append(name)
        return read(files, name)

    monkeypatch.setattr(MapFiles, "read", counted)
    with pytest.raises(KeyboardInterrupt):
        scored.score(out=tmp_path / "out")
    assert os.listdir(tmp_path / "out") == [".unfinished"]
    with pytest.raises(RunError, match=r"out/\.unfinished holds scores made with resize False, now True; choose another --out"):
        scored.score(out=tmp_path / "out", resize=True)
    assert alike(scored.score(out=tmp_path / "out"), scored.score())
    assert len(measured) == 30 + 1 + 1 + 30, "of the shard in which it stopped one map was read before"
    assert os.listdir(tmp_path / "out") == ["scores.json"]


def test_ground_truth_that_changed_is_other_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_STEP", 4)
    made = case(tmp_path, 12)
    made.score(out=tmp_path / "out", crew=Crew(turn=0, of=2))
    file = made.data / "metadata/val/class_labels.txt"
    file.write_text(file.read_text().replace(",1", ",0", 1))
    with pytest.raises(RunError, match="holds scores made with other photos, maps or ground truth"):
        made.score(out=tmp_path / "out")


def test_bad_maps_are_measured_again_once_they_are_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_STEP", 4)
    made = case(tmp_path, 12)
    bad = list(made.photos)[5]
    write_maps(made.maps, {bad: smooth(0) * 255})
    for _ in range(2):
        with pytest.raises(ProtocolError, match=rf"^1 of 12 score maps cannot be used: .*{bad}\.npy"):
            made.score(out=tmp_path / "out")
    monkeypatch.setattr(MapFiles, "read", kill := Killer(MapFiles.read, f"{bad}.npy"))
    for _ in range(3):
        with pytest.raises(Killed):
            made.score(out=tmp_path / "out")
    kill.name = ""
    write_maps(made.maps, made.values)
    assert alike(made.score(out=tmp_path / "out"), made.score())


class Killed(BaseException):
    """In the place of a kill."""


class Killer:
    """Reads maps but for one."""

    def __init__(self, read: Callable[[MapFiles, str], Any], name: str) -> None:
        self.read, self.name = read, name

    def __get__(self, files: MapFiles, kind: type) -> Callable[[str], Any]:
        return lambda name: self(files, name)

    def __call__(self, files: MapFiles, name: str) -> Any:
        if name == self.name:
            raise Killed
        return self.read(files, name)


def test_several_machines_need_a_place(scored: Case) -> None:
    for crew in (Crew(turn=1, of=2), Crew(engine="ray")):
        with pytest.raises(ConfigError, match="--shard and --engine ray need --out"):
            scored.score(crew=crew)


def test_nothing_is_left_where_nothing_is_kept(scored: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scored.score()
    assert not list(tmp_path.iterdir())


def test_needs_no_torch(scored: Case) -> None:
    code = (
        "import sys; from dips.benchmark.score import score_maps; score_maps(sys.argv[1], sys.argv[2], split='val');"
        "sys.exit(bool({'torch', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code, scored.maps, scored.data], check=False).returncode == 0


def test_scores_in_a_store(scored: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed (extra 'remote')")
    monkeypatch.setattr(scoring, "_STEP", 8)
    url, one = "memory://scores/out", scored.score()
    for turn in (1, 0):
        assert scored.score(out=f"{url}/", crew=Crew(turn=turn, of=2)) is None
    assert work_of(url).names("done"), "with a slash at its end it is the same place"
    assert alike(merge_scores(url), one)
    assert fsspec.filesystem("memory").find("/scores") == ["/scores/out/scores.json"]
