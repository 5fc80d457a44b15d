"""What a COCO json may leave out, and what is said about what cannot be used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dips.data.coco_json import CocoData, parse_coco
from dips.errors import DataError
from dips.scoremaps.rle import encode, run_lengths

BOX: dict[str, Any] = {"id": 5, "image_id": 1, "category_id": 3, "bbox": [1, 2, 10, 8]}


def parse(folder: Path, *annotations: object, **changes: Any) -> CocoData:
    """Two images, of which only the first has annotations."""
    tree: dict[str, Any] = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 32, "height": 24} for n in (1, 2)],
        "categories": [{"id": 3, "name": "tower"}],
        "annotations": list(annotations),
    }
    path = folder / "x.coco.json"
    path.write_text(json.dumps({key: value for key, value in (tree | changes).items() if value is not ...}))
    return parse_coco(path)


def boxes(data: CocoData) -> list[list[float]] | None:
    found = data.images[0].objects.boxes_of(["tower"])
    return None if found is None else found.tolist()


def mask() -> np.ndarray:
    drawn = np.zeros((24, 32), bool)
    drawn[3:9, 4:20] = True
    drawn[5, 7] = False
    return drawn


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ({"segmentation": [[4, 3, 20, 3, 20, 9, 4, 9]]}, [4, 3, 20, 9]),
        ({"bbox": [], "segmentation": [[4, 3, 8, 3, 8, 9], [10, 1, 20, 2, 12, 5]]}, [4, 1, 20, 9]),
        ({"bbox": None, "segmentation": [[[4, 3], [20, 3], [12, 9]]]}, [4, 3, 20, 9]),
        ({"bbox": [4, 3, 0, 0], "segmentation": [4, 3, 20, 3, 20, 9]}, [4, 3, 20, 9]),
        ({"bbox": [1, "?", 3], "segmentation": {"size": [24, 32], "counts": run_lengths(mask()).tolist()}}, [4, 3, 20, 9]),
        ({"segmentation": {"size": [24, 32], "counts": encode(mask())}}, [4, 3, 20, 9]),
        ({"segmentation": {"counts": encode(mask())}}, [4, 3, 20, 9]),
        ({"bbox": ["4", "3", "16.0", 6]}, [4, 3, 20, 9]),
    ],
)
def test_a_box_is_made_of_what_is_there(tmp_path: Path, shape: Mapping[str, Any], box: list[float]) -> None:
    data = parse(tmp_path, {"id": 5, "image_id": 1, "category_id": 3, **shape})
    assert boxes(data) == [box] and not data.problems


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": ...}, "it has neither a bbox nor a segmentation"),
        ({"bbox": []}, "it has neither a bbox nor a segmentation"),
        ({"bbox": None, "segmentation": []}, "it has neither a bbox nor a segmentation"),
        ({"bbox": {"x": 1, "y": 2}}, "its bbox is not four numbers, and its segmentation gives none"),
        ({"bbox": [0, 0, float("nan"), 1]}, "its bbox is not four numbers, and its segmentation gives none"),
        ({"bbox": [0, 0, 10**400, 1]}, "its bbox is not four numbers, and its segmentation gives none"),
        ({"bbox": [5, 5, 0, 4]}, "its bbox 5, 5, 0, 4 (x, y, width, height) has no area"),
        ({"bbox": ..., "segmentation": [[1, 2, 3]]}, "its segmentation gives none"),
        ({"bbox": ..., "segmentation": {"size": [24, 32], "counts": "04"}}, "its segmentation gives none"),
        ({"bbox": ..., "segmentation": {"size": [24, 32], "counts": [3, -5, 770]}}, "its segmentation gives none"),
        ({"category_id": 7}, "no category has the id 7"),
        ({"category_id": ...}, "no category has the id None"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    odd = {key: value for key, value in (BOX | {"id": 6} | change).items() if value is not ...}
    alone = parse(tmp_path, odd)
    assert boxes(alone) is None, "unknown, not known to show nothing"
    assert len(alone.problems) == 1 and "annotation with id 6 of 1.jpg: " in alone.problems[0].message
    assert message in alone.problems[0].message
    rest = "class and boxes of the photo are unknown" if "category" in message else "is still used, but not to measure boxes"
    assert (
        f"; it is left out, and {'' if 'category' in message else 'the photo '}{rest}; correct it" in alone.problems[0].message
    )
    beside = parse(tmp_path, odd, BOX)
    assert boxes(beside) == [[1, 2, 11, 10]] and "it is left out; correct it" in beside.problems[0].message
    assert alone.images[1].objects.class_names() == []


@pytest.mark.parametrize("crowd", [1, True, "1", 1.0])
def test_crowds_are_counted_and_leave_boxes_unknown(tmp_path: Path, crowd: object) -> None:
    counts = {"size": [24, 32], "counts": run_lengths(mask()).tolist()}
    data = parse(tmp_path, BOX | {"iscrowd": crowd, "segmentation": counts}, BOX | {"iscrowd": crowd})
    assert boxes(data) is None and data.images[0].objects.class_names() == ["tower"]
    assert (
        "2 annotations are crowds" in data.problems[0].message
        and "1 photo has no other (1.jpg) and is still used, but" in data.problems[0].message
    )
    both = parse(tmp_path, BOX | {"iscrowd": crowd}, BOX | {"iscrowd": "0"})
    assert boxes(both) == [[1, 2, 11, 10]] and "1 annotation is a crowd" in both.problems[0].message
    assert "still used" not in both.problems[0].message
    (nameless,) = parse(tmp_path, BOX | {"iscrowd": crowd, "category_id": 8}).problems
    assert "no category has the id 8; it is left out, and class and boxes of the photo are unknown" in nameless.message


@pytest.mark.parametrize(("image", "category"), [("1", 3), (1, "3"), (1.0, 3.0), ("001", " 3 ")])
def test_ids_in_another_type_match(tmp_path: Path, image: object, category: object) -> None:
    data = parse(tmp_path, BOX | {"image_id": image, "category_id": category})
    assert boxes(data) == [[1, 2, 11, 10]] and not data.problems


def test_annotations_of_other_images(tmp_path: Path) -> None:
    data = parse(tmp_path, BOX, BOX | {"id": 8, "image_id": 99}, BOX | {"id": 9, "image_id": None}, "text")
    message = data.problems[0].message
    assert boxes(data) == [[1, 2, 11, 10]] and len(data.problems) == 1
    assert "3 annotations have an image_id that the file's images do not have" in message
    assert "id 8 (image_id 99), id 9 (image_id None), number 4; export again with all images, or delete them" in message
    (one,) = parse(tmp_path, BOX, BOX | {"id": 8, "image_id": 99}).problems
    assert one.message.startswith("1 annotation has an image_id ") and one.message.endswith("or delete it")


def test_missing_keys(tmp_path: Path) -> None:
    data = parse(tmp_path, annotations=...)
    assert not data.annotated and "has no annotations" in data.problems[0].message
    assert not parse(tmp_path, annotations=None).annotated and parse(tmp_path, annotations=[]).annotated
    data = parse(tmp_path, BOX, categories=...)
    assert data.categories == ["class 3"] and "called by their numbers: 3" in data.problems[0].message
    data = parse(tmp_path, BOX, categories=[{"id": 3}, {"name": "x"}, "y"])
    assert [p.message.split(" lacks")[0] for p in data.problems[:3]] == [f"category number {n}" for n in (1, 2, 3)]
    assert boxes(data) is None


def test_odd_images(tmp_path: Path) -> None:
    images: list[Any] = [
        {"id": 1, "file_name": "1.jpg", "width": "32", "height": 24.0},
        {"id": 1, "file_name": "1.jpg"},
        {"id": 2},
        "3.jpg",
        {"file_name": "4.jpg"},
        {"id": 5, "file_name": "5.jpg", "width": "wide", "height": 24},
        {"id": 6, "file_name": "6.jpg", "width": 0, "height": 0},
    ]
    data = parse(tmp_path, BOX, images=images)
    assert [(image.name, image.frame) for image in data.images] == [
        ("1.jpg", (32, 24)),
        ("4.jpg", None),
        ("5.jpg", None),
        ("6.jpg", None),
    ]
    assert data.images[1].objects.boxes_of() is None, "which annotations it has is unknown"
    assert [p.message.split(" has no ")[0] for p in data.problems] == [
        "image number 3 (id 2)",
        "image number 4",
        "image 4.jpg",
        "image 5.jpg",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.9}], "is a list of results"),
        ([{"image_id": 1, "segmentation": {}}], "is a list of results"),
        ([1, 2], "not one JSON object"),
        ("text", "not one JSON object"),
        ({"images": {"1": {}}}, "no list of images"),
        ({"items": [], "categories": {}}, "Datumaro's own format"),
        ({"images": [1], "annotations": {}}, "annotations is no list"),
        ({"images": [1], "categories": "tower"}, "categories is no list"),
    ],
)
def test_other_files(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"x\.json.*{message}"):
        parse_coco(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("segmentation", "parts"),
    [
        ([[1, 2, 11, 2, 6, 10]], 1),
        ([[1, 2, 5, 2, 5, 10], [6, 2, 11, 2, 11, 10]], 2),
        ([[[1, 2], [11, 2], [6, 10]]], 1),
        ({"size": [24, 32], "counts": encode(mask())}, 0),
        ({"counts": run_lengths(mask()).tolist()}, 0),
    ],
)
def test_outlines_are_read_where_they_are_asked_for(tmp_path: Path, segmentation: object, parts: int) -> None:
    plain = {**BOX, "id": 6}
    data = parse(tmp_path, BOX | {"segmentation": segmentation}, plain)
    assert data.images[0].objects.outlines_of() == ()
    objects = parse_coco(tmp_path / "x.coco.json", outlines=True).images[0].objects
    outline, none = objects.outlines_of()
    assert none is None, "the second object is a box"
    assert (
        outline is not None
        and outline.size == (32, 24)
        and len(outline.polygons) == parts
        and bool(outline.runs) == (not parts)
    )


def test_the_mask_of_an_accepted_box_is_the_models_own(tmp_path: Path) -> None:
    triangle = {"segmentation": [[1, 2, 11, 2, 1, 10]]}
    for review, count in (({}, 1), ({"review": "accepted"}, 0), ({"review": "adjusted"}, 0)):
        parse(tmp_path, BOX | triangle | review)
        assert len(parse_coco(tmp_path / "x.coco.json", outlines=True).images[0].objects.outlines_of()) == count


@pytest.mark.parametrize(
    "segmentation",
    [
        [],
        None,
        [[1, 2, 11, 2, 11, 10, 1, 10]],
        [[1, 2, 1, 10, 11, 10, 11, 2, 1, 2]],
        [[1, 2, 11, 2]],
        {"size": [24, 32], "counts": [768]},
    ],
)
def test_a_segmentation_that_says_no_more_than_the_box(tmp_path: Path, segmentation: object) -> None:
    parse(tmp_path, BOX | {"segmentation": segmentation})
    data = parse_coco(tmp_path / "x.coco.json", outlines=True)
    assert data.images[0].objects.outlines_of() == () and boxes(data) == [[1, 2, 11, 10]] and not data.problems


@pytest.mark.parametrize("segmentation", [{"size": [24, 32], "counts": "~~"}, {"size": [2, 2], "counts": [7]}, {"counts": []}])
def test_damaged_masks_are_told_and_the_box_counts(tmp_path: Path, segmentation: object) -> None:
    parse(tmp_path, BOX | {"segmentation": segmentation})
    data = parse_coco(tmp_path / "x.coco.json", outlines=True)
    assert boxes(data) == [[1, 2, 11, 10]] and data.images[0].objects.outlines_of() == ()
    (problem,) = data.problems
    assert problem.message.startswith("1 mask cannot be read, the box counts alone: with id 5 of 1.jpg")


@pytest.mark.parametrize("name", [" tower", "tower\t", "\u00a0tower \n"])
def test_spaces_around_a_category_are_no_part_of_it(tmp_path: Path, name: str) -> None:
    data = parse(tmp_path, categories=[{"id": 1, "name": name}, {"id": 2, "name": "tower"}, {"id": 3, "name": "  "}])
    assert data.categories == ["tower"]
    assert "category number 3 lacks its id or its name" in data.problems[0].message
