from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from matplotlib.figure import Figure

from dips.report.figures import (
    ERRORS,
    activation_plots,
    error_plots,
    reliability_plots,
    threshold_plots,
    training_plots,
    write_plots,
)
from dips.report.plots import Plot, plot_style
from dips.report.records import Method, RunThreshold, own_method

Methods = list[dict[str, Any]]
STEMS = ("box_acc_over_tau", "activations", "errors")


def drawn(plot: Plot) -> Any:
    with plot_style():
        axes = Figure().subplots()
        plot.draw(axes)
    return axes


def records(methods: Methods) -> list[Method]:
    return msgspec.convert(methods, list[Method])


def legend(plot: Plot) -> list[str]:
    return [text.get_text() for text in drawn(plot).get_legend().get_texts()]


def test_the_own_method_is_the_one_that_says_so_else_the_first(methods: Methods) -> None:
    rows = records(methods)
    assert own_method(rows) is rows[1] and own_method(rows[:1]) is rows[0] and own_method([]) is None


def test_thresholds_show_each_iou_and_each_method(methods: Methods) -> None:
    own, all_methods = threshold_plots(records(methods))
    assert legend(own) == ["IoU ≥ 0.3", "IoU ≥ 0.5", "IoU ≥ 0.7", "IoU ≥ 0.5, largest contour", "best on this split"]
    assert legend(all_methods) == ["mean_attention", "localizer"]
    curves = [line.get_ydata() for line in drawn(own).lines if len(line.get_xdata()) == 11]
    assert [list(curve) for curve in curves] == [methods[1]["boxes"]["curves"][key] for key in ("30", "50", "70", "v1")]
    assert "IoU ≥ 0.3 reaches 90.0 percent" in own.description and "localizer reaches 76.7 percent" in all_methods.description


def test_marks_are_at_the_thresholds_of_validation_where_there_are_any(methods: Methods) -> None:
    own = {**methods[1], "at_tau": {"tau": {"v1": 0.1, "30": 0.2, "50": 0.3, "70": 0.4}}}
    axes = drawn(threshold_plots(records([own]))[0])
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if len(line.get_xdata()) == 1]
    assert np.allclose(marks, [(0.2, 86), (0.3, 74), (0.4, 52), (0.1, 83)])
    assert axes.get_legend().get_texts()[-1].get_text() == "chosen on the validation split"


def test_activations_put_the_own_method_first_on_equal_axes(methods: Methods) -> None:
    plots = activation_plots(records(methods))
    assert [plot.caption for plot in plots] == ["localizer", "mean_attention"]
    assert (
        "mean value inside ground-truth boxes 0.7" in plots[0].description
        and "outside ground-truth boxes 0.0" in plots[0].description
    )
    assert legend(plots[0]) == ["inside ground-truth boxes", "outside ground-truth boxes"]
    limits = [drawn(plot).get_ylim() for plot in plots]
    highest = max(max(row["activations"]["background"]) for row in methods)
    assert limits[0] == limits[1] and limits[0][1] > highest > 10
    heights = drawn(plots[0]).patches[1].get_data().values
    shown = np.asarray(methods[1]["activations"]["foreground"]) >= 0.01
    assert shown.sum() > 50 and np.allclose(heights[shown], np.asarray(methods[1]["activations"]["foreground"])[shown])


def test_what_has_no_pixels_is_not_drawn(methods: Methods) -> None:
    found = {**methods[0]["activations"], "truth": "masks", "background_pixels": 0, "background": [None] * 100}
    (plot,) = activation_plots(records([{**methods[0], "activations": found}]))
    assert legend(plot) == ["inside ground-truth masks"]
    assert activation_plots(records([{**methods[0], "activations": {**found, "foreground_pixels": 0}}])) == []


