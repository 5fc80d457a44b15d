from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from dips.export.plots import Line, lines_svg


def plot(title: str = "Accuracy", name: str = "IoU ≥ 0.5") -> str:
    lines = [Line(name, [0, 0.5, 1], [10, 60, 20], mark=(0.5, 60)), Line("other", [0, 1], [1, 2], dots=True)]
    return lines_svg(lines, title=title, x_label="τ", y_label="%", description="rises & falls", y_limits=(0, 100))


def test_it_is_wellformed_and_described() -> None:
    root = ElementTree.fromstring(plot())
    assert root.tag.endswith("svg") and root.get("role") == "img"
    assert root.get("aria-label") == "Accuracy. rises & falls"
    texts = [element.text for element in root.iter() if element.tag.endswith("}text")]
    assert {"τ", "%", "IoU ≥ 0.5", "other"} <= set(texts)


def test_it_takes_the_colours_of_the_page() -> None:
    svg = plot()
    assert "currentColor" in svg and "var(--series-1)" in svg and "var(--series-2)" in svg
    assert not re.search(r"#0101\d\d|#010203", svg)


def test_it_carries_no_script_link_or_date() -> None:
    svg = plot()
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
