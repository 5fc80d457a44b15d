"""A linear classifier on given features: multinomial logistic regression, fitted in seconds.

In: features ``(N, D)`` and labels. Out: a linear layer. If photos have several labels, the targets are probabilities: 1 / L for
each of a photo's L labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dips.errors import DataError

__all__ = ["LinearFit", "LinearProbe", "balance_classes", "fit_linear", "is_right"]

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
    return is_right(logits, labels).double().mean().item()


def is_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Return which photos ``(N,) bool`` are predicted as their label, or as one with a probability above 0.

    Args:
        logits: ``(N, C)``.
        labels: ``(N,)``, or probabilities ``(N, C)``.
    """
    predicted = logits.argmax(1)
    return predicted == labels if labels.ndim == 1 else labels.gather(1, predicted[:, None])[:, 0] > 0
