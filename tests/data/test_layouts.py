"""Everything that DATA may be, and what is said when it cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dips.data import align_classes, available_splits, class_counts, load_data, require_trainable
from dips.errors import DataError


def names(dataset: Any) -> dict[str, str | None]:
    return {s.id: None if s.label is None else dataset.classes[s.label] for s in dataset.samples}


def same(one: Any, other: Any) -> bool:
    """Equality that boxes allow, too."""
    return repr(one) == repr(other)


def write_metadata(folder: Path, rows: dict[str, tuple[int, tuple[int, int], list[tuple[int, int, int, int]]]]) -> None:
    folder.mkdir(parents=True)
    (folder / "image_ids.txt").write_text("".join(f"{id}\n" for id in rows), encoding="utf-8")
    (folder / "class_labels.txt").write_text("".join(f"{id},{row[0]}\n" for id, row in rows.items()), encoding="utf-8")
    (folder / "image_sizes.txt").write_text("".join(f"{id},{w},{h}\n" for id, (_, (w, h), _) in rows.items()), encoding="utf-8")
    lines = [f"{id},{','.join(map(str, box))}\n" for id, row in rows.items() for box in row[2]]
    (folder / "localization.txt").write_text("".join(lines), encoding="utf-8")


def write_coco(path: Path, images: dict[str, list[tuple[str, list[float]]]], **changes: Any) -> Path:
    labels = sorted({name for boxes in images.values() for name, _ in boxes}) or ["tower"]
    tree: dict[str, Any] = {
        "images": [{"id": n, "file_name": name, "width": 32, "height": 24} for n, name in enumerate(images)],
        "categories": [{"id": n + 7, "name": name} for n, name in enumerate(labels)],
        "annotations": [
            {"id": 0, "image_id": n, "category_id": labels.index(name) + 7, "bbox": box}
            for n, boxes in enumerate(images.values())
            for name, box in boxes
        ],
    }
    path.write_text(json.dumps(tree | changes), encoding="utf-8")
    return path


# ---- folders


def test_folder_per_class_and_splits(class_folders: Path) -> None:
    train = load_data(class_folders)
    assert train.split == "train" and train.classes == ("none", "tower") and train.background == 0 and train.layout == "folder"
    assert [s.id for s in train.samples] == [*(f"none/{n}.jpg" for n in range(3)), *(f"tower/{n}.jpg" for n in range(4))]
    assert all(s.boxes is None and s.path.is_file() for s in train.samples)
    assert load_data(class_folders / "train") == load_data(class_folders, split="train") == train
    test = load_data(class_folders, split="TEST")
    assert class_counts(test) == {0: 1, 1: 2} and test == load_data(class_folders / "test")
    everything = load_data(class_folders, split="all")
    assert len(everything) == 10 and everything.samples[0].id == "test/none/0.jpg" and everything.background == 0
    assert available_splits(class_folders) == ("train", "test") and available_splits(class_folders / "train") == ("all",)
    with pytest.raises(DataError, match=r"no split 'val'; there are train, test"):
        load_data(class_folders, split="val")
    with pytest.raises(DataError, match="not divided"):
        load_data(class_folders / "train", split="test")


def test_labels_of_test_follow_training(tmp_path: Path, make_photo) -> None:
    for name in ("train/b", "train/d", "validation/d", "validation/a", "validation/c"):
        make_photo(tmp_path / name / "1.jpg")
    val = load_data(tmp_path, split="val")
    assert val.classes == ("b", "d", "a", "c") and available_splits(tmp_path) == ("train", "val")
    assert sorted(p.path.name for p in val.problems) == ["a", "c"]
    assert load_data(tmp_path / "validation").classes == val.classes


def test_a_class_called_train(tmp_path: Path, make_photo) -> None:
    for name in ("train", "car"):
        make_photo(tmp_path / name / "1.jpg")
    assert load_data(tmp_path).classes == ("car", "train")


def test_names_with_spaces_and_unicode(tmp_path: Path, make_photo) -> None:
    for name in ("Ümläut, 名前/a b,c.jpg", "x y/sub folder/é.PNG"):
        make_photo(tmp_path / name)
    assert names(load_data(tmp_path)) == {"Ümläut, 名前/a b,c.jpg": "Ümläut, 名前", "x y/sub folder/é.PNG": "x y"}


def test_flat_folder_has_no_labels(tmp_path: Path, make_photo) -> None:
    make_photo(tmp_path / "b.jpg")
    make_photo(tmp_path / "a.jpg")
    data = load_data(tmp_path)
    assert names(data) == {"a.jpg": None, "b.jpg": None} and data.classes == () and data.split == "all"
    with pytest.raises(DataError, match="none of the 2 photos has a class"):
        require_trainable(data)


def test_empty_and_single_classes(tmp_path: Path, make_photo) -> None:
    make_photo(tmp_path / "tower" / "1.jpg")
    make_photo(tmp_path / "loose.jpg")
    (tmp_path / "none").mkdir()
    data = load_data(tmp_path)
    assert data.classes == ("tower",) and len(data) == 1
    assert {p.path.name for p in data.problems} == {"none", tmp_path.name}
    with pytest.raises(
        DataError, match=r"all photos are of one class, 'tower'.*for example none/(?s:.*)no photos in this folder"
    ):
        require_trainable(data)
    make_photo(tmp_path / "other" / "1.jpg")
    assert require_trainable(load_data(tmp_path)).classes == ("other", "tower")


def test_classes_one_folder_further_down(tmp_path: Path, make_photo) -> None:
    make_photo(tmp_path / "photos" / "a" / "1.jpg")
    make_photo(tmp_path / "photos" / "b" / "1.jpg")
    with pytest.raises(DataError, match=f"give {tmp_path / 'photos'}"):
        require_trainable(load_data(tmp_path))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no photos found"):
        load_data(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        load_data(tmp_path / "gone")
    (tmp_path / "a.pdf").write_text("")
    with pytest.raises(DataError, match="neither a folder nor"):
        load_data(tmp_path / "a.pdf")


@pytest.mark.parametrize("pair", [("Tower", "tower"), ("caf\u00e9", "cafe\u0301")])
def test_duplicate_class_names(tmp_path: Path, make_photo, pair: tuple[str, str]) -> None:
    for name in pair:
        make_photo(tmp_path / name / "1.jpg")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system takes both names for one")
    with pytest.raises(DataError, match="same name but for case"):
        load_data(tmp_path)


def test_background_class(tmp_path: Path, make_photo) -> None:
    for name in ("Background", "empty", "tower"):
        make_photo(tmp_path / name / "1.jpg")
    assert load_data(tmp_path).background == 0
    assert load_data(tmp_path, background_class="").background is None
    assert load_data(tmp_path, background_class="Empty").background == 1
    with pytest.raises(DataError, match=r"no class is called 'nothing'.*Background, empty, tower"):
        load_data(tmp_path, background_class="nothing")
    make_photo(tmp_path / "none" / "1.jpg")
    with pytest.raises(DataError, match="'Background' and 'none' could both"):
        load_data(tmp_path)


def test_align_classes(class_folders: Path, make_photo) -> None:
    make_photo(class_folders / "test" / "crane" / "1.jpg")
    aligned = align_classes(load_data(class_folders / "test"), ("tower", "none", "pole"), background=1)
    assert names(aligned) == {"crane/1.jpg": None, "none/0.jpg": "none", "tower/0.jpg": "tower", "tower/1.jpg": "tower"}
    assert aligned.background == 1 and aligned.classes == ("tower", "none", "pole")
    assert any("crane" in p.message for p in aligned.problems)
    assert len(require_trainable(aligned)) == 3
    with pytest.raises(DataError, match="none of the model's"):
        align_classes(load_data(class_folders), ("cat", "dog"))


# ---- WSOL metadata


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
    assert none.boxes is not None and none.boxes.shape == (0, 4), "known to show nothing"
    assert two.boxes.tolist() == [[80, 60, 200, 180], [0, 0, 5, 5]] and two.boxes.dtype == np.float32
    assert two.frame == (320, 240) and unknown.boxes is None
    assert "4 photos are not listed" in data.problems[0].message
    test = load_data(wsol, split="test")
    assert test.classes == data.classes and same(test, load_data(wsol / "test")) and test.samples[0].label == 0
    assert len(load_data(wsol, split="all")) == 4


def test_wsol_metadata_of_photos_in_one_folder(tmp_path: Path, make_photo) -> None:
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg"):
        make_photo(tmp_path / "dataset" / "birds" / name)
    rows = {"a/1.jpg": (0, (32, 24), [(0, 0, 9, 9)]), "b/1.jpg": (1, (32, 24), []), "b/gone.jpg": (1, (32, 24), [])}
    write_metadata(tmp_path / "dataset" / "metadata" / "birds" / "train", rows)
    write_metadata(tmp_path / "dataset" / "metadata" / "birds" / "val", {"a/2.jpg": (0, (32, 24), [])})
    assert available_splits(tmp_path / "dataset" / "birds") == ("train", "val")
    data = load_data(tmp_path / "dataset" / "birds")
    assert names(data) == {"a/1.jpg": "a", "b/1.jpg": "b"}
    assert "b/gone.jpg" in data.problems[0].message
    assert names(load_data(tmp_path / "dataset" / "birds", split="val")) == {"a/2.jpg": "a"}


def test_wsol_labels_without_class_folders_have_numbers(tmp_path: Path, make_photo) -> None:
    for number in range(3):
        make_photo(tmp_path / "val" / f"{number}.jpg")
    write_metadata(tmp_path / "metadata" / "val", {f"val/{n}.jpg": ([4, 9, 4][n], (32, 24), []) for n in range(3)})
    assert names(load_data(tmp_path, split="val")) == {"0.jpg": "class 4", "1.jpg": "class 9", "2.jpg": "class 4"}


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


# ---- CUB-200-2011


@pytest.fixture
def cub(tmp_path: Path, make_photo) -> Path:
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
    assert names(train) == {"001.A/x_1.jpg": "001.A", "002.B/y_1.jpg": "002.B"}
    assert names(test) == {"001.A/x_2.jpg": "001.A", "002.B/y_2.jpg": "002.B"}
    assert test.samples[0].boxes.tolist() == [[2, 3, 12, 11]], "x y w h becomes corners"
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


# ---- COCO


def test_coco_beside_a_split_of_class_folders(class_folders: Path) -> None:
    listed = {
        "test/tower/0.jpg": [("tower", [1, 2, 3, 4]), ("bird", [0, 0, 9, 9])],
        "test/tower/1.jpg": [],
        "test/tower/7.jpg": [],
    }
    write_coco(class_folders / "test.coco.json", listed)
    data = load_data(class_folders, split="test")
    assert same(data, load_data(class_folders / "test")) and data.layout == "coco" and data.classes == ("none", "tower")
    none, tower, blank = data.samples
    assert tower.boxes.tolist() == [[1, 2, 4, 6]] and tower.frame == (32, 24), "boxes of the folder's category only"
    assert blank.boxes.shape == (0, 4) and none.boxes.shape == (0, 4)
    assert "test/tower/7.jpg" in data.problems[0].message
    assert load_data(class_folders).samples[0].boxes is None, "the training split has no annotations"


def test_coco_boxes_in_the_background_folder_are_reported(class_folders: Path) -> None:
    write_coco(class_folders / "test.coco.json", {"test/none/0.jpg": [("tower", [1, 2, 3, 4])]})
    data = load_data(class_folders, split="test")
    assert len(data.samples[0].boxes) == 1 and data.samples[1].boxes is None
    assert "lies in the folder 'none'" in data.problems[0].message


def test_coco_of_a_flat_folder_gives_the_classes(tmp_path: Path, make_photo) -> None:
    for name in "abcd":
        make_photo(tmp_path / "photos" / f"{name}.jpg")
    listed = {
        "photos/a.jpg": [("tower", [0, 0, 20, 20]), ("bird", [0, 0, 2, 2])],
        "photos/b.jpg": [],
        "photos/c.jpg": [("bird", [1, 1, 1, 1]), ("bird", [1, 1, 0, 4])],
    }
    path = write_coco(tmp_path / "photos.coco.json", listed)
    data = load_data(tmp_path / "photos")
    assert names(data) == {"a.jpg": "tower", "b.jpg": "none", "c.jpg": "bird", "d.jpg": None}
    assert data.classes == ("bird", "none", "tower") and data.background == 1
    assert [None if s.boxes is None else len(s.boxes) for s in data.samples] == [1, 0, 1, None]
    assert {p.path.name for p in data.problems} == {"c.jpg", "photos"}
    make_photo(tmp_path / "train" / "tower" / "1.jpg")
    assert same(load_data(tmp_path, split="photos").samples, data.samples)
    direct = load_data(path)
    assert [s.id for s in direct.samples] == ["photos/a.jpg", "photos/b.jpg", "photos/c.jpg"]


def test_coco_for_splits_of_a_shared_folder(tmp_path: Path, make_photo) -> None:
    for name in "ab":
        make_photo(tmp_path / "images" / f"{name}.jpg")
    write_coco(tmp_path / "train.coco.json", {"a.jpg": [("tower", [0, 0, 4, 4])]})  # the bare name is the only one of its kind
    write_coco(tmp_path / "test.coco.json", {"images\\b.jpg": [("tower", [0, 0, 4, 4])]})
    assert names(load_data(tmp_path)) == {"images/a.jpg": "tower"}
    assert names(load_data(tmp_path, split="test")) == {"images/b.jpg": "tower"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        ("[]", "not COCO"),
        ('{"images": []}', "no entry 'categories'"),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}], "categories": [],'
            ' "annotations": [{"image_id": 2, "bbox": [0, 0, 1, 1]}]}',
            "no entry 2",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], "categories": []}',
            "two images with the id 1",
        ),
        ('{"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "./a.jpg"}], "categories": []}', "twice"),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}], "categories": [{"id": 1, "name": "x"}],'
            ' "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, NaN, 1]}]}',
            "not finite",
        ),
    ],
)
def test_malformed_coco(tmp_path: Path, make_photo, content: str, message: str) -> None:
    make_photo(tmp_path / "a.jpg")
    (tmp_path / "x.coco.json").write_text(content)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path)


# ---- CSV


def test_csv_with_header_boxes_and_splits(tmp_path: Path, make_photo) -> None:
    for name in ("a b.jpg", "sub/c,d.jpg", "e.jpg", "f.jpg"):
        make_photo(tmp_path / name)
    path = tmp_path / "labels.csv"
    path.write_text(
        "\ufefffilename;class;split;xmin;ymin;xmax;ymax\r\n"
        "a b.jpg;tower;train;1;2;3.5;4\r\na b.jpg;tower;train;5;6;7;8\r\n"
        '"sub\\c,d.jpg";none;Training;;;;\r\ne.jpg;tower;valid;;;;\r\n\r\nf.jpg;;valid;;;;\r\ngone.jpg;tower;train;;;;\r\n',
        encoding="utf-8",
    )
    data = load_data(path)
    assert same(data, load_data(tmp_path, split="train")) and data.layout == "csv" and data.split == "train"
    assert names(data) == {"a b.jpg": "tower", "sub/c,d.jpg": "none"} and data.background == 0
    assert data.samples[0].boxes.tolist() == [[1, 2, 3.5, 4], [5, 6, 7, 8]] and data.samples[1].boxes.shape == (0, 4)
    assert "gone.jpg" in data.problems[0].message
    val = load_data(path, split="val")
    assert names(val) == {"e.jpg": "tower", "f.jpg": None} and val.samples[0].boxes is None
    assert available_splits(path) == ("train", "val") and len(load_data(path, split="all")) == 4


def test_csv_without_header(tmp_path: Path, make_photo) -> None:
    make_photo(tmp_path / "p" / "a.jpg")
    make_photo(tmp_path / "p" / "b.jpg")
    (tmp_path / "list.csv").write_text("p/a.jpg,x\n./p/b.jpg,y\n")
    assert names(load_data(tmp_path / "list.csv")) == {"p/a.jpg": "x", "p/b.jpg": "y"}
    (tmp_path / "list.csv").write_text("p/a.jpg,x,0,0,5,5\n")
    assert load_data(tmp_path / "list.csv").samples[0].boxes.tolist() == [[0, 0, 5, 5]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a.jpg\n", "line 1: expected 2 columns"),
        ("a.jpg,x\na.jpg,y\n", "line 2: a.jpg is 'y' here and 'x' before"),
        ("a.jpg,x\na.jpg,x\n", "listed twice"),
        ("path,label,x0\na.jpg,x,1\n", "only some of the columns"),
        ("path,label,x0,y0,x1,y1\na.jpg,x,1,2,3,\n", "line 2: x0, y0, x1, y1 are"),
        ("gone.jpg,x\n", r"no photos found(?s:.*)gone\.jpg"),
    ],
)
def test_malformed_csv(tmp_path: Path, make_photo, content: str, message: str) -> None:
    make_photo(tmp_path / "a.jpg")
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path / "list.csv")


def test_csv_per_split(tmp_path: Path, make_photo) -> None:
    for name in ("images/a.jpg", "images/b.jpg", "test/c.jpg"):
        make_photo(tmp_path / name)
    (tmp_path / "train.csv").write_text("images/a.jpg,x\nimages/b.jpg,y\n")
    (tmp_path / "test.csv").write_text("test/c.jpg,y\n")
    assert names(load_data(tmp_path)) == {"images/a.jpg": "x", "images/b.jpg": "y"}
    assert names(load_data(tmp_path, split="test")) == {"test/c.jpg": "y"}


# ---- descriptions that do not decide


def test_no_training_split(tmp_path: Path, make_photo) -> None:
    make_photo(tmp_path / "val" / "a" / "1.jpg")
    assert load_data(tmp_path).split == "val", "the only one"
    make_photo(tmp_path / "test" / "a" / "1.jpg")
    with pytest.raises(DataError, match="no training split; say which of val, test"):
        load_data(tmp_path)


def test_coco_for_splits_of_shared_class_folders(tmp_path: Path, make_photo) -> None:
    for name in ("tower/1.jpg", "tower/2.jpg", "none/1.jpg", "none/2.jpg"):
        make_photo(tmp_path / name)
    write_coco(tmp_path / "train.coco.json", {"tower/1.jpg": [("tower", [0, 0, 4, 4])], "none/1.jpg": []})
    write_coco(tmp_path / "test.coco.json", {"tower/2.jpg": [("tower", [0, 0, 4, 4])], "none/2.jpg": []})
    assert names(load_data(tmp_path)) == {"tower/1.jpg": "tower", "none/1.jpg": "none"}
    assert names(load_data(tmp_path, split="test")) == {"tower/2.jpg": "tower", "none/2.jpg": "none"}


def test_metadata_of_other_photos_is_not_used(class_folders: Path) -> None:
    write_metadata(class_folders / "metadata" / "train", {"elsewhere/1.jpg": (0, (9, 9), [])})
    data = load_data(class_folders / "train")
    assert data.layout == "folder" and len(data) == 7 and "lists no photo" in data.problems[0].message


# ---- the real photos


def test_birds(real_data: Path) -> None:
    birds = real_data / "birds20"
    train, test = load_data(birds / "train"), load_data(birds, split="test")
    assert (len(train), len(test), train.split, test.split, train.layout) == (600, 296, "train", "test", "wsol")
    assert train.classes == test.classes and len(train.classes) == 20 and train.background is None
    assert all(s.boxes is not None and s.frame is not None and len(s.boxes) for s in (*train.samples, *test.samples))
    assert all(s.id.startswith(train.classes[s.label or 0]) for s in train.samples) and not train.problems
    one = load_data(birds / "train" / "013.Bobolink")
    assert one.classes == train.classes and {s.label for s in one.samples} == {5} and one.split == "train"


def test_insulators(real_data: Path) -> None:
    tiles = real_data / "insulators"
    train, test = load_data(tiles), load_data(tiles, split="test")
    assert (len(train), len(test)) == (1616, 353) and train.classes == test.classes == ("insulator", "none")
    assert train.background == test.background == 1 and not test.problems
    assert sum(len(s.boxes) for s in train.samples if s.boxes is not None) == 1018
    assert all(s.boxes is not None and (len(s.boxes) == 0) == (s.label == 1) for s in test.samples)
    photos = load_data(tiles / "photos")
    assert photos.classes == ("insulator",) and all(len(s.boxes) and s.frame == (1152, 864) for s in photos.samples)
