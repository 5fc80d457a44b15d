"""Parts of measured maps: what is read from them is what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dips.benchmark.map_shards import ScoreJob, _Pair, _Pixels, count_part, measured_photos
from dips.benchmark.mapfiles import MapFiles
from dips.errors import RunError
from dips.evaluate import Measured, measure_boxes
from dips.evaluate.accumulate import MapAccumulator
from dips.evaluate.protocol import find_protocol
from dips.shards.frames import frame


def photo(seed: int) -> Measured:
    random = np.random.default_rng(seed)
    score_map = np.kron(random.random((4, 4)), np.ones((8, 8))) if seed % 5 else np.zeros((32, 32))
    boxes: Any = [None, [], [[1, 2, 20, 30]], [[0, 0, 5, 5], [3.5, 9, 31, 31]]][seed % 4]
    said = random.permutation(9)[: seed % 7]
    label = None if seed % 3 == 0 else seed % 9
    return measure_boxes(score_map, boxes, label=label, predicted=said, id=f"ü {seed}\n,\udcff\"'.jpg", thresholds=40)


def alike(one: Measured, other: Measured) -> bool:
    names = ("id", "label", "predicted", "n_true", "thresholds", "peak")
    arrays = ("single", "multiple", "kinds")
    same = all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in arrays)
    return same and all(getattr(one, name) == getattr(other, name) for name in names)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 60), max_size=8), st.integers(1, 50))
def test_what_comes_out_is_what_went_in(seeds: list[int], cut: int) -> None:
    photos = [photo(seed) for seed in seeds]
    data = b"".join(frame(_Pair.of(one, one)) for one in photos)
    pieces = [data[start : start + cut] for start in range(0, len(data), cut)]
    found = list(measured_photos(pieces, source="part"))
    assert len(found) == len(photos) and all(map(alike, found, photos))


def test_all_who_work_must_see_the_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "maps").mkdir()
    np.save(tmp_path / "maps" / "a.npy", np.zeros((2, 2)))
    monkeypatch.chdir(tmp_path)
    job = ScoreJob(MapFiles("maps"), find_protocol("wsol-224"), resize=False, total=1)
    assert job.inputs == (str(tmp_path / "maps"),)


def test_a_part_is_counted_like_its_photos() -> None:
    plain, other = (MapAccumulator(40, replicates=20) for _ in range(2))
    photos = [photo(seed) for seed in range(40)]
    for seed, one in enumerate(photos):
        plain.boxes.count(one)
        plain.pixels.add(np.full((9, 9), seed / 40), [[1, 2, 5, 5]], np.eye(9, dtype=np.uint8) if seed % 2 else None)
    counts = plain.pixels.counts.astype("<i8").tobytes()
    part = [*(frame(_Pair.of(one, one)) for one in photos), frame(_Pixels("numba 1", counts, counts))]
    centre = MapAccumulator(40, replicates=20)
    assert count_part(part, other, centre, source="part") == "numba 1"
    assert other.result().record(None) == plain.result().record(None) == centre.result().record(None)


def test_a_damaged_part_is_refused() -> None:
    data = frame(_Pair.of(photo(2), photo(2)))
    for bad in (data[:-3], data[:2], data[:8] + b"\x00" * (len(data) - 8)):
        with pytest.raises(RunError, match=r"part is damaged \(.*\); remove the folder"):
            list(measured_photos([bad], source="part"))
