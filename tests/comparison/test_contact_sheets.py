"""The sheets: which photos, which boxes, and where everything is drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from dips.baselines.study import FrozenFeatures
from dips.comparison.contact_sheets import (
    _largest_box,
    shown_photos,
    write_attention,
    write_sheets,
)
from dips.comparison.folder import MethodFolder
from dips.comparison.records import Comparison
from dips.config import Config
from dips.evaluate.boxes import FRAME, boxes_at_thresholds
from dips.evaluate.protocol import FRAMED
from dips.types import Sample

from ..conftest import random_transformer


@pytest.fixture
def samples(tmp_path: Path, make_photo: Callable[..., Path]) -> list[Sample]:
    box = np.array([[4, 4, 20, 20]], np.float32)
    made = [make_photo(tmp_path / f"{i}.png", seed=i, box=(4, 4, 20, 20)) for i in range(6)]
    return [Sample(path, path.name, 0, box if i != 1 else None) for i, path in enumerate(made)]


def test_photos_are_taken_evenly(samples: list[Sample]) -> None:
    assert [sample.id for sample in shown_photos(samples, 3)] == ["0.png", "3.png", "5.png"]
    assert len(shown_photos(samples, 99)) == 5, "one has no box"
    samples[3].path.write_bytes(b"no photo")
    assert [sample.id for sample in shown_photos(samples, 3)] == ["0.png", "5.png"]


def test_the_box_is_the_one_that_is_judged() -> None:
    score_map = np.zeros((FRAME, FRAME), np.float32)
    score_map[20:90, 10:60] = 1.0
    score_map[150:160, 150:160] = 1.0
    photo = np.zeros((FRAME // 2, 2 * FRAME, 3), np.uint8)
    expected = boxes_at_thresholds(score_map).at(0.5, multi_contour=False) * [2, 0.5, 2, 0.5]
    np.testing.assert_allclose(_largest_box(score_map, photo, 0.5), expected)
    assert len(_largest_box(np.zeros((FRAME, FRAME), np.float32), photo, 0.5)) == 0


def test_a_smaller_map_is_judged_in_the_frame() -> None:
    score_map = np.random.default_rng(0).random((14, 14), dtype=np.float32)
    photo = np.zeros((FRAME, FRAME, 3), np.uint8)
    for tau in (0.3, 0.6, 0.9):
        expected = boxes_at_thresholds(FRAMED.resized(score_map, None)).at(tau, multi_contour=False)
        np.testing.assert_allclose(_largest_box(score_map, photo, tau), expected)


def test_sheets_of_before_are_removed_and_missing_maps_are_told(
    tmp_path: Path,
    samples: list[Sample],
    comparison: dict[str, Any],
    result: dict[str, Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    shown = shown_photos(samples, 2)
    seed = tmp_path / "seed-0"
    MethodFolder(seed / "a").save_result("test", result, {sample.id: np.eye(8, dtype=np.float32) for sample in shown})
    MethodFolder(seed / "b").save_result("test", result, {"other.png": np.eye(8, dtype=np.float32)})
    run = {"seed": 0, "at_tau": None, "boxes": {"best_tau": {"v1": 0.5}}}
    words = {"paper": "", "labels": "none", "own": False}
    methods = [{**words, "name": name, "title": name.upper(), "runs": [run]} for name in ("a", "b")]
    record = msgspec.convert({**comparison, "methods": methods}, Comparison)
    (tmp_path / "sheet-7.jpg").write_bytes(b"old")
    (tmp_path / "sheet-night-1.jpg").write_bytes(b"of another split")
    assert write_sheets(tmp_path, record, shown, seed, "test") == [tmp_path / "sheet-1.jpg"]
    assert sorted(path.name for path in tmp_path.glob("sheet-*")) == ["sheet-1.jpg", "sheet-night-1.jpg"]
    assert "leaves out B" in capfd.readouterr().err
    with Image.open(tmp_path / "sheet-1.jpg") as sheet:
        assert sheet.size[0] > 200


def test_no_sheet_of_before_stays_where_there_is_nothing_to_show(tmp_path: Path, comparison: dict[str, Any]) -> None:
    (tmp_path / "sheet-7.jpg").write_bytes(b"old")
    record = msgspec.convert({**comparison, "methods": []}, Comparison)
    assert write_sheets(tmp_path, record, [], tmp_path / "seed-0", "test") == [] and not list(tmp_path.glob("sheet-*"))


def test_attention_is_drawn_for_the_first_photos(
    tmp_path: Path, samples: list[Sample], comparison: dict[str, Any], tiny_config: Config
) -> None:
    network = random_transformer("test_vit", depth=2)
    study: Any = SimpleNamespace(config=tiny_config, device=torch.device("cpu"), transformer=FrozenFeatures(network))
    (tmp_path / "attention-9.jpg").write_bytes(b"old")
    with torch.no_grad():
        written = write_attention(tmp_path, msgspec.convert(comparison, Comparison), study, shown_photos(samples, 5))
    assert written == sorted(tmp_path.glob("attention-*")) == [tmp_path / f"attention-{i}.jpg" for i in (1, 2)]
    for path in written:
        with Image.open(path) as picture:
            assert picture.format == "JPEG" and np.asarray(picture).std() > 5
