"""How long ``--budget converged`` trains a method, at most: the one place of these settings."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """When a method's training ends, if no budget ends it. Chosen here: none of it is from a paper.

    The rate is constant, as long as validation improves, and then falls to 0 in a straight line from the best checkpoint on
    (warm-up-stable-decay without the warm-up). Before that a few rates are tried.

    Attributes:
        passes: most passes over the training photos, those at the falling rate included.
        minutes: most minutes of a method's own training, the search for a rate and all checks included.
        every: passes between two checks.
        patience: as many checks without a better one end the constant rate.
        least: passes before that, whatever the checks say. A loss that changes while a network learns
            (:class:`~dips.baselines.classifiers.ClassifierMethod`) is at its end after as many.
        decay: passes at the falling rate, as a fraction of those at the constant one.
        rates: that are tried, ascending, as multiples of the method's own; where the first or the last is the best, one
            more behind it.
        trial: passes with each of them, with the loss as it is at the end. All together take no more than a quarter of the
            minutes.

    >>> Limits(passes=20, minutes=5).words
    'until 4 checks on validation, 2 passes apart, bring nothing better, then at a rate that falls to 0; at most 20 passes and \
5 minutes, one of 3 rates or the one behind the best of them'
    """

    passes: int = 40
    minutes: float = 30.0
    every: int = 2
    patience: int = 4
    least: int = 12
    decay: float = 0.25
    rates: tuple[float, ...] = (1 / 3, 1.0, 3.0)
    trial: int = 3

    def part(self, fraction: float) -> Limits:
        """Return the limits of a stage of a training that has several; what is tried stays as it is.

        >>> Limits(passes=20, minutes=5).part(0.4).passes
        8
        """
        least, most = (max(1, round(fraction * number)) for number in (self.least, self.passes))
        return replace(self, passes=most, least=least, minutes=fraction * self.minutes)

    @property
    def words(self) -> str:
        """All of it as a part of a sentence, for people."""
        return (
            f"until {self.patience} checks on validation, {self.every} passes apart, bring nothing better, then at a rate that "
            f"falls to 0; at most {self.passes} passes and {self.minutes:g} minutes, one of {len(self.rates)} rates or the one "
            "behind the best of them"
        )
