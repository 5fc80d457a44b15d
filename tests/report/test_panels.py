from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from dips.report.panels import Bar, Line, Panel, bars_panel, lines_panel, steps_panel
from dips.report.plots import PRINT


def drawn(panel: Panel) -> Any:
    axes = Figure().subplots()
    panel.draw(axes, PRINT)
    return axes


def test_curves_have_their_own_colours_dashes_and_marks() -> None:
    lines = [Line(str(n), [0, 1], [n, n + 1], mark=(1, n + 1) if n == 2 else None, dots=n == 1) for n in range(6)]
    axes = drawn(lines_panel(lines, title="t", x_label="x", y_label="y", description="d", whole_x=True))
    curves = [line for line in axes.lines if len(line.get_xdata()) == 2]
    assert [list(curve.get_ydata()) for curve in curves] == [[n, n + 1] for n in range(6)]
    assert (
        len({curve.get_color() for curve in curves}) == 6
        and len({str(curve._unscaled_dash_pattern) for curve in curves[:4]}) == 4
    )
    assert [curve.get_marker() for curve in curves[:3]] == ["None", "o", "None"]
    (mark,) = (line for line in axes.lines if len(line.get_xdata()) == 1)
    assert (mark.get_xdata()[0], mark.get_ydata()[0], mark.get_color()) == (1, 3, curves[2].get_color())
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list("012345")  # no word of marks, none explained


def test_bars_are_as_long_as_their_percentages() -> None:
    kinds = ("good", "part", "more", "lost", "else")
    given = [
        Bar("a", {"good": 80.0, "part": 10.1, "more": 5.0, "lost": 3.0, "else": 1.9}),
        Bar("b", {"good": 52.3, "more": 47.7}),
    ]
    axes = drawn(bars_panel(given, kinds, title="t", x_label="%", description="d"))
    parts = [(round(p.get_y() + p.get_height() / 2), p.get_x(), p.get_width(), p.get_facecolor()) for p in axes.patches]
    for row, bar in enumerate(given):
        lefts, widths = zip(*((x, width) for y, x, width, _ in parts if y == row), strict=True)
        assert np.allclose(widths, [bar.parts.get(kind, 0) for kind in kinds]) and sum(widths) == pytest.approx(100)
        assert np.allclose(lefts, np.cumsum([0, *widths])[:-1])
    assert len({colour for *_, colour in parts}) == len(kinds)
    assert axes.get_xlim() == (0, 100) and axes.get_ylim()[0] > axes.get_ylim()[1]  # the first one on top
    words = [text.get_text() for text in axes.texts if text.get_text()]
    assert sorted(words) == sorted(["80.0", "10.1", "5.0", "52.3", "47.7", "lost 3.0 · else 1.9"])


def test_steps_are_as_high_as_their_values() -> None:
    values = {"inside": [0.0, 20.0, 80.0], "outside": [90.0, 9.5, 0.5]}
    labels = {"x_label": "score", "y_label": "%", "title": "t", "description": "d"}
    axes = drawn(steps_panel(values, [0, 0.25, 0.5, 1], y_limits=(0.01, 200), **labels))
    assert axes.get_yscale() == "log" and axes.get_ylim() == (0.01, 200) and axes.get_xlim() == (0, 1)
    _, inside, _, outside = (patch.get_data() for patch in axes.patches)
    assert inside.values[0] < 0.01 and list(inside.values[1:]) == [20, 80] and list(outside.values) == [90, 9.5, 0.5]
    assert list(inside.edges) == list(outside.edges) == [0, 0.25, 0.5, 1]
