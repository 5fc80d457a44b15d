from __future__ import annotations

import re
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
from msgspec.structs import replace

from dips.errors import RunError
from dips.evaluate import BoxAccumulator, boxes_at_thresholds, centre_map
from dips.report.figures import ERRORS
from dips.report.page import write_report
from dips.report.photo_section import PhotoSection, csp_hash
from dips.report.records import Evaluation, Run

VOID = {"meta", "img", "br", "link", "input", "hr", "col"}


class MakePage(Protocol):
    def __call__(self, count: int, **changes: Any) -> PhotoSection: ...


TUNED = "DINOv2-S, saliency-tuned (embedded)"


class Page(HTMLParser):
    """Tags, attributes and visible text; fails on tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "script"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@lru_cache
def evaluation() -> Evaluation:
    def method(name: str, sigma: float, **more: Any) -> dict[str, Any]:
        accumulator = BoxAccumulator()
        levels = boxes_at_thresholds(centre_map(sigma=sigma))
        for index, truth in enumerate(([30, 40, 190, 180], [60, 70, 150, 160], [5, 5, 40, 50])):
            accumulator.add(levels, [truth], label=0, predicted=[index % 2, 1 - index % 2], id=str(index))
        result = accumulator.result()
        return {"name": name, "boxes": result.record(), "at_tau": result.at_tau(0.4).record(), **more}

    return evaluated(
        method("DiPS", 56, own=True),
        method("mean attention", 30),
        method("centre", 80, note="looks at no photo"),
        classes=[{"name": "<b>tower</b>", "n": 3, "accuracy": 66.7, "box_acc_50": None}],
        top1_cls=66.7,
        class_accuracy={"mean": 58.3, "worst": "<i>mast</i>", "lowest": 12.5, "photos": 8},
        at_run_tau={"tau": 0.4, "precision": 81.25, "recall": 71.5, "f1": 76.1, "box_acc_v2": 44.4, "boxes": 16, "objects": 3},
    )


def evaluated(*methods: Any, **more: Any) -> Evaluation:
    record = {"data": "made photos", "split": "test", "protocol": "Seed 0.", "n_images": 3, "methods": methods, **more}
    return msgspec.convert(record, Evaluation)


def run(**changes: Any) -> Run:
    record = {
        "environment": {"torch": "2.x", "cpus": 2},
        "weights": {"transformer": {"arch": "vit", "source": "embedded", "sha256": "ab" * 32, "note": TUNED}},
        "accuracy": {"classifier": 90.0, "linear_probe": 80.0},
        "class_accuracy": {"mean": 75.0, "worst": "mast", "lowest": 50.0, "photos": 2},
        "selection": "agreement with held-out proposals, without boxes.",
        "label_free": True,
    }
    return msgspec.convert({**record, **changes}, Run)


HOSTILE = '</script><img src=x onerror="document.title=1"><y>&.jpg'


def write(path: Path, make_page: MakePage, **changes: Any) -> tuple[str, Page]:
    arguments: dict[str, Any] = {
        "title": "Run <one> & more",
        "evaluation": evaluation(),
        "metrics": [{"epoch": n, "loss": 1 / n, "losses": {"crf": 0.1 / n}, "val_v2": 60.0 + n, "lr": 0.1} for n in (1, 2, 3)],
        "settings_toml": '[train]\nseed = 0 # <script>alert("x")</script>\n',
        "run": run(),
        "photos": make_page(4, names={1: HOSTILE}),
        **changes,
    }
    write_report(path, **arguments)
    html = path.read_text(encoding="utf-8")
    return html, Page(html)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, make_page: MakePage) -> tuple[str, Page]:
    """The full report, written once."""
    return write(tmp_path_factory.mktemp("report") / "report.html", make_page)


@pytest.mark.parametrize(
    ("several", "reviewed", "words"),
    [
        (0, 0, "training used the class labels of photos, and no boxes."),
        (1, 0, "training used the class labels of photos, and no boxes; 1 photo has several labels."),
        (40, 1, "image labels + 1 reviewed photo, whose boxes a person gave; 40 photos have several labels."),
        (0, 12, "image labels + 12 reviewed photos, whose boxes a person gave."),
    ],
)
def test_it_tells_what_training_used(tmp_path: Path, make_page: MakePage, several: int, reviewed: int, words: str) -> None:
    made = run(several=several, reviewed=tuple(map(str, range(reviewed))))
    _, page = write(tmp_path / "a.html", make_page, run=made)
    assert f"Supervision: {words}" in page.text


def test_it_tells_the_numbers_and_how_they_were_made(report: tuple[str, Page]) -> None:
    _, page = report
    made = evaluation().methods
    for method in made:
        assert f"{method.boxes.max_box_acc_v2:.1f}" in page.text and method.name in page.text
    chosen = made[0].at_tau
    assert chosen is not None and f"{chosen.box_acc_v2:.1f} % at the run's own threshold, chosen without boxes" in page.text
    assert "that are right, IoU ≥ 0.5 81.2 % 71.5 % of the objects are found (F1 76.1), at the run's own threshold" in page.text
    assert "Thresholds chosen without boxes:" in page.text and "on validation" not in page.text
    for words in (
        "split test",
        "of the evaluated split",
        "agreement with held-out proposals, without boxes.",
        "of all labelled photos; mean over classes 58.3%, worst '<i>mast</i>': 12.5% of 8 photos",
        "CNN, test: 66.7 % ; CNN, validation: 90.0 % (mean over classes 75.0%, worst 'mast': 50.0% of 2 photos); "
        "the transformer alone, validation: 80.0 % .",
        "Label-free choice",
        "Seed 0.",
        "looks at no photo",
        "[train] seed = 0",
        "2.x",
    ):
        assert words in page.text, words


def test_a_run_without_unet_has_no_accuracy_on_class_tokens(tmp_path: Path, make_page: MakePage) -> None:
    _, page = write(tmp_path / "a.html", make_page, run=run(accuracy={"classifier": 90.0}, class_accuracy=None), metrics=[])
    assert "CNN, test: 66.7 % ; CNN, validation: 90.0 % ." in page.text and "transformer alone" not in page.text


def test_cards_compare_with_baselines_and_not_with_other_modes(tmp_path: Path, make_page: MakePage) -> None:
    own, attention, centre = evaluation().methods
    modes = [replace(attention, name=name) for name in ("fast", "accurate", "unet")]
    _, page = write(tmp_path / "a.html", make_page, evaluation=replace(evaluation(), methods=[own, *modes, attention, centre]))
    assert re.findall(r"Compared with ([a-z ]+?) [+-]", page.text) == ["mean attention", "centre"]
    assert all(f" {mode.name} {mode.boxes.max_box_acc_v2:.1f}" in page.text for mode in modes), "they have their rows"


def test_saliency_tuned_weights_are_announced(tmp_path: Path, report: tuple[str, Page], make_page: MakePage) -> None:
    _, page = report
    assert f"Transformer: {TUNED}." in page.text and page.text.count(TUNED) == 2
    _, page = write(
        tmp_path / "b.html",
        make_page,
        run=run(weights={"transformer": {"arch": "vit", "note": "DINO"}}),
        evaluation=None,
        metrics=[],
    )
    assert "saliency" not in page.text


def test_it_asks_nothing_of_the_network(report: tuple[str, Page]) -> None:
    html, page = report
    assert not [tag for tag, _ in page.tags if tag in {"link", "iframe", "object", "img", "base", "form"}]
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), (tag, value)
    assert not re.search(r"url\((?!#)|@import|\bfetch\(|XMLHttpRequest|innerHTML|\beval\(", html)


def test_its_policy_allows_its_own_script_alone(tmp_path: Path, report: tuple[str, Page], make_page: MakePage) -> None:
    html, page = report
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    policy = next(
        str(attributes["content"]) for tag, attributes in page.tags if "Content-Security-Policy" in attributes.values()
    )
    assert (
        f"script-src {csp_hash(script)};" in policy and "default-src 'none'" in policy and policy.count("'unsafe-inline'") == 1
    )
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [
        {"type": "application/json", "id": "photo-data"},
        {},
    ]
    html, page = write(tmp_path / "none.html", make_page, photos=PhotoSection())
    assert "<script" not in html and "script-src 'none';" in html


def test_names_are_never_markup(report: tuple[str, Page]) -> None:
    html, page = report
    assert html.count("<script") == 2 == html.count("</script>") and "onerror=" in html
    assert "<b>" not in html and "<one>" not in html and "<y>" not in html and "<img" not in html
    assert "Run <one> & more" in page.text and "<b>tower</b>" in page.text


def test_pictures_and_links_are_accessible(report: tuple[str, Page]) -> None:
    _, page = report
    labelled = {attributes.get("for") for tag, attributes in page.tags if tag == "label"}
    sliders = [attributes for tag, attributes in page.tags if attributes.get("type") == "range"]
    assert len(sliders) == 4 and all(slider["id"] in labelled for slider in sliders)
    plots = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(plots) == 4 and all(attributes.get("role") == "img" and attributes.get("aria-label") for attributes in plots)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "a"]
    assert targets and set(targets) <= set(ids)


def test_intervals_stand_beside_the_numbers(tmp_path: Path, make_page: MakePage, methods: list[dict[str, Any]]) -> None:
    _, page = write(tmp_path / "report.html", make_page, evaluation=evaluated(*methods))
    for words in (
        "76.7 (72.7 to 80.3)",
        "85.0 (81.5 to 87.5)",
        "46.7 (42.7 to 50.3)",
        "In brackets: 95 % bootstrap interval over the photos, from 1,000 resamples.",
    ):
        assert words in page.text, words
    assert page.text.count("In brackets") == 1
    unknown = {"level": 95, "replicates": 1000, "max_box_acc": [None, None], "max_box_acc_v2": [float("nan"), 1.0]}
    rows = [{**row, "boxes": {**row["boxes"], "intervals": unknown}} for row in methods]
    _, page = write(tmp_path / "unknown.html", make_page, evaluation=evaluated(*rows))
    assert "85.0" in page.text and " to 1.0" not in page.text and "nan" not in page.text


def test_activations_and_errors_are_shown_with_what_they_mean(
    tmp_path: Path, make_page: MakePage, methods: list[dict[str, Any]]
) -> None:
    _, page = write(tmp_path / "report.html", make_page, evaluation=evaluated(*methods))
    labels = [str(attributes["aria-label"]) for tag, attributes in page.tags if tag == "svg"]
    assert [label.split(".")[0] for label in labels if "activations" in label] == [
        "localizer: activations",
        "mean_attention: activations",
    ]
    assert any(label.startswith("Kinds of errors. ") and "correct 81.9" in label for label in labels)
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert {"#activations", "#errors"} <= links and "inside and outside the ground-truth boxes" in page.text
    for words in (
        "localizer 0.412 from validation 180 81.9 4.0 5.0 2.0 4.0 3.1",
        "mean_attention 0.2 from this split (oracle) 180 55.0 4.0 35.0 2.0 4.0 –",  # noqa: RUF001
    ):
        assert words in page.text, words
    for name, meaning in ERRORS.values():
        assert f"{name.capitalize()} {meaning}." in page.text, name
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_older_evaluations_lack_these_sections(report: tuple[str, Page]) -> None:
    html, page = report
    assert 'id="activations"' not in html and 'id="errors"' not in html and "bootstrap" not in page.text
    assert not {"#activations", "#errors"} & {attributes["href"] for tag, attributes in page.tags if tag == "a"}


def test_a_kind_of_error_that_no_method_has_is_not_explained(
    tmp_path: Path, make_page: MakePage, methods: list[dict[str, Any]]
) -> None:
    rows = [{**methods[0], "activations": None}, {**methods[1], "activations": None, "dissection": None}]
    _, page = write(tmp_path / "report.html", make_page, evaluation=evaluated(*rows), photos=None)
    assert "Several objects" in page.text and "Wrong class" not in page.text and "inside and outside" not in page.text


def test_thresholds_that_boxes_chose(tmp_path: Path, make_page: MakePage) -> None:
    _, page = write(tmp_path / "report.html", make_page, run=run(label_free=False), photos=None)
    assert "% at the thresholds chosen on validation" in page.text and "Thresholds chosen on validation:" in page.text
    assert "without boxes" not in page.text.replace("agreement with held-out proposals, without boxes.", "")


@pytest.mark.parametrize(
    ("count", "words"), [(1, "1 reviewed photo,"), (11, "11 reviewed photos,"), (40, "40 reviewed photos,")]
)
def test_boxes_that_a_person_gave_are_named(tmp_path: Path, make_page: MakePage, count: int, words: str) -> None:
    tally = {"overlap": 8.0, "right": 8, "boxes": 11, "objects": 12}
    gain = {"photos": 9, "without": tally, "half": tally, "most": tally}
    made = run(reviewed=[f"{n:064x}" for n in range(count)], review_gain=gain)
    _, page = write(tmp_path / "report.html", make_page, run=made, evaluation=None)
    assert f"Supervision: image labels + {words} whose boxes a person gave." in page.text and "no boxes." not in page.text
    assert "What the review brought: on 9 reviewed photos, each tried with a map" in page.text
    assert "nobody drew one" not in page.text and "checked by anyone" not in page.text


def test_where_nobody_reviewed_nobody_drew_a_box(tmp_path: Path, make_page: MakePage) -> None:
    _, page = write(tmp_path / "report.html", make_page, evaluation=None)
    assert "Supervision: training used the class labels of photos, and no boxes." in page.text
    assert "What a box is: nobody drew one for the training." in page.text and "What the review brought" not in page.text
    _, page = write(tmp_path / "report.html", make_page, run=None, evaluation=None)  # of a prediction
    assert "What a box is: A box encloses" in page.text


def test_no_evaluation_and_no_epochs_will_do(tmp_path: Path, make_page: MakePage) -> None:
    _, page = write(
        tmp_path / "report.html",
        make_page,
        evaluation=None,
        metrics=[],
        settings_toml="",
        run=run(environment={}, weights={}, label_free=False),
        photos=None,
    )
    assert "No evaluation yet." in page.text and "svg" not in [tag for tag, _ in page.tags]


def test_photos_without_boxes_show_dashes(tmp_path: Path, make_page: MakePage) -> None:
    accumulator = BoxAccumulator()
    accumulator.add(None, None, label=0, predicted=[0])
    method = {"name": "DiPS", "boxes": accumulator.result().record()}
    _, page = write(tmp_path / "report.html", make_page, evaluation=evaluated(method))
    assert (
        "1 photo, 0 of them with ground-truth boxes" in page.text and "100.0 %" in page.text and "nan" not in page.text.lower()
    )
    assert "No threshold of validation applies" in page.text and "(an oracle)" in page.text


def test_rows_with_gaps_are_drawn(tmp_path: Path, make_page: MakePage) -> None:
    rows = [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": float("nan"), "val_agreement": 0.4, "note": "x", "val_ok": True}]
    _, page = write(tmp_path / "report.html", make_page, metrics=rows, evaluation=None)
    labels = [str(attributes["aria-label"]) for tag, attributes in page.tags if tag == "svg"]
    assert [label.split(".")[0] for label in labels] == ["Training losses", "Validation, from 0 to 1"]


def test_what_is_missing_is_said(tmp_path: Path, make_page: MakePage) -> None:
    rows = make_page(3).rows
    html, page = write(
        tmp_path / "report.html", make_page, photos=PhotoSection(rows, None, "it was evaluated by an <earlier> version")
    )
    assert "No pictures here: it was evaluated by an <earlier> version." in page.text
    assert 'id="photo-table"' in html and 'type="range"' not in html
    html, page = write(tmp_path / "report.html", make_page, photos=PhotoSection())
    assert "No table here" in page.text and 'id="photo-table"' not in html
    html, page = write(tmp_path / "report.html", make_page, photos=None)
    assert 'id="photos"' not in html


def test_three_hundred_photos_stay_below_fifteen_megabytes(tmp_path: Path, make_page: MakePage) -> None:
    """The photos are noise and the maps rough: the worst that JPEG and deflate can be given, within what a file may hold."""
    html, _ = write(tmp_path / "report.html", make_page, photos=make_page(300, picture_bytes=22_000))
    assert len(html) < 15_000_000


def test_nothing_is_left_of_a_failed_report(tmp_path: Path, make_page: MakePage) -> None:
    page = make_page(3)
    assert page.shown is not None
    damaged = [*page.shown.photos[:2], msgspec.structs.replace(page.shown.photos[2], map=b"no PNG")]
    with pytest.raises(RunError, match=r"the score map of .*photo 2\.jpg is damaged; evaluate again"):
        write(
            tmp_path / "report.html",
            make_page,
            photos=PhotoSection(page.rows, msgspec.structs.replace(page.shown, photos=damaged)),
        )
    assert list(tmp_path.iterdir()) == []
