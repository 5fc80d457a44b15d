"""The model card: what whoever finds a run reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from dips.report.records import Run
from dips.runs.card import write_card
from dips.runs.records import RunRecord

from .test_records import RUN


def card(path: Path, **changes: Any) -> str:
    record = {**RUN, "environment": {**RUN["environment"], "device": "cpu"}, **changes}
    write_card(path / "README.md", msgspec.convert(record, RunRecord))
    return (path / "README.md").read_text()


@pytest.mark.parametrize("classes", [["hawk", "owl"], ["none", "owl"]])
def test_no_class_is_called_background_that_is_none(classes: list[str], tmp_path: Path) -> None:
    text = card(tmp_path, classes=classes, background=None)
    assert "- **Background:** every photo shows an object of its class\n" in text and "none\n" not in text.split("##")[0]


@pytest.mark.parametrize("name", ["none", "sky"])
def test_the_background_class_is_named(name: str, tmp_path: Path) -> None:
    assert f"- **Background:** photos of `{name}` show no object\n" in card(tmp_path, classes=[name, "owl"], background=0)


def test_numbers_have_the_words_of_a_reader(tmp_path: Path) -> None:
    text = card(tmp_path, validation={"v2": 40.0, "box_acc_70": 20.0}, photos={"train": 8, "val": 1, "skipped": 0})
    assert (
        "MaxBoxAccV2 40.0, MaxBoxAcc at IoU 0.7 20.0 (percent)" in text
        and "CNN classifier 50.0" in text
        and "1 validation photo\n" in text
    )
    assert not any(word in text for word in ("linear_probe", "box_acc", "v2 40"))


@pytest.mark.parametrize("selection", ["epoch 1 of 4 (the last); threshold by boxes", "threshold by the level, no boxes"])
def test_card_and_report_have_one_source_of_how_it_was_chosen(selection: str, tmp_path: Path) -> None:
    assert f"- **Model selection:** {selection}\n" in card(tmp_path, selection=selection)
    assert msgspec.convert({**RUN, "selection": selection}, Run).selection == selection
    with pytest.raises(msgspec.ValidationError, match="selection"):
        msgspec.convert({key: value for key, value in RUN.items() if key != "selection"}, Run)


def test_the_card_says_what_a_box_is(tmp_path: Path) -> None:
    text = card(tmp_path)
    assert all(words in text for words in ("tells the photos of its class from all others", "touch", "(`none/`)"))
