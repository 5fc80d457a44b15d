from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dips.data.depth import Depth
from dips.errors import RunError
from dips.evaluate.result import ImageRow
from dips.report import photos as shown_module
from dips.report.photos import MAP_SIDE, PHOTO_SIDE, MapSpool, Rule, choose_photos, read_shown, small_map, write_shown
from dips.types import FloatArray, Sample

RULE = Rule(0.4, 0.005, 0.0, 100, "none")
CLASSES = ("none", "tower")


# --- which photos


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=60), st.integers(0, 70))
def test_the_worst_the_best_and_some_others(ious: list[float | None], count: int) -> None:
    chosen = choose_photos(ious, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(ious))
    known = sorted((iou, place) for place, iou in enumerate(ious) if iou is not None)
    if known and count:
        assert chosen[0] == known[0][1], "the worst comes first"
    third = min(count // 3, len(known) // 2)
    assert {place for _, place in known[:third]} <= set(chosen)
    assert {ious[place] for place in chosen} >= {iou for iou, _ in known[len(known) - third :]}
    assert sorted(choose_photos(ious, len(ious) + 5)) == list(range(len(ious)))


def test_the_others_are_spread_evenly() -> None:
    ious = [i / 300 for i in range(300)]
    between = sorted(place for place in choose_photos(ious, 30) if 10 <= place < 290)
    assert len(between) == 10 and set(np.diff(between)) == {28}
    assert len(choose_photos([None] * 50, 10)) == 10 and choose_photos([], 10) == []


# --- maps


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.01, 1))
def test_small_maps_keep_their_scores(height: int, width: int, top: float) -> None:
    rows, columns = np.mgrid[0:height, 0:width]
    score_map = (top * np.exp(-(((rows - height / 2) / height) ** 2 + ((columns - width / 2) / width) ** 2))).astype(np.float32)
    levels, peak = small_map(score_map)
    assert levels.shape == (min(height, MAP_SIDE), min(width, MAP_SIDE)) and levels.dtype == np.uint8
    assert levels.max() == 255 and peak <= score_map.max() + 1e-6
    again = cv2.resize(score_map, levels.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(levels / 255 * peak - again).max() <= peak / 510 + 1e-6


def test_an_empty_map_stays_empty() -> None:
    levels, peak = small_map(np.zeros((4, 6), np.float32))
    assert peak == 0 and not levels.any()


def test_the_spool_gives_back_any_map_at_any_time() -> None:
    rng = np.random.default_rng(0)
    maps: list[FloatArray] = [np.asarray(rng.random((20 + i, 30)) * (i + 1) / 9, np.float32) for i in range(8)]
    spool = MapSpool(io.BytesIO())
    for i, score_map in enumerate(maps):
        spool.add(score_map)
        png, peak = spool.read(i // 2)
        levels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
        expected = small_map(maps[i // 2])
        np.testing.assert_array_equal(levels, expected[0])
        assert peak == expected[1]


# --- the file


@pytest.fixture
def evaluated(tmp_path: Path, make_photo: Any) -> tuple[list[Sample], list[ImageRow], MapSpool]:
    samples, rows, spool = [], [], MapSpool(io.BytesIO())
    for i in range(6):
        path = make_photo(tmp_path / f"{i}.jpg", (640, 480), seed=i, box=(100, 100, 300, 200))
        boxes = np.array([[10, 10, 30, 20]], np.float32) if i else None
        samples.append(Sample(path, path.name, i % 2, boxes, frame=(64, 48) if i else None))
        rows.append(ImageRow(path.name, i % 2, 1, int(i > 0), iou=i / 10 if i else None))
        spool.add(np.full((16, 16), 0.5, np.float32))
    return samples, rows, spool


def test_photos_are_shown_as_they_were_seen(tmp_path: Path, evaluated: Any) -> None:
    samples, rows, spool = evaluated
    Image.fromarray(np.full((48, 64), 7500, np.uint16)).save(thermal := tmp_path / "thermal.png")
    samples = [dataclasses.replace(samples[0], path=thermal)]
    depth = Depth(rule="fixed", scales=((7000.0, 8000.0),))
    write_shown(tmp_path / "shown.json", samples, rows[:1], spool, photos=1, rule=RULE, classes=CLASSES, depth=depth)
    picture = cv2.imdecode(np.frombuffer(read_shown(tmp_path / "shown.json").photos[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and abs(int(picture.mean()) - 128) <= 2


def test_what_is_written_is_read(tmp_path: Path, evaluated: Any) -> None:
    path = tmp_path / "evaluation-photos.json"
    assert write_shown(path, *evaluated, photos=300, rule=RULE, classes=CLASSES) == 6
    found = read_shown(path)
    assert {key: getattr(found, key) for key in RULE._asdict()} == RULE._asdict()
    photos = {photo.id: photo for photo in found.photos}
    assert set(photos) == {f"{i}.jpg" for i in range(6)} and found.photos[0].id == "1.jpg"
    photo = photos["3.jpg"]
    assert photo.size == (640, 480) and (photo.label, photo.predicted) == ("tower", "tower")
    assert photo.true_boxes == [(100, 100, 300, 200)] and photos["0.jpg"].true_boxes is None
    assert photo.peak == 0.5 and photo.levels().shape == (16, 16) and (photo.levels() == 255).all()
    picture = cv2.imdecode(np.frombuffer(photo.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape == (240, PHOTO_SIDE, 3)
    assert picture[80, 100].tolist() == pytest.approx([40, 230, 255], abs=12), "blue, green, red: the colours are right"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_few_or_no_photos(tmp_path: Path, evaluated: Any) -> None:
    samples, rows, _ = evaluated
    path = tmp_path / "evaluation-photos.json"
    assert write_shown(path, *evaluated, photos=2, rule=RULE, classes=CLASSES) == 2
    assert {photo.id for photo in read_shown(path).photos} == {"1.jpg", "5.jpg"}
    assert write_shown(path, samples, rows, None, photos=0, rule=RULE, classes=CLASSES) == 0
    assert read_shown(path).photos == []


def test_heavy_photos_are_fewer(tmp_path: Path, evaluated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown_module, "_BYTES_PER_PHOTO", 3_000)
    path = tmp_path / "evaluation-photos.json"
    assert write_shown(path, *evaluated, photos=6, rule=RULE, classes=CLASSES) == 6, "few photos take little together"
    monkeypatch.setattr(shown_module, "_BYTES_ANYWAY", 0)
    count = write_shown(path, *evaluated, photos=6, rule=RULE, classes=CLASSES)
    assert 0 < count < 6 and path.stat().st_size < 6 * 3_000 + 300
    assert read_shown(path).photos[0].id == "1.jpg", "the most needed ones stay"


def test_a_photo_that_has_gone_is_left_out(tmp_path: Path, evaluated: Any, capfd: pytest.CaptureFixture[str]) -> None:
    evaluated[0][2].path.unlink()
    path = tmp_path / "evaluation-photos.json"
    assert write_shown(path, *evaluated, photos=6, rule=RULE, classes=CLASSES) == 5
    assert "2.jpg" not in {photo.id for photo in read_shown(path).photos}


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: None,
        lambda text: text[:-300],
        lambda text: text.replace('"schema_version": 1', '"schema_version": 2'),
        lambda text: text.replace('"map": "iVBOR', '"map": "xxxxx'),
        lambda text: json.dumps([1]),
    ],
)
def test_damaged_files_say_so(tmp_path: Path, evaluated: Any, damage: Any) -> None:
    path = tmp_path / "evaluation-photos.json"
    write_shown(path, *evaluated, photos=6, rule=RULE, classes=CLASSES)
    text = damage(path.read_text())
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(RunError, match=r"(evaluation-photos\.json|score map of 1\.jpg) .*evaluate again"):
        [photo.levels() for photo in read_shown(path).photos]
