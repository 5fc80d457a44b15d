"""The base of all methods that fine-tune the study's transformer: one schedule, and what each method puts on it.

In: the study's transformer. Out: class activations. A method makes its network (:meth:`VitMethod.make`), computes activations,
and may change the loss.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from dips.baselines.classifiers import ClassifierMethod
from dips.baselines.method import Fit
from dips.baselines.study import Study
from dips.baselines.training import Schedule, train_network
from dips.models.backbones import Vit, load_vit
from dips.models.classifier import fit_linear

__all__ = ["ClassToken", "VitMethod"]

TRAINED_BLOCKS = 4
"""Last blocks that learn. The papers train all 12; 4 take half the time per photo."""

SCHEDULE = Schedule(lr=1e-3, backbone_lr=0.05, weight_decay=5e-4, batch=16)
"""Of the training of every method on the transformer, so that what differs is the method. Backbone and weight decay at TS-CAM's
5e-5 and 5e-4; new layers are 20 times as fast, which steps for minutes need and the papers' 20 to 60 epochs do not. Half the
batch of the CNNs, as a photo costs more."""


class ClassToken(nn.Module):
    """A ViT classifier: one linear layer on the class token after the final norm."""

    def __init__(self, vit: Vit, classes: int) -> None:
        super().__init__()
        self.vit = vit
        self.head = nn.Linear(vit.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(B, C)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        return self.logits(self.vit.tokens(images))

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the logits ``(B, C)`` of all tokens ``(B, N, width)`` after the final norm."""
        return cast(Tensor, self.head(tokens[:, 0]))


class VitMethod(ClassifierMethod):
    """A method on the study's transformer, of which the last blocks learn."""

    schedule: ClassVar[Schedule] = SCHEDULE
    side = SCHEDULE.crop

    def build(self, study: Study) -> None:
        """Make the network: the study's transformer, and new layers for the study's classes."""
        vit = load_vit(study.sst)
        vit.learn(TRAINED_BLOCKS)
        self.net = self.make(vit, study).to(study.device)

    def train(self, study: Study) -> Fit:
        """Fit the last layer on the frozen transformer, then train the last blocks; the former is a checkpoint, too."""
        return train_network(self.training(), self.fit_layer(self.net.head, study), start=True)

    def fit_layer(self, layer: object, study: Study, answer: Callable[[Tensor], object] | None = None) -> Study:
        """Fit a layer that names the class, all else as it is, and return the study with what is left of the budget.

        It is a logistic regression, as of :func:`~dips.baselines.cnn.fit_last_layer`, on what the layer is given, averaged over
        patches where it is a convolution, of which the centre alone is then not 0.

        Args:
            layer: a linear layer, or a convolution of 3x3.
            study: its training photos.
            answer: from images ``(B, 3, H, W)`` to whatever the layer has a part in; None: the network.
        """
        started = time.perf_counter()
        head, run, seen = cast(nn.Linear | nn.Conv2d, layer), answer or self.net, list[Tensor]()

        def pooled(images: Tensor) -> Tensor:
            run(images)
            given = seen.pop()
            return given.flatten(2).mean(2) if isinstance(head, nn.Conv2d) else given

        self.net.eval()
        with head.register_forward_pre_hook(lambda module, given: seen.append(given[0])):
            features, labels = study.train.answers(pooled, self.side, study.device)
        weight, bias, _ = fit_linear(features, labels, len(study.classes))
        with torch.no_grad():
            cast(nn.Parameter, head.bias).copy_(bias)
            head.weight.zero_()
            (head.weight[:, :, 1, 1] if isinstance(head, nn.Conv2d) else head.weight).copy_(weight)
        return replace(study, seconds=max(0.0, study.seconds - (time.perf_counter() - started)))

    @abstractmethod
    def make(self, vit: Vit, study: Study) -> nn.Module:
        """Return the network around ``vit``, whose parameters already say whether they learn; its new layers are ``head``."""

    def new_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters of the network's ``head``, which start at random."""
        return list(cast(nn.Module, self.net.head).parameters())
