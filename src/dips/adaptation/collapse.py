"""Detect a collapsed teacher: one that gives all photos the same prototype, the same answer or the same features.

In: the teacher's outputs and class tokens for a few photos. Out: three numbers, and a warning message.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Health", "health_of"]

_MIN_ENTROPY = 0.1  # as a fraction of Health.highest
_MIN_INFORMATION = 0.01  # likewise, and at most a tenth of its initial value: photos may be very similar
_MIN_SPREAD = 0.1  # as a fraction of its initial value


@dataclass(frozen=True)
class Health:
    """Measurements that reveal a collapsed teacher.

    Attributes:
        entropy: entropy of the mean answer, in nats; near 0 if the teacher only ever picks one prototype.
        information: how much an answer reveals about its photo, in nats: mean divergence from the mean answer; near 0 if all
            photos get the same answer.
        spread: 1 minus the mean cosine of class tokens over all pairs of photos; near 0 if they are all the same.
        highest: upper bound of the information, in nats, and of the entropy if each answer is certain.
    """

    entropy: float
    information: float
    spread: float
    highest: float

    def alarm(self, start: Health) -> str:
        """Return a description of how the teacher has collapsed, or an empty string if it has not.

        Args:
            start: health with the initial weights.

        >>> start = Health(entropy=4.0, information=1.0, spread=0.5, highest=4.0)
        >>> start.alarm(start), Health(0.1, 0.05, 0.5, 4.0).alarm(start)
        ('', 'it gives nearly all photos the same prototype')
        """
        if self.entropy < _MIN_ENTROPY * self.highest:
            return "it gives nearly all photos the same prototype"
        if self.information < min(_MIN_INFORMATION * self.highest, 0.1 * start.information):
            return "it says the same of all photos"
        if self.spread < _MIN_SPREAD * start.spread:
            return "its features are nearly the same for all photos"
        return ""


def health_of(probabilities: Tensor, tokens: Tensor) -> Health:
    """Return the health of a teacher.

    Args:
        probabilities: ``(N, K)``, the teacher's answers to N photos.
        tokens: ``(N, C)``, the teacher's class tokens.
    """
    mean = probabilities.float().mean(0)
    entropy = _entropy(mean)
    information = entropy - _entropy(probabilities.float())
    spread = 1 - F.normalize(tokens.float(), dim=-1).mean(0).square().sum()
    return Health(
        entropy=float(entropy),
        information=max(0.0, float(information)),
        spread=max(0.0, float(spread)),
        highest=math.log(min(probabilities.shape)),
    )


def _entropy(probabilities: Tensor) -> Tensor:
    """Return the mean entropy of distributions ``(..., K)``, a scalar in nats."""
    return -probabilities.xlogy(probabilities).sum(-1).mean()
