"""The nearest known name."""

from __future__ import annotations

import pytest

from dips.system.suggestions import closest


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("trian.epochs", " (did you mean 'train.epochs'?)"),
        ("MINE", " (did you mean 'Mine'?)"),
        ("something else", ""),
        ("", ""),
    ],
)
def test_the_nearest_name_in_whatever_case(name: str, suggestion: str) -> None:
    assert closest(name, iter(["train.epochs", "train.seed", "Mine"])) == suggestion


def test_nothing_is_near_nothing() -> None:
    assert closest("train", []) == ""
