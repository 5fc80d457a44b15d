"""The page in a real browser, with its keys and the mouse; what it saved is read from the disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from dips.predict.results import REVIEWED
from dips.view.coco import write_reviewed
from dips.view.predictions import read_predictions
from dips.view.review import Review
from dips.view.server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow


@pytest.fixture
def opened(server: Server, page: Page) -> Page:  # in this order: the page is closed first
    """The page with the first photo drawn."""
    page.goto(server.address)
    shown(page, 0)
    return page


def until(page: Page, condition: str) -> None:
    """Wait for it; Playwright's own way is a string that the page evaluates, which its Content-Security-Policy forbids."""
    end = time.monotonic() + 20
    while not page.evaluate(f"Boolean({condition})"):
        assert time.monotonic() < end, f"never true: {condition}"
        page.wait_for_timeout(20)


def until_held(page: Page, requests: list[Any]) -> None:
    """Wait for the request that a route holds back."""
    end = time.monotonic() + 20
    while not requests:
        assert time.monotonic() < end, "no request"
        page.wait_for_timeout(20)


def provoked(page: Page, page_errors: list[str], status: int) -> None:
    """What the browser itself says about such an answer, and nothing else, was in the console."""
    page.wait_for_timeout(150)
    assert page_errors and all(str(status) in error for error in page_errors), page_errors
    page_errors.clear()


def shown(page: Page, index: int) -> None:
    """Wait until the photo is on the canvas."""
    until(page, f"app.current === {index} && stage.image !== null && canvas.dataset.shown === '{index}'")


def names(page: Page) -> list[str]:
    return page.locator("#list .row .file").all_inner_texts()


def saved(page: Page) -> None:
    until(page, "dirty.size === 0 && document.getElementById('saved').textContent === 'Saved'")


def on_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    """A point of the photo on the page."""
    left, top = page.evaluate("([x, y]) => onScreen([x, y, 0, 0]).slice(0, 2)", [x, y])
    area = page.locator("#canvas").bounding_box()
    assert area is not None
    return area["x"] + left, area["y"] + top


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*on_screen(page, *start))
    page.mouse.down()
    page.mouse.move(*on_screen(page, (start[0] + end[0]) / 2, (start[1] + end[1]) / 2))
    page.mouse.move(*on_screen(page, *end))
    page.mouse.up()
    saved(page)


def boxes(review: Review, index: int = 0) -> list[tuple[float, ...]]:
    return [box.box for box in review.state(index).boxes]


def coco(review: Review) -> dict[str, Any]:
    write_reviewed(review, review.predictions.folder / REVIEWED)
    return dict(json.loads((review.predictions.folder / REVIEWED).read_text()))


def test_it_shows_the_photos_and_where_it_stands(opened: Page) -> None:
    assert opened.title() == "tower · boxes: DiPS review"
    assert names(opened) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert opened.locator("#count").inner_text() == "0 of 4 reviewed"
    assert opened.locator("#name").inner_text() == "a.jpg"
    assert "200 \u00d7 100 px" in opened.locator("#facts").inner_text()
    assert opened.locator("#boxes .box").count() == 2
    until(opened, "document.querySelectorAll('.row img:not([hidden])').length === 4")


def test_the_photo_and_its_boxes_are_drawn_where_they_are(opened: Page) -> None:
    """The bright rectangle of the photo has the dashed line of its box around it."""
    read = """([x, y]) => { const ratio = devicePixelRatio, [left, top] = onScreen([x, y, 0, 0]);
      paintNow(); return [...pen.getImageData(Math.round(left * ratio), Math.round(top * ratio), 1, 1).data]; }"""
    red, green, blue, alpha = opened.evaluate(read, [40, 45])
    assert red > 230 and green > 200 and blue < 110 and alpha == 255
    column = [opened.evaluate(read, [60, 30 + step / 4])[:3] for step in range(100)]
    assert [255, 176, 0] in column  # the line
    opened.keyboard.press("h")
    assert [255, 176, 0] not in [opened.evaluate(read, [60, 30 + step / 4])[:3] for step in range(100)]


def test_filters_and_order(opened: Page) -> None:
    opened.select_option("#show", "empty")
    assert names(opened) == ["c.jpg"]
    shown(opened, 2)
    assert opened.locator("#accept span").inner_text() == "No object, next"
    opened.select_option("#show", "all")
    opened.select_option("#order", "score")
    assert opened.evaluate("list.shown") == [3, 0, 1, 2]
    opened.select_option("#class", "none")
    assert opened.evaluate("list.shown") == [2]
    opened.select_option("#class", "tower")
    assert opened.evaluate("list.shown") == [3, 0, 1]
    opened.fill("#search", "SUB/")
    assert names(opened) == ["d.jpg"]
    shown(opened, 3)
    assert opened.locator("#listed").inner_text() == "1 of 4 photos"
    opened.fill("#search", "nothing")
    assert names(opened) == []
    assert opened.locator("#name").inner_text() == "sub/d.jpg"


@pytest.fixture
def own_classes(predicted: Path) -> Path:
    """The second box of a.jpg is a mast, in a photo of a tower."""
    file = predicted / "json" / "a.json"
    record = json.loads(file.read_text())
    for box, label in zip(record["boxes"], ("tower", "mast"), strict=True):
        box |= {"label": label, "label_score": 0.7}
    file.write_text(json.dumps({**record, "cell_classes": ["mast", "tower"]}))
    return predicted


def test_boxes_have_their_own_classes(own_classes: Path, opened: Page, review: Review) -> None:
    """Shown, counted, filtered by, changed and accepted as they are."""
    assert [item.split()[-1] for item in opened.locator(".box .what > span").all_inner_texts()] == ["tower", "mast"]
    assert opened.locator("#class option").all_inner_texts()[1:] == ["mast (1)", "tower (3)", "none (1)"]
    opened.select_option("#class", "mast")
    assert names(opened) == ["a.jpg"]
    opened.evaluate("select(1)")
    opened.select_option("[data-part=class]", "tower")
    until(opened, "!dirty.size")
    assert [box.label for box in review.state(0).boxes] == ["tower", "tower"]
    opened.select_option("[data-part=class]", "mast")
    until(opened, "!dirty.size")
    assert [box.label for box in review.state(0).boxes] == ["tower", "mast"]
    assert opened.evaluate("kind(0, boxes()[1])") == "accepted", "it is as predicted again"


