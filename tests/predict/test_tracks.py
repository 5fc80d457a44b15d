"""Objects followed through videos: which boxes show the same one, and how many there are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from msgspec import structs

from dips.data.images import ByteImage
from dips.errors import RunError
from dips.formats.records import BoxRecord, PredictionRecord
from dips.predict.frames import Frame, video_frames
from dips.predict.prediction import Prediction
from dips.predict.stream import FrameJournal, write_stream

pytest.importorskip("norfair", reason="norfair-enough is missing; it is in the extras dev and track")

from dips.predict.tracks import Tracks

Box = tuple[float, float, float, float]
WIDTH, HEIGHT, RATE = 320, 240, 10
COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}


def record(boxes: Iterable[Box], time: float, *, label: str = "mast", score: float = 0.9) -> PredictionRecord:
    return PredictionRecord(
        path="a.mp4",
        name=f"frame-{round(time * 1000):07d}",
        folder="",
        width=WIDTH,
        height=HEIGHT,
        label=label,
        label_score=1.0,
        class_scores={"mast": 0.0, "lamp": 0.0, label: 1.0},
        background=None,
        boxes=tuple(BoxRecord(box=box, score=score, review="accepted") for box in boxes),
        threshold=0.5,
        min_area=0.0,
        min_score=0.0,
        max_boxes=9,
        model="",
        time=time,
    )


def ids(tracks: Tracks, records: Iterable[PredictionRecord]) -> list[list[Any]]:
    return [[entry.track for entry in tracks.follow(each).boxes] for each in records]


def path_of(name: str, time: float) -> Box | None:
    """Where the objects of the synthetic video are: they cross at 1.5 s, the blue one is hidden from 2.2 to 2.8 s, and the red
    one, out of sight at 3.2 s, comes back at 5 s."""
    if name == "blue":
        return None if 2.2 <= time < 2.8 else (260 - 60 * time, 90, 300 - 60 * time, 130) if time < 4 else None
    x = 20 + 90 * time if time < 3.2 else 20 + 60 * (time - 5)
    return None if 3.2 <= time < 5 else (x, 80, x + 50, 120)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds in which a red and a blue object move."""
    path = tmp_path_factory.mktemp("video") / "objects.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (WIDTH, HEIGHT))
    for number in range(6 * RATE):
        picture = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
        for name, colour in COLOURS.items():
            if (box := path_of(name, number / RATE)) is not None:
                x0, y0, x1, y1 = (round(value) for value in box)
                picture[y0:y1, x0:x1] = colour[::-1]
        writer.write(picture)
    writer.release()
    return path


def look(frames: Iterable[tuple[Frame, ByteImage]]) -> Iterator[tuple[Frame, Prediction]]:
    """Find the objects by their colour, the one of the larger area first: the order of boxes says nothing."""
    for frame, pixels in frames:
        height, width = pixels.shape[:2]
        regions, boxes = np.zeros((height, width), np.uint16), []
        for colour in COLOURS.values():
            mask = np.abs(pixels.astype(int) - colour).max(axis=2) < 90
            if mask.sum() > 60:
                x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
                boxes.append([x, y, x + w, y + h])
        boxes.sort(key=lambda box: (box[0] - box[2]) * (box[3] - box[1]))
        yield (
            frame,
            Prediction(
                path=frame.source,
                label="mast",
                label_score=1.0,
                class_scores=np.ones(1, np.float32),
                classes=("mast",),
                size=(width, height),
                boxes=np.array(boxes, np.float32).reshape(-1, 4),
                box_scores=np.linspace(0.9, 0.8, len(boxes), dtype=np.float32),
                grid=np.zeros((4, 4), np.float32),
                regions=regions,
            ),
        )


