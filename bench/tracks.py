"""Objects in pans across photos, counted once each by ``dips stream --track``, against ground truth.

    python bench/tracks.py RUN PHOTOS.coco.json --window 576 --json tracks.json
    python bench/tracks.py RUN TRAIN.coco.json --row 6 --photos 144 --json rows.json

A square window moves across each photo from left to right, at mid-height, in a video of 60 frames, five a second. ``--row``:
photos are put together first, so many in a row, in random order. An object counts as seen if some frame shows a part of its box
(``--seen``, of its area). The same frames are followed again with every second and every fourth of them, and with other rules.
A counted track is right if most of its boxes lie on one object (IoU 0.3 with what the frame shows of it).
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dips.data.images import ByteImage, read_image
from dips.formats.records import PredictionRecord
from dips.loading import load
from dips.predict.frames import predict_frames, video_frames
from dips.predict.predictor import Predictor
from dips.predict.stream import FrameJournal, write_stream
from dips.predict.tracks import Tracks
from dips.system.console import track

Box = tuple[float, float, float, float]
RATE, FRAMES, SAME = 5, 60, 0.3
RULES = [(every, frames, 1.0) for every in (1, 2, 4) for frames in (1, 2, 3, 4, 5)]
RULES += [(1, 3, gap) for gap in (0.4, 2.0, 4.0)]


def panoramas(truth: Path, row: int, count: int | None) -> Iterator[tuple[str, ByteImage, list[Box]]]:
    """Photos, or rows of them, with their boxes."""
    coco = json.loads(truth.read_text())
    boxes: dict[int, list[Box]] = {image["id"]: [] for image in coco["images"]}
    for each in coco["annotations"]:
        x, y, width, height = each["bbox"]
        boxes[each["image_id"]].append((x, y, x + width, y + height))
    images = random.Random(0).sample(coco["images"], len(coco["images"]))[:count]
    for start in range(0, len(images) - row + 1, row):
        photos, found, left = [], list[Box](), 0
        for image in images[start : start + row]:
            photos.append(read_image(truth.parent / image["file_name"]))
            found += [(x0 + left, y0, x1 + left, y1) for x0, y0, x1, y1 in boxes[image["id"]]]
            left += photos[-1].shape[1]
        yield images[start]["file_name"], np.concatenate(photos, axis=1), found


def predicted(predictor: Predictor, photo: ByteImage, corners: Sequence[tuple[int, int]], side: int) -> list[PredictionRecord]:
    """Records of the video's frames, through the file that ``dips stream`` keeps."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pan.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (side, side))
        for x, y in corners:
            writer.write(np.ascontiguousarray(photo[y : y + side, x : x + side, ::-1]))
        writer.release()
        with closing(FrameJournal(Path(folder) / "boxes.json", {})) as journal:
            for _ in write_stream(predict_frames(predictor, video_frames(path, 0)), journal, model=""):
                pass
            return list(journal._journal.records(PredictionRecord, remedy=""))


def visible(box: Box, corner: tuple[int, int], side: int) -> Box:
    """The part of a box that a frame shows, in the frame's pixels; it may be empty."""
    x0, y0, x1, y1 = (min(max(value - corner[axis % 2], 0), side) for axis, value in enumerate(box))
    return x0, y0, x1, y1


def area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def overlap(a: Box, b: Box) -> float:
    common = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return common / (area(a) + area(b) - common)


def judged(pan: dict[str, Any], every: int, min_frames: int, gap: float) -> Counter[str]:
    """Follow the objects of a pan; how many are there, how many were counted, and what the counted tracks are."""
    records, corners, side = pan["records"][::every], pan["corners"][::every], pan["side"]
    tracks = Tracks([record.time for record in records], gap=gap, min_frames=min_frames)
    votes: dict[int, Counter[int]] = {}
    for record, corner in zip(records, corners, strict=True):
        shown = [visible(box, corner, side) for box in pan["truth"]]
        for entry in tracks.follow(record).boxes:
            same = [overlap(entry.box, box) for box in shown]
            best = int(np.argmax(same)) if same else 0
            assert isinstance(entry.track, int)
            votes.setdefault(entry.track, Counter())[best if same and same[best] >= SAME else -1] += 1
    objects = Counter(votes[each.track].most_common(1)[0][0] for each in tracks.records() if each.counted)
    false, found = objects.pop(-1, 0), len(objects)
    result = Counter(objects=len(pan["truth"]), counted=objects.total() + false, false=false)
    result.update(twice=objects.total() - found, missed=len(pan["truth"]) - found)
    result["exact"] = int(result["counted"] == result["objects"])
    return result


def main() -> None:
    """Predict all pans, then follow their objects by several rules."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("truth", type=Path, help="COCO, with names relative to its folder")
    parser.add_argument("--row", type=int, default=1)
    parser.add_argument("--photos", type=int)
    parser.add_argument("--window", type=int, help="side in pixels; default: the height of the photo")
    parser.add_argument("--seen", type=float, default=0.3)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    predictor, pans = load(options.run).predictor, []
    for name, photo, boxes in track(list(panoramas(options.truth, options.row, options.photos)), "pans"):
        side = options.window or photo.shape[0]
        y = (photo.shape[0] - side) // 2
        corners = [(round(x), y) for x in np.linspace(0, photo.shape[1] - side, FRAMES)]
        seen = [box for box in boxes if max(area(visible(box, at, side)) for at in corners) >= options.seen * area(box)]
        records = predicted(predictor, photo, corners, side)
        pans.append({"name": name, "corners": corners, "side": side, "truth": seen, "records": records})
    results = []
    for every, min_frames, gap in RULES:
        each = {pan["name"]: judged(pan, every, min_frames, gap) for pan in pans}
        total = sum(each.values(), Counter[str]())
        words = ", ".join(f"{name} {total[name]}" for name in ("objects", "counted", "twice", "missed", "false"))
        print(f"every {every}, {min_frames} frames, gap {gap:g} s: {words}; exact in {total['exact']} of {len(pans)} pans")
        results.append({"every": every, "min_frames": min_frames, "gap": gap, "total": total, "pans": each})
    options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
