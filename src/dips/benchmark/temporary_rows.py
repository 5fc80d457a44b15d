"""Measured photos on their way through a file: the threshold of the CSV's lines is known only after the last photo."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import IO

import numpy as np

from dips.evaluate.measure import Measured
from dips.evaluate.result import ImageRow

__all__ = ["Spool"]


class Spool:
    """Keeps photos in an open temporary file, about 6 KB each."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, photo: Measured) -> None:
        """Write one photo down."""
        head = [photo.id, photo.label, photo.predicted, photo.n_true, photo.thresholds, photo.peak]
        self._file.write(json.dumps(head).encode() + b"\n")
        np.save(self._file, np.stack([photo.single, photo.multiple, photo.kinds.astype(np.float64)]))

    def rows(self, tau: Mapping[str, float]) -> Iterator[ImageRow]:
        """All photos in their order, as :meth:`~dips.evaluate.measure.Measured.row` tells them."""
        self._file.seek(0)
        while line := self._file.readline():
            id, label, predicted, n_true, thresholds, peak = json.loads(line)
            single, multiple, kinds = np.load(self._file, allow_pickle=False)
            photo = Measured(id, label, tuple(predicted), n_true, thresholds, peak, single, multiple, kinds.astype(np.int8))
            yield photo.row(tau)