def streamed(video: Path, out: Path, rate: float, *, kills: Iterable[int] = (), gap: float = 1.0) -> dict[str, Any]:
    """The JSON of a stream that was killed after so many frames, each time within the next line."""
    for kill in kills:
        journal = FrameJournal(out, {})
        running = write_stream(look(video_frames(video, rate, journal.done)), journal, model="m")
        for _ in range(kill - len(journal.done)):
            next(running)
        journal._journal.close()
        with out.with_name(f"{out.name}.part").open("a") as file:
            file.write('{"name": "frame-0')
    with closing(FrameJournal(out, {})) as journal:
        for _ in write_stream(look(video_frames(video, rate, journal.done)), journal, model="m"):
            pass
        journal.finish(source="objects.avi", fps=rate, tracks=Tracks(journal.times(), gap=gap))
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def seen(found: dict[str, Any], name: str) -> list[int | None]:
    """The id of an object of the video in each frame; None where it is not to be seen."""
    tracks = []
    for frame in found["frames"]:
        place = path_of(name, frame["time"])
        centre = None if place is None else ((place[0] + place[2]) / 2, (place[1] + place[3]) / 2)
        near = [
            (abs((x0 + x1) / 2 - centre[0]), entry["track"])
            for entry in frame["boxes"]
            for x0, _, x1, _ in [entry["box"]]
            if centre is not None
        ]
        nearest = min(near, default=(WIDTH, None))
        tracks.append(nearest[1] if nearest[0] < 25 else None)
    return tracks


@pytest.mark.parametrize("rate", [0, 5])
def test_objects_that_cross_are_hidden_and_come_back(video: Path, tmp_path: Path, rate: float) -> None:
    found = streamed(video, tmp_path / "boxes.json", rate)
    per_second = rate or RATE
    crossing = slice(round(1.2 * per_second), round(1.8 * per_second) + 1)  # there one hides the other
    blue, red = seen(found, "blue"), seen(found, "red")
    del blue[crossing], red[crossing]
    later = round(4 * per_second) - (crossing.stop - crossing.start)
    assert {*blue} == {2, None} and {*red[:later]} == {1, None} and {*red[later:]} == {3, None}
    tracking = found["tracking"]
    assert (tracking["objects"], tracking["gap"], tracking["min_frames"]) == ({"mast": 3}, 1.0, 3)
    assert [(each["track"], each["label"], each["counted"]) for each in tracking["tracks"]] == [
        (number, "mast", True) for number in (1, 2, 3)
    ]
    first = tracking["tracks"][0]
    boxes = [(frame, entry) for frame in found["frames"] for entry in frame["boxes"] if entry["track"] == 1]
    assert (first["first"], first["last"], first["frames"]) == (0, boxes[-1][0]["time"], len(boxes))
    frame, best = max(boxes, key=lambda item: item[1]["score"])
    assert (first["score"], first["time"], first["box"]) == (best["score"], frame["time"], best["box"])


def test_a_long_gap_can_be_bridged_and_a_short_one_not(video: Path, tmp_path: Path) -> None:
    found = streamed(video, tmp_path / "short.json", 0, gap=0.3)
    hidden = round(2.5 * RATE)
    blue = seen(found, "blue")
    assert blue[hidden - 5] == 2 and blue[hidden + 5] == 3  # hidden for 0.6 s


@pytest.mark.parametrize("kills", [[1], [13, 15, 16], [25], [40, 59]])
def test_a_killed_stream_gives_the_same_ids(video: Path, tmp_path: Path, kills: list[int]) -> None:
    whole = streamed(video, tmp_path / "whole.json", 0)
    assert streamed(video, tmp_path / "killed.json", 0, kills=kills) == whole
    with closing(FrameJournal(tmp_path / "plain.json", {})) as journal:
        list(write_stream(look(video_frames(video, 0)), journal, model="m"))
        journal.finish(source="objects.avi", fps=0)
    for frame in whole["frames"]:
        for entry in frame["boxes"]:
            del entry["track"]
    del whole["tracking"]
    assert json.loads((tmp_path / "plain.json").read_text()) == whole, "nothing else of the JSON is changed"