def test_informative_photos_come_first(server: Server, page: Page, review: Review) -> None:
    """Falling priority, then the name; accepting goes on to the next one, and back to the last one."""
    server.order = "informative"
    page.goto(server.address)
    shown(page, 1)
    assert names(page) == ["b.jpg", "d.jpg", "c.jpg", "a.jpg"] and page.input_value("#order") == "informative"
    assert page.locator("#order-means").inner_text().startswith("Least certain first, each with its priority: objects")
    rows = page.locator("#list .row .where").all_inner_texts()
    assert rows[0] == "0.60 · 1 box · tower" and rows[2] == "0.30 · no boxes · none"
    assert page.locator("#photo-2").get_attribute("title") == "c.jpg: priority 0.30"
    for key, index in (("j", 3), ("j", 2), ("k", 3), ("Home", 1), ("End", 0), ("Home", 1), ("a", 3), ("a", 2), ("k", 3)):
        page.keyboard.press(key)
        shown(page, index)
    saved(page)
    assert [state.reviewed for state in review.states()] == [False, True, False, True]
    assert names(page) == ["b.jpg", "d.jpg", "c.jpg", "a.jpg"], "reviewed photos stay where they are"
    page.reload()
    shown(page, 2)  # the first that is not reviewed
    page.select_option("#order", "name")
    shown(page, 0)
    assert page.locator("#order-means").is_hidden() and page.evaluate("list.shown") == [0, 1, 2, 3]
    assert page.locator("#photo-0 .where").inner_text() == "2 boxes · 0.40 · tower"
    page.select_option("#order", "informative")
    shown(page, 1)
    page.select_option("#show", "open")
    assert page.evaluate("list.shown") == [2, 0]


@pytest.mark.parametrize(("control", "value"), [("#order", "score"), ("#show", "open"), ("#class", "tower")])
def test_what_was_said_of_the_end_of_a_list_goes_with_the_list(opened: Page, control: str, value: str) -> None:
    opened.keyboard.press("End")
    shown(opened, 3)
    opened.keyboard.press("a")
    saved(opened)
    assert opened.locator("#notice").inner_text().startswith("That was the last photo in the list; 3 photos are")
    opened.select_option(control, value)
    until(opened, "document.querySelector('#notice').hidden")


def test_the_end_of_a_list_is_forgotten_even_where_the_photo_stays(opened: Page) -> None:
    opened.fill("#search", "d.jp")
    shown(opened, 3)
    opened.keyboard.press("Escape")
    opened.keyboard.press("a")
    saved(opened)
    assert opened.locator("#notice").is_visible()
    opened.fill("#search", "")
    until(opened, "list.shown.length === 4")
    assert opened.evaluate("app.current") == 3 and opened.locator("#notice").is_hidden()


@pytest.mark.parametrize("changed", [0, 2])
def test_an_unfinished_photo_comes_before_informative_ones(server: Server, page: Page, review: Review, changed: int) -> None:
    drawn = {"box": [1, 1, 9, 9], "label": "mast", "of": None, "accepted": True}
    review.change(changed, {"reviewed": False, "boxes": [drawn]})
    server.order = "informative"
    page.goto(server.address)
    shown(page, changed)
    assert page.evaluate("list.shown") == [1, 3, 2, 0]


def test_what_an_earlier_version_predicted_has_no_such_order(without_priorities: Path, server: Server, page: Page) -> None:
    page.goto(server.address)
    shown(page, 0)
    assert page.locator("#order option").all_inner_texts() == ["By name", "Lowest score first"]
    page.select_option("#order", "score")
    shown(page, 3)


def test_photos_without_a_priority_come_last(predicted: Path, without_priorities: Path, server: Server, page: Page) -> None:
    server.order = "informative"
    page.route("**/api/photos", lambda route: route.fulfill(json=with_priorities(route.fetch().json(), [None, 0.0, None, 0.5])))
    page.goto(server.address)
    shown(page, 3)
    assert page.evaluate("list.shown") == [3, 1, 0, 2]
    assert page.locator("#photo-0 .where").inner_text() == "2 boxes · 0.40 · tower"


def with_priorities(listing: dict[str, Any], priorities: list[float | None]) -> dict[str, Any]:
    photos = [{**photo, "priority": priority} for photo, priority in zip(listing["photos"], priorities, strict=True)]
    return {**listing, "photos": photos}


def test_not_reviewed_photos_go_one_by_one(opened: Page, review: Review) -> None:
    opened.select_option("#show", "open")
    opened.locator("#canvas").focus()
    for index in range(4):
        shown(opened, index)
        opened.keyboard.press("a")
        saved(opened)
    assert opened.locator("#notice").inner_text().startswith("All photos are reviewed.")
    assert opened.locator("#count").inner_text() == "4 of 4 reviewed"
    assert review.counts() == (4, 4)
    assert opened.locator("#progress").get_attribute("aria-valuenow") == "4"


def test_keys_go_through_photos_and_boxes(opened: Page) -> None:
    for key, index in (("j", 1), ("ArrowDown", 2), ("k", 1), ("ArrowUp", 0), ("k", 0)):
        opened.keyboard.press(key)
        shown(opened, index)
    selected = "app.selected"
    for key, chosen in (("Tab", 0), ("Tab", 1), ("Shift+Tab", 0), ("2", 1), ("Escape", -1), ("Shift+Tab", 1)):
        opened.keyboard.press(key)
        assert opened.evaluate(selected) == chosen, key
    assert "Box 2 of 2, tower" in opened.locator("#said").inner_text()
    opened.keyboard.press("Tab")  # past the last box: on through the page, so that nobody is caught
    assert opened.evaluate("document.activeElement !== canvas")


def said(page: Page) -> str:
    """What the line below the photo says."""
    assert page.locator("#said").is_visible()
    return page.locator("#said").inner_text()


