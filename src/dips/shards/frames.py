"""Binary records in a part: each is preceded by its length."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from dips.errors import RunError
from dips.system.records import Record

__all__ = ["frame", "frames"]

_LENGTH = struct.Struct("<Q")


def frame(record: Record) -> bytes:
    """Return a record as it is stored in a part."""
    data = msgspec.msgpack.encode(record)
    return _LENGTH.pack(len(data)) + data


def frames(part: Iterable[bytes], kind: Any, *, source: str) -> Iterator[Any]:
    """Yield the records of a part, which may arrive in pieces of any size; at most one record is in memory.

    Args:
        kind: class of the records, or a tagged union of several.

    Raises:
        RunError: the part is damaged.

    >>> class Point(Record, frozen=True):
    ...     x: int
    >>> list(frames([frame(Point(1)) + frame(Point(2))], Point, source="part"))
    [Point(x=1), Point(x=2)]
    """
    waiting, decoder = bytearray(), msgspec.msgpack.Decoder(kind)
    try:
        for piece in part:
            waiting += piece
            start = 0
            while len(waiting) - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(waiting, start)
                end = start + _LENGTH.size + length
                if end > len(waiting):
                    break
                yield decoder.decode(waiting[start + _LENGTH.size : end])
                start = end
            del waiting[:start]
    except msgspec.DecodeError as error:
        raise RunError(f"{source} is damaged ({error}); remove the folder and repeat the command") from error
    if waiting:
        raise RunError(f"{source} is damaged (it lacks its end); remove the folder and repeat the command")
