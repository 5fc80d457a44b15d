"""TS-CAM (Gao et al., ICCV 2021, section 3): each patch token's score for a class, times the class token's attention to it.

In: photos, labels and the weights of the study's transformer. Out: a fine-tuned ViT and the coupled maps.
"""

from __future__ import annotations

from torch import Tensor, nn

from dips.baselines.classifiers import of_class
from dips.baselines.study import Study
from dips.baselines.vit import VitMethod
from dips.models.backbones import Vit

__all__ = ["TokenSemantics", "TsCam", "couple"]


def couple(semantic: Tensor, attention: Tensor) -> Tensor:
    """Return semantic maps times attention maps, ``(B, h, w)`` (section 3.3); of any sign, because the semantic maps are.

    Args:
        semantic: ``(B, h, w)``, each patch's score for a class.
        attention: ``(B, L, heads, h, w)`` in [0, 1], the class token's in every block; averaged over heads and blocks.

    >>> import torch
    >>> couple(torch.tensor([[[2.0, -1.0]]]), torch.tensor([0.25, 0.75, 0.75, 0.25]).reshape(1, 2, 1, 1, 2)).tolist()
    [[[1.0, -0.5]]]
    """
    return semantic * attention.mean((1, 2))


class TokenSemantics(nn.Module):
    """A ViT with a 3x3 convolution that turns patch tokens into a map per class (section 3.2); their means are the logits."""

    def __init__(self, vit: Vit, classes: int) -> None:
        super().__init__()
        self.vit = vit
        self.head = nn.Conv2d(vit.width, classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(B, C)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        logits: Tensor = self.head(self.vit(images)).mean((2, 3))
        return logits

    def parts(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps to couple: semantic maps ``(B, h, w)`` of any sign, and the class token's attention in every block.

        Args:
            images: ``(B, 3, H, W)`` in [0, 1].
            labels: ``(B,)`` classes whose maps are wanted.

        Returns:
            The maps, and attention ``(B, L, heads, h, w)``.
        """
        tokens, attention = self.vit.with_attention(images)
        return of_class(self.head(tokens), labels), attention


class TsCam(VitMethod):
    """Token semantic coupled attention maps; the attention has no loss of its own."""

    name = "ts-cam"
    title = "TS-CAM"
    paper = "Gao et al., ICCV 2021"
    net: TokenSemantics

    def make(self, vit: Vit, study: Study) -> TokenSemantics:
        """Return the transformer with a randomly initialised convolution on its patches."""
        return TokenSemantics(vit, len(study.classes))

    def activations(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return coupled maps ``(B, h, w)``, one value per patch, of images ``(B, 3, H, W)`` in [0, 1]."""
        return self.couple(*self.net.parts(images, labels))

    def couple(self, semantic: Tensor, attention: Tensor) -> Tensor:
        """Return coupled maps ``(B, h, w)`` of the network's ``parts``, with the attention of all blocks or of some."""
        return couple(semantic, attention)