def test_tab_selects_a_box_after_a_photo_was_chosen_in_the_list(opened: Page, review: Review) -> None:
    opened.locator("#photo-1").click()
    shown(opened, 1)
    opened.locator("#photo-0").click()
    shown(opened, 0)
    opened.keyboard.press("Tab")
    assert opened.evaluate("app.selected") == 0
    opened.keyboard.press("Tab")
    assert opened.evaluate("app.selected") == 1
    opened.keyboard.press("d")
    saved(opened)
    assert boxes(review) == [(20, 20, 60, 70)]
    opened.locator("#list").focus()  # with the keyboard
    opened.keyboard.press("Escape")
    opened.keyboard.press("Tab")
    assert opened.evaluate("app.selected") == 0
    opened.keyboard.press("Tab")
    assert "no more boxes" in said(opened)


@pytest.mark.parametrize("selector", ["#reopen", "#undo", "#in", "#photo-0", "#boxes .box button", "#show", "#class"])
def test_after_a_click_the_keys_are_those_of_the_photo(opened: Page, review: Review, selector: str) -> None:
    review.change(0, {"reviewed": True, "boxes": [{"box": [20, 20, 60, 70], "label": "tower", "of": 0, "accepted": True}]})
    opened.reload()
    shown(opened, 1)
    opened.locator("#back").click()
    shown(opened, 0)
    opened.mouse.wheel(0, 0)
    if selector in ("#show", "#class"):
        opened.locator(selector).dispatch_event("pointerdown")
        opened.select_option(selector, index=1 if selector == "#class" else 3)
    else:
        opened.locator(selector).first.click(force=True)
    assert opened.evaluate("isPhoto(document.activeElement)")
    opened.keyboard.press("Escape")
    opened.keyboard.press("1")
    opened.keyboard.press("d")  # neither the button again nor another choice
    saved(opened)
    until(opened, "photo(0).state.boxes.length < 2")
    assert opened.evaluate("document.getElementById('said').textContent").startswith("Box 1 deleted")


def test_a_key_without_effect_says_why(opened: Page, review: Review) -> None:
    reasons = [
        ("d", "No box is selected: Tab selects one"),
        ("Delete", "No box is selected: Tab selects one"),
        ("Enter", "No box is selected: Tab selects one"),
        ("c", "No box is selected: Tab selects one"),
        ("Shift+ArrowLeft", "No box is selected: Tab selects one"),
        ("Control+ArrowUp", "No box is selected: Tab selects one"),
        ("D", "No box is selected: Tab selects one"),  # Caps Lock
        ("3", "There is no box 3: this photo has 2 boxes"),
        ("r", "Nothing to reopen: the photo is not reviewed yet"),
        ("u", "Nothing to undo"),
        ("Control+y", "There is no redo"),
        ("Control+Shift+Z", "There is no redo"),
        ("k", "This is the first photo in the list"),
        ("Escape", "Nothing to cancel: no box is selected"),
        ("ArrowRight", "Shift and an arrow key move the selected box"),
        ("x", "x does nothing here: ? shows all keys"),
        ("0", "0 does nothing here"),
        (" ", "Space does nothing here"),
        ("PageDown", "PageDown does nothing here"),
    ]
    for key, why in reasons:
        opened.evaluate("say('')")
        opened.keyboard.press("Space" if key == " " else key)
        until(opened, f"document.getElementById('said').textContent.startsWith({json.dumps(why)})")
        assert review.changes == 0 and opened.evaluate("app.current") == 0 and opened.evaluate("app.selected") == -1, key


def test_a_photo_without_boxes_says_so(opened: Page) -> None:
    opened.locator("#photo-2").click()
    shown(opened, 2)
    for key, why in (("d", "no box in this photo"), ("1", "no box 1"), ("Enter", "n draws one"), ("Tab", "no box in this")):
        opened.keyboard.press(key)
        assert why in said(opened)


def test_another_order_or_filter_begins_at_its_first_photo(opened: Page) -> None:
    opened.keyboard.press("End")
    shown(opened, 3)
    for selector, choice, first in (
        ("#order", "name", 0),
        ("#show", "open", 0),
        ("#order", "score", 3),
        ("#class", "none", 2),
        ("#class", "", 3),
        ("#order", "name", 0),
    ):
        opened.keyboard.press("j")
        opened.select_option(selector, choice)
        opened.locator(selector).dispatch_event("change")
        shown(opened, first)
        opened.locator("#canvas").focus()
    opened.keyboard.press("j")
    shown(opened, 1)
    opened.fill("#search", "b.jp")
    opened.fill("#search", "")  # while a name is typed the photo stays as long as it matches
    assert opened.evaluate("app.current") == 1


def test_home_and_end_go_to_the_ends_of_the_list(opened: Page) -> None:
    opened.keyboard.press("Home")
    assert said(opened) == "This is the first photo in the list"
    opened.locator("#list").focus()
    opened.keyboard.press("End")
    shown(opened, 3)
    opened.keyboard.press("End")
    assert said(opened) == "This is the last photo in the list"
    opened.select_option("#class", "tower")
    shown(opened, 0)
    opened.select_option("#order", "score")
    shown(opened, 3)
    opened.locator("#canvas").focus()
    opened.keyboard.press("End")
    shown(opened, 1)
    opened.keyboard.press("Home")
    shown(opened, 3)
    opened.fill("#search", "nothing")
    opened.locator("#canvas").focus()
    opened.keyboard.press("Home")
    assert said(opened) == "No photo matches the filters on the left"


@pytest.mark.parametrize("key", ["Enter", "Escape", "Tab"])
def test_the_choice_of_a_class_ends_also_without_a_change(opened: Page, review: Review, key: str) -> None:
    opened.keyboard.press("2")
    opened.keyboard.press("c")
    assert said(opened).startswith("Choose the class")
    opened.keyboard.press(key)
    assert said(opened) == "Box 2 stays tower" and review.changes == 0
    opened.keyboard.press("Escape")
    opened.keyboard.press("2")
    opened.keyboard.press("c")
    opened.select_option('[data-part="class"]', "mast")
    opened.keyboard.press("Enter")
    assert said(opened) == "Box 2 is mast now"


