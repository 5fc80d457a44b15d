"""``dips stream``: a video, or a folder that fills while it is watched, to the boxes of every frame in one JSON.

In: a video file, whose frames are sampled at a rate, or a folder. Out: one file, a record per frame. While it runs, finished
frames wait in a journal beside the file, a line each: after a kill the same command goes on behind the last whole line. No more
than a batch of frames is in memory.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dips.data.images import ByteImage, list_images, read_image
from dips.errors import DataError, ImageError, RunError
from dips.export.annotations import SCHEMA_VERSION, prediction_record
from dips.predict import Predictor
from dips.runtime import atomic_file, log
from dips.types import Prediction

__all__ = ["VIDEOS", "Frame", "Journal", "folder_frames", "predicted", "video_frames", "write_stream"]

VIDEOS = frozenset({".mp4", ".mov", ".avi", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm", ".ts"})
"""File names that count as videos, in lower case."""

_POLL = 1.0  # seconds between two looks into a folder


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a stream.

    Attributes:
        source: the video, or the photo's own file.
        name: of a photo its path below the folder, of a video's frame ``frame-NUMBER``.
        time: seconds from the video's beginning; of a photo None.
        image: ``(H, W, 3) uint8`` RGB.
    """

    source: Path
    name: str
    time: float | None
    image: ByteImage


Predict = Callable[[Iterable[Frame]], Iterator[tuple[Frame, Prediction]]]


def video_frames(path: Path, rate: float, done: frozenset[str] | set[str] = frozenset()) -> Iterator[Frame]:
    """Frames of a video, ``rate`` a second (all of them if it has fewer, or with 0), upright as its player shows it.

    Args:
        done: names of frames that are left out.

    Raises:
        DataError: it cannot be opened, or ends before its first frame.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; give a video or a folder")
    video = cv2.VideoCapture(str(path))
    try:
        own = video.get(cv2.CAP_PROP_FPS)
        if not video.isOpened():
            raise DataError(f"{path} is no video that can be read here; convert it to MP4 (H.264)")
        every = own / rate if rate > 0 and math.isfinite(own) and own > rate else 1.0
        number, following = -1, 0.0
        while video.grab():
            number += 1
            if number + 1e-6 < following:
                continue
            following += every
            name = f"frame-{number:07d}"
            if name in done:
                continue
            good, picture = video.retrieve()
            if not good:
                log(f"skipped: frame {number} of {path} is damaged")
                continue
            seconds = number / own if own > 0 else float(video.get(cv2.CAP_PROP_POS_MSEC)) / 1000
            yield Frame(path, name, seconds, np.ascontiguousarray(picture[..., ::-1]))
        if number < 0:
            raise DataError(f"{path} holds no frame that can be read; convert it to MP4 (H.264)")
    finally:
        video.release()


def folder_frames(
    folder: Path,
    *,
    idle: float,
    skipped: Callable[[Path, str], None],
    done: frozenset[str] | set[str] = frozenset(),
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Frame]:
    """Photos of a folder, and those that come while it is watched.

    A photo is read once its size no longer grows; one that cannot be read is tried once more when it changes.

    Args:
        idle: end when no photo has come for so many seconds; infinity watches on.
        skipped: told of photos that cannot be read.
        done: names of photos that are left out.
    """
    seen: dict[str, tuple[int, int]] = dict.fromkeys(done, (-1, -1))
    growing: dict[str, tuple[int, int]] = {}
    quiet = 0.0
    while True:
        came = False
        for path in list_images(folder):
            name = path.relative_to(folder).as_posix()
            try:
                state = path.stat()
            except OSError:  # gone again
                continue
            now = (state.st_size, state.st_mtime_ns)
            if name in seen and (seen[name] in (now, (-1, -1))):
                continue
            if growing.get(name) != now and time.time() - state.st_mtime < 2 * _POLL:
                growing[name] = now
                came = True
                continue
            growing.pop(name, None)
            came = True
            try:
                image = read_image(path)
            except ImageError as error:
                seen[name] = now
                skipped(path, str(error))
                continue
            seen[name] = (-1, -1)
            yield Frame(path, name, None, image)
        quiet = 0.0 if came else quiet + _POLL
        if quiet > idle or (not came and idle == 0):
            return
        sleep(_POLL)


class Journal:
    """Records of finished frames, a line each, until they are one JSON.

    Args:
        path: of the JSON; the journal is ``path`` with ``.part`` added.
        mark: what identifies the work; a journal of other work is refused.

    Raises:
        RunError: ``path`` exists, or the journal is another work's.
    """

    def __init__(self, path: Path, mark: Mapping[str, Any]) -> None:
        if path.exists():
            raise RunError(f"{path} exists already and is left as it is; choose another --out or remove it")
        self.path, self.part = path, path.with_name(f"{path.name}.part")
        self.done: set[str] = set()
        self._count = 0
        head = json.dumps(dict(mark), sort_keys=True) + "\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if self.part.exists():
                self._recover(head)
            else:
                self.part.write_text(head, encoding="utf-8")
            self._file = self.part.open("a", encoding="utf-8")
        except OSError as error:
            raise RunError(f"cannot write {self.part}: {error.strerror or error}; choose another --out") from error

    def _recover(self, head: str) -> None:
        """Cut off a line that a kill left unfinished, and remember what is done."""
        with self.part.open("r+b") as file:
            if file.readline() != head.encode():
                raise RunError(f"{self.part} belongs to another model, source or rate; remove it or choose another --out")
            whole = file.tell()
            for line in file:
                try:
                    self.done.add(json.loads(line)["name"])
                except (ValueError, LookupError, TypeError):
                    break
                whole += len(line)
            file.truncate(whole)

    def add(self, record: Mapping[str, Any]) -> None:
        """One more frame.

        Raises:
            RunError: there is no space.
        """
        try:
            self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
            self._file.flush()
            self._count += 1
        except OSError as error:
            raise RunError(f"cannot write {self.part}: {error.strerror or error}; free some space") from error

    def close(self) -> None:
        """The journal stays for the next call, unless nothing is done."""
        self._file.close()
        if not self._count and not self.done:
            self.part.unlink(missing_ok=True)

    def finish(self, head: Mapping[str, Any]) -> int:
        """Write the JSON (``head`` and ``frames``), streamed, remove the journal, and return the number of frames."""
        self._file.close()
        count = 0
        with atomic_file(self.path) as file, self.part.open(encoding="utf-8") as lines:
            next(lines)
            file.write(json.dumps({"schema_version": SCHEMA_VERSION, **head}, ensure_ascii=False)[:-1] + ', "frames": [')
            for line in lines:
                file.write((",\n" if count else "\n") + line.rstrip("\n"))
                count += 1
            file.write("\n]}\n")
        os.unlink(self.part)
        return count


def predicted(predictor: Predictor, frames: Iterable[Frame], batch: int | None = None) -> Iterator[tuple[Frame, Prediction]]:
    """Each frame with its prediction, in order.

    Args:
        batch: frames at a time; default: ``predict.batch``.
    """
    shown, told = tee(frames)
    for prediction in predictor.pictures(((frame.source, frame.image) for frame in shown), batch):
        yield next(told), prediction


def write_stream(frames: Iterable[Frame], predict: Predict, journal: Journal, *, model: str) -> Iterator[Prediction]:
    """Predict frames and note each as it is done; yields the predictions, so that whoever asks can count them."""
    for frame, prediction in predict(frames):
        record = prediction_record(prediction, path=frame.source.as_posix(), name=frame.name, model=model)
        journal.add(record if frame.time is None else {**record, "time": round(frame.time, 3)})
        yield prediction
