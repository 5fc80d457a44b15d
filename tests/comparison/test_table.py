from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dips.comparison.records import Comparison
from dips.comparison.table import COLUMNS, Number, Row, Table, comparison_table
from dips.comparison.table_files import to_latex, to_markdown, write_comparison

Record = dict[str, Any]


def as_comparison(record: Record) -> Comparison:
    return msgspec.convert(record, Comparison)


def table(record: Record) -> Table:
    return comparison_table(as_comparison(record))


def rows_of(record: Record) -> list[Row]:
    return table(record).rows


def values(row: Row, key: str) -> tuple[float, float]:
    """Mean and spread of a cell that has both."""
    number = row.numbers[key]
    assert number is not None and number.spread is not None
    return number.mean, number.spread


def notes(record: Record) -> list[str]:
    return list(table(record).notes)


def markdown(record: Record) -> str:
    return to_markdown(table(record))


def latex(record: Record) -> str:
    return to_latex(table(record))


def cells(line: str) -> list[str]:
    """Of a row of a Markdown table."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def columns_of(line: str) -> int:
    """How many columns a row of a LaTeX table fills."""
    parts = re.split(r"(?<!\\)&", line)
    return sum(int(found.group(1)) if (found := re.search(r"\\multicolumn\{(\d+)\}", part)) else 1 for part in parts)


def test_rows_have_mean_and_sample_deviation_over_the_seeds(comparison: Record) -> None:
    centre, other, cam, dips = rows_of(comparison)
    assert [row.group for row in (centre, other, cam, dips)] == ["Learns nothing", "Rivals", "Rivals", "DiPS"]
    expected = {"v2": 51.5, "30": 59.5, "50": 51.5, "70": 43.5, "v1": 50.5, "gt": 51.5, "v2_val": 49.5, "v1_val": 48.5}
    for key, mean in expected.items():
        assert values(cam, key) == pytest.approx((mean, 4.5**0.5)), key  # of 50 and 53
    assert values(cam, "min") == pytest.approx(((90 + 150) / 2 / 60, 0.5**0.5))
    assert values(dips, "v2") == pytest.approx((85.5, 0.5**0.5)) and dips.numbers["ms"] == Number(12.5, 0.0)
    assert values(dips, "params") == pytest.approx((3.4, 0.0))


def test_what_is_missing_is_none_and_a_missing_seed_is_told(comparison: Record) -> None:
    centre, other, cam, _ = rows_of(comparison)
    assert centre.numbers["top1"] is None and cam.numbers["top1"] == Number(70.0, None)
    assert other.title == "A_B & 50% <#1>| (1 of 2 seeds)" and other.numbers["v2"] == Number(40.0, None)
    assert "pxap" not in [metric.key for metric in table(comparison).columns]
    comparison["methods"][0]["runs"][0]["pxap"] = 61.0
    assert table(comparison).columns == list(COLUMNS)


def test_one_seed_has_no_spread(comparison: Record) -> None:
    comparison["seeds"] = [0]
    for method in comparison["methods"]:
        del method["runs"][1:]
    text = markdown(comparison)
    assert "±" not in text and "**85.0**" in text and "seeds)" not in text and "pm" not in latex(comparison)


def test_without_true_boxes_there_are_masks_alone(comparison: Record) -> None:
    for method in comparison["methods"]:
        for run in method["runs"]:
            run.update(boxes={"max_box_acc_v2": None, "top1_loc": float("nan")}, at_tau=None, pxap=42.0)
    assert [metric.key for metric in table(comparison).columns] == ["pxap", "min", "ms", "params"]
    assert "42.0" in markdown(comparison) and "nan" not in latex(comparison).lower()


def test_markdown_is_a_table_with_a_legend(comparison: Record) -> None:
    text = markdown(comparison)
    lines = [cells(line) for line in text.splitlines() if line.startswith("|")]
    assert {len(row) for row in lines} == {2 + len(COLUMNS) - 1} and len(set(lines[0])) == len(lines[0])
    names = [row[0] for row in lines[2:]]
    other = r"A\_B & 50% \<\#1\>\| (1 of 2 seeds)"
    assert names == ["**Learns nothing**", "Centred Gaussian", "**Rivals**", other, "CAM", "**DiPS**", "DiPS"]
    by_name = {row[0]: dict(zip(lines[0], row, strict=True)) for row in lines}
    assert by_name["DiPS"]["V2"] == "**85.5** ± 0.7" and by_name["CAM"]["V2"] == "51.5 ± 2.1" and by_name[other]["V2"] == "40.0"
    assert by_name["CAM"]["Top-1 loc"] == "**70.0**" and by_name["Centred Gaussian"]["Top-1 loc"] == "–"  # noqa: RUF001
    assert by_name["DiPS"]["train min"] == "2.5" and by_name["CAM"]["Labels"] == "image"
    assert text.startswith("# Localization on my\\_birds")
    for words in (
        "**V2 (val)**: ",
        "9 photos of the split test, 8 with",
        "3 minutes",
        "saliency-tuned",
        "0, 1 (mean ±",
        "cpu, 2",
    ):
        assert words in text, words
    assert r"seed 1: ValueError: a\_1 \| b at 5%" in text
    assert "## Failed" not in markdown({**comparison, "failed": []})


def over(record: Record) -> list[str]:
    """The notes of what took longer than the budget of 3 minutes."""
    return [note for note in notes(record) if note.startswith(("More than", "Of these"))]


def test_it_says_what_took_longer_than_the_budget(comparison: Record) -> None:
    assert not over(comparison)
    dips, cam = comparison["methods"][:2]
    cam["runs"][0]["fit"].update(seconds=150.0, steps=4)  # 90 and 150 s, of which what it builds on took 30 and 90
    assert not over(comparison), "a tenth more is no matter"
    cam["runs"][0]["fit"]["seconds"] = 180.0
    assert over(comparison) == ["More than 1.1 times the budget: CAM (3.0 min)"]
    cam["runs"][0]["fit"]["fixed"] = 170.0  # with 30 s below it
    more = "Of these, work that no budget shortens (harvest, what it builds on, choices) took longer: CAM"
    assert over(comparison)[1:] == [f"{more} (2.4 min)"]
    for run in dips["runs"]:
        run["fit"].update(seconds=240.0, steps=0)
    assert over(comparison) == [
        "More than 1.1 times the budget: DiPS (4.0 min), CAM (3.0 min)",
        "Of these, work that no budget shortens (harvest, what it builds on, choices) took longer: DiPS (4.0 min), "
        "CAM (2.4 min)",
    ], "what takes no step cannot be shortened"


def test_without_a_budget_it_says_until_when_and_what_a_limit_ended(comparison: Record) -> None:
    comparison.update(budget_minutes=None, limits="until nothing gets better", stride=8)
    assert any(note.startswith("Budget: none; methods were trained until nothing gets better.") for note in notes(comparison))
    assert "; stride of the methods on it: 8" in markdown(comparison)
    assert not [note for note in notes(comparison) if note.startswith(("Ended", "More than"))]
    for run, limit in zip(comparison["methods"][1]["runs"], ("40 passes", "30 minutes"), strict=True):
        run["fit"]["limit"] = limit
    (words,) = (note for note in notes(comparison) if note.startswith("Ended"))
    assert words.endswith("may still have improved: CAM (30 minutes and 40 passes)")


def test_methods_whose_training_brought_nothing_are_named(comparison: Record) -> None:
    assert not [note for note in notes(comparison) if note.startswith("Training brought nothing")]
    comparison["methods"][1]["runs"][1]["fit"]["chosen"] = "step 0 of 17 by the ground-truth boxes of validation"
    comparison["methods"][2]["runs"][0]["fit"]["chosen"] = "step 10 of 17 by the ground-truth boxes of validation"
    (words,) = (note for note in notes(comparison) if note.startswith("Training brought nothing"))
    assert words.endswith("only new layers fitted): CAM")


def test_it_says_what_was_chosen_on(comparison: Record) -> None:
    assert not [note for note in notes(comparison) if note.startswith("No validation")]
    assert "on the boxes of 7 validation photos" in markdown(comparison)
    comparison["photos"]["val_boxed"] = 0
    assert "No validation photo has boxes" in latex(comparison)


def test_a_caveat_is_a_dagger_and_a_line_below(comparison: Record) -> None:
    assert not re.search(r"†|\\dagger", markdown(comparison) + latex(comparison))
    comparison["methods"][1]["caveat"] = "after its\n  abstract_1."
    text, tex = markdown(comparison), latex(comparison)
    rows = [cells(line)[0] for line in text.splitlines() if line.startswith("|")]
    assert "CAM †" in rows and "DiPS" in rows and text.count("†") == 2
    assert "- † CAM: after its abstract\\_1." in text.splitlines()
    assert r"CAM $\dagger$ & image &" in tex and r"$\dagger$ CAM: after its abstract\_1.}" in tex
    assert as_comparison(comparison).methods[1].caveat, "it is in the JSON, too"


def test_equally_good_means_are_all_bold(comparison: Record) -> None:
    for run in comparison["methods"][1]["runs"]:
        run["boxes"]["max_box_acc_v2"] = 85.46 if run["seed"] else 85.54
    assert markdown(comparison).count("**85.5** ±") == 2 + 2  # V2 of both; IoU 0.5 and GT-known of DiPS


def test_latex_is_escaped_and_every_row_is_full(comparison: Record) -> None:
    text = latex(comparison)
    lines = text.splitlines()
    body = lines[lines.index(r"\toprule") + 1 : lines.index(r"\bottomrule")]
    rows = [line for line in body if line.endswith(r"\\")]
    width = 2 + len(COLUMNS) - 1
    assert len(rows) == 2 + 3 + 4 and {columns_of(row) for row in rows} == {width}
    assert f"{{ll{'r' * (width - 2)}}}" in text and rf"\cmidrule(lr){{12-{width}}}" in text
    assert r"A\_B \& 50\% \textless{}\#1\textgreater{}| (1 of 2 seeds) & image & 40.0 &" in text
    assert r"\textbf{85.5} {\scriptsize$\pm$ 0.7}" in text and " & -- & " in text
    (caption,) = (line for line in lines if line.startswith(r"\caption"))
    for words in (
        r"\texttt{my\_birds}",
        "split test",
        "saliency-tuned",
        "224 x 224",
        "Lite0",
        "3 minutes",
        r"0, 1 (mean $\pm$",
    ):
        assert words in caption, words
    assert "% failed: A_B & 50% <#1>|, seed 1: ValueError: a_1 | b at 5%" in lines
    code = "\n".join(line for line in lines if not line.startswith("%"))
    assert code.count("{") == code.count("}") and not re.search(r"(?<!\\)[#_^~]|[^\x00-\x7f]", code)
    assert re.findall(r"\\begin\{(\S+?)\}", code) == re.findall(r"\\end\{(\S+?)\}", code)[::-1]


def test_the_folder_holds_record_table_and_curves(comparison: Record, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    paths = write_comparison(folder, as_comparison(comparison), table(comparison))
    assert [path.name for path in paths] == [
        *("table.json", "table.md", "table.tex", "box_acc_over_tau.svg", "box_acc_over_tau.png"),
    ]
    assert sorted(folder.iterdir()) == sorted(paths)
    written = json.loads(paths[0].read_text())
    assert next(iter(written)) == "schema_version" and written == {"schema_version": 1, "problems": [], **comparison}
    assert paths[1].read_text(encoding="utf-8") == markdown(comparison)
    assert paths[2].read_text(encoding="utf-8") == latex(comparison)
    nothing = {**comparison, "methods": []}
    assert "No method succeeded." in markdown(nothing) and "|" not in markdown({**nothing, "failed": []})
    assert latex(nothing).startswith("% no method succeeded")
    assert [path.name for path in write_comparison(folder, as_comparison(nothing), table(nothing))] == [
        "table.json",
        "table.md",
        "table.tex",
    ]
    assert len(list(folder.iterdir())) == 3, "curves of other numbers are removed"
