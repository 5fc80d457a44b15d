"""The CNN that scores proposals and predicts the class (paper 3.2).

Images come in as ``(B, 3, H, W)`` float in [0, 1] at the size the caller chose, logits ``(B, C)`` go out. Either the last layer
is fitted on features stored once (:mod:`dips.models.linear_probe`), or all layers are trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.errors import DataError, WeightsError
from dips.models.backbones import Normalise, build_cnn, load_cnn, stages, watched_outputs
from dips.models.linear_probe import LinearFit, LinearProbe, is_right
from dips.models.names import cnn_config
from dips.models.weights.resolve import Weights

__all__ = ["Classifier", "EpochResult"]


@dataclass(frozen=True, slots=True)
class EpochResult:
    """Mean loss and accuracy over one training epoch."""

    epoch: int
    loss: float
    accuracy: float


class Classifier(nn.Module):
    """A timm CNN with built-in normalisation and a linear layer on its pooled features.

    Attributes:
        arch: timm's name.
        classes: number of classes.
        width: length of a pooled feature.
        body: the CNN without its last layer (the backbone); its name is part of every saved model.

    Example:
        >>> classifier = Classifier("test_efficientnet", classes=3).eval()
        >>> classifier(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 3])
    """

    def __init__(self, arch: str, classes: int, *, stride: int = 32) -> None:
        """Initialise randomly, see :meth:`from_weights`; ``stride``: see :func:`~dips.models.backbones.build_cnn`."""
        super().__init__()
        self.arch = arch
        self.classes = classes
        self.normalise = Normalise(**cnn_config(arch))
        self.body = build_cnn(arch, stride=stride)
        body = cast(Any, self.body)
        self.width = int(getattr(body, "head_hidden_size", body.num_features))
        self.probe = LinearProbe(self.width, classes)

    @classmethod
    def from_weights(cls, weights: Weights, classes: int, *, stride: int = 32) -> Classifier:
        """Build a classifier with a pretrained backbone and a random last layer.

        Raises:
            WeightsError: the weights do not fit their architecture.
        """
        model = cls(weights.arch, classes, stride=stride)
        model.body.load_state_dict(load_cnn(weights, 0).state_dict())
        return model.eval()

    @property
    def head(self) -> nn.Linear:
        """The last layer ``(C, F)``; applying its rows to :meth:`feature_map` gives class activation maps."""
        return self.probe.head

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, C)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        return cast(Tensor, self.head(self.features(images)))

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features ``(B, F)``, the input of the last layer, of images ``(B, 3, H, W)`` in [0, 1]."""
        return cast(Tensor, self.body(self.normalise(images)))

    def stages(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the CNN's stages with a stride of at least 8, from fine to coarse, and the pooled features, in one pass.

        Args:
            images: ``(B, 3, H, W)`` in [0, 1].

        Returns:
            Stages ``(B, C_i, h_i, w_i)`` with the channels of :attr:`stage_channels`, and pooled features ``(B, F)``.

        Raises:
            WeightsError: timm does not know this network's stages, or they are not grids.
        """
        stages = self._coarse_stages()
        with watched_outputs([module for module, _ in stages]) as outputs:
            pooled = self.features(images)
        if any(item.ndim != 4 for item in outputs):
            raise WeightsError(self._without_stages())
        last = getattr(self.body, "output_fmt", "") == "NHWC"  # some networks keep their channels last
        widths = [channels for _, channels in stages]
        return [
            item.permute(0, 3, 1, 2) if item.shape[-1] == width and (last or item.shape[1] != width) else item
            for item, width in zip(outputs, widths, strict=True)
        ], pooled

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Number of channels of each stage that :meth:`stages` returns.

        Raises:
            WeightsError: timm does not know this network's stages.
        """
        return tuple(channels for _, channels in self._coarse_stages())

    def _coarse_stages(self) -> list[tuple[nn.Module, int]]:
        """Return the modules that end stages with a stride of at least 8, or else the last one, and their channels."""
        try:
            every = stages(self.body)
            strides = [stage["reduction"] for stage in cast(Any, self.body).feature_info]
        except (AttributeError, KeyError, TypeError) as error:
            raise WeightsError(self._without_stages()) from error
        return [stage for stage, stride in zip(every, strides, strict=True) if stride >= 8] or every[-1:]

    def _without_stages(self) -> str:
        return (
            f"classifier.arch: timm does not name the stages of '{self.arch}', which the linear map is made of; "
            "choose another CNN, e.g. tf_efficientnet_lite0"
        )

    def feature_map(self, images: Tensor) -> Tensor:
        """Return features ``(B, F, h, w)`` before pooling, of images ``(B, 3, H, W)`` in [0, 1]."""
        return cast(Tensor, cast(Any, self.body).forward_features(self.normalise(images)))

    def freeze(self) -> Classifier:
        """Switch to evaluation mode and disable the gradients of the weights (those of the image still flow)."""
        return self.eval().requires_grad_(False)

    def fit_head(self, features: Tensor, labels: Tensor, *, penalty: float | None = None) -> LinearFit:
        """Fit the last layer to stored features ``(N, F)`` and labels with :func:`fit_linear`."""
        return self.probe.fit(features, labels, penalty=penalty)

    def fit_full(
        self,
        batches: Callable[[int], Iterable[tuple[Tensor, Tensor]]],
        *,
        epochs: int,
        lr: float,
        device: torch.device,
        backbone_fraction: float = 0.1,
        weight_decay: float = 1e-4,
        on_epoch: Callable[[EpochResult], None] | None = None,
    ) -> list[EpochResult]:
        """Train all layers with AdamW and a cosine schedule; afterwards the classifier is on ``device`` in evaluation mode.

        Args:
            batches: called with the epoch from 0; yields ``(B, 3, H, W)`` images in [0, 1] and ``(B,)`` labels, or their
                probabilities ``(B, C)``. If the result has a length, the rate decays at every step, else at every epoch.
            epochs: number of passes.
            lr: initial learning rate of the last layer.
            device: where to compute.
            backbone_fraction: learning rate of the other layers as a fraction of ``lr``.
            weight_decay: AdamW's.
            on_epoch: callback with the result of each epoch.

        Raises:
            DataError: the batches of an epoch are empty, or the loss is no longer finite.
        """
        self.to(device).train().requires_grad_(True)
        optimiser = torch.optim.AdamW(
            [
                {"params": list(self.body.parameters()), "fraction": backbone_fraction},
                {"params": list(self.head.parameters()), "fraction": 1.0},
            ],
            lr=lr,
            weight_decay=weight_decay,
        )
        history = []
        for epoch in range(epochs):
            source = batches(epoch)
            steps = len(source) if isinstance(source, Sized) else 0
            total, right, seen = 0.0, 0, 0
            for step, (images, labels) in enumerate(source):
                progress = (epoch + (min(step / steps, 1.0) if steps else 0.0)) / epochs
                for group in optimiser.param_groups:
                    group["lr"] = lr * group["fraction"] * (1 + math.cos(math.pi * progress)) / 2
                images, labels = images.to(device), labels.to(device)
                logits = self(images)
                loss = F.cross_entropy(logits, labels)
                if not torch.isfinite(loss):
                    raise DataError(f"the classifier's loss is no longer finite in epoch {epoch + 1}; lower classifier.lr")
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.item() * len(labels)
                right += int(is_right(logits, labels).sum())
                seen += len(labels)
            if not seen:
                raise DataError("there are no photos to train the classifier on")
            history.append(EpochResult(epoch, total / seen, right / seen))
            if on_epoch is not None:
                on_epoch(history[-1])
        self.eval()
        return history
