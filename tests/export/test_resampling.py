"""Resizing without antialias of the engine's own: the same as torch's, in any size."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dips.data.images import resize_image
from dips.export.resampling import ANTIALIASED, to_squares

RESIZE = {
    "bilinear": ANTIALIASED[torch.ops.aten._upsample_bilinear2d_aa.default],
    "bicubic": ANTIALIASED[torch.ops.aten._upsample_bicubic2d_aa.default],
}
sides = st.integers(1, 70)


@pytest.mark.parametrize("mode", RESIZE)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((64, 96), (32, 32)),
        ((64, 64), (37, 37)),
        ((17, 31), (7, 12)),
        ((27, 27), (37, 37)),
        ((9, 9), (9, 20)),
        ((300, 3), (2, 5)),
    ],
)
def test_as_torch_does_it(mode: str, old: tuple[int, int], new: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *old, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(images, new, mode=mode, align_corners=False, antialias=True)
    torch.testing.assert_close(RESIZE[mode](images, new, False, None, None), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("resize", RESIZE.values())
@given(old=st.tuples(sides, sides), new=st.tuples(sides, sides))
def test_a_plain_picture_stays_plain(resize: Callable[..., Tensor], old: tuple[int, int], new: tuple[int, int]) -> None:
    said = resize(torch.full((1, 2, *old), 0.7), new, False)
    assert said.shape == (1, 2, *new)
    torch.testing.assert_close(said, torch.full_like(said, 0.7), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", RESIZE)
@pytest.mark.parametrize("old", [(37, 43), (32, 61), (83, 8), (17, 1)])
def test_openvino_resizes_as_torch_does(mode: str, old: tuple[int, int]) -> None:
    """Also where sides have no common divisor, so that the convolution makes one step."""
    openvino = pytest.importorskip("openvino", reason="openvino is missing; it is in the extra dev")
    pytest.importorskip("onnxscript", reason="onnxscript is missing; it is in the extra dev")
    new = [(16, 16), (32, 24), (100, 37), (5, 84)]

    class Resized(torch.nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            return tuple(RESIZE[mode](images, size, False) for size in new)

    images = torch.rand(2, 192, *old, generator=torch.Generator().manual_seed(0))
    traced = torch.export.export(Resized(), (images,))
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)  # of the exporter itself
        program = torch.onnx.export(traced, (images,), dynamo=True, opset_version=18, external_data=False, verbose=False)
    assert program is not None
    core = openvino.Core()
    model = core.read_model(program.model_proto.SerializeToString(), b"")
    there = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([images.numpy()])
    for index, size in enumerate(new):
        expected = F.interpolate(images, size, mode=mode, align_corners=False, antialias=True)
        np.testing.assert_allclose(there[index], expected.numpy(), rtol=0, atol=1e-5)


def test_squares_are_unchanged() -> None:
    images = torch.rand(2, 3, 31, 31)
    assert torch.equal(to_squares(images, 31), images)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (100, 75), (33, 320), (200, 33), (20, 10)])
def test_squares_are_near_area_averages(height: int, width: int) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    photo = resize_image(coarse, (width, height))
    said = to_squares(torch.from_numpy(photo).permute(2, 0, 1)[None].float(), 32)[0].permute(1, 2, 0).numpy()
    assert np.abs(said - resize_image(photo, (32, 32))).max() < 6


@given(sides, sides, st.integers(1, 40))
def test_squares_of_any_photo(height: int, width: int, side: int) -> None:
    said = to_squares(torch.full((1, 1, height, width), 3.0), side)
    assert said.shape == (1, 1, side, side) and bool((said - 3).abs().max() < 1e-5)


def test_stripes_of_a_large_photo_become_grey() -> None:
    """Without antialias a photo that shrinks keeps single pixels."""
    stripes = (torch.arange(640) % 2).float().expand(1, 1, 480, 640)
    assert bool((to_squares(stripes, 40) - 0.5).abs().max() < 1e-5)
