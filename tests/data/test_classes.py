"""Few photos of a class, many more of another, none in validation; accuracy in which each class counts the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from dips.data.classes import class_accuracy, class_problems
from dips.types import DataSet, Sample


def photos(counts: dict[str, int], root: str = "train") -> DataSet:
    """A data set with so many photos of each class."""
    samples = [
        Sample(Path(root) / f"{name}{number}.jpg", f"{name}{number}.jpg", label)
        for label, (name, count) in enumerate(counts.items())
        for number in range(count)
    ]
    return DataSet(Path(root), tuple(counts), tuple(samples))


def told(train: dict[str, int], val: dict[str, int] | None = None) -> str:
    """What is said where a validation split has all classes, or those of ``val``."""
    problems = class_problems(photos(train), photos(dict.fromkeys(train, 1) if val is None else val, "val"))
    assert all(problem.path == Path("train") for problem in problems)
    return "\n".join(problem.message for problem in problems)


def test_enough_photos_of_all_classes_are_no_problem() -> None:
    assert told({"none": 200, "tower": 10}) == ""  # the limits themselves


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"tower": 9, "none": 40}, "a class has fewer than 10 training photos: 'tower' (9), too few to be recognized well;"),
        ({"none": 1, "tower": 12}, "a class has fewer than 10 training photos: 'none' (1), too few to be recognized well;"),
        ({"owl": 8, "wren": 2, "tit": 30}, "2 classes have fewer than 10 training photos"),
        (
            {"owl": 8, "wren": 2, "tit": 30},
            ": 'wren' (2), 'owl' (8), too few to be recognized well; training is still possible",
        ),
        ({"owl": 30, "wren": 0, "tit": 30}, ": 'wren' (0), too few"),
        (
            {f"bird {n}": n for n in range(3, 12)},
            "'bird 3' (3), 'bird 4' (4), 'bird 5' (5), 'bird 6' (6), 'bird 7' (7) and 2 more, too few",
        ),
    ],
)
def test_a_class_of_few_photos(counts: dict[str, int], words: str) -> None:
    assert words in told(counts) and "for each of" not in told(counts)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"insulator": 10, "none": 201}, "more than 20 photos of 'none' (201) for each of 'insulator' (10): training makes"),
        ({"insulator": 400, "none": 15}, "more than 20 photos of 'insulator' (400) for each of 'none' (15):"),
        ({"owl": 500, "wren": 24, "tit": 300, "rook": 20}, "photos of 'owl' (500) for each of 'rook' (20), 'wren' (24):"),
    ],
)
def test_many_more_photos_of_one_class(counts: dict[str, int], words: str) -> None:
    assert words in told(counts) and "add photos of it, or leave out some of the others" in told(counts)
    assert len(told(counts).splitlines()) == 1


@pytest.mark.parametrize(
    ("balance", "words"),
    [
        (1.0, "for each of 'owl' (20): training makes all classes equally likely (classifier.balance), but a rare one may be"),
        (0.0, "for each of 'owl' (20): with classifier.balance=0 a rare class counts less and may be missed; set it to 1, add"),
        (0.5, "for each of 'owl' (20): with classifier.balance=0.5 a rare class counts less and may be missed; set it to 1,"),
    ],
)
def test_what_training_does_about_a_rare_class_is_what_it_is_set_to(balance: float, words: str) -> None:
    counts = {"owl": 20, "none": 500}
    (problem,) = class_problems(photos(counts), photos(counts), balance=balance)
    assert words in problem.message and problem.message.endswith("photos of it, or leave out some of the others")
    assert ("makes all classes" in problem.message) == (balance == 1)


def test_a_rare_class_of_few_photos_is_both() -> None:
    few, rare = told({"insulator": 3, "none": 120}).splitlines()
    assert "'insulator' (3)," in few and "'none' (120) for each of 'insulator' (3)" in rare


@pytest.mark.parametrize(
    ("val", "words"),
    [
        ({"owl": 3, "wren": 3}, " shows 'tit', so nothing tells"),
        ({"wren": 3, "owl": 0, "tit": 0}, " shows 'owl', 'tit', so nothing tells"),
        ({"rook": 3, "tit": 1, "owl": 1}, " shows 'wren', so nothing tells"),  # other labels, same names
    ],
)
def test_a_class_without_a_validation_photo(val: dict[str, int], words: str) -> None:
    text = told({"owl": 20, "wren": 20, "tit": 20}, val)
    assert text.startswith("no validation photo (validation photos are set aside to choose and test with) shows ")
    assert words in text and text.endswith(" to val") and len(text.splitlines()) == 1


def test_where_validation_was_cut_from_the_training_photos_all_of_them_count() -> None:
    train, val = {"owl": 9, "wren": 1, "none": 30}, {"owl": 1, "wren": 0, "none": 5}
    whole = photos({"owl": 10, "wren": 1, "none": 35})
    few, rare = (problem.message for problem in class_problems(photos(train), photos(val), whole=whole))
    assert few.startswith("a class has") and "'none' (35) for each of 'wren' (1)" in rare
    assert "and none to validate with (validation photos are" in few and ": 'wren' (1), too few" in few, "one line of one class"


@pytest.mark.parametrize(
    ("few", "absent", "words"),
    [
        ({"owl": 3, "wren": 2}, ["owl"], "none to validate with for 'owl' (validation"),
        ({"owl": 3, "wren": 2}, ["owl", "wren"], "none to validate with for 'owl', 'wren' (validation"),
        ({"owl": 3}, ["tit"], "shows 'tit', so nothing"),
    ],
)
def test_a_class_without_validation_is_told_once(few: dict[str, int], absent: list[str], words: str) -> None:
    numbers = {**few, "tit": 12, "rook": 12}
    text = told(numbers, {name: int(name not in absent) for name in numbers})
    assert words in text and len(text.splitlines()) == 1 + ("tit" in absent) and text.count("set aside") == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_the_mean_over_classes_is_the_balanced_accuracy(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = zip(*pairs, strict=True)
    found = class_accuracy(labels, predicted, ["a", "b", "c", "d"])
    right = {label: [one == other for one, other in pairs if one == label] for label in set(labels)}
    if len(right) > 1 and set(predicted) <= set(labels):  # scikit-learn warns of others
        assert found.mean == pytest.approx(100 * balanced_accuracy_score(labels, predicted))
    assert found.lowest == pytest.approx(min(100 * sum(hits) / len(hits) for hits in right.values()))
    assert found.photos == len(right["abcd".index(found.worst)])


def test_the_worst_class_is_named() -> None:
    assert class_accuracy([1] * 18 + [0], [1] * 19, ["insulator", "none"]).words() == (
        "mean over classes 50.0%, worst 'insulator': 0.0% of 1 photo"
    )
    assert class_accuracy([2, 2, 2, 0, 0], [2, 2, 1, 0, 0], ["a", "b", "c"]).words() == (
        "mean over classes 83.3%, worst 'c': 66.7% of 3 photos"
    )
    assert class_accuracy([0, 1], [0, 1], ["a", "b"]).words() == "mean over classes 100.0%", "no class is the worst"
    assert class_accuracy([0, 0], [0, 1], ["a", "b"]).words() == "mean over classes 50.0%", "the only one"
    assert class_accuracy([1, 0, 0], [0, 0, 0], ["a", "b"]).words("tile").endswith("worst 'b': 0.0% of 1 tile")
