"""The command as a person calls it, to the end by Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import get_args

import pytest

from dips.cli.view import Order, view
from dips.errors import RunError
from dips.view import serve
from dips.view.predictions import read_predictions
from dips.view.review import Review

from .conftest import FOUND

WINDOWS = os.name == "nt"


def hear_ctrl_c() -> None:
    """A shell's background jobs do not hear it, and hand that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def begun(*arguments: object) -> tuple[subprocess.Popen[str], str]:
    """``dips view`` and its address."""
    program = [sys.executable, "-m", "dips", "view", *map(str, arguments), "--no-open"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = subprocess.Popen(program, preexec_fn=hear_ctrl_c, **pipes)  # type: ignore[call-overload]
    assert started.stderr is not None
    for line in started.stderr:
        if found := re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", line):
            return started, found[0]
    raise AssertionError(started.communicate())


def accept_first(address: str) -> None:
    origin, token = address.split("/?token=")
    request = urllib.request.Request(
        f"{origin}/api/photos/0",
        json.dumps({"version": 0, "reviewed": True, "boxes": []}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as reply:
        assert reply.status == 200


@pytest.mark.slow
@pytest.mark.skipif(WINDOWS, reason="a process is sent no Ctrl-C there")
def test_ctrl_c_says_where_the_result_lies_and_the_next_call_goes_on(predicted: Path) -> None:
    program, address = begun(predicted)
    accept_first(address)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=30)
    result = predicted / "reviewed.coco.json"
    assert (program.returncode, err) == (0, "")
    told, following, training = out.splitlines()
    assert told == f"1 of 4 photos reviewed, 0 boxes in {result}"
    assert following.startswith(f"next    dips boxes {predicted} --out NEW --reviewed --format yolo ")
    assert training.startswith(f"or      dips train DATA --reviewed {predicted} --out NEW ")
    assert [image["file_name"] for image in json.loads(result.read_text())["images"]] == ["a.jpg"]

    result.unlink()
    program, again = begun(predicted)
    assert again.split("token=")[1] != address.split("token=")[1]
    program.send_signal(signal.SIGINT)
    out, _ = program.communicate(timeout=30)
    assert out.splitlines() == [told, following, training]
    assert result.is_file()


def test_a_run_without_predictions_says_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(RunError, match=r"is a run; .* dips view .* DIR"):
        serve(None, tmp_path, open_browser=False)
    with pytest.raises(RunError, match="is not a prediction"):
        serve(tmp_path, tmp_path, open_browser=False)


@pytest.mark.parametrize(
    ("changed", "last"),
    [
        ([], []),
        ([1], ["1 photo was changed but is not reviewed, so it is not in the file: b.jpg"]),
        ([3, 0], ["2 photos were changed but are not reviewed, so they are not in the file: a.jpg, sub/d.jpg"]),
    ],
)
def test_changed_photos_that_are_not_reviewed_are_named_at_the_end(
    predicted: Path, ends_at_once: None, capsys: pytest.CaptureFixture[str], changed: list[int], last: list[str]
) -> None:
    review = Review(read_predictions(predicted))
    for index in changed:
        review.change(index, {"reviewed": False, "boxes": []})
    review.change(2, {"reviewed": True, "boxes": []})
    review.close()
    assert view(predicted, show=False) == 0
    assert capsys.readouterr().out.splitlines()[1:-2] == last


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("gone", [["a.jpg"], ["c.jpg", "sub/d.jpg"], list(FOUND)])
def test_photos_that_cannot_be_found_are_counted_at_the_start(
    predicted: Path, ends_at_once: None, capsys: pytest.CaptureFixture[str], gone: list[str], relative: bool
) -> None:
    photos = predicted.parent / "photos"
    if relative:
        for file in predicted.rglob("*.json"):
            record = json.loads(file.read_text())
            file.write_text(json.dumps({**record, "path": f"photos/{record['name']}"}))
    serve(None, predicted, open_browser=False)
    assert "warning" not in capsys.readouterr().err
    for name in gone:
        (photos / name).unlink()
    serve(None, predicted, open_browser=False)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "warning" in line)
    assert ("none of 4 photos found" if len(gone) == 4 else f"{len(gone)} of 4 photos not found") in line
    assert f"photos/{gone[0]} does not exist" in line.replace(os.sep, "/")
    assert ("call dips from the folder" in line) == relative and line.endswith(
        "give --photos-dir the folder in which the photos are now"
    )


@pytest.mark.parametrize("gone", [[], ["a.jpg"]])
def test_photos_that_were_moved_are_found_where_they_are_said_to_be(
    predicted: Path, tmp_path: Path, ends_at_once: None, capsys: pytest.CaptureFixture[str], gone: list[str]
) -> None:
    now = (predicted.parent / "photos").rename(tmp_path / "other place")
    for name in gone:
        (now / name).unlink()
    serve(None, predicted, open_browser=False, photos_dir=now)
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert [
        "1 of 4 photos not found" in line and f"{now / 'a.jpg'} does not exist: it is not below" in line for line in lines
    ] == [True] * len(gone)
    with pytest.raises(RunError, match=r"--photos-dir .*sub holds none of the 4 photos of .*'[^']+' lies now"):
        serve(None, predicted, open_browser=False, photos_dir=now / "sub")


@pytest.mark.parametrize("named", [None, "moved", "moved here"])
def test_the_next_command_finds_the_photos_too(
    predicted: Path, tmp_path: Path, ends_at_once: None, capsys: pytest.CaptureFixture[str], named: str | None
) -> None:
    review = Review(read_predictions(predicted))
    review.change(0, {"reviewed": True, "boxes": []})
    review.close()
    now = None if named is None else (predicted.parent / "photos").rename(tmp_path / named)
    assert view(predicted, show=False, photos_dir=now) == 0
    command = shlex.split(capsys.readouterr().out.splitlines()[1].split("    (")[0])
    assert command[1:8] == ["dips", "boxes", str(predicted), "--out", "NEW", "--reviewed", "--format"]
    assert command[9:] == ([] if now is None else ["--photos-dir", str(now)])


@pytest.fixture
def ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dips.view.server.Server.serve_forever", interrupted)


def model(folder: Path, classes: list[str]) -> Path:
    meta: dict[str, object] = {
        "classes": classes,
        "background": None,
        "thresholds": {},
        "mode": "fast",
        "unet_share": 0.0,
        "temper": 2.0,
        "photo_side": 500,
    }
    networks = {"localizer": None, "classifier": {"arch": "", "classes": len(classes)}, "linear": None}
    folder.mkdir()
    (folder / "model.json").write_text(json.dumps({"schema": 2, **networks, "sha256": "", "meta": meta}))
    return folder


def test_another_model_or_classes_are_warned_of(
    predicted: Path, tmp_path: Path, ends_at_once: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = model(tmp_path / "run", ["none", "tower"])
    done = serve(run, predicted, open_browser=False)
    said = capsys.readouterr().err
    assert "warning" in said and "by a model other than" in said and "other classes" in said
    assert (done.photos, done.of, done.boxes, done.path) == (0, 4, 0, predicted / "reviewed.coco.json")

    ours = model(tmp_path / "ours", ["none", "mast", "tower"])
    monkeypatch.setattr("dips.runs.identity.file_sha256", lambda path: "0123456789ab" + 52 * "0")
    serve(ours, predicted, open_browser=False)
    assert "warning" not in capsys.readouterr().err


def test_what_is_no_run_is_refused(predicted: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no finished run"):
        serve(tmp_path, predicted, open_browser=False)
    run = model(tmp_path / "run", [])
    (run / "model.json").write_text("[]")
    with pytest.raises(RunError, match=r"model\.json is damaged"):
        serve(run, predicted, open_browser=False)
    (run / "model.json").write_text('{"schema": 1}')
    with pytest.raises(RunError, match=r"model\.json was written by another version"):
        serve(run, predicted, open_browser=False)


def test_the_browser_is_opened_with_the_address(
    predicted: Path, ends_at_once: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("dips.view.webbrowser.open", opened.append)
    serve(None, predicted)
    told = capsys.readouterr().err
    assert opened[0].startswith("http://127.0.0.1:") and "/?launch=" in opened[0]
    assert opened[0].split("launch=")[1] not in told and "/?token=" in told
    serve(None, predicted, open_browser=False)
    assert len(opened) == 1


@pytest.mark.parametrize("order", get_args(Order))
def test_the_order_that_the_page_opens_with(
    predicted: Path, ends_at_once: None, monkeypatch: pytest.MonkeyPatch, order: Order
) -> None:
    given: list[str] = []
    monkeypatch.setattr("dips.view.server.Server.serve_forever", lambda server: given.append(server.order))
    assert view(predicted, order=order, show=False) == 0 and view(predicted, show=False) == 0
    assert given == [order, "name"]


def test_what_an_earlier_version_predicted_has_no_such_order(without_priorities: Path, ends_at_once: None) -> None:
    for order in ("name", "score"):
        serve(None, without_priorities, order=order, open_browser=False)
    with pytest.raises(RunError, match=r"boxes was predicted by an earlier version.*'dips boxes .*boxes --out NEW'"):
        serve(None, without_priorities, order="informative", open_browser=False)
    file = without_priorities / "json" / "b.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "priority": 0.5}))
    serve(None, without_priorities, order="informative", open_browser=False)
