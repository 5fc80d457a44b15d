"""Track objects through the frames of a video: which boxes show the same object, and how many objects there are.

In: the records of the frames, in order. Out: the records with a track id for each box, and a summary of each object. Only times
and boxes are used, so the journal of a stream is enough to track the objects again. The tracker is Norfair's, from the extra
``track``; it is imported nowhere else.
"""

from __future__ import annotations

import logging
import statistics
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from msgspec.structs import replace
from norfair import Detection, OptimizedKalmanFilterFactory, Tracker

from dips.formats.records import BoxRecord, PredictionRecord
from dips.system.console import counted
from dips.system.records import Record

__all__ = ["GAP", "MIN_FRAMES", "TrackRecord", "TrackingRecord", "Tracks"]

GAP = 1.0
"""Maximum time in seconds between consecutive boxes of an object."""

MIN_FRAMES = 3
"""Number of frames in which an object must be found to count."""

# Coordinates are in thousandths of the frame's longer side. The boxes of an object jitter by one hundredth of it (variance
# 10 ** 2), and a new object may move by a tenth of it from one frame to the next (100 ** 2).
_UNITS = 1000
_MOTION = OptimizedKalmanFilterFactory(R=100, Q=10, pos_variance=100, vel_variance=10_000)
_ANY_OVERLAP = 1.0  # of 1 - IoU

logging.getLogger("norfair").setLevel(logging.ERROR)  # it warns about predictions that shrink to nothing, which match no box


class TrackRecord(Record, frozen=True, kw_only=True):
    """One object of a video.

    Attributes:
        track: its id, counted from 1 in the order of appearance.
        label: its class, the one with the largest sum of scores over all boxes of the track.
        counted: whether it was found in enough frames to count.
        first, last: times of its first and last box, in seconds.
        frames: number of frames in which it was found.
        score: score of its best box.
        time: time of its best box, in seconds.
        box: its best box, ``x0 y0 x1 y1`` in pixels, end exclusive.
    """

    track: int
    label: str
    counted: bool
    first: float
    last: float
    frames: int
    score: float
    time: float
    box: tuple[float, float, float, float]


class TrackingRecord(Record, frozen=True, kw_only=True):
    """All objects of a video.

    Attributes:
        gap, min_frames: as for :class:`Tracks`.
        objects: number of objects that count, by class.
        tracks: all objects, including those that do not count.
    """

    gap: float
    min_frames: int
    objects: dict[str, int]
    tracks: tuple[TrackRecord, ...]


@dataclass(slots=True)
class _Track:
    first: float
    last: float = 0.0
    frames: int = 0
    score: float = -1.0
    time: float = 0.0
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    votes: dict[str, float] = field(default_factory=dict)

    def add(self, entry: BoxRecord, label: str, time: float) -> None:
        self.last = time
        self.frames += 1
        self.votes[label] = self.votes.get(label, 0.0) + entry.certainty
        if entry.certainty > self.score:
            self.score, self.time, self.box = entry.certainty, time, entry.box


