"""``dips stream``: a video, or a folder that fills while it is watched, to the boxes of every frame in one JSON.

In: a video file, whose frames are sampled at a rate, or a folder. Out: one file, a record per frame. While it runs, finished
frames wait in a journal beside the file, a line each: after a kill the same command goes on behind the last whole line. Of a
video no more than a batch of frames is in memory, of a folder one photo.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dips.data.images import ByteImage
from dips.data.photo_files import list_images
from dips.errors import DataError, ImageError, RunError
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor
from dips.predict.records import SCHEMA_VERSION
from dips.system.console import log
from dips.system.files import as_text, atomic_file, lock_file

__all__ = ["Frame", "Journal", "predicted", "video_frames", "watched", "write_stream"]

_POLL = 1.0  # seconds between two looks into a folder
_PATIENCE = 10  # looks until a photo that cannot be read is told of; it may still be on its way
_WHOLE = 0.9  # a video's header may promise a few frames more than there are


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a stream.

    Attributes:
        source: the video, or the photo's own file.
        name: of a photo its path below the folder, of a video's frame ``frame-NUMBER``.
        time: seconds from the video's beginning; of a photo None.
    """

    source: Path
    name: str
    time: float | None


Found = tuple[Frame, Prediction]


def video_frames(path: Path, rate: float, done: frozenset[str] | set[str] = frozenset()) -> Iterator[tuple[Frame, ByteImage]]:
    """Frames of a video and their pixels ``(H, W, 3) uint8`` RGB, upright as its player shows it.

    ``rate`` a second are taken, all of them if it has fewer, or with 0.

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
            yield Frame(path, name, seconds), np.ascontiguousarray(picture[..., ::-1])
        if number + 1 < _WHOLE * video.get(cv2.CAP_PROP_FRAME_COUNT):
            promised = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
            log(f"warning: {path} ends after {number + 1} of {promised} frames; it is damaged, or was cut short")
        if number < 0:
            raise DataError(f"{path} holds no frame that can be read; convert it to MP4 (H.264)")
    finally:
        video.release()


def predicted(predictor: Predictor, frames: Iterable[tuple[Frame, ByteImage]]) -> Generator[Found, None, None]:
    """Frames of a video, each with its prediction, in order."""
    shown, told = tee(frames)
    for prediction in predictor.pictures((frame.source, pixels) for frame, pixels in shown):
        yield next(told)[0], prediction


def watched(
    folder: Path,
    look: Callable[[Path], Prediction],
    *,
    idle: float,
    skipped: Callable[[Path, str], None],
    done: frozenset[str] | set[str] = frozenset(),
    sleep: Callable[[float], None] = time.sleep,
) -> Generator[Found, None, None]:
    """Photos of a folder with their predictions, then those that come while it is watched.

    A photo is looked at once its size no longer grows; one that cannot be read is tried again when it changes, and told of when
    it has not changed for a while.

    Args:
        look: predicts a photo, or raises ImageError.
        idle: end when no photo has come for so many seconds; infinity watches on.
        skipped: told of photos that cannot be read.
        done: names of photos that are left out.
    """
    seen = set(done)
    growing: dict[str, tuple[int, int]] = {}
    failed: dict[str, _Failure] = {}
    quiet = 0.0
    try:
        while True:
            came = False
            for path in list_images(folder):
                name = as_text(path.relative_to(folder).as_posix())
                if name in seen:
                    continue
                try:
                    state = path.stat()
                except OSError:  # gone again
                    continue
                now = (state.st_size, state.st_mtime_ns)
                if name in failed and failed[name].state == now:
                    continue
                came = True
                if growing.get(name) != now and time.time() - state.st_mtime < 2 * _POLL:
                    growing[name] = now
                    continue
                growing.pop(name, None)
                failed.pop(name, None)
                try:
                    prediction = look(path)
                except ImageError as error:
                    failed[name] = _Failure(path, now, str(error))
                    continue
                seen.add(name)
                yield Frame(path, name, None), prediction
            for failure in failed.values():
                failure.tell(skipped, _PATIENCE)
            quiet = 0.0 if came else quiet + _POLL
            if quiet > idle or (not came and idle == 0):
                return
            sleep(_POLL)
    finally:  # also where the watch is ended
        for failure in failed.values():
            failure.tell(skipped, after=0)


@dataclass(slots=True)
class _Failure:
    """A photo that could not be read; perhaps it is still being written."""

    path: Path
    state: tuple[int, int]
    reason: str
    looks: int = 0
    told: bool = False

    def tell(self, skipped: Callable[[Path, str], None], after: int) -> None:
        """Tell once, when so many looks found it unchanged."""
        self.looks += 1
        if not self.told and self.looks > after:
            self.told = True
            skipped(self.path, self.reason)


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
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.part.open("a+b")
        except OSError as error:
            raise RunError(f"cannot write {self.part}: {error.strerror or error}; choose another --out") from error
        try:
            if not lock_file(self._file):
                raise RunError(f"{self.part} is in use: another 'dips stream' writes it; end that one or choose another --out")
            self._recover(json.dumps(dict(mark), sort_keys=True).encode() + b"\n")
        except BaseException:
            self._file.close()
            raise

    def _recover(self, head: bytes) -> None:
        """Remember what is done, and cut off what a kill left unfinished: a line is whole when it ends."""
        self._file.seek(0)
        first = self._file.readline()
        if not first.endswith(b"\n"):
            self._file.truncate(0)
            self._write(head)
            return
        if first != head:
            raise RunError(f"{self.part} belongs to another model, source or rate; remove it or choose another --out")
        whole = len(first)
        for line in self._file:
            try:
                if not line.endswith(b"\n"):
                    break
                self.done.add(json.loads(line)["name"])
            except (ValueError, LookupError, TypeError):
                break
            whole += len(line)
        self._file.truncate(whole)

    def _write(self, line: bytes) -> None:
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise RunError(f"cannot write {self.part}: {error.strerror or error}; free some space") from error

    def add(self, record: Mapping[str, Any]) -> None:
        """One more frame.

        Raises:
            RunError: there is no space.
        """
        self._write(json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        self._count += 1

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


def write_stream(found: Iterable[Found], journal: Journal, *, model: str) -> Iterator[Prediction]:
    """Note each frame as it is done; yields the predictions, so that whoever asks can count them."""
    for frame, prediction in found:
        record = prediction.record(name=frame.name, model=model)
        journal.add(record if frame.time is None else {**record, "time": round(frame.time, 3)})
        yield prediction
