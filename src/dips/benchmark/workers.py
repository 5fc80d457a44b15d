"""Score maps on disk, measured in several processes.

In: photos with the names of their maps. Out: what accumulators count, in the photos' order, whatever the number of processes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess

import cv2

from dips.benchmark.frames import compare_centre, compare_map, read_ground_truth
from dips.benchmark.mapfiles import MapFiles
from dips.errors import DipsError, ProtocolError, RunError
from dips.evaluate.accumulate import MapPixels
from dips.evaluate.boxes import engine
from dips.evaluate.measure import Measured
from dips.evaluate.protocol import Protocol
from dips.types import Sample

__all__ = ["ChunkResult", "Job", "measure_jobs", "run_chunks"]


@dataclass(frozen=True, slots=True)
class Job:
    """A photo, its map's name, and its predicted classes."""

    sample: Sample
    name: str
    predicted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """The measurements of a chunk of photos.

    Attributes:
        photos, centre: each photo's boxes, by its map and by the centred Gaussian.
        pixels, centre_pixels: the pixels of all photos, likewise.
        errors: what is wrong with the maps that were not measured.
        engine: how boxes were found.
    """

    photos: list[Measured] = field(default_factory=list)
    centre: list[Measured] = field(default_factory=list)
    pixels: MapPixels = field(default_factory=MapPixels)
    centre_pixels: MapPixels = field(default_factory=MapPixels)
    errors: list[str] = field(default_factory=list)
    engine: str = field(default_factory=engine)


def measure_jobs(jobs: Sequence[Job], *, files: MapFiles, protocol: Protocol, resize: bool) -> ChunkResult:
    """Read and measure the maps of some photos.

    Args:
        jobs: the photos.
        files: their maps.
        protocol: the frame.
        resize: resize maps of another size to the frame, instead of refusing them.
    """
    result = ChunkResult()
    for job in jobs:
        try:
            ground_truth = read_ground_truth(job.sample, protocol)
            score_map = files.read(job.name)
            # there is a frame wherever there is something to compare with
            has_frame = protocol.side is not None or ground_truth.size is not None
            width, height = protocol.frame(ground_truth.size) if has_frame else score_map.shape[::-1]
            if score_map.shape != (height, width) and not resize:
                size = f"{score_map.shape[1]}x{score_map.shape[0]}"
                raise ProtocolError(
                    f"{files.path / job.name} is {size} (width x height); protocol {protocol.name} wants {width}x{height}: "
                    "resize it in your method, or have it done bilinearly with --resize"
                )
            comparison = compare_map(score_map, ground_truth, protocol, predicted=job.predicted)
            centre = compare_centre(ground_truth, protocol, predicted=job.predicted)
        except DipsError as error:
            result.errors.append(str(error))
            continue
        result.photos.append(comparison.boxes)
        result.centre.append(centre.boxes)
        for compared, pixels in ((comparison, result.pixels), (centre, result.centre_pixels)):
            if compared.score_map is not None:
                pixels.add(compared.score_map, ground_truth.boxes, ground_truth.mask)
    return result


def run_chunks(
    measure: Callable[[Sequence[Job]], ChunkResult], chunks: Iterable[Sequence[Job]], workers: int
) -> Iterator[ChunkResult]:
    """Return the results of the chunks, in their order; only a few are under way at a time.

    Raises:
        RunError: a process died.
    """
    if workers < 2:
        yield from map(measure, chunks)
        return
    # spawned: a fork would copy the threads' locks of OpenCV
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin, initargs=(measure,)) as pool:
        waiting: deque[Future[ChunkResult]] = deque()
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
                "a process that measured score maps has died, perhaps for lack of memory; take fewer --workers, and in your "
                "own script call this below 'if __name__ == \"__main__\":'"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Hold Ctrl-C back: processes that are started meanwhile never receive it, this one does afterwards and ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_MEASURE: list[Callable[[Sequence[Job]], ChunkResult]] = []  # sent to a process once: it may hold the names of all maps


def _begin(measure: Callable[[Sequence[Job]], ChunkResult]) -> None:
    """Prepare a process; each of several has one core."""
    cv2.setNumThreads(1)
    _MEASURE.append(measure)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    """End this process when the one that started it is gone: one that was killed can no longer say so."""
    parent.join()
    os._exit(1)


def _measure_there(jobs: Sequence[Job]) -> ChunkResult:
    return _MEASURE[0](jobs)
