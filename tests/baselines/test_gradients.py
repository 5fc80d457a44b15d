"""Grad-CAM, Grad-CAM++ and LayerCAM by loops over the papers' formulas, and against torchcam where that is right."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dips.baselines.cam import Cam, CamMax
from dips.baselines.gradients import GradCam, GradCamPlus, LayerCam
from dips.baselines.study import Study

METHODS = (GradCam, GradCamPlus, LayerCam)


class Curved(nn.Module):
    """A classifier whose score is no linear function of its last feature map, so that gradients differ from place to place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3)
        self.behind = nn.Conv2d(4, 5, 2)
        self.head = nn.Linear(5, 3)
        self.body = SimpleNamespace(forward_head=lambda features: (3 * self.behind(features)).tanh().mean((2, 3)))

    def feature_map(self, images: Tensor) -> Tensor:
        features: Tensor = self.stem(images)
        return features.relu()


@pytest.fixture
def curved() -> Any:
    cam = Cam()
    cam.net = Curved().eval().requires_grad_(False)
    return SimpleNamespace(fitted=lambda name: cam, net=cam.net)


@pytest.fixture
def fitted(study: Study) -> Study:
    """With a classifier that has random weights throughout."""
    cam = Cam()
    cam.build(study)
    cam.freeze()
    study.done["cam"] = cam
    return study


def by_loops(name: str, network: Any, image: Tensor, label: int) -> Tensor:
    """The papers' formulas for one photo, before normalisation."""
    features = network.feature_map(image[None]).double().requires_grad_()
    score = network.head.double()(network.body.forward_head(features))[0, label]
    network.head.float()
    gradient = torch.autograd.grad(score, features)[0][0]
    features = features.detach()[0]
    channels, height, width = features.shape
    found = torch.zeros(height, width, dtype=torch.float64)
    for k in range(channels):
        if name == "gradcam++":  # of Y = exp(score)
            first, second, third = (float(score.detach().exp()) * gradient[k] ** n for n in (1, 2, 3))
            alpha = torch.zeros(height, width, dtype=torch.float64)
            for i in range(height):
                for j in range(width):
                    if first[i, j] != 0:
                        alpha[i, j] = second[i, j] / (2 * second[i, j] + features[k].sum() * third[i, j])
            weight: Any = (alpha * first.clamp(min=0)).sum()
        else:
            weight = gradient[k].mean() if name == "gradcam" else gradient[k].clamp(min=0)
        found += weight * features[k]
    return found.clamp(min=0)


@pytest.mark.parametrize("kind", METHODS)
def test_equals_the_papers_formula(kind: Any, curved: Any) -> None:
    torch.manual_seed(1)
    images, labels = torch.rand(4, 3, 7, 6), torch.tensor([0, 2, 1, 2])
    method = kind()
    method.build(curved)
    found = method.maps(images, labels)
    curved.net.behind.double()
    raw = torch.stack(
        [by_loops(method.name, curved.net, image, int(label)) for image, label in zip(images, labels, strict=True)]
    )
    low, high = raw.amin((1, 2), keepdim=True), raw.amax((1, 2), keepdim=True)
    assert (high > low).sum() >= 3, "most of these maps show something"
    torch.testing.assert_close(found.double(), (raw - low) / (high - low).clamp(min=1e-30), atol=1e-4, rtol=0)
    assert found.shape == (4, 5, 4) and found.min() == 0 and found.max() == 1


@pytest.mark.parametrize("kind", METHODS)
def test_leaves_nothing_behind_and_works_where_gradients_are_off(kind: Any, fitted: Study) -> None:
    method = kind()
    method.fit(fitted)
    images, labels = torch.rand(2, 3, 64, 64), torch.tensor([0, 2])
    with torch.no_grad():
        found = method.maps(images, labels)
    torch.testing.assert_close(found, method.maps(images, labels), rtol=0, atol=0)
    torch.testing.assert_close(found[1:], method.maps(images[1:], labels[1:]), rtol=1e-3, atol=1e-4)  # a photo's map is its own
    assert not found.requires_grad and not images.requires_grad
    network: Any = method.cam.net
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert method.state() == {} and method.parameters == method.cam.parameters
    assert torch.equal(method.probabilities(images), method.cam.probabilities(images))


def test_behind_pooling_and_one_layer_grad_cam_is_cam(fitted: Study) -> None:
    images, labels = torch.rand(3, 3, 64, 64), torch.tensor([0, 2, 1])
    methods = GradCam(), LayerCam(), CamMax()
    for method in methods:
        method.build(fitted)
    grad, layer, cam = (method.maps(images, labels) for method in methods)
    low = cam.amin((1, 2), keepdim=True)
    torch.testing.assert_close(grad, (cam - low) / (cam.amax((1, 2), keepdim=True) - low), rtol=1e-3, atol=1e-4)
    network: Any = methods[2].cam.net
    positive = torch.einsum("bfhw,bf->bhw", network.feature_map(images), network.head.weight[labels].clamp(min=0)).clamp(min=0)
    low = positive.amin((1, 2), keepdim=True)
    torch.testing.assert_close(layer, (positive - low) / (positive.amax((1, 2), keepdim=True) - low), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("kind", "theirs"), [(GradCam, "GradCAM"), (LayerCam, "LayerCAM")])
def test_equals_torchcam(kind: Any, theirs: str, fitted: Study) -> None:
    """Grad-CAM++ is not compared: up to 0.5 torchcam leaves the division out (it divides a copy)."""
    methods: Any = pytest.importorskip("torchcam.methods")
    images, labels = torch.rand(3, 3, 64, 64), torch.tensor([0, 2, 1])
    method = kind()
    method.build(fitted)
    network: Any = method.cam.net
    with getattr(methods, theirs)(network, "body.bn2") as extract:
        expected = extract(labels.tolist(), network(images.clone().requires_grad_()))[0]
    torch.testing.assert_close(method.maps(images, labels), expected, rtol=1e-3, atol=1e-4)
