"""The two parts of a training, made of what was read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.config import Config
from dips.data.parts import training_parts
from dips.errors import DataError
from dips.types import DataSet, Sample


def photos(root: str, labels: str, classes: tuple[str, ...] = ("a", "b")) -> DataSet:
    """A data set with a photo of each of these classes; ``-`` is none."""
    known = [None if name == "-" else classes.index(name) for name in labels]
    samples = (Sample(Path(root) / f"{n}.jpg", f"{n}.jpg", label) for n, label in enumerate(known))
    return DataSet(Path(root), classes, tuple(samples))


def contents(**of: str) -> dict[Path, str]:
    """Which photos are copies: the letters of ``of`` stand for the content of the photos of a split, a dot for any other."""
    return {Path(root) / f"{n}.jpg": letter for root, text in of.items() for n, letter in enumerate(text) if letter != "."}


@pytest.mark.parametrize(
    ("val", "copies", "left"),
    [
        ("ab", contents(), [0, 1]),
        ("ab", contents(train="x...", val="x."), [1]),
        ("ab-b", contents(train="..xy", val=".y.."), [0, 3]),
        ("aab", contents(val="xx."), [0, 1, 2]),  # of one another
    ],
)
def test_validation_photos_are_other_photos_of_the_same_classes(val: str, copies: dict[Path, str], left: list[int]) -> None:
    train, kept = training_parts(photos("train", "a-bb"), photos("val", val), copies, Config())
    assert [sample.id for sample in kept.samples] == [f"{n}.jpg" for n in left] and len(train) == 3
    assert any("1 validation photo has no class" in problem.message for problem in train.problems) == ("-" in val)


def test_labels_are_those_of_the_training_photos() -> None:
    train, val = training_parts(photos("train", "ab"), photos("val", "bca", ("a", "c", "b")), {}, Config())
    assert [(sample.id, sample.label) for sample in val.samples] == [("0.jpg", 1), ("2.jpg", 0)]
    assert val.classes == train.classes == ("a", "b")


@pytest.mark.parametrize(
    ("val", "copies", "words"),
    [
        ("b", contents(train="x.", val="x"), "val: the only validation photo is a copy"),
        ("aab", contents(train="xy", val="xyx"), "val: all 3 validation photos are copies"),
        ("-b", contents(train="x.", val=".x"), "val: the only validation photo is a copy"),
        ("--", {}, "val: no validation photo has a class"),
    ],
)
def test_without_a_photo_to_validate_with_nothing_is_trained(val: str, copies: dict[Path, str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        training_parts(photos("train", "ab"), photos("val", val), copies, Config())


def test_the_settings_say_how_to_cut_and_whether_classes_are_balanced() -> None:
    data = photos("all", "a" * 300 + "b" * 10)
    for share, seed in ((0.1, -1), (0.5, 3)):
        config = Config().replace(**{"data.val_share": share, "data.val_seed": seed, "classifier.balance": 0})
        train, val = training_parts(data, None, {}, config)
        assert len(val) == 310 * share and {*train.samples, *val.samples} == {*data.samples}
        (problem,) = train.problems
        assert "with classifier.balance=0 a rare class" in problem.message


@pytest.mark.parametrize(("setting", "told"), [("auto", 1), ("", 0)])
def test_a_class_that_looks_like_the_background_is_told(setting: str, told: int) -> None:
    samples = tuple(Sample(Path("train") / f"{n}.jpg", f"{n}.jpg", n % 2) for n in range(40))
    config = Config().replace(**{"data.background_class": setting})
    train, _ = training_parts(DataSet(Path("train"), ("tower", "no tower"), samples), None, {}, config)
    assert len([problem for problem in train.problems if "photos of 'no tower' show no object" in problem.message]) == told
