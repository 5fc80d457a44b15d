"""The three losses of the localizer and their sum (paper 3.3, eq. of L_CPA, L_CLS, L_CRF).

In: the localizer's logits, the crops and the drawn pixels; out: the weighted total and its parts. A weight of 0 skips the
computation. Every part has gradients to the localizer's parameters; the classifier is frozen, but gradients pass through it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from dips.config import TrainConfig
from dips.errors import ConfigError
from dips.train.crf import crf_loss
from dips.train.sampling import IGNORE

__all__ = ["Losses", "classifier_loss", "partial_cross_entropy"]


def partial_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return L_CPA: cross-entropy, mean over the batch's labelled pixels; 0 (with a graph) if there is none.

    Args:
        logits: ``(B, 2, H, W)``.
        target: ``(B, H, W)`` int64 of 0, 1, :data:`IGNORE`.
    """
    total = cross_entropy(logits.float(), target, ignore_index=IGNORE, reduction="sum")
    return total / (target != IGNORE).sum().clamp(min=1)


def classifier_loss(classifier: nn.Module, foreground: Tensor, images: Tensor, labels: Tensor, *, scale: float = 1.0) -> Tensor:
    """Return L_CLS: cross-entropy of the classifier on the crops multiplied by the localizer's own foreground.

    Args:
        classifier: frozen, ``(B, 3, H, W)`` in [0, 1] to logits ``(B, C)``.
        foreground: ``(B, H, W)`` probability.
        images: ``(B, 3, H, W)`` float in [0, 1].
        labels: ``(B,)`` int64; negative = leave the photo out.
        scale: factor on the sides of the classifier's input, so that objects are as large as when it was fitted.

    Returns:
        A scalar, mean over the photos that count; 0 (with a graph) if there is none.
    """
    counted = labels >= 0
    if not bool(counted.any()):
        return foreground.sum() * 0.0
    seen = images[counted] * foreground[counted][:, None].to(images.dtype)
    size = (round(seen.shape[-2] * scale), round(seen.shape[-1] * scale))
    if size != seen.shape[-2:]:  # as photos are resized for scoring: bilinear, antialiased where they shrink
        seen = interpolate(seen, size, mode="bilinear", align_corners=False, antialias=scale < 1)
    scores = classifier(seen)
    return cross_entropy(scores.float(), labels[counted])


class Losses:
    """Total loss according to the settings ``train.lambda_*`` and ``train.crf_*``.

    Photos of the background class are left out of L_CLS: their foreground should be empty, and a classifier that predicts their
    class correctly would only teach the localizer to mark background as foreground.

    Args:
        classifier: may be None if ``lambda_cls`` is 0.
        background: label of the background class, None = there is none.
        classifier_size: side of the squares, whole photos, that the classifier was fitted on. In training, whole photos have
            the side ``train.resize``, and crops are resized likewise. None = it was fitted at ``train.resize``.

    Raises:
        ConfigError: all weights are 0, or the classifier's is not and there is no classifier.

    Example:
        >>> losses = Losses(None, TrainConfig(lambda_cls=0.0))
        >>> logits, images = torch.zeros(1, 2, 32, 32), torch.rand(1, 3, 32, 32)
        >>> target = torch.full((1, 32, 32), IGNORE)
        >>> target[0, 0, 0] = 1
        >>> total, parts = losses(logits, images, target, labels=torch.tensor([0]))
        >>> sorted(parts), round(float(parts["cpa"]), 3)
        (['cpa', 'crf'], 0.693)
    """

    def __init__(
        self,
        classifier: nn.Module | None,
        config: TrainConfig,
        background: int | None = None,
        classifier_size: int | None = None,
    ) -> None:
        if config.lambda_cls > 0 and classifier is None:
            raise ConfigError("train.lambda_cls is above 0, but there is no classifier; set it to 0 or give one")
        if not (config.lambda_cpa > 0 or config.lambda_cls > 0 or config.lambda_crf > 0):
            raise ConfigError("train.lambda_cpa, lambda_cls and lambda_crf are all 0: nothing would be learned; raise one")
        self.classifier, self.config, self.background = classifier, config, background
        self.scale = 1.0 if classifier_size is None else classifier_size / config.resize

    def __call__(self, logits: Tensor, images: Tensor, target: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum, and its parts before weighting: ``cpa``, ``cls``, ``crf``, detached, those that are enabled.

        Args:
            logits: ``(B, 2, H, W)`` of the localizer.
            images: ``(B, 3, H, W)`` float in [0, 1], the crops it saw.
            target: ``(B, H, W)`` int64 from :func:`dips.train.sampling.draw_targets`.
            labels: ``(B,)`` int64 classes.
        """
        config = self.config
        foreground = (logits[:, 1].float() - logits[:, 0].float()).sigmoid()  # the softmax of two channels
        parts: list[tuple[str, float, Tensor]] = []
        if config.lambda_cpa > 0:
            parts.append(("cpa", config.lambda_cpa, partial_cross_entropy(logits, target)))
        if config.lambda_cls > 0 and self.classifier is not None:
            class_labels = labels if self.background is None else labels.masked_fill(labels == self.background, -1)
            value = classifier_loss(self.classifier, foreground, images, class_labels, scale=self.scale)
            parts.append(("cls", config.lambda_cls, value))
        if config.lambda_crf > 0:
            parts.append(("crf", config.lambda_crf, crf_loss(foreground, images, size=config.crf_size, full=config.crf_full)))
        total = torch.zeros((), device=logits.device)
        for _, weight, value in parts:
            total = total + weight * value
        return total, {name: value.detach() for name, _, value in parts}
