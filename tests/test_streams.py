"""Videos and folders that fill: which frames are looked at, and that nothing is lost by a kill."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dips.errors import DataError, RunError
from dips.streams import Frame, Journal, folder_frames, video_frames, write_stream
from dips.types import Prediction


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of 20 frames; frame n is grey with the value 5 n."""
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for number in range(40):
        writer.write(np.full((48, 64, 3), 5 * number, np.uint8))
    writer.release()
    return path


def predict(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Prediction]]:
    for frame in frames:
        height, width = frame.image.shape[:2]
        regions = np.ones((height, width), np.uint16)
        yield (
            frame,
            Prediction(
                path=frame.source,
                label="mast",
                label_score=1.0,
                class_scores=np.ones(1, np.float32),
                classes=("mast",),
                size=(width, height),
                boxes=np.array([[0, 0, width, height]], np.float32),
                box_scores=np.ones(1, np.float32),
                grid=regions.astype(np.float32),
                regions=regions,
            ),
        )


@pytest.mark.parametrize(
    ("rate", "numbers"), [(2, [0, 10, 20, 30]), (8, list(np.ceil(np.arange(16) * 2.5))), (0, list(range(40)))]
)
def test_frames_are_sampled_at_a_rate(video: Path, rate: float, numbers: list[int]) -> None:
    frames = list(video_frames(video, rate))
    assert [int(frame.name.removeprefix("frame-")) for frame in frames] == numbers
    assert [frame.time for frame in frames] == pytest.approx([number / 20 for number in numbers])
    for frame, number in zip(frames, numbers, strict=True):
        assert frame.image.shape == (48, 64, 3) and abs(int(frame.image.mean()) - 5 * number) <= 3


def test_more_frames_than_there_are(video: Path) -> None:
    assert len(list(video_frames(video, 100))) == 40


@pytest.mark.parametrize("content", [None, b"", b"no video at all" * 100])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes | None, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mp4 (does not exist|is no video|holds no frame)"):
        list(video_frames(path, 1))
    capfd.readouterr()


def test_a_killed_stream_goes_on(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "sub" / "boxes.json"
    journal = Journal(out, {"model": "m", "rate": 4})
    running = write_stream(video_frames(video, 4), predict, journal, model="m")
    names = [next(running).path for _ in range(3)]
    assert len(names) == 3 and not out.exists()
    journal._file.close()
    with journal.part.open("a") as file:
        file.write('{"name": "frame-00000')  # a line that the kill cut
    with pytest.raises(RunError, match="another model, source or rate"):
        Journal(out, {"model": "n", "rate": 4})
    again = Journal(out, {"model": "m", "rate": 4})
    assert again.done == {"frame-0000000", "frame-0000005", "frame-0000010"}
    assert len(list(write_stream(video_frames(video, 4, again.done), predict, again, model="m"))) == 5
    assert again.finish({"source": "clip.avi", "fps": 4}) == 8
    found = json.loads(out.read_text())
    assert (found["schema_version"], found["source"], found["fps"]) == (1, "clip.avi", 4)
    assert [frame["time"] for frame in found["frames"]] == [n / 4 for n in range(8)]
    assert found["frames"][3]["boxes"][0]["box"] == [0, 0, 64, 48] and found["frames"][3]["name"] == "frame-0000015"
    assert [path.name for path in out.parent.iterdir()] == ["boxes.json"]
    with pytest.raises(RunError, match="exists already"):
        Journal(out, {})


def test_a_folder_is_watched_while_it_fills(tmp_path: Path) -> None:
    """Photos that are there, one that comes later, one still being written, one that is damaged."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (20, 10)).save(folder / name)
    skipped: dict[str, str] = {}
    slept = 0

    def sleep(seconds: float) -> None:
        nonlocal slept
        slept += 1
        if slept == 1:
            (folder / "bad.png").write_bytes(b"no photo")
            whole = (folder / "a.png").read_bytes()
            (folder / "c.png").write_bytes(whole[:40])  # the rest comes later
        if slept == 2:
            (folder / "c.png").write_bytes((folder / "a.png").read_bytes())
        if slept == 8:
            (folder / "sub").mkdir()
            Image.new("RGB", (30, 30)).save(folder / "sub" / "d.png")

    frames = list(folder_frames(folder, idle=6, skipped=lambda path, why: skipped.update({path.name: why}), sleep=sleep))
    assert [frame.name for frame in frames] == ["a.png", "b.png", "c.png", "sub/d.png"]
    assert list(skipped) == ["bad.png"] and frames[3].image.shape == (30, 30, 3) and frames[0].time is None
    assert [f.name for f in folder_frames(folder, idle=0, skipped=lambda *_: None, done={"a.png"}, sleep=sleep)][:1] == [
        "b.png"
    ]


def test_photos_that_come_alone_are_told_at_once(tmp_path: Path) -> None:
    """Real time: a photo that another thread writes is predicted while the watch goes on."""
    arrived: list[float] = []

    def write() -> None:
        time.sleep(0.5)
        Image.new("RGB", (20, 10)).save(tmp_path / "late.png")
        arrived.append(time.monotonic())

    thread = threading.Thread(target=write)
    thread.start()
    frames = folder_frames(tmp_path, idle=30, skipped=lambda *_: None)
    assert next(frames).name == "late.png"
    thread.join()
    assert time.monotonic() - arrived[0] < 10
