"""Maps on disk, measured in several processes.

In: photos with the names of their maps. Out: what accumulators count, in the photos' order, whatever the number of processes.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2

from dips.benchmark.frames import compare_centre, compare_map, read_ground_truth
from dips.benchmark.mapfiles import MapFiles
from dips.errors import DipsError, ProtocolError, RunError
from dips.evaluate.accumulate import MapPixels
from dips.evaluate.boxes import engine
from dips.evaluate.measure import Measured
from dips.evaluate.protocol import Protocol
from dips.types import Sample

__all__ = ["Counted", "Job", "measure_jobs", "run_chunks"]


@dataclass(frozen=True, slots=True)
class Job:
    """A photo, its map's name, and its predicted classes."""

    sample: Sample
    name: str
    predicted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """What came of some photos.

    Attributes:
        photos, centre: of the maps and of the centred Gaussian.
        pixels, centre_pixels: likewise.
        wrong: what is wrong with the other maps.
        engine: how boxes were found.
    """

    photos: list[Measured] = field(default_factory=list)
    centre: list[Measured] = field(default_factory=list)
    pixels: MapPixels = field(default_factory=MapPixels)
    centre_pixels: MapPixels = field(default_factory=MapPixels)
    wrong: list[str] = field(default_factory=list)
    engine: str = field(default_factory=engine)


def measure_jobs(jobs: Sequence[Job], *, files: MapFiles, protocol: Protocol, resize: bool) -> Counted:
    """Read and measure the maps of some photos.

    Args:
        jobs: the photos.
        files: where their maps are.
        protocol: the frame.
        resize: bring maps to the frame that have another size, instead of refusing them.
    """
    counted = Counted()
    for job in jobs:
        try:
            truth = read_ground_truth(job.sample, protocol)
            score_map = files.read(job.name)
            known = protocol.side is not None or truth.size is not None  # it is where there is something to compare with
            width, height = protocol.frame(truth.size) if known else score_map.shape[::-1]
            if score_map.shape != (height, width) and not resize:
                size = f"{score_map.shape[1]}x{score_map.shape[0]}"
                raise ProtocolError(
                    f"{files.place / job.name} is {size} (width x height); protocol {protocol.name} wants {width}x{height}: "
                    "resize it in your method, or have it done bilinearly with --resize"
                )
            judged = compare_map(score_map, truth, protocol, predicted=job.predicted)
            centre = compare_centre(truth, protocol, predicted=job.predicted)
        except DipsError as error:
            counted.wrong.append(str(error))
            continue
        counted.photos.append(judged.boxes)
        counted.centre.append(centre.boxes)
        for found, pixels in ((judged, counted.pixels), (centre, counted.centre_pixels)):
            if found.score_map is not None:
                pixels.add(found.score_map, truth.boxes, truth.mask)
    return counted


def run_chunks(measure: Callable[[Sequence[Job]], Counted], chunks: Iterable[Sequence[Job]], workers: int) -> Iterator[Counted]:
    """What comes of the chunks, in their order; only a few are under way at a time.

    Raises:
        RunError: a process died.
    """
    if workers < 2:
        yield from map(measure, chunks)
        return
    # started afresh: a fork would copy the threads' locks of OpenCV
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin, initargs=(measure,)) as pool:
        waiting: deque[Future[Counted]] = deque()
        try:
            for chunk in chunks:
                with _interrupts_wait():
                    waiting.append(pool.submit(_measure_there, chunk))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise RunError(
                "a process that measured score maps has died, perhaps for lack of memory; take fewer --workers, and in a "
                "script of your own call this below 'if __name__ == \"__main__\":'"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Processes that are started meanwhile never hear of Ctrl-C: the first one has them end. It hears of it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_MEASURE: list[Callable[[Sequence[Job]], Counted]] = []  # of a process: sent once, for it may know the names of all maps


def _begin(measure: Callable[[Sequence[Job]], Counted]) -> None:
    """Of several processes each has one core."""
    cv2.setNumThreads(1)
    _MEASURE.append(measure)


def _measure_there(jobs: Sequence[Job]) -> Counted:
    return _MEASURE[0](jobs)