@pytest.mark.parametrize("key", ["Tab", "Shift+Tab"])
def test_tab_in_a_photo_without_boxes_stays_and_the_second_one_moves_on(opened: Page, key: str) -> None:
    for _ in range(2):  # said anew in each photo
        opened.keyboard.press("j")
        opened.keyboard.press("j")
        shown(opened, 2)
        opened.keyboard.press(key)
        assert opened.evaluate("document.activeElement === canvas")
        assert said(opened).startswith("There is no box in this photo: n draws one, Tab again")
        opened.keyboard.press(key)
        assert opened.evaluate("document.activeElement !== canvas") and "goes on through the page" in said(opened)
        opened.keyboard.press("k")
        opened.keyboard.press("k")
        shown(opened, 0)


@pytest.mark.parametrize("selector", ["#out", "#accept", "#next", "#undo", "#boxes .box button"])
@pytest.mark.parametrize("key", ["a", "j", "u"])
def test_at_the_next_photo_tab_selects_its_first_box(opened: Page, review: Review, selector: str, key: str) -> None:
    opened.keyboard.press("j")
    shown(opened, 1)
    opened.keyboard.press("a" if key == "u" else "k")
    shown(opened, 2 if key == "u" else 0)
    opened.locator(selector if key != "u" or "box" not in selector else "#fit").first.focus()
    opened.keyboard.press(key)
    shown(opened, 1)
    assert opened.evaluate("document.activeElement === canvas")
    opened.keyboard.press("Tab")
    assert opened.evaluate("app.selected") == 0 and said(opened).startswith("Box 1 of 1")


def test_who_filters_with_the_keyboard_stays_there(opened: Page) -> None:
    opened.locator("#search").focus()
    opened.keyboard.type("d.jpg")
    shown(opened, 3)
    assert opened.evaluate("document.activeElement.id") == "search"
    opened.fill("#search", "")
    opened.locator("#show").focus()
    opened.select_option("#show", "empty")
    shown(opened, 2)
    assert opened.evaluate("document.activeElement.id") == "show"


def test_keys_of_the_browser_are_left_to_it(opened: Page, review: Review) -> None:
    before = said(opened)
    for key in ("Control+a", "Control+d", "Meta+a", "Alt+d", "Alt+ArrowUp"):
        opened.keyboard.press(key)
    assert said(opened) == before and review.changes == 0 and opened.evaluate("app.current") == 0


def test_what_was_accepted_is_shown_and_can_be_undone(opened: Page, review: Review) -> None:
    opened.keyboard.press("a")
    shown(opened, 1)
    saved(opened)
    assert said(opened).startswith("a.jpg: 2 boxes accepted, u undoes it. Now b.jpg: 1 box")
    opened.keyboard.press("u")
    shown(opened, 0)
    until(opened, "!photo(0).state.reviewed")
    assert said(opened) == "Undone in a.jpg: 2 boxes are not checked, the photo is not reviewed"
    assert [box.accepted for box in review.state(0).boxes] == [False, False]
    for key, what in (("1", "Box 1 of 2"), ("Enter", "Box 1 accepted"), ("2", "Box 2 of 2"),
                      ("Enter", "Box 2 accepted; all boxes are accepted now, the photo is reviewed"),
                      ("Enter", "Box 2 is accepted already")):  # fmt: skip
        opened.keyboard.press(key)
        saved(opened)
        assert said(opened).startswith(what)
    for reviewed in (False, False):  # the press that did nothing is no step
        opened.keyboard.press("u")
        until(opened, "document.getElementById('said').textContent.startsWith('Undone in a.jpg')")
        saved(opened)
        opened.wait_for_timeout(100)
        assert review.state(0).reviewed == reviewed
    assert [box.accepted for box in review.state(0).boxes] == [False, False]


def test_undo_says_what_came_back_and_selects_it(opened: Page, review: Review) -> None:
    def undone(what: str) -> None:
        opened.keyboard.press("u")
        until(opened, f"document.getElementById('said').textContent.startsWith('Undone in a.jpg: {what}')")

    opened.keyboard.press("2")
    opened.keyboard.press("d")
    saved(opened)
    assert said(opened) == "Box 2 deleted, u brings it back; box 1 of 1 is selected"
    opened.keyboard.press("j")
    shown(opened, 1)
    undone("the deleted box is back")
    assert opened.evaluate("app.selected") == 1 and opened.evaluate("app.current") == 0
    opened.keyboard.press("n")
    drag(opened, (5, 5), (15, 15))
    undone("the drawn box is gone")
    drag(opened, (60, 70), (75, 85))
    undone("the box is where it was")
    opened.keyboard.press("1")
    opened.select_option('[data-part="class"]', "mast")
    saved(opened)
    undone("the box has its class back")
    opened.keyboard.press("Control+Shift+Z")
    assert said(opened) == "There is no redo"
    assert [box.label for box in review.state(0).boxes] == ["tower", "tower"]


def test_a_reopened_photo_looks_as_before_the_review(opened: Page, review: Review) -> None:
    def marks() -> list[str]:
        return [str(name) for name in opened.evaluate("boxes().map((box) => kind(app.current, box))")]

    assert marks() == ["predicted", "predicted"]
    opened.keyboard.press("a")
    shown(opened, 1)
    opened.keyboard.press("k")
    shown(opened, 0)
    assert marks() == ["accepted", "accepted"]
    opened.keyboard.press("r")
    saved(opened)
    assert marks() == ["predicted", "predicted"] and "not reviewed" in said(opened)
    assert opened.locator("#boxes small").all_inner_texts() == ["not checked yet"] * 2
    drag(opened, (60, 70), (75, 85))  # what a person made stays theirs
    opened.locator("#accept").click()
    shown(opened, 1)
    opened.locator("#back").click()
    shown(opened, 0)
    opened.locator("#reopen").click()
    saved(opened)
    assert marks() == ["changed", "predicted"] and boxes(review)[0] == (20, 20, 75, 85)
    assert not review.state(0).reviewed and review.state(0).boxes[0].accepted and not review.state(0).boxes[1].accepted
    opened.keyboard.press("u")
    until(opened, "photo(0).state.reviewed")
    assert marks() == ["changed", "accepted"]


@pytest.mark.parametrize("key", ["Delete", "Backspace", "d"])
def test_a_key_held_down_deletes_one_box(opened: Page, review: Review, key: str) -> None:
    opened.keyboard.press("1")
    for _ in range(3):
        opened.keyboard.down(key)  # the second and third are repeats
    opened.keyboard.up(key)
    saved(opened)
    assert boxes(review) == [(100, 10, 180, 90)]


