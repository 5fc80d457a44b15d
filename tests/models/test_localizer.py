"""The U-Net: any size, ImageNet weights key by key, gradients and parameter groups."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dips.errors import WeightsError
from dips.models.backbones import timm  # type: ignore[attr-defined]  # not by itself: torchvision is mended first
from dips.models.localizer import Localizer
from dips.models.weights.resolve import Weights

CHANNELS = (16, 16, 8, 8, 4)


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    torch.manual_seed(0)
    return Localizer("test_efficientnet", channels=CHANNELS).eval()


@settings(max_examples=12)
@given(height=st.integers(1, 70), width=st.integers(1, 70), batch=st.integers(1, 2))
def test_any_size(localizer: Localizer, height: int, width: int, batch: int) -> None:
    with torch.no_grad():
        assert localizer(torch.rand(batch, 3, height, width)).shape == (batch, 2, height, width)


def test_foreground_is_a_probability(localizer: Localizer) -> None:
    images = torch.rand(2, 3, 32, 40)
    with torch.no_grad():
        logits, foreground = localizer(images), localizer.foreground(images)
    assert foreground.shape == (2, 32, 40)
    torch.testing.assert_close(foreground, (logits[:, 1] - logits[:, 0]).sigmoid())


def test_padding_is_outside(localizer: Localizer) -> None:
    """Padding by hand with the border's colour gives the same as padding inside."""
    images = torch.rand(1, 3, 30, 50)
    padded = torch.nn.functional.pad(images, (0, 14, 0, 2), mode="replicate")
    with torch.no_grad():
        torch.testing.assert_close(localizer(images), localizer(padded)[..., :30, :50])


@pytest.mark.parametrize("arch", ["test_efficientnet", "test_resnet", "test_convnext"])
def test_encoder_gets_every_tensor(arch: str) -> None:
    torch.manual_seed(1)
    full: Any = timm.create_model(arch).eval()
    for value in full.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value))
    model = Localizer.from_weights(Weights(arch, "file", "f.pth", "0", state=full.state_dict()), channels=CHANNELS)
    source = {name.replace(".", "_"): value for name, value in full.state_dict().items()}
    encoder: dict[str, Tensor] = model.net.encoder.model.state_dict()
    assert len(encoder) > 20
    for name, value in encoder.items():
        assert torch.equal(value, source[name.replace(".", "_")]), name


def test_foreign_weights_are_refused() -> None:
    state = timm.create_model("test_resnet").state_dict()
    with pytest.raises(WeightsError, match=r"f\.pth does not hold the weights of test_efficientnet"):
        Localizer.from_weights(Weights("test_efficientnet", "file", "f.pth", "0", state=state), channels=CHANNELS)


def test_networks_without_pyramid() -> None:
    with pytest.raises(WeightsError, match=r"localizer\.encoder: 'vit_tiny_patch16_224' cannot be"):
        Localizer("vit_tiny_patch16_224", channels=CHANNELS)
    with pytest.raises(WeightsError, match="did you mean"):
        Localizer("test_eficientnet")


def test_parameter_groups_cover_everything_once(localizer: Localizer) -> None:
    groups = localizer.parameter_groups(0.01, 0.3)
    assert [(group["name"], group["lr"]) for group in groups] == [("decoder", 0.01), ("encoder", pytest.approx(0.003))]
    ids = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(ids) == len(set(ids)) == len(list(localizer.parameters()))
    assert {id(p) for p in groups[1]["params"]} == {id(p) for p in localizer.net.encoder.parameters()}


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(2)
    model = Localizer("test_resnet", channels=CHANNELS).train()
    model(torch.rand(2, 3, 64, 64))[:, 1].square().mean().backward()
    idle = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert idle == []
