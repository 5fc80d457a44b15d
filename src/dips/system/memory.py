"""Memory allocation of this process."""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

_TRIM, _PAD, _MMAP = -1, -2, -3  # of glibc's malloc.h
_MIB = 1 << 20


def keep_freed_memory() -> bool:
    """Make glibc keep the memory that a network frees between two layers, up to about 100 MB per thread, for the next layer.

    If returned to the system, memory must be zeroed each time, which took up to half of a CNN's time on several threads, see
    docs/results.md. Settings in glibc's own variables (``MALLOC_TRIM_THRESHOLD_`` and others) are not overridden.

    Returns:
        Whether anything was changed; nothing is with other C libraries.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all([mallopt(_MMAP, 32 * _MIB), mallopt(_TRIM, 512 * _MIB), mallopt(_PAD, 64 * _MIB)])
