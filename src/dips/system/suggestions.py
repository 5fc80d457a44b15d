"""The nearest known name for one that was probably mistyped, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["closest"]


def closest(name: str, names: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` with the nearest of ``names``, in whatever case; empty if none is near.

    Of several that are near, one of the same letters comes first.

    >>> closest("Trian", ["train", "test"])
    " (did you mean 'train'?)"
    >>> closest("colour", ["train", "test"])
    ''
    >>> closest("cma", ["cam", "scm"])
    " (did you mean 'cam'?)"
    """
    by_lower_case = {candidate.lower(): candidate for candidate in names}
    near = difflib.get_close_matches(name.lower(), by_lower_case)
    near.sort(key=lambda candidate: sorted(candidate) != sorted(name.lower()))
    return f" (did you mean '{by_lower_case[near[0]]}'?)" if near else ""
