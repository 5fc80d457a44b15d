"""The last block's short cut against timm's explicit attention, and weights that do or do not fit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dips.errors import ConfigError, WeightsError
from dips.models import backbones, names
from dips.models.backbones import timm  # type: ignore[attr-defined]  # not by itself: torchvision is mended first
from dips.models.weights.resolve import Weights

from ..conftest import random_transformer

SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 0, "dynamic_img_size": True}


def weights(arch: str, state: dict[str, Tensor]) -> Weights:
    return Weights(arch, "file", "some.pth", "0" * 64, state=state)


def shaken(name: str, **overrides: Any) -> nn.Module:
    """Random weights large enough that attention is not flat and layer scales count."""
    torch.manual_seed(0)
    net: nn.Module = timm.create_model(name, **overrides).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.3)
    return net


def explicit(net: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """timm's own unfused attention matrix of the last block, and all tokens after the final norm."""
    seen: list[Tensor] = []
    attn = net.blocks[-1].attn
    attn.fused_attn = False
    attn.attn_drop.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        tokens = net.forward_features(images)
    return seen[0], tokens


VARIANTS: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {},
    "vit_small_patch14_dinov2": {},
    "vit_small_patch14_reg4_dinov2": {},
    "vit_tiny_patch16_224 qk_norm": {"qk_norm": True},
    "deit_tiny_distilled_patch16_224": {},
    "vit_small_patch16_dinov3": {},
    "vit_small_patch16_dinov3_qkvb": {},
    "eva02_tiny_patch14_224": {},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_timms_explicit_attention(variant: str) -> None:
    name = variant.split()[0]
    net = shaken(name, **SMALL, **VARIANTS[variant])
    model = backbones.Transformer(copy.deepcopy(net), name)
    grid = (3, 5)
    images = torch.rand(2, 3, grid[0] * model.patch, grid[1] * model.patch)
    matrix, tokens = explicit(net, model.normalise(images))
    features = model(images)
    expected = matrix[:, :, 0, model.prefix :].unflatten(-1, grid)
    torch.testing.assert_close(features.attention, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(features.cls, tokens[:, 0], rtol=1e-3, atol=1e-4)
    assert features.attention.shape == (2, model.heads, *grid) == (2, 3, 3, 5)
    assert features.keys.shape == (2, *grid, model.dim)
    assert features.cls.shape == (2, model.width)
    assert features.attention.std() > 1e-3, "a flat map would pass anything"


def test_keys_are_those_of_the_last_block() -> None:
    net: Any = shaken("vit_tiny_patch16_224", **SMALL)
    model = backbones.Transformer(copy.deepcopy(net), "vit_tiny_patch16_224")
    seen: list[Tensor] = []
    net.blocks[-1].attn.qkv.register_forward_hook(lambda _m, _i, out: seen.append(out))
    images = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        net.forward_features(model.normalise(images))
    keys = seen[0][:, 1:, 48:96].unflatten(1, (2, 3))
    torch.testing.assert_close(model(images).keys, keys)


@settings(max_examples=15)
@given(rows=st.integers(1, 6), columns=st.integers(1, 6), batch=st.integers(1, 3))
def test_any_grid_and_a_share_of_one(rows: int, columns: int, batch: int) -> None:
    model = random_transformer("vit_tiny_patch16_224", embed_dim=24, depth=1, num_heads=3)
    features = model(torch.rand(batch, 3, rows * 16, columns * 16))
    assert features.attention.shape == (batch, 3, rows, columns)
    total = features.attention.sum((2, 3))
    assert (features.attention >= 0).all()
    assert (total < 1).all(), "the class token keeps a share of its attention"


def test_frozen_and_reproducible() -> None:
    model = random_transformer("vit_tiny_patch16_224", embed_dim=24, depth=1, num_heads=3, seed=4)
    again = random_transformer("vit_tiny_patch16_224", embed_dim=24, depth=1, num_heads=3, seed=4)
    other = random_transformer("vit_tiny_patch16_224", embed_dim=24, depth=1, num_heads=3, seed=5)
    images = torch.rand(1, 3, 32, 32)
    assert not model.train().training
    assert not any(p.requires_grad for p in model.parameters())
    torch.testing.assert_close(model(images).keys, again(images).keys)
    assert not torch.allclose(model(images).keys, other(images).keys)


def test_size_must_fit_the_patches() -> None:
    model = random_transformer("vit_tiny_patch16_224", embed_dim=24, depth=1, num_heads=3)
    with pytest.raises(ConfigError, match=r"harvest\.size.*16 pixels"):
        model(torch.rand(1, 3, 40, 32))


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("test_resnet", "not a vision transformer"),
        ("test_vit4", "no class token"),
        ("vit_tiny_patch16_224.nonsense", "no weights 'nonsense'.*augreg"),
        ("vit_tiny_patch16_225", "did you mean 'vit_tiny_patch16_224'"),
    ],
)
def test_unsuited_transformers(arch: str, message: str) -> None:
    state = timm.create_model(arch).state_dict() if arch.startswith("test") else {"x": torch.ones(1)}
    with pytest.raises(WeightsError, match=message):
        backbones.load_transformer(weights(arch, state))


