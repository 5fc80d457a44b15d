"""XMP, the XML that drones and photo software embed in photos: read single values, whichever software wrote them.

In: the bytes of a packet, perhaps damaged or hostile. Out: the values of a few names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from xml.parsers import expat

__all__ = ["MAX_BYTES", "xmp_values"]

MAX_BYTES = 1 << 20
"""Larger packets are ignored; those of cameras have a few kilobytes."""

_MAX_VALUE = 100  # characters


class _Refused(Exception):
    """A packet declares a document type: XMP never does, but entity expansion attacks need one."""


def xmp_values(packet: bytes, wanted: Collection[str]) -> Mapping[str, str]:
    """Return the values of some names, whether attributes or elements; the first one if there are several.

    A truncated packet is read up to its end; one that is too large, or that declares entities, yields no values.

    Args:
        wanted: names without a prefix, which match any prefix, or with one.

    >>> packet = b'<x xmlns:d="d" d:Yaw="+12.3"><d:Pitch> -90 </d:Pitch></x>'
    >>> dict(xmp_values(packet, {"Yaw", "d:Pitch"}))
    {'Yaw': '+12.3', 'd:Pitch': '-90'}
    """
    if len(packet) > MAX_BYTES:
        return {}
    found: dict[str, str] = {}
    texts: list[str] = []

    def key(name: str) -> str:
        return name if name in wanted else name.rpartition(":")[2]

    def keep(name: str, value: str) -> None:
        if key(name) in wanted and 0 < len(value.strip()) <= _MAX_VALUE:
            found.setdefault(key(name), value.strip())

    def start(name: str, attributes: dict[str, str]) -> None:
        texts.clear()
        for attribute, value in attributes.items():
            keep(attribute, value)

    def end(name: str) -> None:
        keep(name, "".join(texts))
        texts.clear()

    def refuse(*_: object) -> None:
        raise _Refused

    parser = expat.ParserCreate()  # without namespaces: an undeclared prefix must not hide the rest
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = texts.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(packet.strip(b"\0 \t\r\n"), True)
    except expat.ExpatError:  # what was read before the damage is valid
        pass
    except _Refused:
        return {}
    return found
