"""How long ``--budget converged`` trains a method, at most. Only F-CAM's U-Net, in ``fcam.py``, has a schedule of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """When a method's training ends, if no budget ends it. Chosen by us: none of it is from a paper.

    The learning rate is constant as long as validation improves, and then falls linearly to 0, starting from the best
    checkpoint (warm-up-stable-decay without the warm-up). Before that, a few rates are tried.

    Attributes:
        passes: maximum number of passes over the training photos, including those at the falling rate, but not the trials.
        minutes: maximum minutes of a method's own training, including the search for a rate and all checks.
        every: passes between two checks.
        patience: number of checks without improvement that end the constant rate.
        least: minimum number of passes before that, whatever the checks show. A loss that changes during training
            (:class:`~dips.baselines.classifiers.ClassifierMethod`) reaches its final form after as many.
        decay: passes at the falling rate, as a fraction of those at the constant one.
        rates: rates to try, ascending, as multiples of the method's own; if the first or the last is the best, one more
            beyond it is tried.
        trial: passes per tried rate, with the loss in its final form.
        trial_share: maximum fraction of the minutes for all trials together, not counting their checks.

    >>> Limits(passes=20, minutes=5).words
    'until 4 checks on validation, 2 passes apart, bring nothing better, then at a rate that falls to 0; at most 20 passes and \
5 minutes, at one of 3 rates or the next one beyond them'
    """

    passes: int = 40
    minutes: float = 30.0
    every: int = 2
    patience: int = 4
    least: int = 12
    decay: float = 0.25
    rates: tuple[float, ...] = (1 / 3, 1.0, 3.0)
    trial: int = 3
    trial_share: float = 0.25

    def part(self, fraction: float) -> Limits:
        """Return the limits for one stage of a multi-stage training; the trials stay as they are.

        >>> Limits(passes=20, minutes=5).part(0.4).passes
        8
        """
        least, most = (max(1, round(fraction * number)) for number in (self.least, self.passes))
        return replace(self, passes=most, least=least, minutes=fraction * self.minutes)

    def less(self, passes: float) -> Limits:
        """Return the limits after ``passes``, which count towards the maximum.

        >>> Limits(passes=20).less(3.5).passes
        16
        """
        return replace(self, passes=max(1, int(self.passes - passes)))

    @property
    def words(self) -> str:
        """Human-readable description of the limits, as part of a sentence."""
        return (
            f"until {self.patience} checks on validation, {self.every} passes apart, bring nothing better, then at a rate that "
            f"falls to 0; at most {self.passes} passes and {self.minutes:g} minutes, at one of {len(self.rates)} rates or the "
            "next one beyond them"
        )
