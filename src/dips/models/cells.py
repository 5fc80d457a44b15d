"""The classifier's logits in each cell of its last grid: the layers for the photo's pooled features, applied cell by cell.

In: the CNN's features before pooling. Out: logits of all classes per cell. If the CNN does nothing but average the features
(EfficientNet, ResNet), the mean of the cells' logits is exactly the photo's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from dips.models.classifier import Classifier

__all__ = ["cell_logits", "has_cells", "unpooled"]


def has_cells(classifier: Classifier) -> bool:
    """Return whether the CNN's pooling layer is known, so that its features can be collected before they are pooled."""
    return _pooling(classifier) is not None


@contextmanager
def unpooled(classifier: Classifier) -> Iterator[list[Tensor]]:
    """Collect the pooling layer's input while the CNN runs: features ``(B, F, h, w)``, or ``(B, h, w, F)``, of each pass."""
    layer, seen = _pooling(classifier), list[Tensor]()
    assert layer is not None  # has_cells
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        hook.remove()


def cell_logits(classifier: Classifier, features: Tensor) -> Tensor:
    """Return logits ``(B, C, h, w)`` of features that :func:`unpooled` collected.

    >>> classifier = Classifier("test_efficientnet", 3).eval()
    >>> with torch.no_grad(), unpooled(classifier) as seen:
    ...     logits = classifier(torch.rand(2, 3, 64, 64))
    >>> cells = cell_logits(classifier, seen[0])
    >>> cells.shape, torch.allclose(cells.mean((2, 3)), logits, atol=1e-4)
    (torch.Size([2, 3, 2, 2]), True)
    """
    body = cast(Any, classifier.body)
    is_last = getattr(body, "output_fmt", "") == "NHWC"  # some networks keep their channels last
    rows = features if is_last else features.permute(0, 2, 3, 1)
    count, height, width, channels = rows.shape
    shape = (-1, 1, 1, channels) if is_last else (-1, channels, 1, 1)
    logits = classifier.head(torch.as_tensor(body.forward_head(rows.reshape(shape))))
    return cast(Tensor, logits).reshape(count, height, width, -1).permute(0, 3, 1, 2)


def _pooling(classifier: Classifier) -> nn.Module | None:
    """Return the layer that pools the features, which timm calls ``global_pool``, in the network or in its head."""
    modules = dict(classifier.body.named_modules())
    return modules.get("global_pool", modules.get("head.global_pool"))
