"""Videos and folders that fill: which frames and photos are predicted, and when."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from dips.data.images import read_image
from dips.errors import DataError
from dips.predict.frames import _Clock, video_frames, watch_folder


def look(path: Path) -> Any:
    """Stand for a prediction: return the photo's size, or raise the error of one that cannot be read."""
    height, width = read_image(path).shape[:2]
    return SimpleNamespace(size=(width, height))


@pytest.mark.parametrize(
    ("rate", "numbers"), [(2, [0, 10, 20, 30]), (8, list(np.ceil(np.arange(16) * 2.5))), (0, list(range(40)))]
)
def test_frames_are_sampled_at_a_rate(video: Path, rate: float, numbers: list[int]) -> None:
    found = list(video_frames(video, rate))
    frames = [frame for frame, _ in found]
    assert [int(frame.name.removeprefix("frame-")) for frame in frames] == numbers
    assert [frame.time for frame in frames] == pytest.approx([number / 20 for number in numbers])
    for (_, pixels), number in zip(found, numbers, strict=True):
        assert pixels.shape == (48, 64, 3) and abs(int(pixels.mean()) - 5 * number) <= 3


def test_more_frames_than_there_are(video: Path) -> None:
    assert len(list(video_frames(video, 100))) == 40


def as_times(path: Path, source: Path, times: list[float]) -> Path:
    """Write the AVI ``source`` again as a Matroska file whose frames are shown at ``times``, in milliseconds."""

    def size(number: int) -> bytes:
        return (number | 1 << 56).to_bytes(8, "big")

    def element(name: str, body: bytes) -> bytes:
        return bytes.fromhex(name) + size(len(body)) + body

    def number(name: str, value: int) -> bytes:
        return element(name, value.to_bytes(8, "big"))

    data, jpegs, position = source.read_bytes(), list[bytes](), 0
    while len(jpegs) < len(times):
        start = data.index(b"\xff\xd8\xff", position)
        position = data.index(b"\xff\xd9", start) + 2
        jpegs.append(data[start:position])
    head = element("1a45dfa3", element("4282", b"matroska") + number("4287", 4) + number("4285", 2))
    video = number("b0", 64) + number("ba", 48)
    track = element(
        "ae", number("d7", 1) + number("73c5", 1) + number("83", 1) + element("86", b"V_MJPEG") + element("e0", video)
    )
    body = element("1549a966", number("2ad7b1", 1_000_000)) + element("1654ae6b", track)
    for time_, jpeg in zip(times, jpegs, strict=True):  # a cluster per frame
        body += element("1f43b675", number("e7", round(time_)) + element("a3", b"\x81\0\0\x80" + jpeg))
    path.write_bytes(head + element("18538067", body))
    return path


VARYING = {
    "a burst, then slow": [*range(0, 1000, 100), *range(1000, 21000, 1000)],
    "slow, then a burst": [*range(0, 10000, 1000), *range(10000, 10600, 50)],
    "a gap": [0, 40, 80, 120, 30000, 30040, 30080, 30120],
    "30 frames a second in milliseconds": [round(n * 1000 / 30) for n in range(40)],
}


@pytest.mark.parametrize("times", VARYING.values(), ids=VARYING.keys())
def test_times_are_those_of_the_file(video: Path, tmp_path: Path, times: list[float]) -> None:
    path = as_times(tmp_path / "phone.mkv", video, times)
    found = [frame for frame, _ in video_frames(path, 0)]
    assert [frame.time for frame in found] == pytest.approx([time_ / 1000 for time_ in times], abs=1e-3)
    for rate in (1, 3, 10):
        # the first frame of each step of the video's own time
        steps = [int(time_ * rate / 1000 + 1e-3 * rate) for time_ in times]
        expected = [number for number, step in enumerate(steps) if number == 0 or step > steps[number - 1]]
        assert [int(frame.name[-7:]) for frame, _ in video_frames(path, rate)] == expected


