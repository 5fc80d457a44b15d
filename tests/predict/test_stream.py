"""Videos and folders that fill: which frames are looked at, and that nothing is lost by a kill."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec import structs
from PIL import Image

from dips.data.camera import Camera
from dips.data.images import ByteImage, read_image
from dips.errors import DataError, RunError
from dips.formats.records import PredictionRecord
from dips.predict.prediction import Prediction
from dips.predict.stream import Frame, FrameJournal, _Clock, video_frames, watch_folder, write_stream


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of 20 frames; frame n is grey with the value 5 n."""
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for number in range(40):
        writer.write(np.full((48, 64, 3), 5 * number, np.uint8))
    writer.release()
    return path


def seen(path: Path, width: int, height: int) -> Prediction:
    regions = np.ones((height, width), np.uint16)
    return Prediction(
        path=path,
        label="mast",
        label_score=1.0,
        class_scores=np.ones(1, np.float32),
        classes=("mast",),
        size=(width, height),
        boxes=np.array([[0, 0, width, height]], np.float32),
        box_scores=np.ones(1, np.float32),
        grid=regions.astype(np.float32),
        regions=regions,
    )


def named(name: str) -> PredictionRecord:
    return seen(Path("clip.avi"), 4, 3).record(name=name)


def predict(frames: Iterable[tuple[Frame, ByteImage]]) -> Iterator[tuple[Frame, Prediction]]:
    for frame, pixels in frames:
        yield frame, seen(frame.source, pixels.shape[1], pixels.shape[0])


def look(path: Path) -> Prediction:
    pixels = read_image(path)
    return seen(path, pixels.shape[1], pixels.shape[0])


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


def test_a_killed_stream_goes_on(video: Path, tmp_path: Path) -> None:
    out = tmp_path / "sub" / "boxes.json"
    journal = FrameJournal(out, {"model": "m", "rate": 4})
    running = write_stream(predict(video_frames(video, 4)), journal, model="m")
    names = [next(running).path for _ in range(3)]
    assert len(names) == 3 and not out.exists()
    journal._journal.close()
    with out.with_name("boxes.json.part").open("a") as file:
        file.write('{"name": "frame-00000')  # a line that the kill cut
    with pytest.raises(RunError, match=r"boxes\.json\.part holds an interrupted stream made with another model; remove it"):
        FrameJournal(out, {"model": "n", "rate": 4})
    again = FrameJournal(out, {"model": "m", "rate": 4})
    assert again.done == {"frame-0000000", "frame-0000005", "frame-0000010"}
    assert len(list(write_stream(predict(video_frames(video, 4, again.done)), again, model="m"))) == 5
    assert again.finish(source="clip.avi", fps=4) == 8
    found = json.loads(out.read_text())
    assert (found["schema_version"], found["source"], found["fps"]) == (1, "clip.avi", 4)
    assert [frame["time"] for frame in found["frames"]] == [n / 4 for n in range(8)]
    assert all(0 <= frame["priority"] <= 1 for frame in found["frames"])
    assert found["frames"][3]["boxes"][0]["box"] == [0, 0, 64, 48] and found["frames"][3]["name"] == "frame-0000015"
    assert [path.name for path in out.parent.iterdir()] == ["boxes.json"]
    with pytest.raises(RunError, match="already exists"):
        FrameJournal(out, {})


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


@pytest.mark.parametrize("left", [b"", b'{"model"', b"head"])
def test_a_journal_is_cut_behind_its_last_whole_line(tmp_path: Path, left: bytes) -> None:
    """A line that lacks its end alone counts as cut, too: the next one would be written behind it."""
    out, part = tmp_path / "boxes.json", tmp_path / "boxes.json.part"
    journal = FrameJournal(out, {"model": "m"})
    journal.add(named("a"))
    journal.add(named("b"))
    journal._journal.close()
    if left.startswith(b"head"):
        part.write_bytes(part.read_bytes()[:-1])
        kept = {"a"}
    else:
        part.write_bytes(left)
        kept = set()
    again = FrameJournal(out, {"model": "m"})
    assert again.done == kept
    again.add(named("c"))
    assert again.finish(source="in", fps=None) == len(kept) + 1
    assert [frame["name"] for frame in json.loads(out.read_text())["frames"]] == [*kept, "c"]


