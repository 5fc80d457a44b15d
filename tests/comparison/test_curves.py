from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from matplotlib.figure import Figure

from dips.comparison.curves import comparison_plots
from dips.comparison.records import Comparison
from dips.report.plots import Plot, plot_style


def plots(comparison: dict[str, Any], about: str = "", **changes: Any) -> list[Plot]:
    return comparison_plots(msgspec.convert({**comparison, **changes}, Comparison), about)


def drawn(plot: Plot) -> Any:
    with plot_style():
        axes = Figure().subplots()
        plot.draw(axes)
    return axes


def legend(plot: Plot) -> list[str]:
    return [text.get_text() for text in drawn(plot).get_legend().get_texts()]


def test_a_comparison_draws_the_mean_over_ious_and_seeds(comparison: dict[str, Any]) -> None:
    (plot,) = plots(comparison)
    assert legend(plot) == ["DiPS", "CAM", "Centred Gaussian", "A_B & 50% <#1>|"]
    curves = [line for line in drawn(plot).lines if len(line.get_xdata()) == 11]
    for curve, best in zip(curves, (85.5, 51.5, 45.0, 40.0), strict=True):
        assert np.allclose(curve.get_ydata(), best * (1 - np.linspace(0, 1, 11)))
    assert curves[0].get_linewidth() > curves[1].get_linewidth() and "CAM reaches 51.5 percent" in plot.description
    assert plots(comparison, methods=[]) == [] == plots(comparison, methods=[{**comparison["methods"][0], "runs": []}])


def test_single_heads_come_last_and_the_heading_says_what_it_is(comparison: dict[str, Any]) -> None:
    methods = comparison["methods"]
    methods[3].update(name="head3", title="Attention, head 3")
    methods[1].update(name="head4", title="Attention, head 4")
    (plot,) = plots(comparison, "birds, split test")
    assert legend(plot) == ["DiPS", "A_B & 50% <#1>|", "Attention, head 4", "Attention, head 3"]
    heading = drawn(plot).get_xlabel()
    assert "\nbirds, split test\n" in heading and "takes the best for each" in heading


def test_of_many_methods_only_the_best_have_colours(comparison: dict[str, Any]) -> None:
    dips, cam, *_ = comparison["methods"]
    (plot,) = plots(comparison, methods=[*({**cam, "title": f"rival {n}"} for n in range(20)), dips])
    assert legend(plot) == ["DiPS", *(f"rival {n}" for n in range(5)), "15 others"]
    curves = [line for line in drawn(plot).lines if len(line.get_xdata()) == 11]
    assert len(curves) == 21 and len({line.get_color() for line in curves}) == 7
    assert all(f"rival {n} reaches" in plot.description for n in range(20))
