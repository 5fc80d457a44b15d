"""Rows of numbers by name, packed into arrays: what is known of very many photos, a fraction of a dict of tuples in memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping

import numpy as np

__all__ = ["PackedRows"]


class PackedRows(Mapping[str, list[tuple[float, ...]]]):
    """Name -> its rows, each ``width`` numbers; names without a row are not in it.

    Args:
        numbering: a number for each name, shared by all that describes the same photos; new names are added to it.
        width: numbers per row.
    """

    def __init__(self, numbering: dict[str, int], width: int) -> None:
        self._numbering, self._width = numbering, width
        self._owners, self._values = array("q"), array("d")
        self._order: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None

    def add(self, name: str, row: tuple[float, ...]) -> None:
        """Append a row to those of ``name``."""
        self._owners.append(self._numbering.setdefault(name, len(self._numbering)))
        self._values.extend(row)
        self._order = None

    def __getitem__(self, name: str) -> list[tuple[float, ...]]:
        number = self._numbering[name]
        owners, order = np.frombuffer(self._owners, np.int64), self._sorted()
        first = int(np.searchsorted(owners, number, sorter=order))
        last = int(np.searchsorted(owners, number, "right", sorter=order))
        if first == last:
            raise KeyError(name)
        width, values = self._width, self._values
        return [tuple(values[place * width : (place + 1) * width]) for place in order[first:last].tolist()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._numbering and self._has(self._numbering[name])

    def __iter__(self) -> Iterator[str]:
        return (name for name, number in self._numbering.items() if self._has(number))

    def __len__(self) -> int:
        return len(np.unique(np.frombuffer(self._owners, np.int64))) if self._owners else 0

    def _has(self, number: int) -> bool:
        if not self._owners:
            return False
        owners, order = np.frombuffer(self._owners, np.int64), self._sorted()
        place = int(np.searchsorted(owners, number, sorter=order))
        return place < len(owners) and int(owners[order[place]]) == number

    def _sorted(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        if self._order is None:
            self._order = np.argsort(np.frombuffer(self._owners, np.int64), kind="stable")
        return self._order
