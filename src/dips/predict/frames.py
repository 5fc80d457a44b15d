"""Pictures that arrive one after another: the frames of a video, and the photos of a folder that fills.

In: a video file, whose frames are sampled at a rate, or a folder. Out: each frame with its prediction, in order. At most one
batch of video frames, or one photo of a folder, is in memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import tee
from pathlib import Path

import cv2
import numpy as np

from dips.data.images import ByteImage
from dips.data.photo_files import find_images
from dips.data.problems import tell
from dips.errors import DataError, ImageError
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor
from dips.system.console import log
from dips.system.names import as_text
from dips.types import Problem

__all__ = ["Frame", "FramePrediction", "predict_frames", "video_frames", "watch_folder"]

POLL_SECONDS = 1.0  # between two scans of a folder
POLLS_UNTIL_SKIPPED = 10  # an unreadable photo may still be on its way
CLOCK_TICK = 1e-3  # seconds; some containers round times to it
COMPLETE_FRACTION = 0.9  # a video's header may announce a few frames more than there are
# first bytes of files that contain a video themselves: Matroska, AVI, WMV, FLV, OGG, MPEG streams (and H.264 streams)
_MAGIC = (b"\x1a\x45\xdf\xa3", b"RIFF", b"\x30\x26\xb2\x75", b"FLV", b"OggS", b"\0\0\1", b"\0\0\0\1")
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")  # type of the first box in MP4 and MOV


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a stream.

    Attributes:
        source: the video, or the photo's own file.
        name: for a photo, its path below the folder; for a video frame, ``frame-NUMBER``.
        time: seconds from the start of the video, according to the file; None for a photo.

    >>> Frame(Path("flight.mp4"), "frame-0000050", 2.0).time
    2.0
    """

    source: Path
    name: str
    time: float | None


FramePrediction = tuple[Frame, Prediction]


def video_frames(path: Path, rate: float, done: frozenset[str] | set[str] = frozenset()) -> Iterator[tuple[Frame, ByteImage]]:
    """Read frames of a video and their pixels ``(H, W, 3) uint8`` RGB, upright as shown by a player.

    Args:
        rate: frames per second of video time; 0, or more than the video has, reads all of them.
        done: names of frames to skip.

    Raises:
        DataError: the file is not a video, cannot be opened, or ends before its first frame.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; give a video or a folder")
    _require_container(path)
    video = cv2.VideoCapture(str(path))
    try:
        if not video.isOpened():
            raise DataError(f"{path} is not a video that can be read here; convert it to MP4 (H.264)")
        clock = _Clock(float(video.get(cv2.CAP_PROP_FPS)))
        number, next_time = -1, 0.0
        while video.grab():
            number += 1
            seconds = clock.seconds(number, float(video.get(cv2.CAP_PROP_POS_MSEC)) / 1000)
            if rate > 0 and clock.is_running and seconds + CLOCK_TICK < next_time:
                continue
            next_time = (math.floor((seconds + CLOCK_TICK) * rate) + 1) / rate if rate > 0 else 0.0
            name = f"frame-{number:07d}"
            if name in done:
                continue
            is_decoded, picture = video.retrieve()
            if not is_decoded:
                log(f"skipped: frame {number} of {path} is damaged")
                continue
            yield Frame(path, name, seconds), np.ascontiguousarray(picture[..., ::-1])
        promised = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        if number + 1 < COMPLETE_FRACTION * promised:
            log(f"warning: {path} ends after {number + 1} of {promised} frames; it is damaged, or was cut short")
        if number < 0:
            raise DataError(f"{path} holds no frame that can be read; convert it to MP4 (H.264)")
    finally:
        video.release()


def _require_container(path: Path) -> None:
    """Check by its first bytes that a file contains a video itself.

    FFmpeg looks at the content, regardless of the name, and would follow a playlist to the files and URLs listed in it.

    Raises:
        DataError: it does not, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(3 * 192)
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror or error}") from error
    packets = (size for size, start in ((188, 0), (192, 4)) if len(head) > size and {head[start], head[start + size]} == {0x47})
    if not (head.startswith(_MAGIC) or head[4:8] in _BOXES or any(packets)):
        raise DataError(
            f"{path} is not a video: it does not begin like MP4, AVI, MKV, MPEG, WMV, FLV or OGG, and playlists are not "
            "followed; convert it to MP4 (H.264)"
        )


