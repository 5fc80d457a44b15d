"""Dilated depthwise convolutions, split into grids."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dips.models.backbones import build_cnn
from dips.models.dilation import DilatedDepthwise, split_dilated


@given(
    dilation=st.sampled_from([2, 3, 4]),
    kernel=st.sampled_from([(3, 3), (5, 5), (3, 5)]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    bias=st.booleans(),
)
def test_answers_and_gradients_are_those_of_the_plain_one(
    dilation: int, kernel: tuple[int, int], height: int, width: int, bias: bool
) -> None:
    padding = (dilation * (kernel[0] // 2), dilation * (kernel[1] // 2))
    plain = nn.Conv2d(4, 4, kernel, groups=4, dilation=dilation, padding=padding, bias=bias)
    split = split_dilated(copy.deepcopy(plain))
    assert isinstance(split, DilatedDepthwise) and split.state_dict().keys() == plain.state_dict().keys()
    images = torch.rand(2, 4, height, width)
    found = []
    for convolution in (plain, split):
        seen = images.clone().requires_grad_()
        answer = convolution(seen)
        answer.square().sum().backward()
        found.append([answer, seen.grad, *(parameter.grad for parameter in convolution.parameters())])
        with torch.no_grad():
            torch.testing.assert_close(convolution(images), answer)
    for ours, expected in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 4, 3, groups=4, padding=1),
        nn.Conv2d(4, 4, 3, dilation=2, padding=2),
        nn.Conv2d(4, 4, 3, groups=4, dilation=2, padding=1),
        nn.Conv2d(4, 4, 3, groups=4, dilation=2, padding=2, stride=2),
        nn.Conv2d(4, 8, 3, groups=4, dilation=2, padding=2),
        nn.Conv2d(4, 4, 3, groups=4, dilation=(2, 1), padding=(2, 1)),
    ],
)
def test_others_stay_as_they_are(convolution: nn.Conv2d) -> None:
    assert type(split_dilated(convolution)) is nn.Conv2d


def test_a_cnn_of_a_finer_stride_has_them() -> None:
    def count(stride: int) -> int:
        network = build_cnn("tf_efficientnet_lite0", stride=stride)
        return sum(isinstance(module, DilatedDepthwise) for module in network.modules())

    assert count(32) == 0 < count(16)
