"""Text in the cells of a CSV file, which a spreadsheet would take for a formula if it began like one."""

from __future__ import annotations

import re

__all__ = ["as_cell", "from_cell"]

# also the wide forms, which Excel takes likewise, and after what another country's Excel splits lines at
_FORMULA = re.compile("(^|[;\t\r\n])('*[=+\\-@\uff1d\uff0b\uff0d\uff20])")
_MARKED = re.compile(_FORMULA.pattern.replace(")(", ")'(", 1))


def as_cell(text: str) -> str:
    """Return text for a cell of a CSV: an apostrophe is put before what a spreadsheet would compute.

    >>> as_cell("owl/1.jpg"), as_cell("=1+1.jpg"), from_cell("'=1+1.jpg")
    ('owl/1.jpg', "'=1+1.jpg", '=1+1.jpg')
    """
    return _FORMULA.sub(r"\1'\2", text)


def from_cell(text: str) -> str:
    """Return the text that :func:`as_cell` made this of."""
    return _MARKED.sub(r"\1\2", text)
