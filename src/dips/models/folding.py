"""A frozen CNN made fast on CPUs: batch norms folded into their convolutions, channels last, photo by photo.

In: a classifier whose layers below the last no longer change. Out: a copy that computes the same features, within rounding,
in a third of the time or less (docs/results.md): small pieces stay in the processor's caches.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dips.models.classifier import Classifier

__all__ = ["FastCnn"]

_TOLERANCE = 1e-3  # as a fraction of the largest feature


class FastCnn:
    """The CNN of a classifier in evaluation mode, on the CPU.

    Example:
        >>> classifier = Classifier("test_efficientnet", 3).eval()
        >>> stages, pooled = FastCnn(classifier, side=64).stages(torch.rand(2, 3, 64, 64))
        >>> len(stages), pooled.shape
        (3, torch.Size([2, 256]))
    """

    def __init__(self, classifier: Classifier, side: int) -> None:
        """Copy the classifier and fold the copy.

        Args:
            side: side of the squares that the CNN sees, in pixels.
        """
        plain = copy.deepcopy(classifier).eval()
        folded = copy.deepcopy(plain)
        _fold(folded.body)
        # modules registered next to each other nearly always run next to each other; if not, nothing is folded
        chosen = folded if _agree(plain, folded, side) else plain
        if torch.backends.mkldnn.is_available():
            _choose_onednn(chosen.body)
        self._classifier: Classifier = chosen.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def classifier(self) -> Classifier:
        """The copy that runs."""
        return self._classifier

    def stages(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return what :meth:`~dips.models.classifier.Classifier.stages` returns, for images ``(B, 3, H, W)`` in [0, 1]."""
        answers = [self._classifier.stages(image.contiguous(memory_format=torch.channels_last)) for image in images.split(1)]
        every = zip(*(stages for stages, _ in answers), strict=True)
        return [torch.cat(parts) for parts in every], torch.cat([pooled for _, pooled in answers])


class _Pointwise(nn.Module):
    """A 1x1 convolution by oneDNN. With one thread torch uses another kernel, which is half as fast and rounds differently."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.stride = convolution.stride

    def forward(self, images: Tensor) -> Tensor:
        return torch.mkldnn_convolution(images, self.weight, self.bias, (0, 0), self.stride, (1, 1), 1)


def _choose_onednn(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is nn.Conv2d and child.kernel_size == (1, 1) and child.groups == 1 and child.padding == (0, 0):
            setattr(module, name, _Pointwise(child))
        else:
            _choose_onednn(child)


@torch.inference_mode()
def _agree(plain: Classifier, folded: Classifier, side: int) -> bool:
    """Return whether two CNNs agree on an image, in every stage."""
    probe = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    stages, pooled = plain.stages(probe)
    try:
        others, other = folded.stages(probe)
    except (RuntimeError, TypeError, AttributeError):  # a network may access its norms directly
        return False
    pairs = zip([*stages, pooled], [*others, other], strict=True)
    return all(bool(((one - two).abs() <= _TOLERANCE * one.abs().max()).all()) for one, two in pairs)  # NaN fails


def _fold(module: nn.Module) -> None:
    """Fold each batch norm into the convolution that is registered before it; the norm's activation is kept."""
    for (name, first), (following, second) in pairwise(list(module.named_children())):
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d) and second.track_running_stats:
            setattr(module, name, fuse_conv_bn_eval(first, second))
            after = [getattr(second, part) for part in ("drop", "act") if hasattr(second, part)]  # timm's norms contain both
            setattr(module, following, nn.Sequential(*after))
    for _, child in module.named_children():
        _fold(child)