@pytest.mark.parametrize("key", ["a", "Control+z", "r", "h", "Enter"])
def test_other_keys_do_not_repeat_either(opened: Page, review: Review, key: str) -> None:
    for _ in range(2):
        opened.keyboard.press("1")
        opened.keyboard.press("d")
        saved(opened)
    opened.evaluate(
        """(parts) => { for (const repeat of [false, true, true]) document.activeElement.dispatchEvent(new KeyboardEvent(
      "keydown", { key: parts.at(-1), ctrlKey: parts.length > 1, repeat, bubbles: true, cancelable: true })); }""",
        key.split("+"),
    )
    opened.wait_for_timeout(150)
    saved(opened)
    assert opened.evaluate("app.current") == (1 if key == "a" else 0)
    assert len(boxes(review)) == (1 if key == "Control+z" else 0)
    assert opened.evaluate("stage.hidden") == (key == "h")


def test_nothing_is_decided_about_hidden_boxes(opened: Page, review: Review) -> None:
    opened.keyboard.press("1")
    for key in ("d", "Enter", "a", "Shift+ArrowRight", "c"):
        opened.keyboard.press("h")
        opened.keyboard.press(key)
        assert "boxes were hidden" in said(opened) and not opened.evaluate("stage.hidden")
        assert review.changes == 0 and opened.evaluate("app.current") == 0
    opened.keyboard.press("h")
    opened.keyboard.press("Tab")
    assert not opened.evaluate("stage.hidden")  # what is selected can be seen


@pytest.mark.parametrize("key", ["a", "d", "Enter"])
def test_nothing_is_decided_about_a_photo_that_is_not_there_yet(opened: Page, review: Review, key: str) -> None:
    held: list[Any] = []
    opened.route("**/api/photos/3/large", lambda route: held.append(route))
    opened.locator("#photo-3").click()
    until(opened, "app.current === 3")
    opened.keyboard.press("1")
    opened.keyboard.press(key)
    assert said(opened) == "The photo is still loading" and review.changes == 0
    until_held(opened, held)
    held[0].continue_()
    shown(opened, 3)
    opened.keyboard.press(key)
    saved(opened)
    assert review.changes == 1


def test_keys_during_a_drag_do_not_meet_another_box(opened: Page, review: Review) -> None:
    opened.mouse.move(*on_screen(opened, 40, 40))
    opened.mouse.down()
    opened.mouse.move(*on_screen(opened, 50, 50))
    for key in ("d", "a", "j", "u", "Tab", "n", "Shift+ArrowRight"):
        opened.evaluate("say('')")
        opened.keyboard.press(key)
        assert "Release the mouse button first" in said(opened)
    opened.mouse.up()
    saved(opened)
    assert boxes(review) == [(30, 30, 70, 80), (100, 10, 180, 90)]
    assert said(opened) == "Box 1 adjusted" and opened.evaluate("app.current") == 0


def test_a_box_that_is_undone_during_a_drag_is_left_alone(opened: Page, review: Review) -> None:
    held: list[Any] = []
    opened.keyboard.press("1")
    opened.keyboard.press("d")
    saved(opened)
    opened.route("**/api/undo", lambda route: held.append(route))
    opened.keyboard.press("u")
    opened.mouse.move(*on_screen(opened, 140, 50))
    opened.mouse.down()
    opened.mouse.move(*on_screen(opened, 145, 50))
    until_held(opened, held)
    held[0].continue_()
    until(opened, "boxes().length === 2")
    opened.mouse.up()
    assert "changed meanwhile" in said(opened)
    assert boxes(review) == [(20, 20, 60, 70), (100, 10, 180, 90)]


def test_drawing_nothing_says_how_to_draw(opened: Page, review: Review) -> None:
    opened.keyboard.press("n")
    opened.mouse.click(*on_screen(opened, 90, 20))
    assert said(opened).startswith("No box drawn: drag") and opened.evaluate("stage.drawing")
    opened.keyboard.press("Escape")
    assert not opened.evaluate("stage.drawing") and review.changes == 0


def test_keys_in_fields_are_the_fields(opened: Page, review: Review) -> None:
    opened.keyboard.press("1")
    opened.fill('[data-part="left"]', "25")
    for key in ("a", "d", "u"):
        opened.keyboard.press(key)
        assert "Esc returns to the photo" in said(opened)
    opened.keyboard.press("Enter")
    saved(opened)
    assert review.changes == 1 and boxes(review)[0] == (25, 20, 65, 70)
    opened.keyboard.press("Control+z")  # nothing is being typed: the last change is meant
    until(opened, "boxes()[0].box[0] === 20")
    opened.fill("#search", "jad")
    opened.keyboard.press("Enter")
    opened.fill("#search", "")
    opened.keyboard.press("Escape")
    assert opened.evaluate("document.activeElement === canvas && app.current === 0")
    opened.keyboard.press("1")
    opened.keyboard.press("c")
    until(opened, "document.activeElement.dataset.part === 'class'")
    opened.keyboard.press("Enter")
    assert opened.evaluate("document.activeElement === canvas") and review.state(0).boxes[0].label == "tower"


def test_tab_goes_from_field_to_field_while_numbers_are_typed(opened: Page, review: Review) -> None:
    opened.keyboard.press("1")
    opened.locator('[data-part="left"]').focus()
    for number in ("30", "25", "50"):
        opened.keyboard.press("Control+a")
        opened.keyboard.type(number)
        opened.keyboard.press("Tab")
        opened.wait_for_timeout(50)
    assert opened.evaluate("document.activeElement.dataset.part") == "height"
    opened.keyboard.type("40")  # in place of the old number, which is selected
    opened.locator("#photo-1").click()
    shown(opened, 1)
    saved(opened)
    assert boxes(review)[0] == (30, 25, 80, 65)


def test_a_held_c_chooses_no_class(opened: Page, review: Review) -> None:
    opened.evaluate("app.classes = ['car', ...app.classes]")
    opened.keyboard.press("1")
    for _ in range(4):
        opened.keyboard.down("c")
    opened.keyboard.up("c")
    assert opened.locator('[data-part="class"]').input_value() == "tower" and review.changes == 0


