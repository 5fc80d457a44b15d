"""The localizer (paper 3.3): a U-Net on an ImageNet encoder, two logits per pixel.

The only module that uses segmentation_models_pytorch. Images come in as ``(B, 3, H, W)`` float in [0, 1] of any size, logits
``(B, 2, H, W)`` (background, foreground) go out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import segmentation_models_pytorch as smp
import torch.nn.functional as F
from torch import Tensor, nn

from dips.errors import WeightsError
from dips.models.backbones import Normalise, load_cnn
from dips.models.names import cnn_config
from dips.models.weights.resolve import Weights

__all__ = ["Localizer"]

_CHANNELS = (256, 128, 64, 32, 16)


class Localizer(nn.Module):
    """U-Net with built-in normalisation and padding.

    Attributes:
        encoder: timm's name of the encoder.
        channels: width of the decoder's stages, deepest first.
        stride: the input is padded to a multiple of it.

    Example:
        >>> import torch
        >>> localizer = Localizer("test_efficientnet", channels=(16, 8, 8, 4, 4)).eval()
        >>> localizer.foreground(torch.rand(1, 3, 50, 40)).shape
        torch.Size([1, 50, 40])
    """

    def __init__(self, encoder: str, *, channels: Sequence[int] = _CHANNELS) -> None:
        """Initialise randomly; :meth:`from_weights` uses an ImageNet encoder.

        Raises:
            WeightsError: timm has no such model, or it has no feature pyramid.
        """
        super().__init__()
        self.encoder = encoder
        self.channels = tuple(channels)
        self.normalise = Normalise(**cnn_config(encoder))
        try:
            self.net = smp.Unet(
                f"tu-{encoder}",
                encoder_depth=len(self.channels),
                encoder_weights=None,
                decoder_channels=self.channels,
                classes=2,
            )
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
            raise WeightsError(
                f"localizer.encoder: '{encoder}' cannot be the encoder of a U-Net ({error}); "
                "choose a CNN, e.g. tf_efficientnet_lite0"
            ) from error
        self.stride = int(self.net.encoder.output_stride)

    @classmethod
    def from_weights(cls, weights: Weights, *, channels: Sequence[int] = _CHANNELS) -> Localizer:
        """Build a localizer with the encoder of ``weights`` and a random decoder.

        Raises:
            WeightsError: the weights do not fit the encoder.
        """
        model = cls(weights.arch, channels=channels)
        # timm's feature extractors flatten names ("stages.0" becomes "stages_0"), so this difference is ignored
        pretrained = {name.replace(".", "_"): value for name, value in load_cnn(weights, 0).state_dict().items()}
        inner = cast(nn.Module, model.net.encoder.model)
        expected = inner.state_dict()
        missing = [
            name
            for name, value in expected.items()
            if (key := name.replace(".", "_")) not in pretrained or pretrained[key].shape != value.shape
        ]
        if missing:
            raise WeightsError(
                f"{weights.origin} lacks {len(missing)} of {len(expected)} tensors of the encoder {weights.arch}, "
                f"e.g. {missing[0]}; set localizer.pretrained=false or choose another encoder"
            )
        inner.load_state_dict({name: pretrained[name.replace(".", "_")] for name in expected})
        return model

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, 2, H, W)`` (background, foreground) of images ``(B, 3, H, W)`` in [0, 1]."""
        height, width = images.shape[-2:]
        padding = (0, -width % self.stride, 0, -height % self.stride)
        x = self.normalise(images)
        if any(padding):
            x = F.pad(x, padding, mode="replicate")
        return cast(Tensor, self.net(x))[..., :height, :width]

    def foreground(self, images: Tensor) -> Tensor:
        """Return the probability ``(B, H, W)`` that a pixel belongs to the object, of images ``(B, 3, H, W)`` in [0, 1]."""
        return cast(Tensor, self(images)).softmax(dim=1)[:, 1]

    def parameter_groups(self, lr: float, encoder_fraction: float) -> list[dict[str, Any]]:
        """Return groups for an optimiser: the decoder at rate ``lr``, the encoder at ``lr * encoder_fraction``."""
        inside = {id(parameter) for parameter in self.net.encoder.parameters()}
        return [
            {"name": "decoder", "params": [p for p in self.parameters() if id(p) not in inside], "lr": lr},
            {"name": "encoder", "params": [p for p in self.parameters() if id(p) in inside], "lr": lr * encoder_fraction},
        ]
