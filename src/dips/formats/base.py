"""The interface of a format: a context that receives records one photo at a time, and whose files are complete at its end."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from dips.errors import RunError
from dips.formats.records import PredictionRecord
from dips.system.records import Record, to_json

__all__ = ["Add", "Format", "JsonArray", "SharedClasses", "xml_text"]

_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Add = Callable[[PredictionRecord, str], None]
"""Writes a photo, given its record and the path of its results below the format's own folder, without suffix."""

Format = Callable[[Path], AbstractContextManager[Add]]
"""Opens the files of a format in a folder; they appear when the block ends without error."""


def xml_text(text: str) -> str:
    """Return text with U+FFFD in place of what XML cannot hold: control characters, lone surrogates and two others.

    >>> xml_text("owl\x1b[31m")
    'owl\ufffd[31m'
    """
    return _NOT_XML.sub("\ufffd", text)


class SharedClasses:
    """The classes of photos that are written to one file; they must be the same for all.

    Attributes:
        names: all class names, in label order; empty before the first photo.
        objects: names of the classes that a box can have: all but the class without object.

    .. code-block:: python

        classes = SharedClasses()
        for _, record in read_records(Path("predictions")):
            classes.add(record)  # RunError for a photo of another model
        print(classes.objects)
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.objects: list[str] = []

    def add(self, record: PredictionRecord) -> None:
        """Add the classes of one more photo.

        Raises:
            RunError: they differ from those of the photos before it.
        """
        names = list(record.class_scores)
        if self.names and names != self.names:
            raise RunError(
                f"{record.name} was predicted with other classes than the photos before it; write them to separate folders"
            )
        self.names = names
        self.objects = record.object_classes


class JsonArray:
    """Writes the elements of a JSON array as they come, one per line; the caller writes the brackets.

    >>> import io
    >>> file = io.StringIO()
    >>> array = JsonArray(file)
    >>> for name in "ab":
    ...     array.add({"name": name})
    >>> file.getvalue()
    '\\n{"name": "a"},\\n{"name": "b"}'
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._separator = "\n"

    def add(self, element: Record | Mapping[str, Any]) -> None:
        """Write one more element."""
        self._file.write(self._separator + to_json(element))
        self._separator = ",\n"