def test_errors_add_up_and_tell_the_threshold(methods: Methods) -> None:
    (plot,) = error_plots(records(methods))
    axes = drawn(plot)
    for row in (0, 1):
        widths = [p.get_width() for p in axes.patches if round(p.get_y() + p.get_height() / 2) == row]
        assert len(widths) == 6 and sum(widths) == pytest.approx(100)
    words = [text.get_text() for text in axes.texts]
    assert {"55.0", "35.0", "81.9", "5.0", "4.0", "several objects 2.0 · wrong class 3.1"} <= set(words)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["mean_attention\nτ 0.2 from this split (oracle)", "localizer\nτ 0.412 from validation"]
    assert legend(plot) == [name for name, _ in ERRORS.values()]
    assert "localizer, τ 0.412 from validation: correct 81.9" in plot.description and "wrong class 3.1" in plot.description


def test_a_kind_that_no_method_has_is_not_in_the_legend(methods: Methods) -> None:
    (plot,) = error_plots(records(methods[:1]))
    assert "wrong class" not in legend(plot) and len(legend(plot)) == 5


def test_files_are_written_and_named(tmp_path: Path, methods: Methods) -> None:
    paths = write_plots(tmp_path / "plots", methods)
    assert paths == [tmp_path / "plots" / f"{stem}.{kind}" for stem in STEMS for kind in ("svg", "png")]
    assert sorted(paths) == sorted((tmp_path / "plots").iterdir())
    for path in paths:
        if path.suffix == ".png":
            picture = cv2.imread(str(path))
            assert picture is not None and (picture[0, 0] == 255).all() and picture.min() < 40
        else:
            svg = path.read_text(encoding="utf-8")
            assert ElementTree.fromstring(svg).tag.endswith("svg") and "mean attention" in svg and "mean_attention" not in svg
    assert "81.9" in paths[4].read_text(encoding="utf-8")


@pytest.mark.parametrize("missing", range(3))
def test_only_what_there_is_data_for_is_written(tmp_path: Path, methods: Methods, missing: int) -> None:
    key = ("boxes", "activations", "dissection")[missing]
    lacking = [{**row, key: {} if key == "boxes" else None} for row in methods]
    paths = write_plots(tmp_path, lacking)
    assert {path.stem for path in paths} == set(STEMS) - {STEMS[missing]}
    write_plots(tmp_path, methods)
    assert write_plots(tmp_path, lacking) == paths
    assert sorted(tmp_path.iterdir()) == sorted(paths), "figures of other numbers are removed"


def test_nothing_is_written_of_nothing(tmp_path: Path) -> None:
    assert write_plots(tmp_path / "plots", []) == [] == write_plots(tmp_path / "plots", [{"name": "a", "boxes": {}}])
    assert not (tmp_path / "plots").exists()


def test_training_shows_losses_and_validation_apart() -> None:
    rows = [
        {"epoch": n, "loss": 1 / n, "losses": {"crf": 0.1 / n}, "val_v2": 60.0 + n, "val_ok": 0.5, "lr": 0.1} for n in (1, 2, 3)
    ]
    rows[1]["loss"] = float("nan")
    losses, percents, criteria = training_plots(rows)
    assert [plot.title for plot in (losses, percents, criteria)] == [
        *("Training losses", "Validation, percent", "Validation, from 0 to 1"),
    ]
    assert legend(losses) == ["loss", "losses crf"] and legend(percents) == ["MaxBoxAccV2"] and legend(criteria) == ["ok"]
    loss, crf = drawn(losses).lines
    assert list(loss.get_xdata()) == [1, 3] and list(crf.get_xdata()) == [1, 2, 3]
    assert "3 epochs; at the last one loss 0.3333, losses crf 0.03333" in losses.description
    assert training_plots([]) == []


