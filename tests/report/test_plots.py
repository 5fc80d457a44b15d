from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import cv2
import pytest
from matplotlib.figure import Figure

from dips.errors import RunError
from dips.report.plots import SERIES, Line, Plot, draw_lines, inline_svg, plot_style, save_plots


def curves(title: str = "Accuracy", name: str = "IoU ≥ 0.5") -> Plot:
    lines = [Line(name, [0, 0.5, 1], [10, 60, 20], mark=(0.5, 60)), Line("other", [0, 1], [1, 2], look="dotted")]

    def draw(axes: Any) -> None:
        draw_lines(axes, lines, x_label="τ", y_label="%", percent=True, mark_label="best")

    return Plot(title, "rises & falls", draw, f"about {title}")


def bars() -> Plot:
    """Every colour and a hatch."""

    def draw(axes: Any) -> None:
        for index, colour in enumerate(SERIES):
            axes.barh([index], [index + 1], color=colour, edgecolor="white", hatch="////", label=f"bar {index}")
        axes.barh([6], [9], color="black")

    return Plot("Bars", "longer and longer", draw)


def plot(title: str = "Accuracy", name: str = "IoU ≥ 0.5") -> str:
    return inline_svg(curves(title, name))


def drawn(lines: list[Line], **more: Any) -> Any:
    with plot_style():
        axes = Figure().subplots()
        draw_lines(axes, lines, x_label="x", y_label="y", **more)
    return axes


def test_curves_have_their_own_colours_dashes_and_marks() -> None:
    looks: list[Any] = ["plain", "dotted", "strong", "plain", "plain", "plain"]
    lines = [Line(str(n), [0, 1], [n, n + 1], mark=(1, n + 1) if n == 2 else None, look=looks[n]) for n in range(6)]
    axes = drawn(lines)
    curves = [line for line in axes.lines if len(line.get_xdata()) == 2]
    assert [list(curve.get_ydata()) for curve in curves] == [[n, n + 1] for n in range(6)]
    assert [curve.get_color() for curve in curves] == list(SERIES)
    assert len({str(curve._unscaled_dash_pattern) for curve in curves[:4]}) == 4
    assert [curve.get_marker() for curve in curves[:3]] == ["None", "o", "None"]
    assert curves[2].get_linewidth() > curves[1].get_linewidth()
    (mark,) = (line for line in axes.lines if len(line.get_xdata()) == 1)
    assert (mark.get_xdata()[0], mark.get_ydata()[0], mark.get_color()) == (1, 3, curves[2].get_color())
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list("012345")  # no word of marks, none explained


def test_faint_curves_share_an_entry_and_take_no_colour() -> None:
    faint = [Line(f"f{n}", [0, 1], [n, n], look="faint") for n in range(3)]
    axes = drawn([faint[0], Line("a", [0, 1], [5, 6]), *faint[1:]], mark_label="best")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "3 others", "best"]
    (curve,) = (line for line in axes.lines if line.get_label() == "a")
    assert curve.get_color() == SERIES[0]
    assert [t.get_text() for t in drawn(faint[:1]).get_legend().get_texts()] == ["f0"]


def texts(svg: str) -> list[str]:
    return [
        "".join(element.itertext()).strip() for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")
    ]


@pytest.mark.parametrize(
    ("plot", "label", "words"),
    [
        (curves(), "Accuracy. rises & falls", {"τ", "%", "IoU ≥ 0.5", "other", "best"}),
        (bars(), "Bars. longer and longer", {"0", "2"}),
    ],
)
def test_it_is_wellformed_and_described(plot: Plot, label: str, words: set[str]) -> None:
    svg = inline_svg(plot)
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg") and root.get("role") == "img" and root.get("aria-label") == label
    assert words <= set(texts(svg))


@pytest.mark.parametrize(("plot", "used"), [(curves(), (1, 2)), (bars(), (1, 2, 3, 4, 5, 6))])
def test_it_takes_the_colours_of_the_page(plot: Plot, used: tuple[int, ...]) -> None:
    svg = inline_svg(plot)
    assert all(f"var(--series-{index})" in svg for index in used)
    assert not re.search(r"#[0-9a-f]{6}\b", svg), "no colour of its own, which would not follow the page into the dark"
    assert ElementTree.fromstring(svg).get("fill") == "currentColor", "black is left out by matplotlib"
    assert ("var(--paper)" in svg) == (len(used) == 6), "the edges of bars"


def test_the_settings_of_ones_own_matplotlib_do_not_matter() -> None:
    import matplotlib as mpl

    svg = plot()
    with mpl.rc_context({"text.color": "red", "axes.edgecolor": "red", "lines.linewidth": 9, "font.size": 30}):
        assert plot() == svg


def test_it_carries_no_script_link_or_date() -> None:
    for svg in (plot(), inline_svg(bars())):
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
    paths = save_plots(tmp_path / "new" / "both", [curves("one"), curves("two")], title="Both & more")
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
    again = save_plots(tmp_path / "new" / "both", [curves("one"), curves("two")], title="Both & more")
    assert [path.read_bytes() for path in again] == before


def test_plots_share_a_picture_row_by_row(tmp_path: Path) -> None:
    _, path = save_plots(tmp_path / "three", [curves("one"), bars(), curves("two")], title="Three", size=(3, 2))
    picture = cv2.imread(str(path))
    assert picture is not None and picture.shape[:2] == (1200, 1800)
    assert (picture[700:, 1000:] == 255).all() and (picture[:600, 1000:] < 255).any()  # the fourth cell is empty


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"):
        save_plots(tmp_path / "file" / "plot", [curves()], title="x")
