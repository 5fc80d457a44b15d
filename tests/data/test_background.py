"""Names of classes that say that nothing is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.data.background import background_problems, likely_background
from dips.types import DataSet, Severity


@pytest.mark.parametrize(
    ("classes", "likely"),
    [
        (["insulator", "no insulator"], "no insulator"),
        (["Insulators", "no_insulator"], "no_insulator"),
        (["tower", "NoTower"], "NoTower"),
        (["tower", "notower"], "notower"),
        (["tower", "non-tower"], "non-tower"),
        (["tower", "without towers"], "without towers"),
        (["tower", "tower_negative"], "tower_negative"),
        (["tower", "Empty"], "Empty"),
        (["tower", "neg_01"], "neg_01"),
        (["tower", "negative samples"], "negative samples"),
        (["tower", "no objects"], "no objects"),
        (["mast", "ohne Mast"], "ohne Mast"),
        (["poste", "sin poste"], "sin poste"),
        (["pylône", "sans pylône"], "sans pylône"),
        (["yes", "no"], "no"),
        (["tower", "mast", "no crane"], "no crane"),
        (["hat", "no entry", "no hat"], "no hat"),
        (["tower", "other"], "other"),
        (["tower", "backgrounds"], "backgrounds"),
        # what begins or ends alike, and says something else
        (["tower", "north"], None),
        (["sinkhole", "crack"], None),
        (["notebook", "pen"], None),
        (["nonpareil", "pareille"], None),
        (["ok", "not ok"], None),
        (["good", "no good"], None),
        (["empty bottle", "full bottle"], None),
        (["missing insulator", "insulator"], None),
        (["no entry", "no parking", "stop"], None),
        (["empty", "negative", "tower"], None),
        (["negra", "blanca"], None),
        (["1", "2"], None),
        ([], None),
    ],
)
def test_a_name_that_says_that_nothing_is_there(classes: list[str], likely: str | None) -> None:
    assert likely_background(classes) == likely
    assert likely_background(classes[::-1]) == likely


def test_what_is_said_of_it_can_be_typed() -> None:
    data = DataSet(Path("train"), ("mast", "no mast"), ())
    (problem,) = background_problems(data, "auto")
    assert problem.severity is Severity.SPOILS and problem.path == Path("train")
    assert "'no mast' show no object, rename the folder to none" in problem.message
    assert "--set data.background_class='no mast'" in problem.message
    assert (
        "rename the class to none" in background_problems(DataSet(Path("a"), data.classes, (), layout="csv"), "auto")[0].message
    )


@pytest.mark.parametrize(("background", "setting"), [(1, "auto"), (None, ""), (1, "no mast")])
def test_nothing_is_said_where_the_background_is_known(background: int | None, setting: str) -> None:
    assert background_problems(DataSet(Path("a"), ("mast", "no mast"), (), background=background), setting) == []