def test_letters_of_other_alphabets_are_the_keys_they_lie_on(opened: Page) -> None:
    cyrillic = '{ key: "\\u043e", code: "KeyJ", bubbles: true }'
    opened.evaluate(f"() => {{ canvas.dispatchEvent(new KeyboardEvent('keydown', {cyrillic})); }}")
    shown(opened, 1)


def test_accepting_all_and_the_coco_file(opened: Page, review: Review) -> None:
    opened.keyboard.press("a")
    shown(opened, 1)
    saved(opened)
    content = coco(review)
    assert [image["file_name"] for image in content["images"]] == ["a.jpg"]
    assert [item["bbox"] for item in content["annotations"]] == [[20, 20, 40, 50], [100, 10, 80, 80]]
    assert [item["area"] for item in content["annotations"]] == [1000, 3200]
    assert all(item["segmentation"]["size"] == [100, 200] for item in content["annotations"])
    assert opened.locator("#photo-0 .tick.done").count() == 1
    opened.keyboard.press("k")
    shown(opened, 0)
    opened.keyboard.press("r")
    saved(opened)
    assert coco(review)["images"] == []


def test_accepting_box_by_box_makes_the_photo_reviewed(opened: Page, review: Review) -> None:
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")
    saved(opened)
    assert [box.accepted for box in review.state(0).boxes] == [True, False] and not review.state(0).reviewed
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")
    saved(opened)
    assert review.state(0).reviewed


def test_dragging_a_corner_an_edge_and_the_whole_box(opened: Page, review: Review) -> None:
    drag(opened, (60, 70), (75, 85))
    assert boxes(review)[0] == (20, 20, 75, 85)
    drag(opened, (20, 50), (10, 60))
    assert boxes(review)[0] == (10, 20, 75, 85)
    drag(opened, (40, 50), (60, 45))
    assert boxes(review)[0] == (30, 15, 95, 80)
    drag(opened, (60, 50), (-900, 50))
    assert boxes(review)[0] == (0, 15, 65, 80)  # not out of the photo
    drag(opened, (65, 50), (-900, 50))
    assert boxes(review)[0] == (0, 15, 1, 80)  # and never empty
    assert boxes(review)[1] == (100, 10, 180, 90)
    opened.keyboard.press("a")
    saved(opened)
    first, second = coco(review)["annotations"]
    assert first["bbox"] == [0, 15, 1, 65] and first["segmentation"] == [[0, 15, 1, 15, 1, 80, 0, 80]] and first["area"] == 65
    assert second["segmentation"]["size"] == [100, 200]


def test_a_click_selects_and_moves_nothing(opened: Page, review: Review) -> None:
    opened.mouse.click(*on_screen(opened, 140, 50))
    assert opened.evaluate("app.selected") == 1
    opened.mouse.click(*on_screen(opened, 80, 95))
    assert opened.evaluate("app.selected") == -1
    assert review.changes == 0


def test_a_drag_that_is_broken_off_changes_nothing(opened: Page, review: Review) -> None:
    opened.mouse.move(*on_screen(opened, 40, 40))
    opened.mouse.down()
    opened.mouse.move(*on_screen(opened, 80, 60))
    opened.keyboard.press("Escape")
    opened.mouse.up()
    assert opened.evaluate("boxes()[0].box") == [20, 20, 60, 70] and review.changes == 0


def test_deleting_and_undo(opened: Page, review: Review) -> None:
    opened.keyboard.press("1")
    opened.keyboard.press("d")
    saved(opened)
    assert boxes(review) == [(100, 10, 180, 90)]
    opened.keyboard.press("Delete")  # the next one is selected
    saved(opened)
    assert boxes(review) == []
    opened.keyboard.press("j")
    shown(opened, 1)
    opened.keyboard.press("u")
    shown(opened, 0)  # where it was taken back
    opened.keyboard.press("Control+z")
    until(opened, "boxes().length === 2")
    assert boxes(review) == [(20, 20, 60, 70), (100, 10, 180, 90)]
    opened.keyboard.press("u")
    until(opened, "document.getElementById('said').textContent.startsWith('Nothing to undo')")


def test_a_change_while_a_step_is_taken_back_comes_after_it(opened: Page, review: Review) -> None:
    opened.keyboard.press("1")
    opened.keyboard.press("d")
    saved(opened)
    held = []
    opened.route("**/api/undo", lambda route: held.append(route))
    opened.keyboard.press("u")
    opened.keyboard.press("j")
    shown(opened, 1)
    opened.keyboard.press("a")
    opened.wait_for_timeout(200)
    assert len(held) == 1 and not review.state(1).reviewed
    held[0].continue_()
    until(opened, "photo(0).state.boxes.length === 2")
    saved(opened)
    assert len(boxes(review)) == 2 and review.state(1).reviewed


def test_adjusting_the_last_open_box_makes_the_photo_reviewed(opened: Page, review: Review) -> None:
    opened.keyboard.press("1")
    opened.keyboard.press("Enter")
    saved(opened)
    drag(opened, (179, 89), (150, 80))
    assert review.state(0).reviewed and boxes(review)[0] == (20, 20, 60, 70)


def test_drawing_a_box(opened: Page, review: Review) -> None:
    opened.keyboard.press("j")
    opened.keyboard.press("j")
    shown(opened, 2)
    opened.keyboard.press("n")
    assert opened.locator("#draw").get_attribute("aria-pressed") == "true"
    drag(opened, (150, 80), (30, 10))
    assert opened.locator("#draw").get_attribute("aria-pressed") == "false"
    assert boxes(review, 2) == [(30, 10, 150, 80)]
    opened.select_option('[data-part="class"]', "mast")
    saved(opened)
    drawn = review.state(2).boxes[0]
    assert (drawn.label, drawn.of, drawn.accepted) == ("mast", None, True)
    opened.keyboard.press("Escape")  # out of the choice of classes
    opened.keyboard.press("a")
    saved(opened)
    content = coco(review)
    assert content["annotations"][0]["bbox"] == [30, 10, 120, 70] and content["annotations"][0]["area"] == 8400
    assert content["annotations"][0]["category_id"] == 2 and content["annotations"][0]["review"] == "drawn"


