"""Linear maps on frozen features, fitted to image labels and to boxes of reviewed photos (``harvest.refine=dataset``).

In: features of a few hundred photos on their grids (:class:`PhotoFeatures`). Out:
:class:`~dips.models.linear_map.LinearMaps`, an accurate one on CNN stages and keys together and a fast one on the CNN's stages.

The maps start from the transformer's attention. In each of a few rounds, the cells of a photo above Otsu's threshold of its
current map count as object, the others, and all cells of a background class's photos, as background; a linear discriminant with
a ridge gives new maps. Nothing is trained by gradient: each round solves one linear system. The fast map imitates the result by
least squares, and the accurate one is the mean of both, which is better than either (docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dips.config import HarvestConfig
from dips.data.gain import ReviewGain
from dips.harvest.correct import Standard, correct
from dips.harvest.gain import review_gain
from dips.harvest.grids import interpolation, resampled
from dips.models.linear_map import LinearMap, LinearMaps
from dips.types import Review

__all__ = ["PhotoFeatures", "fit_linear_maps"]

_SAMPLED_CELLS = 128  # per photo, for the covariance
_FIRST_FRACTION = 0.2  # of the attention's cells that count as object in the first round
_MIN_FRACTION, _MAX_FRACTION = 0.06, 0.75  # of a photo's cells that may count as object by Otsu's threshold
_FOREGROUND_WEIGHT = 0.4  # of the object's covariance in the pooled one
_MIN_PENALTY = 1e-6  # a ridge of 0 would leave no solution where features are not independent
_SHRINKAGE = 60.0  # photos: a class with this many has the same weight as the mean of all classes
_SPREAD = 4.0  # standard deviation of the logits of the finished maps
_MAX_TRUST, _CERTAIN = 0.8, 10.0  # maximum weight of a background class's photos; the number of them that gives half of it
_LEVEL, _LEVEL_WITH_BACKGROUND = 0.75, 0.5  # fraction of the way from the background's mean logit to the object's: without
# photos of a background class, and if every second photo is one (docs/experiments.md)


@dataclass(frozen=True)
class PhotoFeatures:
    """Features of the photos that maps are fitted on, on the CPU.

    Attributes:
        blocks: the CNN's stages, then the keys of each side; ``(N, C_i, h_i, w_i) float16``, on grids as returned by
            :func:`~dips.harvest.grids.joint_grids`.
        key_sides: sides of the transformer's inputs, in pixels, with one block of keys for each.
        attention: mean attention ``(N, h, w)``, from which the first round starts.
        labels: object class of each photo, counted from 0, ``(N,)``; -1 for photos of the background class.
        photos: the photo that each of the N tiles belongs to; empty if they are whole photos.
        several: all labels of photos with several, by position.
        reviews: reviews of the photos that a person reviewed, by position.
    """

    blocks: tuple[Tensor, ...]
    key_sides: tuple[int, ...]
    attention: Tensor
    labels: NDArray[np.int64]
    photos: Sequence[str] = ()
    several: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    reviews: Mapping[int, Review] = field(default_factory=dict)

    def labels_of(self, row: int) -> tuple[int, ...]:
        """Return all labels of a photo; empty for the background class."""
        label = int(self.labels[row])
        return self.several.get(row, () if label < 0 else (label,))

    @property
    def stages(self) -> int:
        """How many of the blocks are the CNN's."""
        return len(self.blocks) - len(self.key_sides)


def fit_linear_maps(features: PhotoFeatures, classes: int, config: HarvestConfig) -> tuple[LinearMaps, ReviewGain | None]:
    """Return both maps, and the gain from reviewed photos if there are enough of them.

    Args:
        features: features of photos, at least one of which shows an object.
        classes: number of object classes.
        config: ``refine_inputs``, ``refine_rounds``, ``refine_penalty``, ``refine_fraction`` and ``fast_penalty``.

    Example:
        >>> blocks = (torch.rand(6, 4, 8, 8).half(), torch.rand(6, 3, 4, 4).half())
        >>> features = PhotoFeatures(blocks, (56,), torch.rand(6, 4, 4), np.array([0, 0, 1, 1, -1, -1]))
        >>> maps, _ = fit_linear_maps(features, 2, HarvestConfig())
        >>> maps.accurate.channels, maps.fast.channels
        ((4, 3), (4,))
    """
    return _Fit(features, classes, config).run()


