"""The JSON that this program writes and reads back, perhaps damaged: one schema per file, one kind of error.

The schema of a file is a :class:`Record`, defined in the module that writes it. Reading checks types and keys, so that later
code need not; unknown keys are ignored, as a newer version may have added them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from dips.errors import DipsError, RunError
from dips.system.files import atomic_file

__all__ = ["Record", "parse_object", "parse_record", "read_record", "to_json", "write_json"]


class Record(msgspec.Struct, frozen=True):
    """Base of all schemas; the subclass for a file of its own adds a ``schema_version`` with its number as the default.

    The number increases when a key is renamed, removed or changes its meaning; new keys with defaults do not change it.

        >>> class Progress(Record, frozen=True, kw_only=True):
        ...     schema_version: int = 1
        ...     epoch: int
        >>> parse_record(b'{"schema_version": 1, "epoch": 3}', Progress, source="p.json", remedy="train again").epoch
        3
    """


R = TypeVar("R", bound=Record)


def read_record(path: Path, kind: type[R], *, remedy: str, error: type[DipsError] = RunError) -> R:
    """Read a JSON file with the schema ``kind``.

    Args:
        remedy: what the user can do if the file is missing or damaged; ends the message.
        error: the class to raise.

    Raises:
        DipsError: ``error``, for a file that is missing, cannot be read, is not JSON, nested too deeply, of another schema or
            of another version.
    """
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise error(f"cannot read {path} ({problem.strerror or problem}); {remedy}") from problem
    return parse_record(data, kind, source=path, remedy=remedy, error=error)


def parse_object(data: bytes | str, *, source: str | Path, remedy: str, error: type[DipsError] = RunError) -> dict[str, Any]:
    """Parse a JSON object with any keys, such as one that identifies a piece of work. Otherwise like :func:`parse_record`."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise error(f"{source} is damaged ({problem}); {remedy}") from problem
    if not isinstance(content, dict):
        raise error(f"{source} is damaged (it is not a JSON object); {remedy}")
    return content


def parse_record(data: bytes | str, kind: type[R], *, source: str | Path, remedy: str, error: type[DipsError] = RunError) -> R:
    """Parse JSON with the schema ``kind``; ``source`` names it in messages. Otherwise like :func:`read_record`."""
    if words := _other_version(data, kind):
        raise error(f"{source} {words}; {remedy}")
    try:
        return _decode(data, kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as problem:
        raise error(f"{source} is damaged ({problem}); {remedy}") from problem


def _decode(data: bytes | str, kind: type[R]) -> R:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as problem:
        if "surrogate" not in str(problem):
            raise
        return msgspec.convert(json.loads(data), kind)  # half a surrogate pair, written by to_json for non-text names


def _other_version(data: bytes | str, kind: type[Record]) -> str | None:
    """Return what is wrong with the version, or None if the version is not the problem."""
    schema = _version_alone(kind)
    if schema is None:
        return None
    expected = schema().schema_version
    try:
        found = _decode(data, schema).schema_version
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if found == expected:
        return None
    return f"was written by another version of DiPS (schema {found}, this one reads {expected})"


@cache
def _version_alone(kind: type[Record]) -> Any:
    """Return a schema with only the version of ``kind``, under its key; None if it has no version."""
    for field in msgspec.structs.fields(kind):
        if field.name == "schema_version":
            version = msgspec.field(default=field.default, name=field.encode_name)
            return msgspec.defstruct("_VersionAlone", [("schema_version", int, version)])
    return None


def to_json(record: Record | Mapping[str, Any], *, indent: int | None = None) -> str:
    """Return a record as JSON text.

    Text is not escaped; halves of surrogate pairs, which no file can contain, are escaped when the file is written.

    Raises:
        ValueError: a number is infinite or NaN.
    """
    return json.dumps(msgspec.to_builtins(record), ensure_ascii=False, indent=indent, allow_nan=False)


def write_json(path: Path, record: Record | Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Write a record as a JSON file, completely or not at all.

    Raises:
        RunError: the file cannot be written.
    """
    with atomic_file(path) as file:
        file.write(to_json(record, indent=indent) + "\n")