def test_a_damaged_line_of_the_journal_is_named(tmp_path: Path) -> None:
    journal = FrameJournal(tmp_path / "boxes.json", {})
    journal.add(record([(10, 10, 50, 50)], 0.0))
    part = tmp_path / "boxes.json.part"
    part.write_bytes(part.read_bytes().replace(b'"width": 320', b'"width": "x"'))
    with pytest.raises(RunError, match=r"boxes\.json\.part, line 2, is damaged .*remove the file and repeat"):
        journal.finish(source="a.mp4", fps=1, tracks=Tracks(journal.times()))
    assert part.exists() and not (tmp_path / "boxes.json").exists()
    journal.close()


@pytest.mark.parametrize("times", [[0, 1, 2, 3, 7, 8, 9], [0, 0.04, 0.08, 0.12, 2.2, 2.24, 2.28], [5, 4.9, 6, 7, 8, 30, 31]])
def test_time_between_frames_counts_not_their_number(times: list[float]) -> None:
    """The object is the same after the usual time between two frames, another one after a long gap in the times."""
    found = ids(Tracks(times, gap=1.0), [record([(10, 10, 50, 50)], time) for time in times])
    cut = int(np.argmax(np.diff(times))) + 1
    assert found == [[1]] * cut + [[2]] * (len(times) - cut)


@pytest.mark.parametrize(("width", "height"), [(320, 240), (3840, 2160), (64, 2000)])
def test_pictures_of_any_size(width: int, height: int) -> None:
    """An object that crosses a tenth of the frame from one frame to the next is followed."""
    tracks = Tracks([n / 5 for n in range(8)])
    for number in range(8):
        x = width * number / 10
        box = BoxRecord(box=(x, height * 0.2, x + width * 0.25, height * 0.4), review="drawn")
        frame = structs.replace(record([], number / 5), width=width, height=height, boxes=(box,))
        assert tracks.follow(frame).boxes[0].track == 1
    assert tracks.counts() == {"mast": 1, "lamp": 0}


@pytest.mark.parametrize(("labels", "counts"), [("mlm", (1, 0)), ("lml", (0, 1)), ("mmmll", (1, 0))])
def test_an_object_has_the_class_of_most_of_its_boxes(labels: str, counts: tuple[int, int]) -> None:
    names = {"m": "mast", "l": "lamp"}
    tracks = Tracks(range(len(labels)))
    assert ids(tracks, [record([(10, 10, 50, 50)], n, label=names[each]) for n, each in enumerate(labels)]) == [[1]] * len(
        labels
    )
    assert tracks.counts() == dict(zip(("mast", "lamp"), counts, strict=True))


def test_objects_of_few_frames_do_not_count() -> None:
    frames = [record([(10, 10, 50, 50)] * (n < 2) + [(200, 100, 250, 150)], n / 5) for n in range(6)]
    tracks = Tracks([n / 5 for n in range(6)], min_frames=3)
    assert ids(tracks, frames) == [[1, 2], [1, 2], [2], [2], [2], [2]]
    assert [each.counted for each in tracks.records()] == [False, True] and tracks.counts()["mast"] == 1
    assert tracks.remark() == ""


@pytest.mark.parametrize("count", [0, 1, 5])
def test_objects_that_move_too_far_are_told(count: int) -> None:
    tracks = Tracks(range(count))
    for number in range(count):
        tracks.follow(record([(60 * number, 10, 60 * number + 20, 50)], number))
    expected = {
        0: "",
        1: "nothing can count: an object must be found in 3 frames, and 1 frame was looked",
        5: "5 of 5 tracks are",
    }
    assert tracks.remark().startswith(expected[count]) and ("--fps" in tracks.remark()) == (count > 0)
    assert tracks.record().objects == ({"mast": 0, "lamp": 0} if count else {})


def test_photos_that_nobody_predicted_a_box_in() -> None:
    tracks = Tracks([0, 1, 2])
    assert ids(tracks, [record([], time) for time in (0, 1, 2)]) == [[], [], []]
    assert (tracks.records(), tracks.remark(), tracks.counts()) == ([], "", {"mast": 0, "lamp": 0})