class Tracks:
    """Tracks objects from frame to frame.

    A box belongs to the object whose predicted box it overlaps most. If no box was found, the predicted box moves on as the
    object moved before. The interval between frames may vary.

    Args:
        times: times of all frames in seconds, from which the usual interval between frames is estimated.
        gap: maximum time in seconds between consecutive boxes of an object; one frame without a box is always bridged.
        min_frames: number of frames in which an object must be found to count.

    >>> record = PredictionRecord(
    ...     path="a.mp4", name="frame-0000000", folder="", width=80, height=60, label="mast", label_score=1.0, background=None,
    ...     class_scores={"mast": 1.0}, threshold=0.5, min_area=0.0, min_score=0.0, max_boxes=9, model="", time=0.0,
    ...     boxes=(BoxRecord(box=(10, 10, 30, 50), review="drawn"),),
    ... )
    >>> tracks = Tracks([0.0, 0.5, 1.0])
    >>> [tracks.follow(replace(record, time=time)).boxes[0].track for time in (0.0, 0.5, 1.0)], tracks.counts()
    ([1, 1, 1], {'mast': 1})
    """

    def __init__(self, times: Iterable[float], *, gap: float = GAP, min_frames: int = MIN_FRAMES) -> None:
        known = array("d", times)
        steps = [later - time for time, later in pairwise(known) if later > time]
        self.gap, self.min_frames = gap, min_frames
        self._step = statistics.median(steps) if steps else 1.0
        # Norfair counts updates: an object is kept for as many as set by `period` and `hit_counter_max`, plus one
        self._patience = max(1, round(gap / self._step) - 1)
        self._tracker = Tracker(
            "iou",
            _ANY_OVERLAP,
            hit_counter_max=self._patience,
            initialization_delay=0,  # every box gets an id at once
            past_detections_length=0,
            filter_factory=_MOTION,
        )
        self._time: float | None = None
        self._frame = 0
        self._tracks: dict[int, _Track] = {}
        self._classes: dict[str, None] = {}

    def follow(self, record: PredictionRecord) -> PredictionRecord:
        """Return the record of the next frame with the ``track`` of each box."""
        time = record.time or 0.0
        if self._time is not None:
            for _ in range(min(round((time - self._time) / self._step) - 1, self._patience + 1)):
                self._tracker.update(period=self._patience)  # a missing frame in between
        self._time = time
        self._frame += 1
        self._classes |= dict.fromkeys(record.object_classes)
        scale = _UNITS / max(record.width, record.height)
        self._tracker.update(
            [
                Detection(np.reshape(entry.box, (2, 2)) * scale, data=(self._frame, index))
                for index, entry in enumerate(record.boxes)
            ],
            period=self._patience,
        )
        ids: dict[int, int] = {}
        for found in self._tracker.tracked_objects:
            frame, index = found.last_detection.data
            if frame == self._frame and found.id is not None:
                ids[index] = found.id
        boxes = tuple(replace(entry, track=ids[index]) for index, entry in enumerate(record.boxes))
        for index, entry in enumerate(boxes):
            self._tracks.setdefault(ids[index], _Track(time)).add(entry, record.label_of(entry), time)
        return replace(record, boxes=boxes)

    def counts(self) -> dict[str, int]:
        """Return how many objects count, by class, including classes without any."""
        found = Counter(track.label for track in self.records() if track.counted)
        return {name: found[name] for name in self._classes}

    def records(self) -> list[TrackRecord]:
        """Return a record of each object, in the order of appearance."""
        return [
            TrackRecord(
                track=number,
                label=max(track.votes, key=lambda label: track.votes[label]),
                counted=track.frames >= self.min_frames,
                first=track.first,
                last=track.last,
                frames=track.frames,
                score=track.score,
                time=track.time,
                box=track.box,
            )
            for number, track in sorted(self._tracks.items())
        ]

    def record(self) -> TrackingRecord:
        """Return all tracks as they are written to JSON."""
        tracks = tuple(self.records())
        return TrackingRecord(gap=self.gap, min_frames=self.min_frames, objects=self.counts(), tracks=tracks)

    def remark(self) -> str:
        """Return a line that explains a suspicious number of objects; empty if nothing looks wrong."""
        alone = sum(track.frames == 1 for track in self._tracks.values())
        if self._tracks and self._frame < self.min_frames:
            return (
                f"nothing can count: an object must be found in {counted(self.min_frames, 'frame')}, and "
                f"{counted(self._frame, 'frame', 'was')} looked at. Look at more frames per second (--fps), or lower "
                "--track-frames"
            )
        if 2 * alone <= len(self._tracks):
            return ""
        return (
            f"{alone} of {counted(len(self._tracks), 'track')} are of a single frame: objects may move so far from one frame "
            "to the next that their boxes do not overlap. Look at more frames per second (--fps), or leave out weak boxes "
            "(--min-score)"
        )
