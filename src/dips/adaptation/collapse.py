"""Has the teacher collapsed? It has when all photos get one answer: one prototype, or all of them alike, or one feature.

In: the teacher's outputs and class tokens for a few photos. Out: three numbers, and a warning in words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Health", "health_of"]

_MIN_ENTROPY = 0.1  # of the highest that certain answers have
_MIN_INFORMATION = 0.01  # of the same, and a tenth of what it was: photos may be much alike
_MIN_SPREAD = 0.1  # of that of the weights that were begun with


@dataclass(frozen=True)
class Health:
    """What tells a collapsed teacher.

    Attributes:
        entropy: of its mean answer, in nats; near 0 where one prototype is all that it says.
        information: how much an answer says of its photo, in nats: mean divergence from the mean answer; near 0 where all
            photos get the same.
        spread: 1 less the mean cosine of the class tokens of all pairs of photos; near 0 where they are all the same.
        highest: information can be no higher, in nats, nor entropy, where each answer is certain.
    """

    entropy: float
    information: float
    spread: float
    highest: float

    def alarm(self, start: Health) -> str:
        """Return in words how the teacher has collapsed; empty where it has not.

        Args:
            start: of the weights that were begun with.

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
        probabilities: ``(N, K)``, its answers to N photos.
        tokens: ``(N, C)``, its class tokens.
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
