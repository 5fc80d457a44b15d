"""One scale for a set of photos of more than 8 bits, so that equal values are equal greys in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from dips.config import DataConfig
from dips.data.deep import read_values
from dips.data.depth import Depth, Shown, common_scale, scale_words
from dips.data.split import spread
from dips.errors import ImageError
from dips.system.console import log

__all__ = ["depth_of", "depth_setting"]

_HEADERS = 400  # photos whose header is checked for more than 8 bits
_DECODED = 48  # photos of more than 8 bits that are decoded, at most
_PIXELS = 200_000_000  # of the decoded photos, in total
_EIGHT_BITS = (".jpg", ".jpeg")


def depth_setting(config: DataConfig) -> Depth:
    """Return the depth that ``data.depth`` specifies, before any photo is read."""
    if (scale := config.depth_range) is not None:
        return Depth(rule="fixed", scales=(scale,))
    return Depth(rule="full") if config.depth == "full" else Depth()


def depth_of(paths: Sequence[Path | str], depth: Depth) -> Depth:
    """Return ``depth`` with the scale of these photos put first, if they need one that it does not have yet.

    Only a bounded sample of them is read; the same photos always yield the same scale. URLs are strings.
    """
    if depth.rule != "auto":
        return depth
    shown = _sampled(paths)
    if not shown:
        return depth
    scale = common_scale(shown)
    if scale is None or depth.fitting(scale) is not None:
        return depth
    found = msgspec.structs.replace(depth, scales=(scale, *depth.scales))
    differs = f"; the training photos had {scale_words(depth.scales[0])}" if depth.scales else ""
    log(f"photos of more than 8 bits ({shown[0].type}): values {scale_words(scale)} become black to white{differs}")
    return found


def _sampled(paths: Sequence[Path | str]) -> list[Shown]:
    """Return how each photo of a sample would be shown on its own; 8-bit and unreadable photos are left out."""
    shown: list[Shown] = []
    pixels = 0
    for path in spread(paths, _HEADERS):
        if len(shown) >= _DECODED or pixels > _PIXELS:
            break
        if isinstance(path, str) and path.lower().endswith(_EIGHT_BITS):  # not worth a request
            continue
        try:
            values = read_values(path)
        except ImageError:  # reported when all photos are read
            continue
        if values is not None:
            shown.append(Depth().shown(values))
            pixels += values.pixels.size
    return shown
