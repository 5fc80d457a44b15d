"""The sample folder: balanced classes, COCO files that agree with the masks, never half written, never overwritten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from dips.demo import scenes
from dips.demo.scenes import write_sample
from dips.errors import DataError, RunError
from dips.scoremaps.rle import run_lengths

SIZE = (96, 72)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "sample"
    write_sample(folder, train=5, test=4, size=SIZE, seed=1)
    return folder


def read(path: Path, mode: int = cv2.IMREAD_COLOR) -> np.ndarray:
    pixels = cv2.imread(str(path), mode)
    assert pixels is not None
    return np.asarray(pixels)


def decode(segmentation: dict[str, Any]) -> np.ndarray:
    height, width = segmentation["size"]
    counts = segmentation["counts"]
    flat = np.repeat(np.arange(len(counts)) % 2, counts).astype(bool)
    return flat.reshape(height, width, order="F")


def test_the_classes_are_balanced(sample: Path) -> None:
    counts = {p: len(list((sample / p).glob("*.jpg"))) for p in ("train/tower", "train/none", "test/tower", "test/none")}
    assert counts == {"train/tower": 3, "train/none": 2, "test/tower": 2, "test/none": 2}


@pytest.mark.parametrize("split", ["train", "test"])
def test_coco_agrees_with_the_files_and_masks(sample: Path, split: str) -> None:
    coco = json.loads((sample / f"{split}.coco.json").read_text(encoding="utf-8"))
    assert [c["name"] for c in coco["categories"]] == ["tower"]
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    on_disk = {p.relative_to(sample).as_posix() for p in (sample / split).rglob("*.jpg")}
    assert set(names.values()) == on_disk and len(names) == len(on_disk)
    for image in coco["images"]:
        assert (image["width"], image["height"]) == SIZE
        assert read(sample / image["file_name"]).shape == (SIZE[1], SIZE[0], 3)
    annotated = {names[a["image_id"]] for a in coco["annotations"]}
    assert annotated == {name for name in on_disk if "/tower/" in name}
    for a in coco["annotations"]:
        mask = read(sample / "masks" / split / f"{Path(names[a['image_id']]).stem}.png", cv2.IMREAD_GRAYSCALE)
        assert set(np.unique(mask)) <= {0, 255}
        assert np.array_equal(decode(a["segmentation"]), mask > 0)
        assert a["area"] == (mask > 0).sum()
        assert a["bbox"] == list(cv2.boundingRect(mask))


def test_training_and_test_scenes_differ(sample: Path) -> None:
    first, second = (read(sample / split / "tower" / "0000.jpg") for split in ("train", "test"))
    assert np.abs(first.astype(int) - second).mean() > 5


def test_the_readme_says_that_the_scenes_are_generated(sample: Path) -> None:
    assert "GENERATED" in (sample / "README.txt").read_text(encoding="utf-8")


def test_the_record_keeps_its_bytes(sample: Path) -> None:
    assert (sample / "sample.json").read_bytes() == b'{"version":2,"train":5,"test":4,"size":[96,72],"seed":1}\n'


def test_the_same_seed_writes_the_same_files(sample: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "again", train=5, test=4, size=SIZE, seed=1)
    files = sorted(p.relative_to(sample) for p in sample.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    for name in files:
        assert (sample / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_an_existing_sample_is_reused(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "render_scene", lambda *_, **__: pytest.fail("drawn again"))
    write_sample(sample, train=5, test=4, size=SIZE, seed=1)


def test_another_sample_is_not_overwritten(sample: Path) -> None:
    with pytest.raises(RunError, match="holds a sample made with seed 1, now 2; choose another folder"):
        write_sample(sample, train=5, test=4, size=SIZE, seed=2)


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(RunError, match="no sample of dips demo; nothing was changed"):
        write_sample(tmp_path, train=2, test=2, size=SIZE)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_missing_photo_is_noticed(tmp_path: Path) -> None:
    write_sample(tmp_path / "s", train=2, test=2, size=(64, 64))
    (tmp_path / "s" / "train" / "none" / "0000.jpg").unlink()
    with pytest.raises(DataError, match="incomplete"):
        write_sample(tmp_path / "s", train=2, test=2, size=(64, 64))


def test_a_picture_that_cannot_be_encoded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, np.zeros(0, np.uint8)))
    with pytest.raises(RunError, match=r"0000\.jpg cannot be written as \.jpg"):
        write_sample(tmp_path / "s", train=2, test=2, size=(64, 64))
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scenes, "_write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path / "s", train=2, test=2, size=(64, 64))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"train": 1}, {"test": 0}, {"size": (32, 200)}, {"size": (200, 9000)}, {"seed": -1}])
def test_arguments_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="at least 2 photos"):
        write_sample(tmp_path / "s", **wrong)


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)))
def test_run_lengths_can_be_undone(mask: np.ndarray) -> None:
    counts = run_lengths(mask)
    assert sum(counts) == mask.size
    assert all(c > 0 for c in counts[1:])
    assert np.array_equal(decode({"size": mask.shape, "counts": counts}), mask)
