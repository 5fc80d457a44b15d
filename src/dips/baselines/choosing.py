"""How a method chooses a setting of its maps on the boxes of validation, if no second training is needed.

In: a study and a method's maps under every candidate. Out: MaxBoxAccV2 of each, the best, and words for the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from dips.baselines.study import Study

__all__ = ["best_of", "chosen_by", "score_candidates"]


def score_candidates(study: Study, maps: Callable[[Tensor, Tensor], Sequence[Tensor]], side: int) -> list[float]:
    """Return MaxBoxAccV2 (percent) of each candidate on validation; nothing if no validation photo has a box.

    The networks see each photo once, whatever the number of candidates.

    Args:
        study: provides validation photos and judge.
        maps: maps images ``(B, 3, side, side)`` in [0, 1] and labels ``(B,)`` to score maps ``(B, h, w)``, one per candidate.
        side: side in pixels of the squares passed to ``maps``.
    """
    with torch.no_grad():
        batches = [[np.asarray(each.float().cpu().numpy()) for each in maps(*batch)] for batch in study.boxed_batches(side)]
    return [study.judge(chain.from_iterable(answers), study.boxed) for answers in zip(*batches, strict=True)]


def best_of(scores: Sequence[float]) -> int:
    """Return the index of the highest score, of ties the first; 0, the first candidate, if there are none.

    >>> best_of([1.0, 3.0, 3.0]), best_of([])
    (1, 0)
    """
    return max(range(len(scores)), key=lambda index: scores[index], default=0)


def chosen_by(scores: Sequence[float]) -> str:
    """Return how a candidate was chosen, to follow its name.

    >>> f"tau 0.2{chosen_by([])}"
    'tau 0.2, no validation photo has a box'
    """
    return " by the ground-truth boxes of validation" if scores else ", no validation photo has a box"