class _Clock:
    """Computes when each frame is shown, for constant and variable frame rates."""

    def __init__(self, rate: float) -> None:
        self._rate = rate if math.isfinite(rate) and rate > 0 else 0.0
        self._anchor = (0, 0.0)  # the last frame with a valid timestamp
        self._last = 0.0
        self.is_running = True

    def seconds(self, number: int, told: float) -> float:
        """Return when frame ``number`` is shown: the file's timestamp, or extrapolated by rate if that does not increase."""
        if math.isfinite(told) and told > self._last:
            self._anchor = (number, told)
            self._last = told
        elif number and self._rate:
            self._last = self._anchor[1] + (number - self._anchor[0]) / self._rate
        self.is_running = not number or self._last > 0
        return self._last


def predict_frames(predictor: Predictor, frames: Iterable[tuple[Frame, ByteImage]]) -> Generator[FramePrediction, None, None]:
    """Predict frames of a video, in order."""
    pictures, names = tee(frames)
    for prediction in predictor.pictures((frame.source, pixels) for frame, pixels in pictures):
        yield next(names)[0], prediction


def watch_folder(
    folder: Path,
    predict: Callable[[Path], Prediction],
    *,
    idle: float,
    skipped: Callable[[Path, str], None],
    done: frozenset[str] | set[str] = frozenset(),
    sleep: Callable[[float], None] = time.sleep,
) -> Generator[FramePrediction, None, None]:
    """Predict the photos in a folder, then those that arrive while it is watched.

    A photo is predicted once its size no longer grows. One that cannot be read is tried again when it changes, and reported
    when it has not changed for a while.

    Args:
        predict: predicts a photo, or raises ImageError.
        idle: stop after this many seconds without a new photo; infinity never stops.
        skipped: callback ``(path, reason)`` for photos that cannot be read.
        done: names of photos to skip.
        sleep: waits for the given number of seconds.
    """
    seen = set(done)
    growing: dict[str, tuple[int, int]] = {}
    failed: dict[str, _Failure] = {}
    quiet = 0.0
    told: list[Problem] = []
    found = find_images(folder)
    try:
        while True:
            is_busy = False
            if not told:
                tell(found.problems)
                told = found.problems
            for path in found.photos:
                name = as_text(path.relative_to(folder).as_posix())
                if name in seen:
                    continue
                try:
                    stat = path.stat()
                except OSError:  # gone again
                    continue
                state = (stat.st_size, stat.st_mtime_ns)
                if name in failed and failed[name].state == state:
                    continue
                is_busy = True
                if growing.get(name) != state and time.time() - stat.st_mtime < 2 * POLL_SECONDS:
                    growing[name] = state
                    continue
                growing.pop(name, None)
                failed.pop(name, None)
                try:
                    prediction = predict(path)
                except ImageError as error:
                    failed[name] = _Failure(path, state, str(error))
                    continue
                seen.add(name)
                yield Frame(path, name, None), prediction
            for failure in failed.values():
                failure.report(skipped, after=POLLS_UNTIL_SKIPPED)
            quiet = 0.0 if is_busy else quiet + POLL_SECONDS
            if quiet > idle or (not is_busy and idle == 0):
                return
            sleep(POLL_SECONDS)
            found = find_images(folder)
    finally:  # also when the watch is interrupted
        tell([problem for problem in found.problems if problem not in told])
        for failure in failed.values():
            failure.report(skipped, after=0)


@dataclass(slots=True)
class _Failure:
    """A photo that could not be read; perhaps it is still being written."""

    path: Path
    state: tuple[int, int]
    reason: str
    polls: int = 0
    is_reported: bool = False

    def report(self, skipped: Callable[[Path, str], None], *, after: int) -> None:
        """Report the failure once, after more than ``after`` polls that found the photo unchanged."""
        self.polls += 1
        if not self.is_reported and self.polls > after:
            self.is_reported = True
            skipped(self.path, self.reason)
