"""The baseline that looks at no photo: a Gaussian in the middle of the frame.

In: nothing. Out: a score map that every method must beat. Its boxes are the same for all photos, so compute them once::

    levels = boxes_at_thresholds(centre_map())
    accumulator.add(levels, boxes)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dips.errors import ProtocolError
from dips.evaluate.boxes import FRAME

__all__ = ["centre_map"]


def centre_map(frame: int = FRAME, sigma: float | None = None) -> NDArray[np.float32]:
    """An isotropic Gaussian ``(frame, frame) float32`` with maximum 1 around the middle.

    Args:
        frame: side in pixels.
        sigma: standard deviation in pixels; by default a quarter of the side. From 40 to 112 it makes no difference, as the
            thresholds give the same centred squares; a far smaller or larger one has too few 8-bit levels for all of them.

    Raises:
        ProtocolError: a side or a sigma that is not positive.
    """
    sigma = frame / 4 if sigma is None else sigma
    if frame < 1 or not sigma > 0:
        raise ProtocolError(f"the centred Gaussian needs a positive side and sigma, not {frame} and {sigma}")
    squares = (np.arange(frame) - (frame - 1) / 2) ** 2
    bell = np.exp(-(squares[:, None] + squares[None, :]) / (2 * sigma**2))
    return np.asarray(bell / bell.max(), dtype=np.float32)
