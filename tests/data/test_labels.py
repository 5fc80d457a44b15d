"""Rules about labels that hold for every layout: the background, what training and a model need."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dips.data import align_classes, class_counts, load_data, require_trainable
from dips.data.labels import without_contradictions
from dips.errors import DataError
from dips.types import DataSet, Sample, Severity

from .conftest import MakePhoto, class_names


def test_background_class(tmp_path: Path, make_photo: MakePhoto) -> None:
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


def test_align_classes(class_folders: Path, make_photo: MakePhoto) -> None:
    make_photo(class_folders / "test" / "crane" / "1.jpg")
    aligned = align_classes(load_data(class_folders / "test"), ("tower", "none", "pole"), background=1)
    assert class_names(aligned) == {"crane/1.jpg": None, "none/0.jpg": "none", "tower/0.jpg": "tower", "tower/1.jpg": "tower"}
    assert aligned.background == 1 and aligned.classes == ("tower", "none", "pole")
    assert any("no class 'crane' (its classes are tower, none, pole)" in p.message for p in aligned.problems)
    assert len(require_trainable(aligned)) == 3
    with pytest.raises(DataError, match="none of the model's"):
        align_classes(load_data(class_folders), ("cat", "dog"))


def of_labels(*photos: tuple[int, ...], background: int | None = None) -> DataSet:
    """Photos of the classes a, b, c, d; with several labels they have a box of each."""
    samples = []
    for number, labels in enumerate(photos):
        boxes = np.array([[label, 0, label + 1, 1] for label in labels], np.float32) if len(labels) > 1 else None
        first, others = (labels[0] if labels else None), labels[1:]
        of = labels if others else ()
        samples.append(Sample(Path(f"{number}.jpg"), f"{number}.jpg", first, boxes, others=others, box_labels=of))
    return DataSet(Path(), tuple("abcd"), tuple(samples), background=background)


def test_the_labels_of_a_model(tmp_path: Path) -> None:
    """Of a photo with several labels those remain that the model knows, with their boxes."""
    data = of_labels((0, 1), (1, 3), (0, 3, 2), (3,), ())
    aligned = align_classes(data, ("d", "c", "b"))
    assert [sample.labels for sample in aligned.samples] == [(2,), (2, 0), (0, 1), (0,), ()]
    boxes = [None if s.boxes is None else s.boxes[:, 0].tolist() for s in aligned.samples]
    assert boxes == [[1], [1, 3], [3, 2], None, None] and [s.box_labels for s in aligned.samples] == [
        (),
        (2, 0),
        (0, 1),
        (),
        (),
    ]
    (problem,) = aligned.problems
    assert "no class 'a'" in problem.message and "without a class, or with the other classes that they have" in problem.message
    unknown = align_classes(of_labels((0, 1), (2,)), ("c",)).samples[0]
    assert unknown.labels == () and unknown.boxed and unknown.box_labels == (), "boxes without a class can still be measured"
    # the known class is only named: where its object is nobody says
    named = dataclasses.replace(of_labels((0, 1)).samples[0], box_labels=())
    (rest,) = align_classes(dataclasses.replace(data, samples=(named,)), ("b", "x")).samples
    assert rest.labels == (0,) and rest.boxes is None


def test_the_background_class_contradicts_others() -> None:
    data = of_labels((0, 1), (1, 2), (1,), (1, 2, 3))
    assert without_contradictions(data) is data
    for mended in (
        without_contradictions(dataclasses.replace(data, background=1)),
        align_classes(data, data.classes, 1),
        align_classes(data, ("b", "a", "c", "d"), 0),
    ):
        names = [[mended.classes[label] for label in sample.labels] for sample in mended.samples]
        assert names == [["a"], ["c"], ["b"], ["c", "d"]]
        assert [None if s.boxes is None else len(s.boxes) for s in mended.samples] == [1, 1, None, 2]
        (problem,) = mended.problems
        assert problem.severity is Severity.SPOILS and "3 photos are labelled 'b'" in problem.message


def test_photos_that_all_have_the_same_labels() -> None:
    assert class_counts(of_labels((0, 1), (1,), ())) == {0: 1, 1: 2}
    with pytest.raises(DataError, match="all photos have the same labels, 'a', 'b', so that nothing tells these apart"):
        require_trainable(of_labels((0, 1), (1, 0), ()))
    assert len(require_trainable(of_labels((0, 1), (1,), ()))) == 2
