"""Text in CSV cells, escaped if a spreadsheet would take it for a formula."""

from __future__ import annotations

import re

__all__ = ["as_cell", "from_cell"]

# also fullwidth forms, which Excel treats alike, and after characters at which Excel in other locales splits lines
_FORMULA = re.compile("(^|[;\t\r\n])('*[=+\\-@\uff1d\uff0b\uff0d\uff20])")
_MARKED = re.compile(_FORMULA.pattern.replace(")(", ")'(", 1))


def as_cell(text: str) -> str:
    """Return text for a CSV cell: text that a spreadsheet would evaluate is prefixed with an apostrophe.

    >>> as_cell("owl/1.jpg"), as_cell("=1+1.jpg"), from_cell("'=1+1.jpg")
    ('owl/1.jpg', "'=1+1.jpg", '=1+1.jpg')
    """
    return _FORMULA.sub(r"\1'\2", text)


def from_cell(text: str) -> str:
    """Return the original text of a cell, reversing :func:`as_cell`."""
    return _MARKED.sub(r"\1\2", text)
