"""What must be known about an ONNX file before it is run: its metadata, and whether it would read other files.

In: the bytes of a file from anywhere. Only protobuf's wire format is parsed; the package ``onnx`` is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["has_external_data", "read_metadata"]

# which fields of which message hold which others (onnx.proto)
_INSIDE = {
    "model": {7: "graph", 14: "entry", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor
_FIXED = {1: 8, 5: 4}  # wire type to bytes


def read_metadata(data: bytes) -> dict[str, str]:
    """Return the key-value pairs of the file's metadata.

    Raises:
        ValueError: this is not an ONNX file, or it is damaged.
    """
    pairs = {}
    for field, value in _fields(memoryview(data)):
        if field == 14 and isinstance(value, memoryview):
            entry = {key: bytes(text).decode() for key, text in _fields(value) if isinstance(text, memoryview)}
            pairs[entry.get(1, "")] = entry.get(2, "")
    return pairs


def has_external_data(data: bytes) -> bool:
    """Return whether any tensor lies in another file.

    Raises:
        ValueError: this is not an ONNX file, or it is damaged.
    """
    pending = [("model", memoryview(data))]
    while pending:
        kind, message = pending.pop()
        for field, value in _fields(message):
            if kind == "tensor":
                if field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value):
                    return True
            elif isinstance(value, memoryview) and field in _INSIDE.get(kind, {}):
                pending.append((_INSIDE[kind][field], value))
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield number and value of every field: an integer, or the bytes of text, message or packed numbers."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        wire = tag & 7
        if wire == 0:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        if wire == 2:
            length, position = _varint(message, position)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise ValueError("this is not an ONNX file")
        if position + length > len(message):
            raise ValueError("the file is cut short")
        yield tag >> 3, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("the file is cut short")
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("this is not an ONNX file")
