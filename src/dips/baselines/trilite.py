"""TriLite (CVPR 2026, arXiv 2602.23120): a frozen transformer whose patches a small head divides into three.

In: photos, labels and the weights of the study's transformer. Out: how much each patch is object. The head has a softmax over
object, background and neither. The object's patches together must reveal the class, those of the background must not, and the
third channel, which is unsupervised, absorbs what would spoil either.

There is no public code. Inferred, and marked [I] below: the kernel, that both sides share a classifier, the weights of the
losses, the schedule.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.baselines.classifiers import ClassifierMethod, with_object
from dips.baselines.study import Study
from dips.baselines.vit import SCHEDULE
from dips.models.backbones import Vit, load_vit

__all__ = ["Heads", "TriLite", "not_of_class", "pooled"]

FOREGROUND, BACKGROUND = 0, 1
"""Channels of the head; the third is neither."""

KERNEL = 3
"""Kernel size of the convolution [I]: with it and two linear layers, ImageNet needs 780,000 parameters; the paper has fewer
than 800,000."""

WEIGHTS = {"class": 1.0, "foreground": 1.0, "background": 1.0}
"""Weights of the losses [I], by their names in :meth:`Heads.losses`."""

EPS = 1e-6
"""Added to the area that features are divided by [I]."""


def pooled(tokens: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean ``(B, C)`` of tokens ``(B, C, h, w)`` with weights ``(B, h, w)`` in [0, 1]; 0 if all are 0.

    >>> pooled(torch.tensor([[[[4.0, 8.0]]]]), torch.tensor([[[0.75, 0.25]]])).item()  # the area is taken as a little more
    4.999995...
    """
    return torch.einsum("bchw,bhw->bc", tokens, weights) / (weights.sum((1, 2))[:, None] + EPS)


def not_of_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``-log(1 - p)`` per photo, ``(B,)``, where p is the label's probability: a loss for being recognised.

    Args:
        logits: ``(B, C)``, with two classes or more.
        labels: ``(B,)``.

    >>> round(not_of_class(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).item(), 4)
    0.6931
    """
    itself = F.one_hot(labels, logits.shape[1]).bool()
    return logits.logsumexp(1) - logits.masked_fill(itself, -torch.inf).logsumexp(1)


class Heads(nn.Module):
    """All that is trained: a classifier on the class token, one on pooled patches, and the division of the patches."""

    def __init__(self, width: int, classes: int) -> None:
        """Create heads with random weights for tokens of size ``width``."""
        super().__init__()
        self.image, self.region = nn.Linear(width, classes), nn.Linear(width, classes)
        self.divide = nn.Sequential(
            nn.Conv2d(width, 3, KERNEL, padding=KERNEL // 2, bias=False),  # batch norm has one
            nn.BatchNorm2d(3),
        )

    def regions(self, patches: Tensor) -> Tensor:
        """Return shares ``(B, 3, h, w)`` of object, background and neither, summing to 1, for patch tokens ``(B, C, h, w)``."""
        logits: Tensor = self.divide(patches)
        return logits.softmax(1)

    def losses(self, cls: Tensor, patches: Tensor, labels: Tensor, background: int | None = None) -> dict[str, Tensor]:
        """Return the parts of the loss, scalars, by name.

        ``class`` and ``foreground`` are cross-entropies for the class token and for the object's tokens; ``background`` is the
        mean of :func:`not_of_class` over the photos that have an object.

        Args:
            cls: ``(B, C)`` class tokens.
            patches: ``(B, C, h, w)`` patch tokens.
            labels: ``(B,)`` classes.
            background: class of photos without an object, which are entirely background and recognised as such [I].
        """
        regions = self.regions(patches)
        inside, outside = (self.region(pooled(patches, regions[:, side])) for side in (FOREGROUND, BACKGROUND))
        present = with_object(labels, background)
        return {
            "class": F.cross_entropy(self.image(cls), labels),
            "foreground": F.cross_entropy(inside, labels),
            "background": (not_of_class(outside, labels) * present).sum() / present.sum().clamp(min=1),
        }


class TriLite(ClassifierMethod):
    """A division of frozen tokens into object, background and neither. No layer of the transformer learns."""

    name = "trilite"
    title = "TriLite"
    paper = "CVPR 2026, arXiv 2602.23120"
    caveat = "no public code; kernel, shared classifier, weights of the losses and schedule are our reading"
    schedule = SCHEDULE
    side = SCHEDULE.crop
    vit: Vit
    net: Heads

    def build(self, study: Study) -> None:
        """Create the network: the study's transformer, frozen, and heads with random weights."""
        self.vit = load_vit(study.sst).to(study.device).eval().requires_grad_(False)
        self.net = Heads(self.vit.width, len(study.classes)).to(study.device)

    @property
    def used_networks(self) -> Sequence[nn.Module]:
        """The transformer and the heads; the stored state has only the heads."""
        return self.vit, self.net

    def new_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters of the heads."""
        return list(self.net.parameters())

    @torch.no_grad()
    def tokens(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return class tokens ``(B, C)`` and patch tokens ``(B, C, h, w)`` after the final norm, of images ``(B, 3, H, W)``."""
        grid = self.vit.grid(images)
        tokens = self.vit.tokens(images)
        return tokens[:, 0], tokens[:, self.vit.prefix :].transpose(1, 2).unflatten(-1, grid)

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the weighted sum of the parts for crops ``(B, 3, H, W)`` in [0, 1]; ``generator`` is unused."""
        parts = self.net.losses(*self.tokens(images), labels, self._background)
        return torch.stack([WEIGHTS[name] * part for name, part in parts.items()]).sum()

    def activations(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the object channel ``(B, h, w)`` in [0, 1] of images ``(B, 3, H, W)``; ``labels`` is unused."""
        return self.net.regions(self.tokens(images)[1])[:, FOREGROUND]

    def probabilities(self, images: Tensor) -> Tensor:
        """Return class probabilities ``(B, C)`` from the class token, of images ``(B, 3, H, W)`` in [0, 1]."""
        logits: Tensor = self.net.image(self.tokens(images)[0])
        return logits.softmax(1)