class _Fit:
    """One fit; ``D`` is the number of channels of all blocks, ``G`` the side of the joint grid, ``P = G * G`` its cells."""

    def __init__(self, features: PhotoFeatures, classes: int, config: HarvestConfig) -> None:
        self.features, self.classes, self.config = features, classes, config
        self.grid = max(block.shape[-1] for block in features.blocks)
        self.widths = [block.shape[1] for block in features.blocks]
        self.stage_channels = sum(self.widths[: features.stages])
        self.shown, self.blank = np.flatnonzero(features.labels >= 0), np.flatnonzero(features.labels < 0)
        # certain background beats likely background, but its photos may be few, or of other places (docs/experiments.md)
        self.trust = _MAX_TRUST * len(self.blank) / (len(self.blank) + _CERTAIN)
        self.mean, deviation = (torch.cat(parts) for parts in zip(*map(_moments, features.blocks), strict=True))
        self.deviation = deviation / self._balance()
        self.upsampling = [interpolation(block.shape[-1], self.grid) for block in features.blocks]
        cells = self.grid**2
        count = min(cells, _SAMPLED_CELLS)
        rng = np.random.default_rng(0)
        self.cells = torch.from_numpy(np.stack([np.sort(rng.choice(cells, count, replace=False)) for _ in features.labels]))
        self.samples = torch.stack([self._joined(i)[self.cells[i]] for i in range(len(features.labels))]).half()
        # features that the accurate map may use; the fast one uses the CNN's
        used = torch.ones(sum(self.widths), dtype=torch.bool)
        if config.refine_inputs == "keys":
            used[: self.stage_channels] = False
        elif config.refine_inputs == "cnn":
            used[self.stage_channels :] = False
        self.used = used

    def run(self) -> tuple[LinearMaps, ReviewGain | None]:
        """Run the rounds, compute both maps from the last one, and correct them with reviewed photos."""
        attention = F.interpolate(self.features.attention[:, None].float(), (self.grid, self.grid), mode="bilinear")
        maps = attention.flatten(1).numpy()
        for turn in range(self.config.refine_rounds):
            fraction = self.config.refine_fraction or (_FIRST_FRACTION if turn == 0 else 0.0)
            foreground = _foreground(maps, fraction)
            weight, bias, means, background, covariance = self._discriminant(foreground)
            maps = self._maps(weight, bias)
        weights, biases = self._per_class(means, background, covariance)
        total = covariance + torch.outer(means.mean(0) - background, means.mean(0) - background) / 4
        centre = (means.mean(0) + background) / 2
        fast_weights = self._imitation(weights, total)
        fast_biases = biases + (weights - fast_weights) @ centre
        fast = self._scaled(fast_weights, fast_biases, foreground)
        accurate = self._scaled(weights, biases, foreground)
        if self.config.refine_inputs == "joined":  # the mean of both
            accurate = self._scaled(accurate[0] + fast[0], accurate[1] + fast[1], foreground)
        maps_of_both = LinearMaps(self.widths, stages=self.features.stages, outputs=self.classes)
        for module, (directions, offsets, level) in ((maps_of_both.accurate, accurate), (maps_of_both.fast, fast)):
            self._fill(module, directions, offsets)
            module.level.fill_(level)
        photos = [self.features.photos[row] for row in sorted(self.features.reviews)] if self.features.photos else ()
        gain = review_gain(maps_of_both.fast, *self._review(maps_of_both.fast), photos)
        for module in (maps_of_both.accurate, maps_of_both.fast):
            correct(module, *self._review(module))
        return maps_of_both, gain

    def _review(self, module: LinearMap) -> tuple[list[Tensor], list[tuple[int, ...]], list[Review], Standard]:
        """Return features, labels, reviews and standardisation of the reviewed photos, for correcting a finished map."""
        found, count = self.features, sum(module.channels)
        rows = sorted(found.reviews)
        blocks = [block[rows] for block in found.blocks[: len(module.channels)]]
        labels, reviews = [found.labels_of(row) for row in rows], [found.reviews[row] for row in rows]
        return blocks, labels, reviews, Standard(self.mean[:count], self.deviation[:count])

    def _balance(self) -> Tensor:
        """Return a factor per channel ``(D,)`` that gives CNN and keys equal weight, however many channels each has."""
        cnn, every = self.stage_channels, sum(self.widths)
        halves = torch.full((every,), every / 2)
        halves[:cnn] /= max(cnn, 1)
        halves[cnn:] /= max(every - cnn, 1)
        return halves.sqrt()

    def _joined(self, position: int) -> Tensor:
        """Return the standardised features of a photo on the joint grid, ``(P, D)``."""
        parts = [
            resampled(block[position].float(), rows).flatten(1).mT
            for block, rows in zip(self.features.blocks, self.upsampling, strict=True)
        ]
        return (torch.cat(parts, 1) - self.mean) / self.deviation

    def _maps(self, weight: Tensor, bias: Tensor) -> NDArray[np.float32]:
        """Return the logits ``(N, P)`` of all photos."""
        scaled = weight / self.deviation
        total = bias - scaled @ self.mean
        result = torch.zeros(len(self.features.labels), self.grid, self.grid)
        for block, rows, part in zip(self.features.blocks, self.upsampling, scaled.split(self.widths), strict=True):
            for start in range(0, len(block), 64):  # a float32 copy of everything would dominate memory
                logits = torch.einsum("nchw,c->nhw", block[start : start + 64].float(), part)
                result[start : start + 64] += rows @ logits @ rows.mT
        return np.asarray((result + total).flatten(1).numpy())

    def _means(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Return the mean features ``(M, D)`` of the photos ``rows`` ``(M,)``, each under its mask in ``masks`` ``(N, P)``."""
        share = _shares(masks[rows]).unflatten(1, (self.grid, self.grid))
        parts = []
        for block, upsampling in zip(self.features.blocks, self.upsampling, strict=True):
            own = upsampling.mT @ share @ upsampling  # the same sum on the block's own grid
            parts.append(
                torch.cat(
                    [
                        torch.einsum("nchw,nhw->nc", block[rows[start : start + 64]].float(), own[start : start + 64])
                        for start in range(0, len(rows), 64)
                    ]
                )
            )
        return (torch.cat(parts, 1) - self.mean) / self.deviation

    def _background(self, foreground: Tensor) -> list[tuple[float, Tensor, Tensor]]:
        """Return the background, given the object cells ``foreground`` ``(N, P)``: all cells of a background class's photos and
        the remaining cells of the others; each with its weight, the photos' positions and masks ``(N, P)``."""
        certain = self.trust, torch.from_numpy(self.blank), torch.ones_like(foreground)
        likely = 1 - self.trust, torch.from_numpy(self.shown), 1 - foreground
        return [certain, likely] if len(self.blank) else [likely]

    def _discriminant(self, foreground: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Fit one direction to the cells ``(N, P)`` that count as object.

        Returns:
            Weight ``(D,)``, bias, the object's mean in each photo that shows one ``(M, D)``, the background's mean ``(D,)`` and
            the pooled covariance ``(D, D)``.
        """
        shown = torch.from_numpy(self.shown)
        means = self._means(foreground, shown)
        inside = self._covariance(shown, foreground, means.mean(0))
        parts = self._background(foreground)
        background = torch.stack([weight * self._means(masks, rows).mean(0) for weight, rows, masks in parts]).sum(0)
        outside = torch.stack([weight * self._covariance(rows, masks, background) for weight, rows, masks in parts]).sum(0)
        covariance = _FOREGROUND_WEIGHT * inside + (1 - _FOREGROUND_WEIGHT) * outside
        weight = self._solve(covariance, (means.mean(0) - background)[:, None], self.config.refine_penalty, self.used)[:, 0]
        return weight, -(weight @ (means.mean(0) + background)) / 2, means, background, covariance

    def _covariance(self, rows: Tensor, masks: Tensor, mean: Tensor) -> Tensor:
        """Return the covariance ``(D, D)`` around ``mean`` of the sampled cells of the photos ``rows``, each under its mask in
        ``masks`` ``(N, P)``; every photo has the same weight."""
        samples, masks = self.samples[rows], masks[rows].gather(1, self.cells[rows])
        result = torch.zeros(samples.shape[2], samples.shape[2])
        shares = masks / masks.sum(1, keepdim=True).clamp(min=1) / max(1, int((masks.sum(1) > 0).sum()))
        for start in range(0, len(samples), 64):
            cells = (samples[start : start + 64].float() - mean).flatten(0, 1)
            weights = shares[start : start + 64].flatten()[:, None]
            result += cells.mT @ (cells * weights)
        return result

    def _solve(self, covariance: Tensor, target: Tensor, penalty: float, used: Tensor) -> Tensor:
        """Solve ``(covariance + penalty * mean variance) x = target`` ``(D, K)`` for the used features; the others get 0."""
        part = covariance[used][:, used].double()
        ridge = max(penalty, _MIN_PENALTY) * float(part.diagonal().mean().clamp(min=1e-6))
        result = torch.zeros_like(target)
        result[used] = torch.linalg.solve(part + ridge * torch.eye(len(part)).double(), target[used].double()).float()
        return result

    def _per_class(self, means: Tensor, background: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Return a direction ``(K, D)`` and a bias ``(K,)`` per object class; a class with few photos stays near the mean.

        A photo with several labels counts for each of them.
        """
        pairs = [(row, label) for row, photo in enumerate(self.shown) for label in self.features.labels_of(int(photo))]
        rows, labels = torch.tensor(pairs).mT
        counts = torch.bincount(labels, minlength=self.classes).float()
        sums = torch.zeros(self.classes, means.shape[1]).index_add_(0, labels, means[rows])
        own = sums / counts.clamp(min=1)[:, None]
        trust = (counts / (counts + _SHRINKAGE))[:, None] if self.classes > 1 else torch.ones(1, 1)
        centres = means.mean(0) + trust * (own - means.mean(0))
        weights = self._solve(covariance, (centres - background).mT, self.config.refine_penalty, self.used).mT
        return weights, -(weights * (centres + background)).sum(1) / 2

    def _imitation(self, weights: Tensor, total: Tensor) -> Tensor:
        """Return directions ``(K, D)`` on the CNN's stages alone whose logits are nearest to those of ``weights``."""
        cnn = torch.arange(len(self.mean)) < self.stage_channels
        return self._solve(total, total @ weights.mT, self.config.fast_penalty, cnn).mT

    def _scaled(self, weights: Tensor, biases: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor, float]:
        """Scale logits to the spread of finished maps; return directions, biases and the level of the object's border."""
        maps = torch.from_numpy(self._maps(weights.mean(0), biases.mean()))
        # if all features are the same, the map varies only by rounding, and its mean is many times its deviation
        spread = max(float(maps.std()), abs(float(maps.mean())) / 4, 1e-6)
        scale = _SPREAD / spread
        high = _masked_mean(maps, foreground, torch.from_numpy(self.shown))
        low = _masked_mean(maps, 1 - foreground, torch.from_numpy(self.shown))
        share = min(0.5, len(self.blank) / len(self.features.labels))
        fraction = _LEVEL + 2 * share * (_LEVEL_WITH_BACKGROUND - _LEVEL)
        return weights * scale, biases * scale, scale * (low + fraction * (high - low))

    def _fill(self, module: LinearMap, weights: Tensor, biases: Tensor) -> None:
        """Write directions and biases into a map, converted to features that are not standardised."""
        plain = weights / self.deviation
        for own, part in zip(module.weights, plain.split(self.widths, dim=1), strict=False):  # the fast map has no keys
            own.copy_(part)
        module.bias.copy_(biases - plain @ self.mean)


def _moments(block: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation ``(C,)`` of a block's channels; 1 for constant ones, which vary only by rounding."""
    totals = torch.zeros(2, block.shape[1], dtype=torch.float64)
    for start in range(0, len(block), 64):
        part = block[start : start + 64].double()
        totals += torch.stack([part.sum((0, 2, 3)), part.square().sum((0, 2, 3))])
    mean, square = totals / (block.numel() // block.shape[1])
    variance = square - mean.square()
    constant = variance <= (1e-10 * mean.square()).clamp(min=1e-12)
    return mean.float(), torch.where(constant, 1.0, variance.clamp(min=0).sqrt()).float()


def _foreground(maps: NDArray[np.float32], fraction: float) -> Tensor:
    """Return which cells ``(N, P)`` of each map are object: those above Otsu's threshold, or the highest ``fraction``."""
    if fraction:
        levels = np.quantile(maps, 1 - fraction, axis=1)
    else:
        lowest, highest = np.quantile(maps, [1 - _MAX_FRACTION, 1 - _MIN_FRACTION], axis=1)
        levels = np.clip([_otsu(row) for row in maps], lowest, highest)
    return torch.from_numpy((maps > levels[:, None]).astype(np.float32))


def _otsu(row: NDArray[np.float32]) -> float:
    """Return Otsu's threshold of a map ``(P,)``, in 256 steps between its extremes."""
    low, high = float(row.min()), float(row.max())
    if high <= low:
        return low
    steps = np.round((row - low) * (255 / (high - low))).astype(np.uint8)
    level, _ = cv2.threshold(steps[None], 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return low + (level + 0.5) * (high - low) / 255


def _masked_mean(maps: Tensor, masks: Tensor, rows: Tensor) -> float:
    """Return the mean of maps ``(N, P)`` under masks ``(N, P)`` in the photos ``rows``; each photo has the same weight."""
    return float((maps[rows] * _shares(masks[rows])).sum(1).mean())


def _shares(masks: Tensor) -> Tensor:
    """Return masks ``(N, P)`` divided by their sums; an empty one, of a constant map, stands for the whole photo."""
    full = torch.where(masks.sum(1, keepdim=True) > 0, masks, 1.0)
    return full / full.sum(1, keepdim=True)
