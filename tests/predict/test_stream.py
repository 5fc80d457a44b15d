"""The journal of a stream: nothing is lost by a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from PIL import Image

from dips.data.camera import Camera
from dips.data.images import ByteImage, read_image
from dips.errors import RunError
from dips.formats.records import PredictionRecord
from dips.predict.frames import Frame, video_frames, watch_folder
from dips.predict.prediction import Prediction
from dips.predict.stream import FrameJournal, write_stream


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
