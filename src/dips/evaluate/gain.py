"""What reviewed photos bring to others like them, in numbers and in words; :mod:`dips.harvest.gain` measures it."""

from __future__ import annotations

from dips.system.console import counted
from dips.system.records import Record

__all__ = ["ReviewGain", "Tally"]

_WORTH = 1.0  # points of F1


class Tally(Record, frozen=True, kw_only=True):
    """Objects that are found at IoU 0.5, of how many, by how many boxes; percentages follow."""

    right: int
    boxes: int
    objects: int

    @property
    def f1(self) -> float:
        """Percent."""
        return 200 * self.right / max(1, self.boxes + self.objects)


class ReviewGain(Record, frozen=True, kw_only=True):
    """What reviewed photos bring to others like them.

    Attributes:
        photos: reviewed photos with boxes that this rests on.
        without: no correction.
        half: corrected by half of the photos, measured on the other half, both ways.
        most: corrected by three quarters, measured on the rest, in turn.
    """

    photos: int
    without: Tally
    half: Tally
    most: Tally

    def words(self) -> str:
        """Say what it brought, and whether more is worth it."""
        rise = self.most.f1 - self.half.f1
        if self.most.f1 < self.without.f1 - _WORTH:
            advice = "they do not help: are all objects of these photos boxed, and alike?"
        elif rise > _WORTH:
            advice = "more are worth it"
        else:
            advice = "as many more would bring little"
        return (
            f"review: tried on {counted(self.photos, 'reviewed photo')} that it had not seen, the map finds "
            f"{self.most.right} of {counted(self.most.objects, 'object')} with {self.most.boxes} boxes, {self.without.right} "
            f"with {self.without.boxes} before (F1 {self.without.f1:.0f} -> {self.most.f1:.0f}%); {advice}"
        )
