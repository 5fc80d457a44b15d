"""How this process gets its memory from the system."""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

_TRIM, _PAD, _MMAP = -1, -2, -3  # of glibc's malloc.h
_MIB = 1 << 20


def keep_freed_memory() -> bool:
    """Have glibc keep what a network frees between two layers, up to some 100 MB per thread, for the next layer.

    Given back, it has to be zeroed by the system each time: that took up to half of a CNN's time on several threads, see
    docs/results.md. Whoever has set one of glibc's own variables (``MALLOC_TRIM_THRESHOLD_`` and others) is not overruled.

    Returns:
        Whether anything was changed; nothing is where the C library is another one.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all([mallopt(_MMAP, 32 * _MIB), mallopt(_TRIM, 512 * _MIB), mallopt(_PAD, 64 * _MIB)])
