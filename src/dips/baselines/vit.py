"""The base class of methods that fine-tune the study's transformer: one schedule, and what each method adds.

In: the study's transformer. Out: class activations. A method creates its network (:meth:`VitMethod.make`), computes
activations, and may change the loss.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, cast

from torch import Tensor, nn

from dips.baselines.classifiers import ClassifierMethod
from dips.baselines.study import Study
from dips.baselines.training import Schedule
from dips.models.backbones import Vit, load_vit

__all__ = ["ClassToken", "VitMethod"]

TRAINED_BLOCKS = 4
"""Number of last blocks that learn. The papers train all 12; 4 take half the time per photo."""

SCHEDULE = Schedule(lr=1e-3, backbone_lr=0.05, weight_decay=5e-4, batch=16)
"""Training schedule of all transformer-based methods, so that only the method differs. Backbone rate and weight decay are
TS-CAM's 5e-5 and 5e-4; new layers learn 20 times as fast, which a budget of minutes needs and the papers' 20 to 60 epochs do
not. The batch is half that of the CNNs, as a photo costs more."""


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
    """A method on the study's transformer, whose last blocks learn."""

    schedule: ClassVar[Schedule] = SCHEDULE
    side = SCHEDULE.crop

    def build(self, study: Study) -> None:
        """Create the network: the study's transformer, and new layers for the study's classes."""
        vit = load_vit(study.sst)
        vit.learn(TRAINED_BLOCKS)
        self.net = self.make(vit, study).to(study.device)

    @abstractmethod
    def make(self, vit: Vit, study: Study) -> nn.Module:
        """Return the network around ``vit``, where ``requires_grad`` is already set; its new layers are ``head``."""

    def new_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters of the network's ``head``, which are randomly initialised."""
        return list(cast(nn.Module, self.net.head).parameters())
