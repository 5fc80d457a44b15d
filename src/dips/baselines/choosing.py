"""How a method chooses a setting of its maps on the boxes of validation, if no second training is needed.

In: a study and a method's maps under every candidate. Out: MaxBoxAccV2 of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from dips.baselines.study import Study

__all__ = ["best_of", "score_candidates"]


def score_candidates(
    study: Study, maps: Callable[[Tensor, Tensor], Sequence[Tensor]], count: int, side: int
) -> list[float] | None:
    """Return MaxBoxAccV2 (percent) of each candidate on validation; None if no validation photo has a box.

    The networks see each photo once, whatever the number of candidates.

    Args:
        study: provides validation photos and judge.
        maps: maps images ``(B, 3, side, side)`` in [0, 1] and labels ``(B,)`` to score maps ``(B, h, w)``, one per candidate.
        count: number of candidates.
        side: side in pixels of the squares passed to ``maps``.
    """
    batches: list[Sequence[Tensor]] = []

    def candidate(number: int) -> Callable[[Tensor, Tensor], Tensor]:
        seen = 0

        def answer(images: Tensor, labels: Tensor) -> Tensor:
            nonlocal seen
            if seen == len(batches):  # the first candidate computes; the photos come in the same order for all
                batches.append([each.float().cpu() for each in maps(images, labels)])
            seen += 1
            return batches[seen - 1][number]

        return answer

    scores = [study.choose(candidate(number), side) for number in range(count)]
    return None if any(score is None for score in scores) else [score for score in scores if score is not None]


def best_of(scores: Sequence[float]) -> int:
    """Return the index of the highest score, of ties the first.

    >>> best_of([1.0, 3.0, 3.0])
    1
    """
    return max(range(len(scores)), key=lambda index: scores[index])
