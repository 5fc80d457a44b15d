"""Names as text for every file format and message, and paths as URLs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

__all__ = ["as_text", "as_url", "file_url_path", "is_remote", "named_so", "scheme_of", "some"]

_BYTES = re.compile("[\udc80-\udcff]+")  # bytes of a name that is not UTF-8, as Python represents them
_ESCAPED = re.compile(rb"%([0-9A-F]{2})")


def as_text(name: str) -> str:
    """Return the name of a file or folder, which need not be valid text, as text that every file format can store.

    A byte that is not UTF-8 becomes ``%`` and two digits, and an adjacent ``%`` before two such digits ``%25``;
    :func:`named_so` converts them back. The text is the same in every locale.

    >>> as_text("M\\udcfchle 50%.jpg"), as_text("M%FChle.jpg")
    ('M%FChle 50%.jpg', 'M%FChle.jpg')
    """
    if _BYTES.search(name):
        name = _BYTES.sub(lambda found: _decoded(found[0].encode("utf-8", "surrogateescape")), name.replace("%", "\0"))
        name = re.sub(r"\0(?=[0-9A-F]{2})", "%25", name).replace("\0", "%")
    return name.encode("utf-8", "backslashreplace").decode()


def _decoded(data: bytes) -> str:
    return "".join(f"%{ord(c) - 0xDC00:02X}" if _BYTES.match(c) else c for c in data.decode("utf-8", "surrogateescape"))


def named_so(text: str) -> list[str]:
    """Return the system's file names for which :func:`as_text` may have returned ``text``."""
    data = text.encode("utf-8", "surrogatepass")
    plain = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), data)
    return list(dict.fromkeys([text, *(os.fsdecode(each) for each in (data, plain) if os.name != "nt")]))


def scheme_of(place: str) -> str:
    """Return the scheme of a URL in lower case; empty for a path.

    >>> [scheme_of(place) for place in ("S3://bucket/a", "C://photos", "photos/a:b.jpg")]
    ['s3', '', '']
    """
    scheme, found, _ = place.partition("://")
    return scheme.lower() if found and len(scheme) > 1 and scheme.replace("+", "").isalnum() else ""


def file_url_path(url: str) -> str:
    """Return the path of a URL ``file:///...``, or of one in Spark's notation.

    >>> file_url_path("file:///nfs/my%20boxes"), file_url_path("FILE://localhost/a#1.jpg"), file_url_path("file:/a.jpg")
    ('/nfs/my boxes', '/a#1.jpg', '/a.jpg')
    """
    from urllib.request import url2pathname  # slow to import

    rest = url.partition(":")[2]
    return url2pathname(f"/{rest[2:].partition('/')[2]}" if rest.startswith("//") else rest)


def as_url(path: Path) -> str:
    """Return the URL that a path was made from, which has lost a slash; empty if it was not a URL.

    >>> as_url(Path("s3://bucket/a.jpg")), as_url(Path("a/b.jpg"))
    ('s3://bucket/a.jpg', '')
    """
    scheme, found, rest = path.as_posix().partition(":/")
    return f"{scheme}://{rest.lstrip('/')}" if found and scheme_of(f"{scheme}://{rest}") else ""


def is_remote(path: Path, here: Path) -> bool:
    """Return whether a path leads to another computer (``\\\\host\\share`` on Windows), and not to the one that ``here`` is on.

    Windows reveals the user's name to any computer named by a path in a file.
    """
    return str(path).startswith("\\\\") and not (path.drive and path.drive.casefold() == here.absolute().drive.casefold())


def some(names: Iterable[str], most: int = 5) -> str:
    """Return the first ``most`` names and the number of the others as text for a message.

    >>> some(["tower", "none", "mast"], 2)
    'tower, none and 1 more'
    """
    names = list(names)
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
