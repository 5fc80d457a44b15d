"""Prediction on CPUs: several photos at a time, each on one core.

The networks' output for a photo is then independent, to the last bit, of the number of cores and of the other photos in its
batch, as sums are computed in a fixed order. It is also faster than sharing each step of one batch among all cores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dips.system.memory import keep_freed_memory
from dips.types import Answer, Answerer, PhotoBatch

__all__ = ["PhotoPerCore"]


class PhotoPerCore(Answerer):
    """An answerer that passes the photos to several others in parallel, one photo each.

    Args:
        side: see :attr:`Answerer.side`.
        cores: number of answerers that run at the same time.
        begin: called once in each thread; returns the answerer of this thread, which computes in this thread alone.

    >>> class Brightness(Answerer):
    ...     side = 8
    ...     def answer(self, batch: PhotoBatch) -> Answer:
    ...         return Answer(batch.squares.mean(axis=3, dtype=np.float32) / 255, np.zeros((len(batch), 0), np.float32))
    >>> PhotoPerCore(8, 2, Brightness).answer(PhotoBatch(np.full((3, 8, 8, 3), 255, np.uint8))).maps.shape
    (3, 8, 8)
    """

    def __init__(self, side: int, cores: int, begin: Callable[[], Answerer]) -> None:
        self._side, self._cores, self._begin = side, cores, begin
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        self._mine = threading.local()

    @property
    def side(self) -> int:
        """Side in pixels of the squares that photos must be passed as."""
        return self._side

    def answer(self, batch: PhotoBatch) -> Answer:
        """Return score maps and class probabilities; all photos of the batch have maps."""
        each = [PhotoBatch(batch.squares[i : i + 1]) for i in range(len(batch))]
        answers = list(self._threads().map(self._ask, each))
        cells = [answer.cells for answer in answers if answer.cells is not None]
        return Answer(
            np.concatenate([answer.maps for answer in answers]),
            np.concatenate([answer.probabilities for answer in answers]),
            np.concatenate(cells) if cells else None,
        )

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None or self._pool[0] != os.getpid():  # threads do not survive a fork
            keep_freed_memory()
            self._pool = os.getpid(), ThreadPoolExecutor(self._cores, "dips-photo", initializer=self._prepare)
        return self._pool[1]

    def _prepare(self) -> None:
        self._mine.answerer = self._begin()

    def _ask(self, batch: PhotoBatch) -> Answer:
        answer: Answer = self._mine.answerer.answer(batch)
        return answer
