"""Many methods on one data set under one protocol: :func:`compare`, the paper's Table 1 on anyone's photos."""

from __future__ import annotations

from dips.comparison.run import compare

__all__ = ["compare"]