@pytest.fixture(scope="module")
def tiny_state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    state: dict[str, Tensor] = timm.create_model("vit_tiny_patch16_224").state_dict()
    return state


def test_transformer_with_and_without_head(tiny_state: dict[str, Tensor]) -> None:
    headless = {name: value for name, value in tiny_state.items() if not name.startswith("head.")}
    images = torch.rand(1, 3, 32, 32)
    left, right = (
        backbones.load_transformer(weights("vit_tiny_patch16_224.augreg_in21k", state))(images)
        for state in (tiny_state, headless)
    )
    torch.testing.assert_close(left.attention, right.attention)
    assert left.cls.shape == (1, 192)


def test_what_does_not_fit_is_told(tiny_state: dict[str, Tensor]) -> None:
    lacking = {name: value for name, value in tiny_state.items() if name != "blocks.3.norm1.weight"}
    with pytest.raises(WeightsError, match=r"some\.pth does not hold.*1 missing: blocks\.3\.norm1\.weight"):
        backbones.load_transformer(weights("vit_tiny_patch16_224", lacking))
    with pytest.raises(WeightsError, match=r"1 unexpected: extra"):
        backbones.load_transformer(weights("vit_tiny_patch16_224", tiny_state | {"extra": torch.ones(1)}))
    with pytest.raises(WeightsError, match=r"of another shape: .*\(192.*not 384"):
        backbones.load_transformer(weights("vit_small_patch16_224", tiny_state))
    resized = tiny_state | {"patch_embed.proj.weight": torch.ones(192, 3, 8, 8)}
    with pytest.raises(WeightsError, match=r"patch_embed\.proj\.weight \(192x3x8x8, not 192x3x16x16\)"):
        backbones.load_transformer(weights("vit_tiny_patch16_224", resized))


def test_cnn_heads() -> None:
    torch.manual_seed(2)
    net: Any = timm.create_model("test_efficientnet").eval()
    loaded = weights("test_efficientnet", net.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        kept, bare, new = (backbones.load_cnn(loaded, classes)(images) for classes in (None, 0, 7))
        pooled: Any = net.forward_head(net.forward_features(images), pre_logits=True)
        torch.testing.assert_close(kept, net(images))
    torch.testing.assert_close(bare, pooled)
    assert new.shape == (2, 7)


def test_cnn_names_by_order_only_where_all_shapes_agree() -> None:
    torch.manual_seed(3)
    net = timm.create_model("test_efficientnet").eval()
    renamed = {f"other_{index}": value for index, value in enumerate(net.state_dict().values())}
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbones.load_cnn(weights("test_efficientnet", renamed))(images), net(images))
    renamed["other_3"] = torch.ones(1, 2, 3)
    with pytest.raises(WeightsError, match="missing"):
        backbones.load_cnn(weights("test_efficientnet", renamed))


def test_cnn_lacking_a_tensor_is_refused_even_without_head() -> None:
    state = timm.create_model("test_efficientnet").state_dict()
    state.pop("bn1.weight")
    for classes in (None, 0, 5):
        with pytest.raises(WeightsError, match=r"1 missing: bn1\.weight"):
            backbones.load_cnn(weights("test_efficientnet", state), classes)


def test_names_and_normalisation() -> None:
    assert names.is_transformer("vit_small_patch16_224.dino") is True
    assert names.is_transformer("vit_small_patch16_dinov3") is True
    assert names.is_transformer("resnet18") is False
    assert names.is_transformer("no_such_net") is None
    assert names.cnn_config("resnet18")["mean"] == (0.485, 0.456, 0.406)
    entry = names.hub_entry("vit_small_patch16_224.dino")
    assert entry is not None and entry[0] == "timm/vit_small_patch16_224.dino"
    normalise = backbones.Normalise((0.5, 0.25, 0.0), (0.5, 0.25, 1.0))
    torch.testing.assert_close(normalise(torch.full((1, 3, 2, 2), 0.5))[0, :, 0, 0], torch.tensor([0.0, 1.0, 0.5]))