@pytest.mark.parametrize("ground_truth", ["boxes", "masks"])
def test_no_legend_squeezes_the_plots_of_a_file(
    methods: Methods, ground_truth: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = [{**method, "activations": {**method["activations"], "truth": ground_truth}} for method in methods]
    drawn_figures: list[Figure] = []
    savefig = Figure.savefig

    def save(figure: Figure, *given: Any, **options: Any) -> None:
        savefig(figure, *given, **options)
        drawn_figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", save)
    assert len(write_plots(tmp_path, shown)) == len(drawn_figures) == 6
    for figure in drawn_figures:
        for axes in figure.axes:
            grid, key = axes.get_gridspec(), axes.get_legend()
            assert grid is not None and key is not None
            assert grid.ncols * axes.get_position().width > 0.6, "the axes are squeezed"
            assert key.get_window_extent().x1 <= figure.bbox.x1 + 1, "the legend is cut off"


def test_a_file_does_not_change_with_the_version_of_matplotlib(methods: Methods, tmp_path: Path) -> None:
    for path in write_plots(tmp_path, methods):
        assert b"atplotlib v" not in path.read_bytes() and b"matplotlib.org" not in path.read_bytes()


def test_a_criterion_that_equals_a_result_is_no_second_curve() -> None:
    rows = [{"epoch": n, "loss": 1.0, "val_select": 40.0 + n, "val_agreement": 40.0 + n, "val_v2": 30.0} for n in (1, 2)]
    words = " ".join(f"{plot.title} {plot.description}" for plot in training_plots(rows))
    assert "agreement with proposals 42" in words and "MaxBoxAccV2 30" in words and "select" not in words
    rows = [{"epoch": 1, "loss": 1.0, "val_select": 40.0, "val_box_acc_50": 50.0}]
    words = " ".join(plot.description for plot in training_plots(rows))
    assert words.count("1 epoch;") == 2 and "selection metric 40" in words and "MaxBoxAcc at IoU 0.5 50" in words


def reliability_of(boxes: list[float], score: list[float], right: list[float]) -> list[Plot]:
    curve = {"boxes": boxes, "score": score, "right": right}
    numbers = {"tau": 0.5, "precision": 90.0, "recall": 80.0, "f1": 85.0, "reliability": {"curve": curve}}
    return reliability_plots(msgspec.convert(numbers, RunThreshold))


@pytest.mark.parametrize(
    ("boxes", "right"), [([4, 145], [0.0, 0.96]), ([1, 1], [1.0, 1.0]), ([300, 2], [0.5, 0.5]), ([12345], [0.7])]
)
def test_points_of_few_boxes_look_so(boxes: list[float], right: list[float]) -> None:
    """They are small, have long intervals, and their number stands below; no line leads from one to the next."""
    scores = [0.15, 0.95][: len(boxes)]
    (plot,) = reliability_of(boxes, scores, right)
    axes = drawn(plot)
    bars, points = axes.collections
    lengths = {count: abs(np.diff(bar[:, 1])[0]) for count, bar in zip(boxes, bars.get_segments(), strict=True)}
    sizes = dict(zip(boxes, points.get_sizes(), strict=True))
    assert [lengths[count] for count in sorted(lengths)] == sorted(lengths.values(), reverse=True)
    assert [sizes[count] for count in sorted(sizes)] == sorted(sizes.values()) and max(sizes.values()) == 70
    assert points.get_offsets()[:, 1].tolist() == [100 * share for share in right]
    assert [text.get_text() for text in axes.texts] == [f"{count:,}" for count in boxes]
    assert len(axes.lines) == 1 and legend(plot)[1] == "boxes of dips predict, 95 % interval"
    assert f"{boxes[0]} box" in plot.description


def test_the_interval_is_told_to_those_who_cannot_see_it() -> None:
    (plot,) = reliability_of([4, 145], [0.15, 0.95], [0.0, 0.96])
    assert "score 0.15, 0 percent right (0 to 49), 4 boxes; score 0.95, 96 percent right (91 to 98)" in plot.description
    assert reliability_plots(None) == reliability_of([], [], []) == []


@pytest.mark.parametrize(
    ("boxes", "score", "right"), [([0], [0.5], [0.5]), ([3], [0.5], [1.5]), ([3], [-0.1], [0.5]), ([3], [0.5], [float("nan")])]
)
def test_damaged_numbers_are_not_drawn(boxes: list[float], score: list[float], right: list[float]) -> None:
    with pytest.raises(msgspec.ValidationError, match="a point of the reliability curve"):
        reliability_of(boxes, score, right)