def test_a_clock_that_stands_still_is_counted_on() -> None:
    def times(rate: float, told: list[float]) -> list[float]:
        clock = _Clock(rate)
        return [clock.seconds(number, each) for number, each in enumerate(told)]

    assert times(20, [0, 0, 0, 0]) == [0, 0.05, 0.1, 0.15 + 0]
    assert times(10, [0, 0.1, 5, 5, 4, 5.4, np.nan]) == pytest.approx([0, 0.1, 5, 5.1, 5.2, 5.4, 5.5])
    for rate in (0, np.nan, np.inf, -1):
        clock = _Clock(rate)
        assert [clock.seconds(number, 0) for number in range(3)] == [0, 0, 0] and not clock.is_running


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "asx": '<asx version="3.0"><entry><ref href="{}"/></entry></asx>',
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{}</BaseURL></MPD>',
    "address": "http://127.0.0.1/{}",
    "with a mark": "\ufeff#EXTM3U\n{}\n",
    "many G": "GGGG" * 2 + "\n{}",
}


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".ts", ".mpg"])
def test_a_playlist_is_no_video(video: Path, tmp_path: Path, suffix: str) -> None:
    other = tmp_path / "other.avi"
    other.write_bytes(video.read_bytes())
    for name, text in PLAYLISTS.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_text(text.format(other.name) + " " * 600)
        with pytest.raises(DataError, match=r"is not a video: it does not begin like MP4.*playlists are not followed; convert"):
            list(video_frames(path, 0))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".mp4", "mp4v"),
        (".mov", "mp4v"),
        (".mkv", "MJPG"),
        (".mpg", "MPG1"),
        (".ts", "MPG2"),
        (".avi", "MJPG"),
        (".webm", "VP80"),
    ],
)
def test_every_kind_of_video_is_read(tmp_path: Path, suffix: str, codec: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"clip{suffix}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (64, 48))
    if not writer.isOpened():
        pytest.skip(f"OpenCV cannot write {suffix} here")
    for number in range(50):
        writer.write(np.full((48, 64, 3), 5 * number, np.uint8))
    writer.release()
    capfd.readouterr()
    times = [frame.time for frame, _ in video_frames(path, 5)]
    assert times[:10] == pytest.approx([n / 5 for n in range(10)], abs=0.05) and len(times) <= 11  # MPEG's last may be late


@pytest.mark.parametrize("content", [None, b"", b"no video at all" * 100])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes | None, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mp4 (does not exist|is not a video|holds no frame)"):
        list(video_frames(path, 1))
    capfd.readouterr()


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

    found = list(watch_folder(folder, look, idle=14, skipped=lambda path, why: skipped.update({path.name: why}), sleep=sleep))
    assert [frame.name for frame, _ in found] == ["a.png", "b.png", "c.png", "sub/d.png"]
    assert list(skipped) == ["bad.png"] and found[3][1].size == (30, 30) and found[0][0].time is None
    rest = watch_folder(folder, look, idle=0, skipped=lambda *_: None, done={"a.png"}, sleep=sleep)
    assert [frame.name for frame, _ in rest] == ["b.png", "c.png", "sub/d.png"]


def test_a_photo_that_comes_slowly_is_not_told_as_damaged(tmp_path: Path, make_photo: Callable[..., Path]) -> None:
    whole = make_photo(tmp_path / "other" / "a.png").read_bytes()
    folder, told = tmp_path / "in", []
    folder.mkdir()
    slept = 0

    def sleep(seconds: float) -> None:
        nonlocal slept
        slept += 1
        for name, last in (("slow.png", 5), ("cut.png", 99)):
            if slept in (1, last):
                (folder / name).write_bytes(whole[: 40 if slept == 1 else None])
                os.utime(folder / name, (slept, slept))  # long ago: it looks as if it were finished

    found = list(watch_folder(folder, look, idle=20, skipped=lambda path, why: told.append((path.name, slept)), sleep=sleep))
    assert [frame.name for frame, _ in found] == ["slow.png"]
    assert [name for name, _ in told] == ["cut.png"] and 10 <= told[0][1] <= 12


def test_what_could_not_be_read_is_told_when_the_watch_is_broken_off(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no photo")
    os.utime(tmp_path / "bad.png", (1, 1))
    told: list[str] = []

    def ended(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(watch_folder(tmp_path, look, idle=60, skipped=lambda path, why: told.append(path.name), sleep=ended))
    assert told == ["bad.png"]


def test_photos_that_come_alone_are_told_at_once(tmp_path: Path) -> None:
    """Real time: a photo that another thread writes is predicted while the watch goes on."""
    arrived: list[float] = []

    def write() -> None:
        time.sleep(0.5)
        Image.new("RGB", (20, 10)).save(tmp_path / "late.png")
        arrived.append(time.monotonic())

    thread = threading.Thread(target=write)
    thread.start()
    found = watch_folder(tmp_path, look, idle=30, skipped=lambda *_: None)
    assert next(found)[0].name == "late.png"
    thread.join()
    assert time.monotonic() - arrived[0] < 10


def test_a_video_that_was_cut_short_is_told(video: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.avi"
    path.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    count = len(list(video_frames(path, 0)))
    assert 0 < count < 40 and f"ends after {count} of 40 frames" in capfd.readouterr().err


def test_files_that_are_left_out_are_told_once(
    tmp_path: Path, make_photo: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    make_photo(tmp_path / "1.jpg")
    (tmp_path / "2.heic").touch()
    polls: list[float] = []

    def sleep(seconds: float) -> None:
        polls.append(seconds)
        if len(polls) == 2:
            (tmp_path / "late").mkdir()
            (tmp_path / "late" / "3.dng").touch()

    frames = list(watch_folder(tmp_path, look, idle=4, skipped=lambda *_: None, sleep=sleep))
    said = capsys.readouterr().err
    assert [frame.name for frame, _ in frames] == ["1.jpg"] and len(polls) > 2
    assert said.count("1 file is left out; 2.heic: ") == 1 and said.count("late: 1 file is left out; 3.dng: ") == 1
