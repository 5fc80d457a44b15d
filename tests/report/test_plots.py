from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import pytest

from dips.errors import RunError
from dips.report.panels import Bar, Line, Panel, bars_panel, lines_panel, steps_panel
from dips.report.plots import panel_svg, save_panels

BARS = [
    Bar("a\nτ 0.4", {"good": 80.0, "part": 10.1, "more": 5.0, "lost": 3.0, "else": 1.9}),
    Bar("b", {"good": 52.3, "more": 47.7}),
]
KINDS = ("good", "part", "more", "lost", "else")


def curves(title: str = "Accuracy", name: str = "IoU ≥ 0.5") -> Panel:
    lines = [Line(name, [0, 0.5, 1], [10, 60, 20], mark=(0.5, 60)), Line("other", [0, 1], [1, 2], dots=True)]
    labels = {"x_label": "τ", "y_label": "%", "caption": f"about {title}", "marks": "best"}
    return lines_panel(lines, title=title, description="rises & falls", y_limits=(0, 100), **labels)


def steps() -> Panel:
    values = {"inside": [0.0, 20.0, 80.0], "outside": [90.0, 9.5, 0.5]}
    labels = {"x_label": "score", "y_label": "% of pixels"}
    return steps_panel(values, [0, 0.25, 0.5, 1], title="Steps", description="apart", y_limits=(0.01, 200), **labels)


def bars() -> Panel:
    return bars_panel(BARS, KINDS, title="Kinds", x_label="photos, %", description="mostly good")


def plot(title: str = "Accuracy", name: str = "IoU ≥ 0.5") -> str:
    return panel_svg(curves(title, name))


def texts(svg: str) -> list[str]:
    return [
        "".join(element.itertext()).strip() for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")
    ]


@pytest.mark.parametrize(
    ("panel", "label", "words"),
    [
        (curves(), "Accuracy. rises & falls", {"τ", "%", "IoU ≥ 0.5", "other", "best"}),
        (steps(), "Steps. apart", {"score", "% of pixels", "inside", "outside", "0.01", "100"}),
        (bars(), "Kinds. mostly good", {"photos, %", *KINDS, "80.0", "10.1", "5.0", "52.3", "47.7", "lost 3.0 · else 1.9"}),
    ],
)
def test_it_is_wellformed_and_described(panel: Panel, label: str, words: set[str]) -> None:
    svg = panel_svg(panel)
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg") and root.get("role") == "img" and root.get("aria-label") == label
    assert words <= set(texts(svg))


@pytest.mark.parametrize(("panel", "used"), [(curves(), (1, 2)), (steps(), (1, 2)), (bars(), (1, 2, 4, 5, 6))])
def test_it_takes_the_colours_of_the_page(panel: Panel, used: tuple[int, ...]) -> None:
    svg = panel_svg(panel)
    assert "currentColor" in svg and all(f"var(--series-{index})" in svg for index in used)
    assert not re.search(r"#0101\d\d|#010203|#030201", svg)


def test_it_carries_no_script_link_or_date() -> None:
    for svg in (plot(), panel_svg(steps()), panel_svg(bars())):
        assert "<script" not in svg and "<metadata" not in svg
        links = re.findall(r'href="([^"]*)"', svg)
        assert all(link.startswith("#") for link in links)


def test_names_are_text_not_markup() -> None:
    svg = plot(name="<b>a & b</b> $x^2$ _hidden")
    ElementTree.fromstring(svg)
    assert "<b>" not in svg


def test_it_is_the_same_every_time_and_ids_do_not_collide() -> None:
    assert plot() == plot()
    ids = [set(re.findall(r'clipPath id="([^"]+)"', plot(title))) for title in ("one", "two")]
    assert ids[0] and not ids[0] & ids[1]


def test_files_are_black_on_white_and_the_same_every_time(tmp_path: Path) -> None:
    paths = save_panels(tmp_path / "new" / "both", [curves("one"), curves("two")], title="Both & more")
    assert (
        [path.name for path in paths] == ["both.svg", "both.png"] == sorted(p.name for p in (tmp_path / "new").iterdir())[::-1]
    )
    svg = paths[0].read_text(encoding="utf-8")
    assert ElementTree.fromstring(svg).tag.endswith("svg") and "var(" not in svg and "currentColor" not in svg
    for words in ("about one", "about two", "IoU ≥ 0.5", "Both &amp; more"):  # text is drawn as shapes, with a comment
        assert words in svg, words
    picture = cv2.imread(str(paths[1]))
    assert picture is not None and picture.shape == (1110, 3720, 3)
    assert (picture[0] == 255).all() and (picture.max(axis=2) < 40).any()
    before = [path.read_bytes() for path in paths]
    again = save_panels(tmp_path / "new" / "both", [curves("one"), curves("two")], title="Both & more")
    assert [path.read_bytes() for path in again] == before


def test_plots_share_a_picture_row_by_row(tmp_path: Path) -> None:
    _, path = save_panels(tmp_path / "three", [curves("one"), bars(), steps()], title="Three", size=(3, 2))
    picture = cv2.imread(str(path))
    assert picture is not None and picture.shape[:2] == (1200, 1800)
    assert (picture[700:, 1000:] == 255).all() and (picture[:600, 1000:] < 255).any()  # the fourth place is empty


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"):
        save_panels(tmp_path / "file" / "plot", [curves()], title="x")
