from __future__ import annotations

import re
from typing import Any

import pytest

from dips.cli.tables import print_comparison, print_evaluation
from dips.system.console import counted


def method(name: str, v2: list[float], *, own: bool = False, pxap: float | None = 30.0) -> dict[str, Any]:
    runs = [
        {
            "seed": seed,
            "boxes": {
                "max_box_acc": 100.0,
                "max_box_acc_v2": value,
                "max_box_acc_at": {"30": 100.0, "50": 71.0, "70": 33.3},
                "gt_known": 71.0,
                "top1_loc": None,
            },
            "at_tau": {"box_acc": 100.0, "box_acc_v2": value - 1},
            "pxap": pxap,
            "fit": {"seconds": 700.0, "steps": 10, "epochs": 1.0, "chosen": ""},
            "needs_seconds": 200.0,
            "seconds_per_photo": 0.5,
            "parameters": 123_400_000,
        }
        for seed, value in enumerate(v2)
    ]
    return {"name": name, "title": name, "paper": "P", "labels": "image", "own": own, "runs": runs}


def record(*methods: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": "photos[red]",
        "split": "test",
        "protocol": "wsol-224 [1]",
        "protocol_name": "wsol-224",
        "n_skipped": 0,
        "n_images": 3,
        "n_boxed": 2,
        "budget_minutes": 0.5,
        "seeds": [0, 1],
        "cnn": "Lite0",
        "transformer": "DINOv2-S, saliency-tuned (embedded)",
        "weights": {},
        "environment": {"device": "cpu", "cpus": 2},
        "methods": list(methods),
        "photos": {"train": 2, "val": 1, "val_boxed": 1},
        "failed": [{"name": "x", "title": "X [b]", "seed": 1, "why": "it broke\nhere"}],
    }


def test_it_says_the_numbers_and_how_they_were_made(capsys: pytest.CaptureFixture[str]) -> None:
    long = "a [bold] method with a name that is longer than its column"
    print_comparison(record(method("DiPS", [95.0, 100.0], own=True), method(long, [40.0, 62.0])))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 132 and lines[0].startswith("photos[red], in percent")
    (ours,) = (line.split() for line in lines if line.startswith(" DiPS ") and "image" in line)
    want = "DiPS image 97.5 ± 3.5 100.0 71.0 33.3 100.0 30.0 96.5 ± 3.5 100.0 15.0 500.0 123.4"
    assert ours == want.split()
    text = "\n".join(lines)
    assert text.index("Rivals") < text.index("a [bold] method") < text.index("97.5") and "51.0 ± 15.6" in text
    assert "PxAP" in text and "Top-1" not in text and "omitted" not in text
    for words in ("3 photos of the split test, 2 with", "wsol-224 [1]", "0.5 minutes", "Lite0", "saliency-tuned", "0, 1 (mean"):
        assert words in text, words
    assert "failed: X [b], seed 1: it broke here" in lines


def test_everything_fits_132_columns(capsys: pytest.CaptureFixture[str]) -> None:
    full = method("DiPS with a very long name indeed", [100.0, 100.0], own=True)
    for run in full["runs"]:
        run["boxes"]["top1_loc"] = 100.0
    print_comparison(record(full))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 132 and "…" not in out


def test_a_narrow_terminal_gets_what_matters_most(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    print_comparison(record(method("DiPS", [95.0, 100.0], own=True), method("CAM", [40.0, 62.0])))
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "97.5 ± 3.5" in out and "96.5 ± 3.5" in out and "…" not in out
    assert "left out to fit the terminal; see the written table: M params, ms/photo, MaxBoxAcc (val)" in " ".join(out.split())


def test_nothing_measured_is_said_without_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(record())
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "photos[red]: no method succeeded" and "failed: X [b]" in out


def test_an_evaluation_says_what_the_own_threshold_gives(capsys: pytest.CaptureFixture[str]) -> None:
    own = {"tau": 0.7654, "box_acc_v2": 88.25, "precision": 90.0, "recall": 80.0, "f1": 84.7, "boxes": 8, "objects": 9}
    print_evaluation({"n_boxed": 1, "methods": [], "at_run_tau": own})
    text = capsys.readouterr().out
    assert (
        "boxes of dips predict, at the run's own threshold 0.765: BoxAccV2 88.2; "
        "precision 90.0, recall 80.0, F1 84.7 at IoU 0.5" in text.splitlines()
    )
    assert "chances" not in text, "an evaluation of before knows nothing of scores"
    kept = {"boxes": 4, "precision": 97.5, "recall": 61.0}
    reliability = {"ece": 0.0456, "typical": {"score": 0.383, **kept}, "cautious": {"score": 0.7, **kept, "recall": 50.0}}
    for calibrated, words in (
        (
            True,
            "expected calibration error 0.046; at typical 0.383 or more 97.5% are right, 61.0% of the objects are found; at ",
        ),
        (False, "scores rank the boxes and are no chances"),
    ):
        told = {**own, "calibrated": calibrated, "reliability": reliability}
        print_evaluation({"n_boxed": 1, "methods": [], "at_run_tau": told})
        assert words in " ".join(capsys.readouterr().out.split())
    for name, score, words in (
        ("cautious", 1.0, "none is as safe as cautious, 1"),
        ("typical", 0.456, "none is as safe as typical, 0.456"),
    ):
        empty = {"score": score, "boxes": 0, "precision": 0.0, "recall": 0.0}
        told = {**own, "calibrated": True, "reliability": {**reliability, name: empty}}
        print_evaluation({"n_boxed": 1, "methods": [], "at_run_tau": told})
        text = " ".join(capsys.readouterr().out.split())
        assert words in text and " 0.0% are right" not in text
    print_evaluation({"n_boxed": 1, "methods": [], "at_run_tau": None})
    assert "own threshold" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("boxes", "objects", "drawn", "found"),
    [
        (8, 9, "of 8 boxes that 'dips predict' draws 90% are right (", "; of 9 objects 80% are found"),
        (1, 1, "of 1 box that 'dips predict' draws 90% is right (", "; of 1 object 80% is found"),
        (0, 3, "'dips predict' draws no box: ", "of 3 objects none is found"),
    ],
)
def test_an_evaluation_begins_with_plain_words(
    boxes: int, objects: int, drawn: str, found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"tau": 0.5, "box_acc_v2": 88.2, "precision": 90.0, "recall": 80.0, "f1": 84.7, "boxes": boxes, "objects": objects}
    methods = [{"name": "fast", "boxes": {"max_box_acc_v2": 50.0}}]
    print_evaluation({"n_images": 30, "n_boxed": 20, "methods": methods, "at_run_tau": own})
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(drawn) and lines[1].endswith(found)
    assert "MaxBoxAccV2" not in "".join(lines[:2]) and not any("rough guess" in line for line in lines)


@pytest.mark.parametrize(("boxed", "few"), [(0, False), (1, True), (9, True), (10, False)])
def test_numbers_of_few_photos_are_called_a_guess(boxed: int, few: bool, capsys: pytest.CaptureFixture[str]) -> None:
    print_evaluation({"n_images": 30, "n_boxed": boxed, "methods": []})
    out = capsys.readouterr().out
    assert (f"rests on {counted(boxed, 'photo')}: a rough guess" in out) == few == ("guess" in out)
