"""Suggest the nearest known name for a probably mistyped one, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["closest"]


def closest(name: str, names: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` with the nearest of ``names``, ignoring case; empty if none is near.

    If several are near, one with the same letters is preferred.

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