def test_a_line_that_a_power_failure_emptied_is_predicted_again(tmp_path: Path) -> None:
    out, part = tmp_path / "boxes.json", tmp_path / "boxes.json.part"
    journal = FrameJournal(out, {})
    for name in "abc":
        journal.add(named(name))
    journal._journal.close()
    lines = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join([*lines[:2], b"\0" * (len(lines[2]) - 1) + b"\n", lines[3]]))
    again = FrameJournal(out, {})
    assert again.done == {"a"} and part.read_bytes() == b"".join(lines[:2])
    again.add(named("b"))
    assert again.finish(source="in", fps=None) == 2


def test_what_was_found_is_counted_over_interruptions(tmp_path: Path) -> None:
    nothing = np.zeros((0, 4), np.float32)
    empty = replace(seen(Path("clip.avi"), 4, 3), background="mast", boxes=nothing, box_scores=nothing[:, 0])
    journal = FrameJournal(tmp_path / "boxes.json", {})
    for name in "ab":
        journal.add(empty.record(name=name))
    journal._journal.close()
    again = FrameJournal(tmp_path / "boxes.json", {})
    assert (again.found.photos, again.found.boxes, again.found.empty) == (2, 0, 2)
    again.add(empty.record(name="c"))
    assert again.found.remark().startswith("no photo shows an object: 3 of 3 are predicted as 'mast'.")
    again.add(named("d"))
    assert (again.found.photos, again.found.boxes, again.found.remark()) == (4, 1, "")
    assert again.finish(source="in", fps=None) == 4


def test_scores_far_below_the_others_are_seen_over_interruptions(tmp_path: Path) -> None:
    journal = FrameJournal(tmp_path / "boxes.json", {})
    plain = named("x")
    for number, score in enumerate([0.9] * 12 + [0.2]):
        journal.add(structs.replace(plain, name=f"f{number}", boxes=(structs.replace(plain.boxes[0], score=score),)))
    journal._journal.close()
    again = FrameJournal(tmp_path / "boxes.json", {})
    assert again.found.scores.limit == 0.7 and ": f12. Look" in again.found.scores.remark("frame")
    again.close()


@pytest.mark.skipif(os.name == "nt", reason="there are no such locks")
def test_two_processes_do_not_share_a_journal(tmp_path: Path) -> None:
    first = FrameJournal(tmp_path / "boxes.json", {})
    with pytest.raises(RunError, match="is in use"):
        FrameJournal(tmp_path / "boxes.json", {})
    first.close()
    FrameJournal(tmp_path / "boxes.json", {}).close()


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_names_that_are_no_text(tmp_path: Path, make_photo: Callable[..., Path]) -> None:
    photo = make_photo(tmp_path / "in" / "x.png")
    try:
        photo.rename(os.fsdecode(os.fsencode(photo.parent) + b"/\xff.png"))
    except OSError:
        pytest.skip("this disk takes no such names")
    out = tmp_path / "boxes.json"
    for count in (1, 0):
        journal = FrameJournal(out, {})
        found = watch_folder(photo.parent, look, idle=0, skipped=lambda *_: None, done=journal.done, sleep=lambda _: None)
        assert len(list(write_stream(found, journal, model="m"))) == count
        journal._journal.close()
    assert FrameJournal(out, {}).finish(source="s", fps=None) == 1
    assert json.loads(out.read_text())["frames"][0]["name"] == "%FF.png"


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


def test_photos_that_arrive_say_where_they_were_taken(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    place = Camera(latitude=10.5, longitude=-3.0)
    out = tmp_path / "out" / "boxes.json"
    journal = FrameJournal(out, {})
    watched = watch_folder(tmp_path, lambda path: replace(look(path), camera=place), idle=0, skipped=lambda *_: None)
    list(write_stream(watched, journal, model="m"))
    journal.finish(source="in", fps=None)
    (frame,) = json.loads(out.read_text())["frames"]
    assert frame["camera"] == {"latitude": 10.5, "longitude": -3.0}
