"""Grad-CAM, Grad-CAM++ and LayerCAM: activations of a fitted classifier, weighted by the gradient of a class's score.

In: photos and classes. Out: maps of the last feature map's size, with negative sums set to 0, then min-max normalised like
CAM's. The gradient is that of the score before the softmax with respect to the result of
:meth:`~dips.models.classifier.Classifier.feature_map`: only later layers run backwards, there are no hooks, and no parameter
gets a gradient.

If only pooling and one linear layer follow that map (ResNet, EfficientNet), the gradient is the class's row of weights at each
position, so Grad-CAM is CAM without negative values, and LayerCAM is CAM without negative weights.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

import torch
from torch import Tensor

from dips.baselines import normalise
from dips.baselines.cam import OnCam
from dips.baselines.cnn import class_scores
from dips.models.classifier import Classifier

__all__ = ["GradCam", "GradCamPlus", "LayerCam"]


class _Gradients(OnCam):
    """A sum over the activations of :class:`~dips.baselines.cam.Cam`'s network, weighted by gradients."""

    @staticmethod
    @abstractmethod
    def weights(activations: Tensor, gradients: Tensor) -> Tensor:
        """Return weights ``(B, F, h, w)`` or ``(B, F, 1, 1)`` for activations and gradients ``(B, F, h, w)``."""

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return score maps ``(B, h, w)`` in [0, 1]: ``relu(sum_k weight_k A_k)``, min-max normalised."""
        classifier = cast(Classifier, self.cam.net)
        with torch.no_grad():
            activations = classifier.feature_map(images)
        with torch.enable_grad():  # callers disable gradients
            scores = class_scores(classifier, activations.requires_grad_())
            total = scores.gather(1, labels[:, None]).sum()  # in evaluation mode a photo's score depends on that photo only
            (gradients,) = torch.autograd.grad(total, activations)
        activations = activations.detach()
        return normalise.min_max((self.weights(activations, gradients) * activations).sum(1).relu())


class GradCam(_Gradients):
    """A channel's weight is its mean gradient (section 3)."""

    name = "gradcam"
    title = "Grad-CAM"
    paper = "Selvaraju et al., ICCV 2017"

    @staticmethod
    def weights(activations: Tensor, gradients: Tensor) -> Tensor:
        """Return ``mean_ij g_ij``, ``(B, F, 1, 1)`` (equation 1)."""
        return gradients.mean((2, 3), keepdim=True)


class GradCamPlus(_Gradients):
    """A channel's weight is the sum of its positive gradients, each with its own factor (section 3).

    The factor ``g^2 / (2 g^2 + g^3 sum A)`` is that of the score's exponential, whose derivatives are powers of ``g``; the
    exponential itself scales a whole map and is left out. The paper's maps follow a ReLU, so a negative sum counts as 0.
    """

    name = "gradcam++"
    title = "Grad-CAM++"
    paper = "Chattopadhay et al., WACV 2018"

    @staticmethod
    def weights(activations: Tensor, gradients: Tensor) -> Tensor:
        """Return ``sum_ij relu(g_ij) / (2 + g_ij sum_ab A_ab)``, ``(B, F, 1, 1)``, non-negative."""
        positive = gradients.relu()
        total = activations.sum((2, 3), keepdim=True).relu()
        return (positive / (2 + positive * total)).sum((2, 3), keepdim=True)


class LayerCam(_Gradients):
    """Each position has its own weight, its positive gradient (section III).

    The paper also combines maps of shallower layers; here only the last one is used, as in all methods on this network.
    """

    name = "layercam"
    title = "LayerCAM"
    paper = "Jiang et al., TIP 2021"
    caveat = "maps of the last layer alone"

    @staticmethod
    def weights(activations: Tensor, gradients: Tensor) -> Tensor:
        """Return ``relu(g_ij)``, ``(B, F, h, w)``."""
        return gradients.relu()
