"""Boxes that do not fit their photos, one by one and all together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from dips.data.box_problems import Size, box_problems, photo_sizes
from dips.types import Sample

MakePhoto = Callable[..., Path]


def found(photos: Sequence[tuple[Sequence[Sequence[float]], Size | None, Size | None]]) -> list[str]:
    """The messages about photos of given boxes, frame and size."""
    samples = [
        (Sample(Path(f"{n}.jpg"), f"{n}.jpg", 0, np.array(boxes, np.float32).reshape(-1, 4), frame), size)
        for n, (boxes, frame, size) in enumerate(photos)
    ]
    return [f"{problem.path}: {problem.message}" for problem in box_problems(Path("data"), samples)]


@pytest.mark.parametrize(
    "photo",
    [
        ([[0, 0, 64, 48]], (64, 48), (64, 48)),
        ([[0, 0, 64, 48]], None, (64, 48)),
        ([[0, 0, 64, 48]], (64, 48), None),
        ([[0, 0, 640, 480]], (640, 480), (64, 48)),  # a smaller copy
        ([[0, 0, 500, 333]], (500, 333), (224, 149)),
        ([[-1, -0.5, 64.5, 49]], (64, 48), (64, 48)),
        ([], (64, 48), (48, 64)),  # nothing is measured by it
        ([[0, 0, 640, 480]], None, None),
    ],
)
def test_boxes_that_fit(photo: tuple[list[list[float]], Size | None, Size | None]) -> None:
    assert found([photo]) == []


@pytest.mark.parametrize(
    ("photo", "words"),
    [
        (([[0, 0, 30, 30]], (48, 64), (64, 48)), "0.jpg: is 64 x 48, but its boxes were drawn on 48 x 64: width and height"),
        (([[0, 0, 30, 30]], (480, 640), (64, 48)), "width and height are exchanged"),  # a smaller copy was turned
        (([[0, 0, 30, 30]], (64, 64), (64, 48)), "it was turned or cropped since"),
        (
            ([[0, 0, 90, 30], [5, 5, 9, 9]], (64, 48), (64, 48)),
            "1 of its 2 boxes reaches beyond the photo (64 x 48); it",
        ),
        (([[-30, 5, 30, 30], [5, 50, 9, 59]], None, (64, 48)), "2 of its 2 boxes reach beyond the photo (64 x 48); they are"),
        (
            ([[5, -9, 30, 300]], (64, 48), None),
            "its only box reaches beyond the photo (64 x 48); it is used as it",
        ),
        (
            ([[0.1, 0.1, 0.4, 0.5], [5, 5, 9, 9]], (64, 48), None),
            "1 of its 2 boxes is smaller than a pixel, probably given",
        ),
        (([[5, 5, 9, 5.5], [5, 5, 5.5, 9]], None, (64, 48)), "2 of its 2 boxes are smaller than a pixel"),
    ],
)
def test_a_photo_whose_boxes_do_not_fit(photo: tuple[list[list[float]], Size | None, Size | None], words: str) -> None:
    (message,) = found([photo])
    assert words in message and message.count(";") == 2, "what is wrong; what was done; what to do"


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([[0.1, 0.1, 0.5, 0.6]] * 6, "all 6 boxes of this data: smaller than 2 pixels"),
        ([[0.5, 0.5, 1.4, 1.3], [0.2, 0.9, 0.7, 1.8]], "smaller than 2 pixels"),  # centre and size, as YOLO has them
        ([[0.1, 0.2, 0.9, 0.8]], "the only box of this data: smaller than 2 pixels"),
        ([[10, 20, 60, 90]] * 5, "end below 100, though the photos are larger"),
        ([[10, 20, 60, 90]] * 4, ""),  # by chance
        ([[200, 100, 500, 300], [40, 30, 240, 180]], "none would if the numbers were x0 y0 x1 y1"),
        ([[100, 250, 200, 310], [10, 300, 90, 320]], "none would if x and y were exchanged"),
        ([[200, 100, 500, 300], [5, 5, 500, 500]], "box reaches beyond"),  # no other order would help
    ],
)
@pytest.mark.parametrize("frame_known", [True, False])
def test_boxes_of_another_kind(boxes: list[list[float]], words: str, frame_known: bool) -> None:
    size = (320, 240)
    messages = found([([box], size if frame_known else None, size) for box in boxes])
    assert words in messages[0] if words else messages == []
    if "all" in words or "only" in words or "none would" in words:
        assert messages[0].startswith("data: ")


def test_sizes_that_are_exchanged_are_told_as_that_alone() -> None:
    messages = found([([[10, 200, 200, 300]], (320, 240), (240, 320))] * 4)
    assert len(messages) == 4 and all("width and height are exchanged" in message for message in messages)


def test_sizes_are_those_of_the_upright_photo(tmp_path: Path, make_photo: MakePhoto) -> None:
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    paths = [make_photo(tmp_path / "a.jpg", (40, 30)), make_photo(tmp_path / "b.jpg", (40, 30), exif=turned)]
    (tmp_path / "c.jpg").write_text("no photo")
    box = np.array([[0, 0, 9, 9]], np.float32)
    samples = [Sample(path, path.name, 0, box) for path in (*paths, tmp_path / "c.jpg", tmp_path / "gone.jpg")]
    unboxed = [Sample(paths[0], "d", 0), Sample(paths[0], "e", 0, box[:0])]
    sizes = list(photo_sizes([*samples, *unboxed]))
    assert [sample.id for sample, _ in sizes] == ["a.jpg", "b.jpg", "c.jpg", "gone.jpg"]
    assert [size for _, size in sizes] == [(40, 30), (30, 40), None, None]
