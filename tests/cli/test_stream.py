"""``dips stream`` from the command line to the file."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from dips.data.images import read_image
from dips.data.photo_files import list_images
from dips.errors import RunError
from dips.model import Model

from .conftest import Dips, Tiny, fake


def test_a_video(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    photos = [read_image(path) for path in list_images(tiny.data / "test")]
    height, width = photos[0].shape[:2]
    video = tmp_path / "flight.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 2, (width, height))
    for photo in photos:
        writer.write(np.ascontiguousarray(cv2.resize(photo, (width, height))[..., ::-1]))
    writer.release()
    said = dips("stream", tiny.run, video, "--out", tmp_path / "boxes.json", "--fps", "2")
    assert said.code == 0 and said.out == f"{len(photos)} frames in {tmp_path / 'boxes.json'}\n"
    frames = json.loads((tmp_path / "boxes.json").read_text())["frames"]
    assert [frame["time"] for frame in frames] == [n / 2 for n in range(len(photos))]
    expected = list(Model.open(tiny.run).predict(tiny.data / "test"))
    same = [frame["label"] == prediction.label for frame, prediction in zip(frames, expected, strict=True)]
    assert np.mean(same) > 0.8, "the video's compression changes little"
    assert dips("stream", tiny.run, video, "--out", tmp_path / "boxes.json").code == 2
    said = dips("stream", tiny.run, video, "--out", tmp_path / "none.json", "--set", "predict.min_score=1")
    assert said.code == 0 and said.out.splitlines()[1].startswith("no photo ")


def test_a_folder(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    (tmp_path / "in").mkdir()
    first = list_images(tiny.data / "test")[0]
    (tmp_path / "in" / first.name).write_bytes(first.read_bytes())
    (tmp_path / "in" / "bad.jpg").write_bytes(b"x")
    said = dips("stream", tiny.run, tmp_path / "in", "--out", tmp_path / "boxes.json", "--idle", "0")
    assert said.code == 1 and "1 frame in" in said.out and "bad.jpg" in said.err
    (frame,) = json.loads((tmp_path / "boxes.json").read_text())["frames"]
    assert frame["name"] == first.name and "time" not in frame


def test_a_stream_is_known_by_what_its_settings_come_to(
    tiny: Tiny, tmp_path: Path, dips: Dips, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake(monkeypatch, "dips.predict.stream.FrameJournal", RunError("not begun"))
    marks = []
    for given in (["0.2", "0.6"], ["0.6", "0.2"], ["0.20"]):
        settings = [f"--set=predict.threshold={value}" for value in given]
        said = dips("stream", tiny.run, tiny.data / "test", "--out", tmp_path / "x.json", "--min-area", "0.01", *settings)
        assert said.code == 2 and "not begun" in said.err
        marks.append(calls[-1]["1"])
    assert marks[1] == marks[2] != marks[0] and marks[0]["settings"]["threshold"] == 0.6
    assert marks[0]["settings"]["min_area"] == 0.01


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("photo.jpg", [], "is neither a video"),
        ("gone.mp4", [], "does not exist"),
        ("clip.mp4", ["--fps", "-1"], "must not be negative"),
        ("clip.mp4", ["--threshold", "2"], "--threshold must be between 0 and 1"),
    ],
)
def test_mistakes(tiny: Tiny, tmp_path: Path, dips: Dips, source: str, options: list[str], words: str) -> None:
    said = dips("stream", tiny.run, tmp_path / source, "--out", tmp_path / "boxes.json", *options)
    assert said.code == 2 and words in said.err and not (tmp_path / "boxes.json").exists()