def test_a_new_box_can_lie_on_another_one(opened: Page, review: Review) -> None:
    opened.keyboard.press("n")
    drag(opened, (110, 20), (150, 60))
    assert boxes(review)[1:] == [(100, 10, 180, 90), (110, 20, 150, 60)]
    opened.mouse.click(*on_screen(opened, 130, 40))
    assert opened.evaluate("app.selected") == 2
    opened.keyboard.press("Escape")
    opened.mouse.click(*on_screen(opened, 130, 40))
    assert opened.evaluate("app.selected") == 2  # the smaller one


def test_arrows_move_by_a_pixel_and_are_one_step(opened: Page, review: Review) -> None:
    opened.keyboard.press("1")
    for key in ("Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowDown", "Control+ArrowRight", "Control+ArrowUp"):
        opened.keyboard.press(key)
    saved(opened)
    assert boxes(review)[0] == (22, 21, 63, 70)
    assert review.changes == 1
    opened.keyboard.press("u")
    until(opened, "boxes()[0].box[0] === 20")


def test_numbers_can_be_typed(opened: Page, review: Review) -> None:
    opened.keyboard.press("1")
    opened.fill('[data-part="width"]', "55.5")
    opened.keyboard.press("Enter")
    saved(opened)
    assert boxes(review)[0] == (20, 20, 75.5, 70)
    opened.fill('[data-part="left"]', "180")
    opened.keyboard.press("Enter")
    assert "must be inside the photo (200 \u00d7 100 pixels)" in opened.locator("#notice").inner_text()
    assert boxes(review)[0] == (20, 20, 75.5, 70)
    opened.keyboard.press("j")  # in a field that is no command
    assert opened.evaluate("app.current") == 0


def test_zoom_keeps_the_place_under_the_pointer_and_drags_stay_right(opened: Page, review: Review) -> None:
    opened.mouse.move(*on_screen(opened, 60, 70))
    before = on_screen(opened, 60, 70)
    opened.mouse.wheel(0, -600)
    until(opened, "stage.scale > fitScale() * 2")
    after = on_screen(opened, 60, 70)
    assert after == pytest.approx(before, abs=2)  # a wheel turns at whole pixels
    drag(opened, (60, 70), (64, 73))
    assert boxes(review)[0] == (20, 20, 64, 73)
    opened.keyboard.press("f")
    assert opened.evaluate("stage.fitted")


def test_the_help_and_its_way_out(opened: Page) -> None:
    opened.keyboard.press("?")
    assert opened.locator("#help").is_visible()
    opened.keyboard.press("j")
    assert opened.evaluate("app.current") == 0
    opened.keyboard.press("Escape")
    assert not opened.locator("#help").is_visible()
    opened.locator("#keys").click()
    opened.keyboard.press("?")  # closes it, too
    assert not opened.locator("#help").is_visible()
    opened.keyboard.press("Enter")  # the photo's again, not the button's
    assert not opened.locator("#help").is_visible() and "No box is selected" in said(opened)


def test_another_window_is_not_overwritten(opened: Page, review: Review, page_errors: list[str]) -> None:
    review.change(0, {"reviewed": False, "boxes": []})
    opened.keyboard.press("a")
    until(opened, "!document.getElementById('notice').hidden || app.current === 1")
    until(opened, "dirty.size === 0")
    assert "was changed in another window" in opened.locator("#notice").inner_text()
    assert not review.state(0).reviewed and boxes(review) == []
    provoked(opened, page_errors, 409)


