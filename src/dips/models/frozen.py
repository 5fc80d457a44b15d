"""The frozen networks as features on grids: stages of the classifier's CNN, keys and attention of the transformer.

In: photos ``(B, S, S, 3) uint8`` or images ``(B, 3, H, W)`` in [0, 1]. Out: :class:`Look`, which computes each network's output
at most once, and only when it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dips.errors import WeightsError
from dips.models.backbones import Features, Transformer
from dips.models.cells import cell_logits, unpooled
from dips.models.classifier import Classifier
from dips.models.folding import FastCnn
from dips.models.inputs import resize_to, to_tensor, whole_patches
from dips.models.linear_map import unit_keys

__all__ = ["FrozenNetworks", "Look"]


class FrozenNetworks(nn.Module):
    """CNN and transformer, each with the side of its input squares.

    Args:
        classifier: the CNN; only its last layer may still change.
        side: side of the CNN's input, in pixels.
        transformer: None if neither keys nor attention are needed.
        key_sides: sides of the transformer's inputs in pixels, rounded to whole patches.

    Attributes:
        keeps_cells: whether looks also hold the CNN's logits in each cell, see :attr:`Look.cells`.

    >>> frozen = FrozenNetworks(Classifier("test_efficientnet", 3).eval(), side=64)
    >>> look = frozen.look(torch.rand(2, 3, 64, 64))
    >>> [tuple(stage.shape[1:]) for stage in look.stages], look.pooled.shape
    ([(32, 8, 8), (48, 4, 4), (64, 2, 2)], torch.Size([2, 256]))
    """

    def __init__(
        self, classifier: Classifier, *, side: int, transformer: Transformer | None = None, key_sides: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.classifier, self.transformer, self.side = classifier, transformer, side
        self.key_sides = () if transformer is None else tuple(whole_patches(size, transformer.patch) for size in key_sides)
        self.keeps_cells = False
        self._fast: FastCnn | None = None
        self._last: dict[int, tuple[NDArray[np.uint8], Look]] = {}  # by the side of the squares

    def cnn(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return stages and pooled features of square images ``(B, 3, S, S)`` in [0, 1]."""
        return self._runner(images).stages(images)

    def cnn_with_cells(self, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return the results of :meth:`cnn`, and logits of the classes in each cell ``(B, C, h, w)``."""
        runner = self._runner(images)
        with unpooled(runner if isinstance(runner, Classifier) else runner.classifier) as features:
            stages, pooled = runner.stages(images)
        return stages, pooled, cell_logits(self.classifier, torch.cat(features))

    def _runner(self, images: Tensor) -> Classifier | FastCnn:
        if images.device.type != "cpu" or torch.compiler.is_compiling():
            return self.classifier
        return self.make_fast()

    def make_fast(self) -> FastCnn:
        """Return the CNN made fast for CPUs, which is built once."""
        if self._fast is None:
            self._fast = FastCnn(self.classifier, self.side)
        return self._fast

    def look(self, images: Tensor, side: int | None = None) -> Look:
        """Look at square images ``(B, 3, H, W)`` in [0, 1]; ``side`` replaces the side of the CNN's input, in pixels."""
        return Look(self, images, side or self.side)

    def look_at_squares(self, squares: NDArray[np.uint8], device: torch.device) -> Look:
        """Look at photos ``(B, S, S, 3) uint8``; calls with the same array share what was computed, until another array of
        its side is passed."""
        side = squares.shape[1]
        if side not in self._last or self._last[side][0] is not squares:
            self._last[side] = squares, self.look(to_tensor(squares, device))
        return self._last[side][1]


class Look:
    """The frozen networks' outputs for a batch of images, computed on demand.

    Attributes:
        networks: the frozen networks.
        images: ``(B, 3, H, W)`` in [0, 1].
        side: side of the CNN's input, in pixels.
    """

    def __init__(self, networks: FrozenNetworks, images: Tensor, side: int) -> None:
        self.networks, self.images, self.side = networks, images, side
        # not cached_property, which before Python 3.12 lets only one thread at a time compute, whatever the instance
        self._seen: tuple[list[Tensor], Tensor, Tensor | None] | None = None
        self._transformed: list[Features] | None = None

    @property
    def _cnn(self) -> tuple[list[Tensor], Tensor, Tensor | None]:
        if self._seen is None:
            images = resize_to(self.images, self.side)
            self._seen = (
                self.networks.cnn_with_cells(images) if self.networks.keeps_cells else (*self.networks.cnn(images), None)
            )
        return self._seen

    @property
    def stages(self) -> list[Tensor]:
        """Stages of the CNN, ``(B, C_i, h_i, w_i)``, from fine to coarse."""
        return self._cnn[0]

    @property
    def pooled(self) -> Tensor:
        """Pooled features of the CNN ``(B, F)``, the input of the classifier's last layer."""
        return self._cnn[1]

    @property
    def cells(self) -> Tensor | None:
        """Logits of the classes ``(B, C, h, w)`` in each cell of the CNN's last grid; None unless the networks keep them."""
        return self._cnn[2]

    @property
    def transformed(self) -> list[Features]:
        """The transformer's features, one for each side.

        Raises:
            WeightsError: there is no transformer here.
        """
        transformer = self.networks.transformer
        if transformer is None:
            raise WeightsError("the transformer is needed here, but was not loaded")
        if self._transformed is None:
            self._transformed = [transformer(resize_to(self.images, side)) for side in self.networks.key_sides]
        return self._transformed

    @property
    def keys(self) -> list[Tensor]:
        """Keys of the transformer's last block, ``(B, D, h, w)`` of length 1, one tensor for each side."""
        return [unit_keys(item.keys).permute(0, 3, 1, 2) for item in self.transformed]
