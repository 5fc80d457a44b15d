"""Photos with WSOL metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.data import available_splits, check_data, load_data, load_ground_truth
from dips.errors import DataError

from .conftest import MakePhoto, boxes_of, class_names, draw_all, same, write_metadata


@pytest.fixture
def wsol(class_folders: Path) -> Path:
    write_metadata(
        class_folders / "metadata" / "train",
        {
            "train/tower/0.jpg": (0, (320, 240), [(80, 60, 200, 180), (0, 0, 5, 5)]),
            "train/tower/1.jpg": (0, (320, 240), []),
            "train/none/0.jpg": (1, (320, 240), []),
        },
    )
    write_metadata(class_folders / "metadata" / "test", {"test/tower/1.jpg": (0, (64, 48), [(1, 2, 3, 4)])})
    return class_folders


def test_wsol_metadata_inside_and_beside(wsol: Path) -> None:
    data = load_data(wsol)
    assert same(data, load_data(wsol / "train")) and data.layout == "wsol" and data.split == "train"
    assert data.classes == ("tower", "none") and data.background == 1, "labels are the metadata's"
    assert [s.id for s in data.samples] == ["none/0.jpg", "tower/0.jpg", "tower/1.jpg"]
    none, two, unknown = data.samples
    assert boxes_of(none) == [], "known to show nothing"
    assert boxes_of(two) == [[80, 60, 200, 180], [0, 0, 5, 5]]
    assert two.frame == (320, 240) and unknown.boxes is None
    assert "4 photos are not listed" in data.problems[0].message
    test = load_data(wsol, split="test")
    assert test.classes == data.classes and same(test, load_data(wsol / "test")) and test.samples[0].label == 0
    assert len(load_data(wsol, split="all")) == 4


def test_wsol_metadata_of_photos_in_one_folder(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg"):
        make_photo(tmp_path / "dataset" / "birds" / name)
    rows = {"a/1.jpg": (0, (32, 24), [(0, 0, 9, 9)]), "b/1.jpg": (1, (32, 24), []), "b/gone.jpg": (1, (32, 24), [])}
    write_metadata(tmp_path / "dataset" / "metadata" / "birds" / "train", rows)
    write_metadata(tmp_path / "dataset" / "metadata" / "birds" / "val", {"a/2.jpg": (0, (32, 24), [])})
    assert available_splits(tmp_path / "dataset" / "birds") == ("train", "val")
    data = load_data(tmp_path / "dataset" / "birds")
    assert class_names(data) == {"a/1.jpg": "a", "b/1.jpg": "b"}
    assert "b/gone.jpg" in data.problems[0].message
    assert class_names(load_data(tmp_path / "dataset" / "birds", split="val")) == {"a/2.jpg": "a"}


def test_wsol_labels_without_class_folders_have_numbers(tmp_path: Path, make_photo: MakePhoto) -> None:
    for number in range(3):
        make_photo(tmp_path / "val" / f"{number}.jpg")
    write_metadata(tmp_path / "metadata" / "val", {f"val/{n}.jpg": ([4, 9, 4][n], (32, 24), []) for n in range(3)})
    assert class_names(load_data(tmp_path, split="val")) == {"0.jpg": "class 4", "1.jpg": "class 9", "2.jpg": "class 4"}


def test_wsol_splits_must_agree(wsol: Path) -> None:
    (wsol / "metadata" / "test" / "class_labels.txt").write_text("test/tower/1.jpg,1\n")
    with pytest.raises(DataError, match=r"disagree: label 1 is"):
        load_data(wsol)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("image_ids.txt", "train/tower/0.jpg\ntrain/tower/0.jpg\n", r"lists train/tower/0\.jpg twice"),
        ("image_ids.txt", "train/tower/0.jpg\ntrain/tower/9.jpg\n", r"no label for train/tower/9\.jpg"),
        ("class_labels.txt", "train/tower/0.jpg\n", r"class_labels\.txt, line 1: expected 1 numbers"),
        ("class_labels.txt", "train/tower/0.jpg,0\ntrain/tower/0.jpg,1\n", "two labels"),
        ("image_sizes.txt", "train/tower/0.jpg,0,3\n", "size 0 x 3"),
        ("localization.txt", "\ntrain/tower/0.jpg,1,2,3,nan\n", r"localization\.txt, line 2"),
    ],
)
def test_malformed_metadata_names_the_line(wsol: Path, file: str, content: str, message: str) -> None:
    (wsol / "metadata" / "train" / file).write_text(content)
    with pytest.raises(DataError, match=message):
        load_data(wsol)


@pytest.mark.parametrize("place", [".", "masks", "val/masks"])
def test_masks_beside_the_photos_and_elsewhere(open_images: Path, place: str) -> None:
    draw_all(open_images / place)
    data = load_data(open_images, split="val")
    first, second = data.samples
    assert data.layout == "wsol" and data.classes == ("0138tl", "0hwky") and not data.problems
    assert [file.name for file in first.masks] == ["d6fc_m1.png", "d6fc_m2.png"] and first.boxes is None
    assert first.ignore is not None and first.ignore.name == "d6fc_ignore.png" and first.ignore.is_file()
    assert len(second.masks) == 1 and second.ignore is None and first.frame is None


@pytest.mark.parametrize("masks", ["dataset/OpenImages", "OpenImages"])
def test_masks_where_the_benchmark_puts_them(open_images: Path, masks: str) -> None:
    (open_images / "metadata" / "OpenImages").mkdir()
    (open_images / "metadata" / "val").rename(open_images / "metadata" / "OpenImages" / "val")
    (open_images / "dataset" / "OpenImages").mkdir(parents=True)
    (open_images / "val").rename(open_images / "dataset" / "OpenImages" / "val")
    draw_all(open_images / masks)
    photos, truth = load_data(open_images / "dataset" / "OpenImages", split="val"), load_ground_truth(open_images, split="val")
    for sample in (photos.samples[0], truth[0]):
        assert sample.masks[1] == open_images / masks / "val/0138tl/d6fc_m2.png"
    assert not photos.problems and not truth.problems


def test_some_masks_are_missing(open_images: Path) -> None:
    draw_all(open_images)
    (open_images / "val/0138tl/d6fc_m2.png").unlink()
    data = load_data(open_images, split="val")
    first, second = data.samples
    assert first.masks == () and first.ignore is None and len(second.masks) == 1, "half a mask would be a wrong one"
    (problem,) = data.problems
    assert problem.path.name == "localization.txt" and "1 photo lacks" in problem.message and "d6fc_m2.png" in problem.message
    report = check_data(open_images)
    assert report.splits[0].masked == 1 and "ground-truth masks: 1 photo" in report.render()


def test_all_masks_are_missing(open_images: Path) -> None:
    with pytest.raises(DataError, match=r"localization\.txt: .*d6fc_m1\.png and the other masks are missing.*put the masks"):
        load_data(open_images, split="val")
    draw_all(open_images)
    (open_images / "val/0138tl/d6fc_ignore.png").unlink()
    (open_images / "val/0hwky/77aa_m1.png").unlink()
    with pytest.raises(DataError, match=r"d6fc_ignore\.png and the other masks"):
        load_data(open_images, split="val")


def test_birds(real_data: Path) -> None:
    birds = real_data / "birds20"
    train, test = load_data(birds / "train"), load_data(birds, split="test")
    assert (len(train), len(test), train.split, test.split, train.layout) == (600, 296, "train", "test", "wsol")
    assert train.classes == test.classes and len(train.classes) == 20 and train.background is None
    assert all(s.boxes is not None and s.frame is not None and len(s.boxes) for s in (*train.samples, *test.samples))
    assert all(s.id.startswith(train.classes[s.label or 0]) for s in train.samples) and not train.problems
    one = load_data(birds / "train" / "013.Bobolink")
    assert one.classes == train.classes and {s.label for s in one.samples} == {5} and one.split == "train"


def test_ids_with_accents_in_another_encoding(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "val" / "ra\u0302le" / "mu\u0308hle.jpg")
    make_photo(tmp_path / "val" / "ra\u0302le" / "A0.jpg")
    if (tmp_path / "val" / "r\u00e2le").exists():
        pytest.skip("this file system takes both names for one")
    ids = ("val/r\u00e2le/m\u00fchle.jpg", "val/ra\u0302le/a0.jpg")
    write_metadata(tmp_path / "metadata" / "val", {id: (0, (32, 24), [(1, 2, 9, 8)]) for id in ids})
    data = load_data(tmp_path, split="val")
    assert [s.id for s in data.samples] == ["ra\u0302le/mu\u0308hle.jpg"] and data.samples[0].path.is_file()
    assert boxes_of(data.samples[0]) == [[1, 2, 9, 8]]
    missing, forgotten = (p.message for p in data.problems)
    assert "a0.jpg (there is A0.jpg)" in missing and "1 photo is not listed" in forgotten
    assert len(load_ground_truth(tmp_path, split="val")) == 2, "all that are listed, with or without photo"
