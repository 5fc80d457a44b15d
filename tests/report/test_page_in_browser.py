"""The report in a browser: slider, filters, table and keyboard, and boxes that are those of Python."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dips.data.images import encode_image
from dips.report.page import write_report
from dips.report.photo_section import PhotoRow, PhotoSection
from dips.report.records import Accuracies, Run
from dips.scoremaps.calibration import Calibration, scored_boxes
from dips.scoremaps.levels import boxes_from_map

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[[PhotoSection], None]
HOSTILE = '</script><img src=x onerror="document.title=1"><b>&amp;.jpg'


@pytest.fixture
def show(page: Page, tmp_path: Path) -> Open:
    """Write a report and open it from disk, ready to be used."""

    def show(photos: PhotoSection) -> None:
        path = tmp_path / "report.html"
        made = Run(environment={}, weights={}, accuracy=Accuracies(), selection="", label_free=False)
        nothing: dict[str, Any] = {"run": made, "evaluation": None, "metrics": [], "settings_toml": ""}
        write_report(path, title="made", photos=photos, **nothing)
        page.goto(path.as_uri())
        page.evaluate("dipsReport.ready")
        page.locator(".more-filters").evaluate("part => (part.open = true)")

    return show


def wait(page: Page) -> None:
    """Until what a change of the threshold sets off is done."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 60))))")


def slide(page: Page, threshold: float) -> None:
    page.locator("#photo-threshold").fill(f"{threshold:g}")
    wait(page)


def listed(page: Page) -> list[str]:
    found: list[str] = page.evaluate("dipsReport.state.listed.map(row => row.id)")
    return found


# --- the law: the boxes are those of dips.scoremaps.levels


_SCRIPT = """(cases) => cases.map(({levels, shape, threshold, area, most, least}) => {
  const found = dipsReport.boxesFromMap(Uint8Array.from(levels), shape[1], shape[0], threshold, area, most, least);
  return [found.boxes, found.scores, Array.from(found.regions)];
})"""


def agree(page: Page, cases: list[tuple[np.ndarray, float, float, int, float]]) -> None:
    asked = [
        {"levels": m.ravel().tolist(), "shape": m.shape, "threshold": t, "area": area, "most": most, "least": least}
        for m, t, area, most, least in cases
    ]
    for (levels, threshold, area, most, least), (boxes, scores, regions) in zip(
        cases, page.evaluate(_SCRIPT, asked), strict=True
    ):
        expected = boxes_from_map(levels / 255, threshold, min_area=area, max_boxes=most, min_score=least)
        np.testing.assert_array_equal(np.reshape(boxes, (-1, 4)), expected[0])
        np.testing.assert_array_equal(np.asarray(scores, np.float32), expected[1])
        np.testing.assert_array_equal(np.reshape(regions, levels.shape), expected[2])


@st.composite
def maps(draw: st.DrawFn) -> np.ndarray:
    """Few levels, so that objects touch, tie and have holes."""
    height, width = draw(st.integers(1, 11)), draw(st.integers(1, 11))
    levels = draw(
        st.lists(st.sampled_from([0, 0, 0, 40, 80, 81, 160, 254, 255]), min_size=height * width, max_size=height * width)
    )
    return np.asarray(levels, np.uint8).reshape(height, width)


shares = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.5, 80 / 255, 1.0]))


