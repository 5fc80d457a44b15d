"""The two protocols, which define the frame in which score maps are compared with ground-truth boxes and masks.

``wsol-224`` is the field's (Choe et al.): everything in a square of 224 pixels, true coordinates truncated to it.
``original-pixels`` measures the same, but at the photo's own size, so that small objects are not blurred away. Numbers of the
two cannot be compared, so results include the protocol's name.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dips.errors import ConfigError, ProtocolError
from dips.evaluate.boxes import FRAME, checked_boxes, to_frame
from dips.scoremaps.levels import checked_map

__all__ = ["PROTOCOLS", "Protocol", "find_protocol"]

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Protocol:
    """The frame in which score maps are compared with ground truth.

    >>> FRAMED.boxes([[50, 60, 300, 200]], (500, 375)).tolist()
    [[22.0, 35.0, 134.0, 119.0]]

    Attributes:
        name: the name used on the command line.
        words: a description for reports.
        side: side of the square frame in pixels; None = each photo's own width and height.
    """

    name: str
    words: str
    side: int | None

    def frame(self, size: Size | None) -> Size:
        """Return the width and height of the frame for a photo of ``size`` (width, height).

        Raises:
            ProtocolError: the size is needed but unknown.
        """
        if self.side is not None:
            return self.side, self.side
        if size is None:
            raise ProtocolError(f"protocol {self.name} needs the photo's size: add image_sizes.txt, or take {FRAMED.name}")
        return size

    def boxes(self, boxes: ArrayLike, size: Size) -> NDArray[np.float64]:
        """Convert the ground-truth boxes ``(K, 4)`` of a photo of ``size`` (width, height) to the frame."""
        return checked_boxes(boxes if self.side is None else to_frame(boxes, size, self.side))

    def resized(self, score_map: ArrayLike, size: Size | None) -> NDArray[np.floating]:
        """Resize a score map ``(h, w)`` in [0, 1] of the whole photo to the frame, bilinearly, unless it already fits."""
        scores, (width, height) = checked_map(score_map), self.frame(size)
        if scores.shape == (height, width):
            return scores
        if scores.dtype not in (np.float32, np.float64):
            scores = scores.astype(np.float32)
        return np.clip(cv2.resize(scores, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)


FRAMED = Protocol("wsol-224", "WSOL (Choe et al. 2020), 224x224 frame", FRAME)
ORIGINAL = Protocol(
    "original-pixels", "as WSOL (Choe et al. 2020), but in pixels of the original photo, not in a 224x224 frame", None
)
PROTOCOLS = {protocol.name: protocol for protocol in (FRAMED, ORIGINAL)}


def find_protocol(name: str) -> Protocol:
    """Return the protocol with this name.

    Raises:
        ConfigError: there is no such protocol.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"there is no protocol '{name}'; take one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
