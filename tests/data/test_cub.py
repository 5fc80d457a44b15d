"""The archive of CUB-200-2011."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.data import available_splits, load_data
from dips.errors import DataError

from .conftest import MakePhoto, boxes_of, class_names


@pytest.fixture
def cub(tmp_path: Path, make_photo: MakePhoto) -> Path:
    top = tmp_path / "CUB_200_2011"
    ids = ["001.A/x_1.jpg", "001.A/x_2.jpg", "002.B/y_1.jpg", "002.B/y_2.jpg"]
    for id in ids:
        make_photo(top / "images" / id)
    numbered = list(enumerate(ids, 1))
    (top / "images.txt").write_text("".join(f"{n} {id}\n" for n, id in numbered))
    (top / "classes.txt").write_text("1 001.A\n2 002.B\n")
    (top / "image_class_labels.txt").write_text("".join(f"{n} {(n + 1) // 2}\n" for n, _ in numbered))
    (top / "train_test_split.txt").write_text("1 1\n2 0\n3 1\n4 0\n")
    (top / "bounding_boxes.txt").write_text("".join(f"{n} 2.0 3.0 10.0 8.0\n" for n, _ in numbered))
    return top


def test_cub_archive(cub: Path) -> None:
    train, test = load_data(cub), load_data(cub.parent, split="test")
    assert train.layout == "cub" and train.classes == ("001.A", "002.B") and available_splits(cub) == ("train", "test")
    assert class_names(train) == {"001.A/x_1.jpg": "001.A", "002.B/y_1.jpg": "002.B"}
    assert class_names(test) == {"001.A/x_2.jpg": "001.A", "002.B/y_2.jpg": "002.B"}
    assert boxes_of(test.samples[0]) == [[2, 3, 12, 11]], "x y w h becomes corners"
    assert len(load_data(cub, split="all")) == 4
    with pytest.raises(DataError, match="no split 'val'"):
        load_data(cub, split="val")


def test_damaged_cub_archive(cub: Path) -> None:
    (cub / "images" / "001.A" / "x_1.jpg").unlink()
    assert "x_1.jpg" in load_data(cub).problems[0].message
    (cub / "bounding_boxes.txt").write_text("1 2.0 3.0 10.0\n3 1 1 1 1\n")
    (cub / "images.txt").write_text("1 001.A/x_2.jpg\n3 002.B/y_1.jpg\n")
    with pytest.raises(DataError, match=r"bounding_boxes\.txt, photo 1: expected 4 numbers"):
        load_data(cub)
    (cub / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"classes\.txt cannot be read"):
        load_data(cub)