def test_boxes_are_those_of_python(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    show(make_page(3))
    cases = st.tuples(
        maps(), shares, shares.map(lambda share: share**3), st.sampled_from([1, 2, 100]), shares.map(lambda s: s / 2)
    )

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(st.lists(cases, min_size=1, max_size=8))
    def law(drawn: list[tuple[np.ndarray, float, float, int, float]]) -> None:
        agree(page, drawn)

    law()


def test_boxes_of_smooth_maps_are_those_of_python(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    show(make_page(3))
    rng, cases = np.random.default_rng(1), []
    for sigma in (0.6, 1.5, 4.0, 9.0):
        for _ in range(10):
            smooth = cv2.GaussianBlur(rng.random((112, 96)), (0, 0), sigma)
            levels = np.rint(255 * (smooth - smooth.min()) / (smooth.max() - smooth.min())).astype(np.uint8)
            cases.append((levels, float(rng.random()), 0.002, 65535, 0.0))
    agree(page, cases)


@pytest.mark.parametrize(("slope", "gate"), [(1.0, 0.0), (2.4, 0.3), (4.8, 0.999)])
def test_chances_and_the_gate_are_those_of_python(
    page: Page, show: Open, make_page: Callable[..., PhotoSection], slope: float, gate: float
) -> None:
    calibration = Calibration(slope=slope, offset=-0.5 * slope, gate=gate, typical=0.5, cautious=0.9)
    made = make_page(3)
    assert made.shown is not None
    shown = replace(made.shown, calibration=calibration)
    show(dataclasses.replace(made, shown=shown))
    for threshold in (0.3, 0.5):
        slide(page, threshold)
        for index, photo in enumerate(shown.photos[1:], start=1):  # the first one is called background
            boxes, scores, _ = scored_boxes(
                photo.levels() * np.float32(photo.peak / 255),
                threshold,
                calibration,
                min_area=shown.rule_of(photo).min_area,
                min_score=shown.rule_of(photo).min_score,
                max_boxes=100,
            )
            found = page.evaluate("n => dipsReport.data.photos[n].found", index)
            np.testing.assert_allclose(found["scores"], scores, rtol=1e-4)
            assert len(found["boxes"]) == len(boxes) and (gate < 0.9 or not len(boxes))
    least(page, 0.001)  # asked for by a person: the gate is open
    assert page.evaluate("dipsReport.data.photos[1].found.boxes.length")


# --- slider


def test_each_photo_has_its_own_smallest_box(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    """As photos that were looked at in tiles have."""
    made = make_page(3)
    assert made.shown is not None
    one, two = (replace(made.shown.photos[1], id=f"{n}", min_score=n, min_area=0.1 * n) for n in (0.0, 0.6))
    shown = replace(made.shown, photos=[one, two])
    rows = [made.rows[1]._replace(id=photo.id) for photo in shown.photos]
    show(dataclasses.replace(made, rows=rows, shown=shown))
    for threshold in (0.3, 0.5):
        slide(page, threshold)
        for index, photo in enumerate(shown.photos):
            boxes, scores, _ = boxes_from_map(
                photo.levels() * np.float32(photo.peak / 255),
                threshold,
                min_area=shown.rule_of(photo).min_area,
                min_score=shown.rule_of(photo).min_score,
                max_boxes=100,
            )
            found = page.evaluate("n => dipsReport.data.photos[n].found", index)
            np.testing.assert_allclose(found["scores"], scores, rtol=1e-5)
            np.testing.assert_allclose(np.reshape(found["boxes"], (-1, 4)), boxes * (np.array(photo.size * 2) / 112), rtol=1e-9)
        counts = [len(page.evaluate("n => dipsReport.data.photos[n].found.boxes", index)) for index in (0, 1)]
        assert counts[0] > counts[1], counts


def test_the_slider_redraws_the_boxes(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    made = make_page(12)
    page.set_viewport_size({"width": 1280, "height": 2000})  # pictures are drawn when they can be seen
    show(made)
    assert page.locator("#photo-threshold").input_value() == "0.613"
    assert made.shown is not None
    before = None
    for threshold in (0.613, 0.2, 0.9):
        slide(page, threshold)
        right = 0
        for row, photo in zip(made.rows, made.shown.photos, strict=True):
            boxes, scores, _ = boxes_from_map(photo.levels() / 255, threshold, min_area=0.005, max_boxes=100)
            scaled = boxes * (np.array(photo.size * 2) / 112)
            if row.predicted == "none":
                scaled = scaled[:0]
            found = page.evaluate("n => dipsReport.data.photos[n].found", made.shown.photos.index(photo))
            np.testing.assert_allclose(np.reshape(found["boxes"], (-1, 4)), scaled, rtol=1e-9)
            if len(scaled):
                np.testing.assert_allclose(found["scores"], scores * photo.peak, rtol=1e-6)
            if photo.true_boxes:
                best = max((iou(box, photo.true_boxes[0]) for box in scaled), default=0.0)
                assert found["iou"] == pytest.approx(best)
                right += best >= 0.5
        assert f"{right} of 8 shown photos" in page.inner_text("#photo-count")
        drawn = page.locator(".photo-card canvas").evaluate_all("all => all.map(canvas => canvas.toDataURL())")
        assert drawn != before and len(set(drawn)) == 12
        before = drawn
    page.locator("[data-reset]").first.click()
    wait(page)
    assert page.locator("#photo-threshold").input_value() == "0.613" and page.inner_text("output") == "0.613"


def least(page: Page, score: float) -> None:
    page.locator("#photo-least").fill(f"{score:g}")
    wait(page)


def predicted_page(made: PhotoSection, scores: Sequence[Sequence[float]], own: Sequence[float] | None = None) -> PhotoSection:
    """A prediction of photos of a tower, each with boxes side by side, in the map and as they were found."""
    assert made.shown is not None
    rows, photos = [], []
    for number, (photo, found) in enumerate(zip(made.shown.photos, scores, strict=False)):
        levels = np.zeros((20, 100), np.uint8)
        for place, score in enumerate(found):
            levels[5:15, 10 * place + 1 : 10 * place + 9] = round(255 * score)
        boxes = [(10.0 * i + 1, 5.0, 10.0 * i + 9, 15.0, score) for i, score in enumerate(found)]
        lowest = 0.0 if own is None else own[number]
        kept = [box for box in boxes if box[4] >= lowest]
        photos.append(
            replace(
                photo,
                size=(100, 20),
                map=encode_image(levels, ".png"),
                peak=1.0,
                predicted="tower",
                true_boxes=None,
                found=kept,
                min_score=lowest,
            )
        )
        rows.append(PhotoRow(photo.id, "", "tower", boxes=len(kept), score=max((box[4] for box in kept), default=None)))
    shown = replace(made.shown, photos=photos, threshold=0.1)
    return PhotoSection(rows, shown, command="dips boxes B {} --out NEW", review="dips view B")


SCORES = [[0.9, 0.5], [0.8], [0.45, 0.4, 0.3], [0.31]]


@pytest.mark.parametrize("threshold", [0.1, 0.2])
def test_boxes_below_the_lowest_score_are_left_out(
    page: Page, show: Open, make_page: Callable[..., PhotoSection], threshold: float
) -> None:
    """Where the boxes are those that were predicted, and where they are found in the map."""
    page.set_viewport_size({"width": 1280, "height": 2000})
    show(predicted_page(make_page(4), SCORES))
    slide(page, threshold)
    picture = "all => all.map(canvas => canvas.toDataURL())"
    before = page.locator(".photo-card canvas").evaluate_all(picture)
    for score in (0.0, 0.35, 0.5, 0.85, 1.0):
        least(page, score)
        kept = [sum(one >= score for one in found) for found in SCORES]
        assert page.evaluate("dipsReport.data.photos.map(photo => photo.found.boxes.length)") == kept
        regions = page.evaluate("dipsReport.data.photos.map(photo => new Set(photo.found.regions).size - 1)")
        assert regions == kept, "the outline goes with its box"
        boxes = f"{sum(kept)} box{'' if sum(kept) == 1 else 'es'}"
        assert page.inner_text("#photo-count") == f"{boxes} in {sum(map(bool, kept))} of 4 shown photos."
        options = ["--threshold 0.200"] * (threshold != 0.1) + [f"--min-score {score:g}"]
        assert page.inner_text("[data-command]") == f"dips boxes B {' '.join(options)} --out NEW"
    assert page.locator(".photo-card canvas").evaluate_all(picture) != before
    page.locator("[data-reset=least]").first.click()
    wait(page)
    assert page.locator(".photo-card canvas").evaluate_all(picture) == before
    assert page.inner_text("[data-least-now]") == "0.000" and "--min-score" not in page.inner_text("[data-command]")
    assert page.evaluate("dipsReport.state.threshold") == threshold


def test_a_lowest_score_stands_for_that_of_each_photo(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    """As --min-score does: a lower one than the photo's own brings boxes back."""
    show(predicted_page(make_page(2), [[0.9, 0.5]] * 2, own=[0.0, 0.6]))
    counts = "dipsReport.data.photos.map(photo => photo.found.boxes.length)"
    wait(page)
    assert page.evaluate(counts) == [2, 1] and page.inner_text("[data-least-now]") == "varies"
    for score, kept in ((0.7, [1, 1]), (0.4, [2, 2]), (0.95, [0, 0])):
        least(page, score)
        assert page.evaluate(counts) == kept
    page.locator("[data-reset=least]").first.click()
    wait(page)
    assert page.evaluate(counts) == [2, 1]


@pytest.mark.parametrize("gate", [0.5, 0.6])
def test_a_lowest_score_opens_the_gate(page: Page, show: Open, make_page: Callable[..., PhotoSection], gate: float) -> None:
    """As --min-score does: boxes that it kept away are found in the map, and are not counted in photos without one."""
    made = predicted_page(make_page(4), SCORES)
    assert made.shown is not None
    calibration = Calibration(slope=1.0, offset=0.0, gate=gate, typical=0.5, cautious=0.9)  # chances are the means
    photos = [
        replace(photo, found=photo.found if max(own) >= gate else [])
        for photo, own in zip(made.shown.photos, SCORES, strict=True)
    ]
    rows = [row if max(own) >= gate else row._replace(boxes=0, score=None) for row, own in zip(made.rows, SCORES, strict=True)]
    shown = replace(made.shown, photos=photos, calibration=calibration)
    show(dataclasses.replace(made, rows=rows, shown=shown, min_score=gate))
    counts = "dipsReport.data.photos.map(photo => photo.found.boxes.length)"
    wait(page)
    assert page.evaluate(counts) == [2, 1, 0, 0]
    for score, kept in ((0.38, [2, 1, 2, 0]), (0.2, [2, 1, 3, 1]), (0.7, [1, 1, 0, 0])):
        least(page, score)
        assert page.evaluate(counts) == kept
    page.locator("[data-reset=least]").first.click()
    wait(page)
    assert page.evaluate(counts) == [2, 1, 0, 0]
    show(dataclasses.replace(made, rows=rows, shown=replace(shown, photos=photos[:3]), min_score=gate))
    for score, is_known in ((gate - 0.1, False), (gate, True)):
        least(page, score)
        assert ("Of all 4 photos 2 have a box." in page.inner_text("#photo-count")) == is_known


def test_all_photos_are_counted_where_their_scores_are_known(
    page: Page, show: Open, make_page: Callable[..., PhotoSection]
) -> None:
    made = predicted_page(make_page(4), SCORES)
    assert made.shown is not None
    show(dataclasses.replace(made, shown=replace(made.shown, photos=made.shown.photos[2:])))
    for score, words in (
        (0.35, "2 boxes in 1 of 2 shown photos. Of all 4 photos 3 have a box."),
        (0.85, "Of all 4 photos 1 has a box."),
    ):
        least(page, score)
        assert words in page.inner_text("#photo-count")
    slide(page, 0.3)
    assert "Of all" not in page.inner_text("#photo-count"), "only the shown ones have maps"


@pytest.mark.parametrize("unknown", [False, True])
def test_boxes_below_the_predicted_lowest_score_are_not_counted_in_photos_without_a_map(
    page: Page, show: Open, make_page: Callable[..., PhotoSection], unknown: bool
) -> None:
    made = predicted_page(make_page(4), SCORES, own=[0.4] * 4)
    assert made.shown is not None
    rows = [row._replace(boxes=None, score=None) if unknown and row is made.rows[0] else row for row in made.rows]
    shown = replace(made.shown, photos=made.shown.photos[2:])
    show(dataclasses.replace(made, rows=rows, min_score=0.4, shown=shown))
    wait(page)
    for score, photos in ((None, 3), (0.39, None), (0.0, None), (0.4, 3), (0.6, 2)):
        if score is not None:
            least(page, score)
        said = page.inner_text("#photo-count")
        assert f"Of all 4 photos {photos} have a box." in said if photos and not unknown else "Of all" not in said


def test_boxes_of_a_person_stay_whatever_the_sliders_say(
    page: Page, show: Open, make_page: Callable[..., PhotoSection]
) -> None:
    made = predicted_page(make_page(4), SCORES)
    assert made.shown is not None
    empty = replace(made.shown.photos[1], found=[])
    rows = [
        made.rows[0]._replace(reviewed=True, label="mast"),
        made.rows[1]._replace(reviewed=True, boxes=0, score=None, predicted=""),
        *made.rows[2:],
    ]
    photos = [made.shown.photos[0], empty, *made.shown.photos[2:]]
    show(dataclasses.replace(made, rows=rows, shown=replace(made.shown, photos=photos)))
    wait(page)
    kept = [list(box[:4]) for box in photos[0].found or []]
    for threshold, score in ((0.1, 0.0), (0.9, 0.0), (0.1, 1.0), (0.7, 0.95)):
        slide(page, threshold)
        least(page, score)
        assert page.evaluate("dipsReport.data.photos.slice(0, 2).map(photo => photo.found.boxes)") == [kept, []]
    cards = {card.splitlines()[0]: card for card in page.locator(".photo-card .words").all_inner_texts()}
    first, second, *others = (cards[row.id.rpartition("/")[2]] for row in rows)
    assert "tower · reviewed, 2 boxes" in first and "instead of" not in first
    assert "reviewed: nothing there" in second and "no box" not in second
    assert not any("reviewed" in other for other in others)
    cells = page.locator("#photo-table tr[data-at]").all_inner_texts()
    assert sum("nothing there" in cell for cell in cells) == 1 and sum("reviewed" in cell for cell in cells) == 2
    page.locator(".photo-card", has_text="2 boxes").filter(has_text="reviewed").click()
    facts = page.inner_text("#photo-view dl")
    assert "those of the person who reviewed it" in facts and "Predicted" not in facts


def test_the_lowest_score_is_moved_by_keys_and_is_the_same_on_a_large_photo(
    page: Page, show: Open, make_page: Callable[..., PhotoSection]
) -> None:
    show(predicted_page(make_page(4), SCORES))
    slider = page.get_by_label("Lowest score", exact=True).first
    slider.focus()
    assert slider.get_attribute("aria-valuetext") == "as predicted"
    for key in ("ArrowRight", "ArrowUp", "Shift+ArrowRight"):
        page.keyboard.press(key)
    assert slider.get_attribute("aria-valuetext") == "boxes that score 0.021 or more"
    page.locator(".photo-card").last.click()
    view = page.locator("#photo-view")
    assert view.locator("[data-least]").input_value() == "0.021" and view.locator("[data-least-now]").inner_text() == "0.021"
    view.locator("[data-least]").fill("0.6")
    wait(page)
    assert slider.input_value() == "0.6" and "Boxes here\n1" in view.locator("dl").inner_text()
    view.get_by_role("button", name="Reset: Lowest score").click()
    assert page.evaluate("dipsReport.state.least") is None


def iou(one: np.ndarray, other: Sequence[float]) -> float:
    wide, high = (max(0.0, min(one[i + 2], other[i + 2]) - max(one[i], other[i])) for i in (0, 1))
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return float(wide * high / (area - wide * high))


def test_layers_can_be_left_out(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    page.set_viewport_size({"width": 1280, "height": 2000})
    show(make_page(2))
    canvas, seen = page.locator(".photo-card canvas").first, set()
    for layer in ("heat", "mask", "boxes", "truth"):
        heat = layer == "heat"  # the map hides what is under it: it is drawn on request
        page.locator(f".sticky [data-layer={layer}]").set_checked(heat)
        wait(page)
        assert page.locator(f"#photo-view [data-layer={layer}]").is_checked() == heat
        seen.add(canvas.evaluate("canvas => canvas.toDataURL()"))
    assert len(seen) == 4


def test_pictures_out_of_sight_follow_when_they_are_seen(
    page: Page, show: Open, make_page: Callable[..., PhotoSection]
) -> None:
    show(make_page(24, background=None))
    last, url = page.locator(".photo-card canvas").last, "canvas => canvas.toDataURL()"
    last.scroll_into_view_if_needed()
    wait(page)
    first = last.evaluate(url)
    page.locator("#photos").scroll_into_view_if_needed()
    slide(page, 0.3)
    last.scroll_into_view_if_needed()
    wait(page)
    assert last.evaluate(url) != first


# --- filters, order, table


@pytest.mark.parametrize(
    ("chosen", "keep"),
    [
        ({"label": "tower"}, lambda row: row.label == "tower"),
        ({"predicted": "none"}, lambda row: row.predicted == "none"),
        ({"iou": "worst: below 0.3"}, lambda row: row.iou is not None and row.iou < 0.3),
        ({"iou": "correct: 0.5 or more"}, lambda row: row.iou is not None and row.iou >= 0.5),
        ({"iou": "no ground-truth box"}, lambda row: row.iou is None),
        ({"error": "wrong class"}, lambda row: row.error == "class_wrong"),
        ({"boxes": "none"}, lambda row: row.predicted == "none"),
        ({"label": "mast", "iou": "wrong: below 0.5"}, lambda row: row.label == "mast" and row.iou < 0.5),
    ],
)
def test_filters(
    page: Page, show: Open, make_page: Callable[..., PhotoSection], chosen: dict[str, str], keep: Callable[[Any], bool]
) -> None:
    made = make_page(80, shown=20)
    show(made)
    for name, label in chosen.items():
        page.locator(f"[data-filter={name}]").select_option(label=label)
    expected = {row.id for row in made.rows if keep(row)}
    assert set(listed(page)) == expected and 0 < len(expected) < 80
    assert f"{len(expected)} of 80 photos" in page.inner_text("#photo-listed")
    page.locator("#photo-clear").click()
    assert len(listed(page)) == 80 and page.locator("[data-filter=label]").input_value() == ""


def test_wrong_class_and_search(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    made = make_page(80, shown=20)
    show(made)
    page.get_by_label("Wrong class only").check()
    assert set(listed(page)) == {row.id for row in made.rows if row.label != row.predicted}
    page.get_by_label("File name").fill("Photo 1")
    assert set(listed(page)) == {r.id for r in made.rows if r.label != r.predicted and "photo 1" in r.id}
    page.get_by_label("File name").fill("no such photo")
    assert listed(page) == [] and page.locator("#photo-none").is_visible() and page.locator(".photo-card").count() == 0


def test_several_boxes_follow_the_slider(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    show(make_page(20))
    page.locator("[data-filter=boxes]").select_option("several")
    counts = []
    for threshold in (0.05, 0.7):
        slide(page, threshold)
        boxes = page.evaluate("dipsReport.data.photos.map(photo => photo.found.boxes.length)")
        counts.append(sum(count > 1 for count in boxes))
        assert len(listed(page)) == counts[-1]
    assert counts[0] != counts[1]


def test_every_column_can_be_sorted_by(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    made = make_page(40, shown=10)
    show(made)
    ious = [row.iou for row in made.rows if row.iou is not None]
    for direction, values in (("ascending", sorted(ious)), ("descending", sorted(ious, reverse=True))):
        shown = page.evaluate("dipsReport.state.listed.map(row => row.iou)")
        assert shown[: len(values)] == values and set(shown[len(values) :]) == {None}, "those without a value come last"
        head = page.locator("th[data-key=iou]")
        assert head.get_attribute("aria-sort") == direction
        head.get_by_role("button").click()
    page.locator("th[data-key=id] button").click()
    numbers = [int(name.split("photo ")[1][:-4]) for name in listed(page) if name.startswith("mast/")]
    assert numbers == sorted(numbers), "2 before 10"
    assert page.locator("#photo-order").input_value() == "id:up"
    for key in ("label", "predicted", "trueBoxes", "oracleIou", "error", "now"):
        page.locator(f"th[data-key={key}] button").click()
        assert page.locator(f"th[data-key={key}]").get_attribute("aria-sort") == "ascending"
        assert page.locator("#photo-order").input_value() == f"{key}:up" and len(listed(page)) == 40
    page.locator("#photo-order").select_option("now:down")
    now = [value for value in page.evaluate("dipsReport.state.listed.map(row => row.photo?.found.iou)") if value is not None]
    assert now == sorted(now, reverse=True) and len(now) == 6


def test_ten_thousand_photos_stay_quick(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    show(make_page(10_000, shown=60))
    assert page.locator("#photo-table tbody tr").count() < 60 and page.locator(".photo-card").count() == 24
    page.locator("#photo-table").evaluate("table => (table.scrollTop = table.scrollHeight)")
    wait(page)
    assert page.locator("#photo-table tbody tr").count() < 60
    assert page.locator("#photo-table tr[data-at='9999']").count() == 1
    took = page.evaluate("""() => {
      const begun = performance.now();
      document.querySelector("th[data-key=label] button").click();
      const search = document.querySelector("[data-filter=text]");
      search.value = "photo 99"; search.dispatchEvent(new Event("input"));
      return performance.now() - begun;
    }""")
    assert took < 1000 and len(listed(page)) == 111  # 30 ms here
    pager = page.locator(".pager").first
    page.locator("#photo-clear").click()
    assert pager.inner_text().split("\n")[1] == "1 to 24 of 60"
    pager.get_by_role("button", name="Next").click()
    pager.get_by_role("button", name="Next").click()
    assert "49 to 60 of 60" in pager.inner_text() and page.locator(".photo-card").count() == 12
    assert pager.get_by_role("button", name="Next").is_disabled()


# --- keyboard


def focused(page: Page) -> str:
    text: str = page.evaluate("document.activeElement.id || document.activeElement.className || document.activeElement.tagName")
    return text


def test_everything_is_reached_by_tab(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    show(make_page(30))
    wanted = {
        *("photo-threshold", "photo-order", "photo-clear", "TABLE", "photo-card"),
        *page.evaluate("[...document.querySelectorAll('#photo-app > :not(dialog) :is(button, input, select)')].map(e => e.id)"),
    } - {""}
    seen, outlines = set(), []
    for _ in range(90):
        page.keyboard.press("Tab")
        seen.add(focused(page))
        outlines.append(
            page.evaluate("""() => {
              const here = document.activeElement;
              const looks = [here, here.closest("#photo-table")].filter(Boolean).map(e => getComputedStyle(e).outlineStyle);
              return here === document.body || looks.some(style => style !== "none");
            }""")
        )
    assert wanted <= seen and all(outlines), "and it is seen where the focus is"


def test_a_photo_is_opened_turned_and_closed_by_keys(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    show(make_page(40, shown=7))
    page.locator("#photo-order").select_option("id:up")
    table, view = page.locator("#photo-table table"), page.locator("#photo-view")
    table.focus()
    for key in ("End", "Home", "ArrowDown", "ArrowDown", "ArrowUp", "PageDown", "PageUp", "Home"):
        page.keyboard.press(key)
        page.wait_for_function(
            """() => {
                const active = document.querySelectorAll("#photo-table tr.active");
                const said = document.querySelector("#photo-table table").getAttribute("aria-activedescendant");
                return active.length === 1 && active[0].id === said;
            }"""
        )
    names = [name for name in listed(page) if page.evaluate("id => !!dipsReport.data.rows.find(r => r.id === id).photo", name)]
    first = listed(page)[0]
    page.keyboard.press("Enter")
    view.wait_for(state="visible")
    assert view.locator("h3").inner_text() == first and focused(page) == "stage"
    around = [names.index(first) if first in names else -1]
    for step in (1, 1, -1, 1, 1):
        page.keyboard.press("ArrowRight" if step > 0 else "ArrowLeft")
        around.append((around[-1] + step) % len(names))
        page.wait_for_function("name => document.querySelector('#photo-view h3').innerText === name", arg=names[around[-1]])
    before = page.evaluate("dipsReport.state.threshold")
    page.keyboard.press("]")
    page.keyboard.press("]")
    page.keyboard.press("[")
    assert page.evaluate("dipsReport.state.threshold") == pytest.approx(before + 0.01)
    assert view.locator("[data-threshold-now]").inner_text() == f"{before + 0.01:.3f}"
    here = view.locator("h3").inner_text()
    view.locator("[data-threshold]").focus()
    page.keyboard.press("ArrowLeft")
    assert view.locator("h3").inner_text() == here and page.evaluate("dipsReport.state.threshold") == pytest.approx(before)
    page.keyboard.press("Escape")
    view.wait_for(state="hidden")
    assert page.evaluate("document.activeElement.tagName") == "TABLE"
    page.wait_for_function(
        "at => document.querySelector('#photo-table tr.active').dataset.at === at", arg=str(listed(page).index(here))
    )


def test_a_card_is_opened_by_enter_and_a_row_by_a_click(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    show(make_page(12, shown=3))
    view = page.locator("#photo-view")
    page.locator(".photo-card").nth(1).focus()
    page.keyboard.press("Enter")
    assert view.is_visible() and view.locator(".place").inner_text() == "2 of 3"
    assert view.locator("canvas").evaluate("canvas => Math.max(canvas.width, canvas.height)") == 960
    page.keyboard.press("Escape")
    assert focused(page) == "photo-card"
    page.locator("#photo-table tr", has_text="photo 11").click()
    assert view.is_visible() and view.locator(".no-picture").is_visible() and not view.locator("canvas").is_visible()
    page.keyboard.press("ArrowRight")
    assert view.locator("canvas").is_visible() and view.locator(".place").inner_text() == "1 of 3"
    view.get_by_role("button", name="Close").click()
    assert not view.is_visible()


def test_keys_in_a_text_are_text(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    show(make_page(12))
    page.get_by_label("File name").focus()
    page.keyboard.type("a[]")
    assert page.get_by_label("File name").input_value() == "a[]"
    assert page.evaluate("dipsReport.state.threshold") == 0.613


# --- what might go wrong


def test_a_hostile_name_is_a_name(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    show(make_page(4, names={1: HOSTILE, 2: "__proto__/a\u2028b\udc80.jpg"}))
    assert HOSTILE in listed(page) and page.title() == "made – DiPS report"  # noqa: RUF001
    assert page.locator("img").count() == 0 and page.locator("#photo-app b").count() == 0
    page.locator("#photo-table tr", has_text="onerror").click()
    assert page.locator("#photo-view h3").inner_text() == HOSTILE
    page.keyboard.press("ArrowRight")
    assert page.title().startswith("made")


def test_no_other_script_runs(page: Page, show: Open, page_errors: list[str], make_page: Callable[..., PhotoSection]) -> None:
    show(make_page(2))
    page.evaluate("""() => {
      const script = document.createElement("script");
      script.textContent = "document.title = 'harmed'";
      document.body.append(script);
      const image = document.createElement("img");
      image.src = "http://127.0.0.1:9/x.png";
      document.body.append(image);
    }""")
    wait(page)
    assert page.title() != "harmed" and any("Content Security Policy" in error for error in page_errors)
    page_errors.clear()


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(
    page: Page, show: Open, make_page: Callable[..., PhotoSection], width: int, scheme: Any
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    show(make_page(30))
    assert page.evaluate("document.documentElement.scrollWidth") == width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    assert page.locator(".photo-card").first.evaluate("card => getComputedStyle(card).transitionDuration") == "0s"
    page.locator(".photo-card").first.click()
    box = page.locator("#photo-view").bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width


def test_data_of_every_kind_can_be_shown(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    """No background class, nothing known, an empty map, a photo of one pixel."""
    made = make_page(6, background=None)
    assert made.shown is not None
    changes: dict[int, dict[str, Any]] = {
        0: {"map": encode_image(np.zeros((5, 7), np.uint8), ".png"), "peak": 0.0},
        1: {"jpeg": encode_image(np.zeros((1, 1, 3), np.uint8), ".jpg"), "size": (1, 1)},
    }
    photos = [replace(photo, true_boxes=None, **changes.get(index, {})) for index, photo in enumerate(made.shown.photos)]
    bare = [PhotoRow(row.id) for row in made.rows]
    show(PhotoSection(bare, replace(made.shown, photos=photos)))
    assert "shown photos." in page.inner_text("#photo-count") and page.locator("#photo-order").input_value() == "doubt:up"
    assert page.locator("[data-filter=label]").is_hidden()
    for _ in range(6):
        page.keyboard.press("]")
    page.locator(".photo-card").first.click()
    assert page.locator("#photo-view dl").inner_text()


@pytest.mark.parametrize(
    ("scores", "label", "words"),
    [([0.354, 0.2], "tower", "tower · best box 0.35"), ([], "mast", "mast · no box"), ([0.1, 0.9], "", "mast · best box 0.90")],
)
def test_a_card_of_a_prediction(
    page: Page, show: Open, make_page: Callable[..., PhotoSection], scores: list[float], label: str, words: str
) -> None:
    """Name, class and the best box's score; the class's probability would be read as the box's."""
    made = make_page(1, names={0: "deep/DSC_0036.jpg"})
    assert made.shown is not None
    name = label or "mast"
    found = [(8.0, 8.0, 60.0, 60.0, score) for score in scores]
    photo = replace(made.shown.photos[0], true_boxes=None, found=found, predicted=name, label=label)
    row = PhotoRow(photo.id, label, name, probability=1.0, boxes=len(scores), score=max(scores, default=None))
    show(PhotoSection([row], replace(made.shown, photos=[photo]), review="dips view boxes"))
    lines = page.locator(".photo-card .words").inner_text().splitlines()
    assert lines[:2] == ["DSC_0036.jpg", words] and "1.00" not in "".join(lines)
    assert page.locator("[data-filter=label]").count() == 0 and "dips view boxes" in page.inner_text("#photo-app")


@pytest.mark.parametrize("names", [["owl", "a wren"], None])
def test_boxes_with_classes_of_their_own_say_so(
    page: Page, show: Open, make_page: Callable[..., PhotoSection], names: list[str] | None
) -> None:
    """As predicted; what another threshold finds has no class that the page knows."""
    made = make_page(1)
    assert made.shown is not None
    found = [(8.0, 8.0, 40.0, 60.0, 0.9), (42.0, 8.0, 60.0, 60.0, 0.8)]
    photo = replace(made.shown.photos[0], true_boxes=None, found=found, predicted="mast", label="mast")
    photo = photo if names is None else replace(photo, names=names)
    row = PhotoRow(photo.id, "mast", "mast", probability=1.0, boxes=2, score=0.9)
    show(PhotoSection([row], replace(made.shown, photos=[photo])))
    page.evaluate(
        """() => {
          window.words = [];
          const draw = CanvasRenderingContext2D.prototype.fillText;
          CanvasRenderingContext2D.prototype.fillText = function (text, ...more) {
            words.push(text);
            draw.call(this, text, ...more);
          };
        }"""
    )
    page.locator(".photo-card").first.click()
    expected = ["owl 0.90", "a wren 0.80"] if names else ["0.90", "0.80"]
    page.wait_for_function("(all) => all.every((text) => words.includes(text))", arg=expected)
    page.evaluate("words.length = 0")
    page.keyboard.press("]")
    page.wait_for_function("() => words.length > 0")
    assert not [text for text in page.evaluate("words") if "owl" in text]


def test_a_table_without_pictures(page: Page, show: Open, make_page: Callable[..., PhotoSection]) -> None:
    show(PhotoSection(make_page(6).rows, None, "of an earlier version"))
    assert page.locator("#photo-table tr[data-at]").count() == 6 and page.locator("[data-threshold]").count() == 0
    page.locator("#photo-table tr[data-at]").first.click()
    assert page.locator("#photo-view").is_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("]")
    json.loads(page.locator("#photo-data").text_content() or "")
