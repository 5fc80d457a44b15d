"""The baseline without any image against CUB's metadata: the whole path from boxes in photos to percentages."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.evaluate import BoxAccumulator, BoxResult, boxes_at_thresholds, centre_map, to_frame


def centred(folder: Path, sigma: float) -> BoxResult:
    def rows(name: str) -> list[list[str]]:
        return [line.split(",") for line in (folder / name).read_text().splitlines()]

    sizes = {name: (int(width), int(height)) for name, width, height in rows("image_sizes.txt")}
    boxes: dict[str, list[list[float]]] = {}
    for name, *coordinates in rows("localization.txt"):
        boxes.setdefault(name, []).append([float(value) for value in coordinates])
    levels = boxes_at_thresholds(centre_map(sigma=sigma))
    accumulator = BoxAccumulator()
    for name, truth in boxes.items():
        accumulator.add(levels, to_frame(truth, sizes[name]), id=name)
    return accumulator.result()


@pytest.mark.parametrize(
    ("split", "sigma", "photos", "expected", "v2"),
    [
        ("val", 56.0, 1000, (87.70, 45.20, 9.40), 47.43),
        ("val", 80.0, 1000, (87.70, 45.20, 9.40), 47.43),
        ("test", 56.0, 5794, (93.91, 59.60, 17.00), 56.83),
    ],
)
def test_the_centred_gaussian_on_cub(
    real_data: Path, split: str, sigma: float, photos: int, expected: tuple[float, float, float], v2: float
) -> None:
    folder = real_data / "wsol_metadata" / "CUB" / split
    if not folder.is_dir():
        pytest.skip(f"no metadata in {folder}")
    result = centred(folder, sigma)
    assert result.n_boxed == photos
    assert tuple(round(result.max_box_acc_at[delta], 2) for delta in ("30", "50", "70")) == expected
    assert round(result.max_box_acc_v2, 2) == v2
    assert result.max_box_acc == result.max_box_acc_at["50"]  # one box per threshold
