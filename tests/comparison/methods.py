"""Made-up methods that count how often they are fitted and asked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dips.baselines.method import Fit, ScoreMapMethod
from dips.baselines.normalise import min_max
from dips.baselines.study import Study


class Bright(ScoreMapMethod):
    """Learns nothing: what is bright is the object."""

    name, title, paper, side = "bright", "Bright", "none", 32
    asked = 0

    def build(self, study: Study) -> None: ...

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        self.asked += len(images)
        return images.mean(1)


class Learner(ScoreMapMethod):
    """Learns one number, and counts its fits."""

    name, title, paper, labels, side = "learner", "Learner", "none", "image", 32
    fits = 0

    def build(self, study: Study) -> None:
        self.net = nn.Conv2d(3, 1, 1)

    @property
    def network(self) -> nn.Module:
        return self.net

    def train(self, study: Study) -> Fit:
        type(self).fits += 1
        return Fit(steps=3, epochs=1.5, chosen="step 3, the last")

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        return min_max(self.net(images)[:, 0])

    def probabilities(self, images: Tensor) -> Tensor:
        return torch.full((len(images), 2), 0.5)


class Above(Bright):
    """Builds on the learner."""

    name, title, needs = "above", "Above", ("learner",)

    def build(self, study: Study) -> None:
        self.below = study.fitted("learner")

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.below.maps(images, labels)


class BreaksAtFit(Learner):
    name, title = "breaks-at-fit", "Breaks at fit"

    def train(self, study: Study) -> Fit:
        raise ValueError("no fit today")


class BreaksAtMaps(Bright):
    name, title = "breaks-at-maps", "Breaks at maps"

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        raise ZeroDivisionError("no map today")


class AnswersNothing(Bright):
    name, title = "answers-nothing", "Answers nothing"

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        return images.mean(1) * float("nan")