def test_what_cannot_be_saved_is_told_and_saved_later(
    opened: Page, review: Review, page_errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dips.errors import RunError

    def full(*_: object) -> None:
        raise RunError("cannot write review.jsonl (the disk is full)")

    monkeypatch.setattr(review.journal, "append", full)
    opened.keyboard.press("1")
    opened.keyboard.press("d")
    until(opened, "document.getElementById('saved').textContent === 'Not saved'")
    assert "the disk is full" in opened.locator("#notice").inner_text()
    assert len(boxes(review)) == 2
    monkeypatch.undo()
    saved(opened)  # tried again without being asked
    assert len(boxes(review)) == 1 and not opened.locator("#notice").is_visible()
    provoked(opened, page_errors, 500)


def test_a_photo_that_is_gone_is_told_and_can_be_passed(opened: Page, predicted: Path, page_errors: list[str]) -> None:
    (predicted.parent / "photos" / "sub" / "d.jpg").unlink()
    opened.locator("#photo-3").click()
    opened.wait_for_selector("#missing:not([hidden])")
    assert "does not exist" in opened.locator("#missing").inner_text()
    opened.locator("#back").click()
    shown(opened, 2)
    provoked(opened, page_errors, 422)


def test_it_resumes_where_it_stopped(opened: Page, server: Server, predicted: Path) -> None:
    opened.keyboard.press("a")
    shown(opened, 1)
    saved(opened)
    opened.reload()
    shown(opened, 1)
    assert opened.locator("#count").inner_text() == "1 of 4 reviewed"


def test_changed_photos_that_are_not_reviewed_are_named(opened: Page, review: Review) -> None:
    line = opened.locator("#unfinished")
    opened.keyboard.press("1")
    opened.keyboard.press("Enter")
    saved(opened)
    assert line.is_hidden() and "changed, not reviewed" in opened.locator("#facts").inner_text()
    opened.keyboard.press("j")
    shown(opened, 1)
    assert line.inner_text() == "1 photo was changed but not reviewed: a.jpg"
    opened.keyboard.press("1")
    opened.keyboard.press("d")
    saved(opened)
    opened.keyboard.press("j")
    shown(opened, 2)
    assert line.inner_text() == "2 photos were changed but not reviewed: a.jpg, b.jpg"
    opened.reload()
    shown(opened, 0)
    assert line.inner_text() == "1 photo was changed but not reviewed: b.jpg"
    opened.select_option("#show", "unfinished")
    assert names(opened) == ["a.jpg", "b.jpg"]
    opened.keyboard.press("a")
    shown(opened, 1)
    opened.keyboard.press("u")
    shown(opened, 0)
    until(opened, "!photo(0).state.reviewed")
    assert line.inner_text() == "1 photo was changed but not reviewed: b.jpg"
    for index in (0, 1):
        review.change(index, {"reviewed": True, "boxes": []})
    opened.reload()
    shown(opened, 2)
    assert line.is_hidden()


def test_a_photo_of_an_earlier_review_is_unchanged_until_it_is_changed(
    predicted: Path, page: Page, request: pytest.FixtureRequest
) -> None:
    """A box that was drawn then has no score, and one of another class than the photo is no change."""
    file = predicted / "json" / "a.json"
    record = json.loads(file.read_text())
    drawn = {"box": [1, 2, 31, 42], "label": "mast", "review": "drawn"}
    kept = {**record["boxes"][0], "label": "tower", "review": "accepted"}
    file.write_text(json.dumps({**record, "reviewed": True, "boxes": [kept, drawn]}))
    page.goto(request.getfixturevalue("server").address)  # reads the folder now
    until(page, "app.photos.length > 0")
    assert page.evaluate("[0, 1].map((at) => kindText(0, boxes(0)[at]))") == ["accepted", "accepted"]
    assert page.evaluate("[0, 1].map((at) => scoreOf(0, boxes(0)[at]))") == [0.9, None]
    assert page.evaluate("[lowest(0), lowest(2) === Infinity]") == [0.9, True]
    page.goto("about:blank")  # the server ends before the page


def test_names_are_shown_as_they_are(page: Page, predicted: Path) -> None:
    path = predicted / "json" / "b.json"
    evil = "<img src=x onerror=alert(1)>&amp;.jpg"
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": evil}))
    with Running(predicted) as server:
        page.goto(server.address)
        shown(page, 0)
        assert names(page)[0] == evil and page.locator("#name").inner_text() == evil
        page.goto("about:blank")


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_words_stand_out_from_their_ground(opened: Page, colours: Literal["light", "dark"]) -> None:
    """Contrast of at least 4.5 : 1, what WCAG 2.2 AA asks of small text."""
    opened.emulate_media(color_scheme=colours)
    opened.keyboard.press("1")
    weak = opened.evaluate(
        """() => {
      const parse = (text) => text.match(/[\\d.]+/g).map(Number);
      const ground = (element) => { for (; element; element = element.parentElement) {
        const colour = parse(getComputedStyle(element).backgroundColor);
        if (colour.length < 4 || colour[3] === 1) return colour; } return [255, 255, 255]; };
      const light = (colour) => colour.slice(0, 3).map((value) => value / 255)
        .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
      return [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility()
          && !element.closest(":disabled, .unseen, .tick, option, .mode, .main kbd")
          && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
        .map((element) => { const [one, other] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
          return [element.textContent.trim(), (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)]; })
        .filter(([, ratio]) => ratio < 4.5);
    }"""
    )
    assert weak == []


def test_everything_that_can_be_used_has_a_name(opened: Page) -> None:
    opened.keyboard.press("1")
    nameless = opened.evaluate(
        """() => [...document.querySelectorAll("button, select, input, canvas, [role=listbox], [role=progressbar], dialog")]
      .filter((element) => !(element.getAttribute("aria-label") || element.getAttribute("aria-labelledby")
        || element.textContent.trim() && element.matches("button") || (element.labels && element.labels.length)))
      .map((element) => element.outerHTML)"""
    )
    assert nameless == []


class Running:
    """A server of its own, for a folder that is not the usual one."""

    def __init__(self, folder: Path) -> None:
        import threading

        self.review = Review(read_predictions(folder))
        self.server = Server(self.review, title="test")
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Server:
        self.thread.start()
        return self.server

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        self.review.close()


def test_thousands_of_photos_are_listed_without_delay(page: Page, predicted: Path, make_photo: Callable[..., Path]) -> None:
    """5,000 photos: only the rows in sight exist, the filter answers at once, the last photo is reached."""
    record = json.loads((predicted / "json" / "a.json").read_text())
    for number in range(5000):
        (predicted / "json" / f"p{number:04}.json").write_text(json.dumps({**record, "name": f"p{number:04}.jpg"}))
    with Running(predicted) as server:
        begun = time.monotonic()
        page.goto(server.address)
        shown(page, 0)
        assert time.monotonic() - begun < 30  # 1 s on an idle machine
        assert page.locator("#listed").inner_text() == "5,004 photos"
        assert page.locator("#list .row").count() < 30
        page.fill("#search", "p4999")
        assert names(page) == ["p4999.jpg"]
        page.fill("#search", "")
        page.locator("#list").evaluate("(list) => { list.scrollTop = list.scrollHeight; }")
        page.wait_for_selector('.row[aria-posinset="5004"]')
        page.locator('.row[aria-posinset="5004"]').click()
        until(page, "app.current === 5003 && stage.image")
        page.goto("about:blank")


@pytest.mark.parametrize("what", ["no answer", "an error", "nothing that can be read"])
def test_a_refused_change_is_settled_when_the_server_is_back(
    opened: Page, review: Review, page_errors: list[str], what: str
) -> None:
    """A change is refused, and what the server has instead cannot be fetched at first."""
    fails = ["**/api/photos", "**/api/photos/0"]
    opened.route(fails[1], lambda route: route.fulfill(status=400, json={"error": "the box is odd"}))
    opened.route(
        fails[0],
        lambda route: {
            "no answer": route.abort,
            "an error": lambda: route.fulfill(status=500, json={"error": "no memory"}),
            "nothing that can be read": lambda: route.fulfill(status=200, body="<html>"),
        }[what](),
    )
    opened.keyboard.press("1")
    opened.keyboard.press("d")
    until(opened, "document.getElementById('saved').textContent === 'Not saved'")
    opened.unroute(fails[0])
    until(opened, "document.getElementById('notice').textContent.includes('the box is odd')")
    assert opened.evaluate("boxes(0).length") == 2 and len(boxes(review)) == 2, "what the server has"
    saved(opened)
    opened.unroute(fails[1])
    opened.keyboard.press("1")
    opened.keyboard.press("d")
    saved(opened)
    assert len(boxes(review)) == 1
    page_errors.clear()  # the browser itself tells of such answers
