"""Variants of TS-CAM and SCM in which the blocks whose attention is coupled are chosen on validation.

In: a fitted TS-CAM or SCM; nothing is trained again. Out: its maps with the attention of some blocks instead of all.

The papers use all 12 blocks of a DeiT. A transformer that was tuned on saliency attends to objects only in some blocks, and the
mean over all of them is then far below the best. This is our variant, not the papers', and has a row of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dips.baselines import normalise
from dips.baselines.choosing import best_of, chosen_by, score_candidates
from dips.baselines.method import Fit, ScoreMapMethod
from dips.baselines.study import Study
from dips.baselines.tscam import TsCam

__all__ = ["ScmBlocks", "TsCamBlocks", "candidates"]


def candidates(blocks: int) -> list[tuple[int, int]]:
    """Return which blocks may be coupled: all of them, the last ones, or a single one; of ties, the earlier one is used.

    Returns:
        Pairs of the first block, counted from 0, and the one after the last.

    >>> candidates(3)
    [(0, 3), (1, 3), (2, 3), (1, 2), (0, 1)]
    """
    last = [(first, blocks) for first in range(blocks)]
    return last + [(single, single + 1) for single in reversed(range(blocks - 1))]


class TsCamBlocks(ScoreMapMethod):
    """TS-CAM, with blocks chosen on validation.

    Attributes:
        blocks: the first coupled block, counted from 0, and the one after the last.
    """

    name = "ts-cam-blocks"
    title = "TS-CAM, chosen blocks"
    paper = "Gao et al., ICCV 2021 (blocks chosen)"
    labels = "image"
    needs = ("ts-cam",)
    caveat = "the blocks whose attention is coupled are chosen on the boxes of validation; the paper takes all."
    rival: TsCam
    blocks: tuple[int, int]

    def build(self, study: Study) -> None:
        """Use the fitted method."""
        rival = study.fitted(self.needs[0])
        assert isinstance(rival, TsCam)
        self.rival, self.side = rival, rival.side
        self.blocks = 0, len(rival.net.vit.blocks)

    def train(self, study: Study) -> Fit:
        """Choose the blocks by MaxBoxAccV2 on validation; without validation boxes, all of them are used."""
        count = len(self.rival.net.vit.blocks)
        options = candidates(count)

        def maps(images: Tensor, labels: Tensor) -> list[Tensor]:
            semantic, attention = self.rival.net.parts(images, labels)
            return [self._coupled(semantic, attention, option) for option in options]

        scores = score_candidates(study, maps, self.side)
        first, behind = self.blocks = options[best_of(scores)]
        curve = tuple(
            {"first": option[0] + 1, "last": option[1], "v2": score} for option, score in zip(options, scores, strict=False)
        )
        words = f"block {behind}" if behind - first == 1 else f"blocks {first + 1} to {behind}"
        return Fit(chosen=f"{words} of {count}{chosen_by(scores)}", curve=curve)

    def state(self) -> dict[str, Tensor]:
        """Return the blocks, two numbers."""
        return {"blocks": torch.tensor(self.blocks)}

    def load(self, study: Study, state: Mapping[str, Tensor]) -> None:
        """Load the chosen blocks."""
        first, behind = state["blocks"].tolist()
        self.blocks = first, behind

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the fitted method's maps ``(B, h, w)`` in [0, 1] with the attention of the chosen blocks."""
        return self._coupled(*self.rival.net.parts(images, labels), self.blocks)

    def _coupled(self, semantic: Tensor, attention: Tensor, blocks: tuple[int, int]) -> Tensor:
        return normalise.min_max(self.rival.couple(semantic, attention[:, slice(*blocks)]))

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the fitted method's class probabilities ``(B, C)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        return self.rival.probabilities(images)


class ScmBlocks(TsCamBlocks):
    """SCM, with blocks chosen on validation."""

    name = "scm-blocks"
    title = "SCM, chosen blocks"
    paper = "Bai et al., ECCV 2022 (blocks chosen)"
    needs = ("scm",)
