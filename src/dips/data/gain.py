"""How much reviewed photos improve the boxes of others like them, in numbers and words; see :mod:`dips.harvest.gain`."""

from __future__ import annotations

from dips.system.console import counted
from dips.system.records import Record

__all__ = ["ReviewGain", "Tally"]

_WORTH = 0.01  # of mean IoU
_FEW = 20  # photos; with fewer, a loss may well be chance


class Tally(Record, frozen=True, kw_only=True):
    """How well boxes fit the objects of some photos.

    Attributes:
        overlap: sum over the objects of the IoU with the best box.
        right: number of objects that have a box of IoU 0.5 to themselves.
        boxes, objects: number of boxes and objects.
    """

    overlap: float
    right: int
    boxes: int
    objects: int

    @property
    def mean_iou(self) -> float:
        """Mean IoU in [0, 1]; 0 without objects."""
        return self.overlap / max(1, self.objects)


class ReviewGain(Record, frozen=True, kw_only=True):
    """How much reviewed photos improve the boxes of others like them.

    Attributes:
        photos: number of reviewed photos with boxes that this is based on.
        without: not corrected.
        half: corrected by half of the photos, measured on the other half, both ways.
        most: corrected by three quarters, measured on the rest, in turn.
    """

    photos: int
    without: Tally
    half: Tally
    most: Tally

    def words(self) -> str:
        """Return what the reviews gained, and whether more are worth it; a loss on few photos is not blamed on them."""
        before, now = self.without, self.most
        if now.mean_iou < before.mean_iou - _WORTH:
            advice = "they do not help: are all objects of these photos boxed, and boxed alike?"
            if self.photos < _FEW:
                advice = "they do not help yet, but so few tell little: more may"
        elif now.mean_iou > self.half.mean_iou + _WORTH:
            advice = "more are worth it"
        else:
            advice = "as many more would bring little"
        return (
            f"on {counted(self.photos, 'reviewed photo')}, each tried with a map that had not seen it, boxes and "
            f"objects overlap by {100 * now.mean_iou:.0f}% (mean IoU), {100 * before.mean_iou:.0f}% before; {now.right} of "
            f"{counted(now.objects, 'object')} are found, {before.right} before; {advice}"
        )
