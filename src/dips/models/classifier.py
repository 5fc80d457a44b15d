"""The CNN that scores proposals and predicts the class (paper 3.2), and the linear probe reported beside it.

Images come in as ``(B, 3, H, W)`` float in [0, 1] at the size the caller chose, logits ``(B, C)`` go out. Either the last layer
is fitted on features stored once (convex, seconds), or all layers are trained. If photos have several labels, the targets are
probabilities: 1 / L for each of a photo's L labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.errors import DataError, WeightsError
from dips.models.backbones import Normalise, build_cnn, load_cnn, stages
from dips.models.names import cnn_config
from dips.models.weights.resolve import Weights

__all__ = ["Classifier", "EpochResult", "LinearFit", "LinearProbe", "balance_classes", "fit_linear"]

_PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)
_DEFAULT_PENALTY = 1e-2  # if there are too few photos per class to hold some out


@dataclass(frozen=True, slots=True)
class LinearFit:
    """How a linear classifier was fitted.

    Attributes:
        penalty: the L2 penalty, on standardised features and the mean loss.
        accuracy: fraction of the fitted photos whose prediction is their label, or one of their labels.
        loss: their mean cross-entropy.
        held_out: accuracy on the photos held out to choose the penalty; None if there were none.
    """

    penalty: float
    accuracy: float
    loss: float
    held_out: float | None


@dataclass(frozen=True, slots=True)
class EpochResult:
    """Mean loss and accuracy over one training epoch."""

    epoch: int
    loss: float
    accuracy: float


def fit_linear(
    features: Tensor, labels: Tensor, classes: int, *, penalty: float | None = None
) -> tuple[Tensor, Tensor, LinearFit]:
    """Fit a multinomial logistic regression with L2 penalty, by LBFGS in double precision; deterministic.

    Args:
        features: ``(N, D)``; standardised for the fit, while the result applies to the original ones.
        labels: ``(N,)`` integers below ``classes``, or probabilities ``(N, classes)`` of photos with several labels.
        classes: width of the result.
        penalty: None chooses it from a grid by the loss on every fifth photo of each class; of several, the rarest one counts.

    Returns:
        Weight ``(classes, D)`` and bias ``(classes,)`` in float32 on the features' device, and a summary.

    Example:
        >>> features = torch.tensor([[0.0], [0.1], [0.9], [1.0]])
        >>> weight, bias, fit = fit_linear(features, torch.tensor([0, 0, 1, 1]), classes=2)
        >>> (features @ weight.T + bias).argmax(1).tolist(), fit.accuracy
        ([0, 0, 1, 1], 1.0)

    Raises:
        DataError: no photos, labels out of range, or features that are not finite.
    """
    if features.ndim != 2 or labels.shape not in (features.shape[:1], (len(features), classes)) or not len(labels):
        raise DataError(f"cannot fit a classifier to {tuple(features.shape)} features with {tuple(labels.shape)} labels")
    if labels.ndim == 1 and (labels.min() < 0 or labels.max() >= classes):
        raise DataError(f"labels run from {int(labels.min())} to {int(labels.max())}, but the number of classes is {classes}")
    if not torch.isfinite(features).all():
        raise DataError("the features of some photos are not finite; check the weights and the precision")
    device = features.device
    work = torch.device("cpu") if device.type == "mps" else device  # no double precision there
    x, y = features.detach().to(work, torch.float64), labels.to(work, torch.float64 if labels.ndim == 2 else None)
    mean, std = x.mean(0), x.std(0, correction=0)
    std = torch.where(std > 1e-8, std, torch.ones_like(std))
    x = (x - mean) / std
    strata = _rarest(y)
    counts = torch.bincount(strata, minlength=classes)
    held_out = None
    if penalty is None:
        penalty = _DEFAULT_PENALTY
        if int(counts[counts > 0].min()) >= 5:
            penalty, held_out = _choose_penalty(x, y, strata, classes)
    parameters = _lbfgs(x, y, penalty, x.new_zeros(classes, x.shape[1] + 1))
    weight = parameters[:, :-1] / std
    bias = parameters[:, -1] - weight @ mean
    logits = x @ parameters[:, :-1].T + parameters[:, -1]
    fit = LinearFit(penalty, _accuracy(logits, y), F.cross_entropy(logits, y).item(), held_out)
    return weight.float().to(device), bias.float().to(device), fit


def balance_classes(head: nn.Linear, labels: Tensor, strength: float) -> None:
    """Subtract the classes' log frequencies from the bias of a fitted layer, so that rare classes are not disfavoured.

    Besides what distinguishes the classes, a fit learns the logarithm of each class's fraction of the photos. Weighting the
    photos in the loss helps less (docs/experiments.md): a few photos are separated whatever their weight. Classes without
    photos are left as they are, and so are all classes if each has equally many photos.

    Args:
        head: its outputs are the classes' logits.
        labels: ``(N,)`` of the photos that the layer was fitted to, or their probabilities ``(N, C)``.
        strength: the fraction of the logarithm that is subtracted, in [0, 1].
    """
    counts = torch.bincount(labels, minlength=head.out_features) if labels.ndim == 1 else labels.sum(0)
    shift = torch.where(counts > 0, counts / counts.max(), 1.0).log()
    with torch.no_grad():
        head.bias.sub_(strength * shift.to(head.bias))


def _rarest(labels: Tensor) -> Tensor:
    """Return one label ``(N,)`` of each photo, the rarest one if it has several, given labels or probabilities."""
    if labels.ndim == 1:
        return labels
    shown = labels > 0
    return torch.where(shown, shown.sum(0), len(labels) + 1).argmin(1)


def _choose_penalty(x: Tensor, y: Tensor, strata: Tensor, classes: int) -> tuple[float, float]:
    """Return the penalty with the least loss on held-out photos, equally many from each of the strata ``(N,)``, and its
    accuracy there; each fit starts from the previous one."""
    order = torch.argsort(strata, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(y), device=y.device)
    first = torch.cumsum(torch.bincount(strata, minlength=classes), 0) - torch.bincount(strata, minlength=classes)
    test = (rank - first[strata]) % 5 == 4
    parameters = x.new_zeros(classes, x.shape[1] + 1)
    results: list[tuple[float, float, float]] = []
    for penalty in _PENALTIES:
        parameters = _lbfgs(x[~test], y[~test], penalty, parameters)
        logits = x[test] @ parameters[:, :-1].T + parameters[:, -1]
        loss = F.cross_entropy(logits, y[test]).item()
        if results and loss >= results[-1][0]:
            break  # an even weaker penalty would overfit even more
        results.append((loss, penalty, _accuracy(logits, y[test])))
    _, penalty, accuracy = min(results)
    return penalty, accuracy


def _lbfgs(x: Tensor, y: Tensor, penalty: float, start: Tensor) -> Tensor:
    """Return the weights and, in the last column, biases ``(C, D + 1)`` that minimise the penalised loss."""
    parameters = start.clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS(
        [parameters], max_iter=100, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = x @ parameters[:, :-1].T + parameters[:, -1]
        loss = F.cross_entropy(logits, y) + penalty / 2 * parameters[:, :-1].square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(cast(Any, closure))
    return parameters.detach()


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return _right(logits, labels).double().mean().item()


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    """Return which photos ``(N,) bool`` are predicted as their label, or as one with a probability above 0."""
    predicted = logits.argmax(1)
    return predicted == labels if labels.ndim == 1 else labels.gather(1, predicted[:, None])[:, 0] > 0


@contextmanager
def _watched(modules: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect the outputs of modules while they run, in order."""
    outputs: list[Tensor] = []
    hooks = [module.register_forward_hook(lambda module, inputs, output: outputs.append(output)) for module in modules]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


class LinearProbe(nn.Module):
    """A linear classifier on given features, e.g. the transformer's class tokens.

    Example:
        >>> LinearProbe(width=4, classes=3)(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(B, C)`` of features ``(B, D)``."""
        return cast(Tensor, self.head(features))

    def fit(self, features: Tensor, labels: Tensor, *, penalty: float | None = None) -> LinearFit:
        """Fit the layer with :func:`fit_linear`."""
        weight, bias, fit = fit_linear(features, labels, self.head.out_features, penalty=penalty)
        with torch.no_grad():
            self.head.weight.copy_(weight)
            self.head.bias.copy_(bias)
        return fit


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
        with _watched([module for module, _ in stages]) as outputs:
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
                right += int(_right(logits, labels).sum())
                seen += len(labels)
            if not seen:
                raise DataError("there are no photos to train the classifier on")
            history.append(EpochResult(epoch, total / seen, right / seen))
            if on_epoch is not None:
                on_epoch(history[-1])
        self.eval()
        return history
