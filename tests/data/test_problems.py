"""Files that were left out, as JSON lists them."""

from __future__ import annotations

from pathlib import Path

from dips.data.problems import ProblemRecord
from dips.types import Problem


def test_names_of_files_that_are_not_text() -> None:
    (record,) = ProblemRecord.of([Problem(Path("owl/\udcff.jpg"), "it is damaged")])
    assert (record.path, record.why) == ("owl/%FF.jpg", "it is damaged")
