"""``dips stream`` from the command line to the file."""

from __future__ import annotations

import json
import sys
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


def moving(path: Path, photo: Path, steps: int) -> Path:
    """Write a video, two frames per second, that pans to the left over a photo."""
    pixels = cv2.resize(read_image(photo)[..., ::-1], (192, 144))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 2, (160, 144))
    for step in range(steps):
        writer.write(np.ascontiguousarray(pixels[:, 3 * step : 3 * step + 160]))
    writer.release()
    return path


def test_objects_are_followed_and_counted(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    pytest.importorskip("norfair", reason="norfair-enough is missing; it is in the extras dev and track")
    video, out = moving(tmp_path / "pan.avi", list_images(tiny.data / "test")[0], 8), tmp_path / "boxes.json"
    command = ["stream", tiny.run, video, "--fps", "0", "--set", "predict.max_boxes=1", "--track"]
    said = dips(*command, "--out", out)
    assert said.code == 0
    found = json.loads(out.read_text())
    (track,) = found["tracking"]["tracks"]
    label = track["label"]
    assert [entry["track"] for frame in found["frames"] for entry in frame["boxes"]] == [1] * track["frames"]
    assert found["tracking"]["objects"][label] == 1 and (track["first"], track["last"]) == (0, 3.5)
    others = "".join(f", 0 {name}" for name in found["tracking"]["objects"] if name != label)
    assert said.out.splitlines()[1] in (
        f"objects: {first} (in 3 frames or more each)" for first in (f"1 {label}{others}", f"{others[2:]}, 1 {label}")
    )
    assert said.out.splitlines()[2].startswith(f"  {label} 1: 0 to 3.5 s, {track['frames']} frames, best score ")
    said = dips(*command, "--out", tmp_path / "long.json", "--track-frames", "9", "--track-gap", "0.5")
    assert said.code == 0 and "(in 9 frames or more each; 1 track of fewer not counted)" in said.out
    tracking = json.loads((tmp_path / "long.json").read_text())["tracking"]
    assert (tracking["min_frames"], tracking["gap"], tracking["tracks"][0]["counted"]) == (9, 0.5, False)
    said = dips(*command, "--out", tmp_path / "none.json", "--set", "predict.min_score=1")
    assert said.code == 0 and said.out.splitlines()[1] == "objects: no box to follow"


def test_a_missing_tracker_is_named_before_anything_is_done(
    tiny: Tiny, tmp_path: Path, dips: Dips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "norfair", None)
    monkeypatch.delitem(sys.modules, "dips.predict.tracks", raising=False)
    video = moving(tmp_path / "pan.avi", list_images(tiny.data / "test")[0], 2)
    said = dips("stream", tiny.run, video, "--out", tmp_path / "boxes.json", "--track")
    assert said.code == 2 and 'norfair, which is not installed; pip install "dips-wsol[track]"' in said.err
    assert len(said.err.splitlines()) == 1 and [path.name for path in tmp_path.iterdir()] == ["pan.avi"]


@pytest.mark.parametrize("option", [["--track-gap", "2"], ["--track-frames", "2"]])
def test_options_of_tracking_alone_are_refused(tiny: Tiny, tmp_path: Path, dips: Dips, option: list[str]) -> None:
    said = dips("stream", tiny.run, tmp_path / "clip.mp4", "--out", tmp_path / "boxes.json", *option)
    assert said.code == 2 and f"{option[0]} does nothing without --track" in said.err


@pytest.mark.parametrize("given", ["gap=0", "gap=-1", "gap=inf", "gap=nan", "frames=0", "frames=-2"])
def test_options_of_tracking_out_of_range(tiny: Tiny, tmp_path: Path, dips: Dips, given: str) -> None:
    said = dips("stream", tiny.run, tmp_path / "clip.mp4", "--out", tmp_path / "x.json", "--track", f"--track-{given}")
    assert said.code == 2 and f"--track-{given.partition('=')[0]} must be above 0" in said.err


def test_photos_of_a_folder_are_not_followed(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    said = dips("stream", tiny.run, tiny.data / "test", "--out", tmp_path / "boxes.json", "--track", "--idle", "0")
    assert said.code == 2 and "--track follows objects through a video, and" in said.err
    assert list(tmp_path.iterdir()) == []


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
