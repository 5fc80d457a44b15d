"""The classifier on the class token of a transformer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dips.baselines.study import Study
from dips.baselines.tscam import TsCam
from dips.baselines.vit import ClassToken, VitMethod
from dips.baselines.vitol import VitolGar
from dips.models.backbones import load_vit


def test_logits_of_the_normed_class_token(study: Study) -> None:
    vit = load_vit(study.sst)
    net, images = ClassToken(vit, 3), torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        cls = vit.net.forward_features(vit.normalise(images))[:, 0]  # type: ignore[operator]
        expected = cls @ net.head.weight.T + net.head.bias
        torch.testing.assert_close(net(images), expected)
        torch.testing.assert_close(net.logits(vit.tokens(images)), expected)
        torch.testing.assert_close(net(images)[:1], net(images[:1]), rtol=1e-4, atol=1e-5)
    assert net(images).shape == (2, 3)


def test_only_what_learns_gets_a_gradient(study: Study) -> None:
    vit = load_vit(study.sst)
    vit.learn(1)
    net = ClassToken(vit, 3)
    torch.nn.functional.cross_entropy(net(torch.rand(2, 3, 32, 32)), torch.tensor([0, 2])).backward()
    reached = {name for name, parameter in net.named_parameters() if parameter.grad is not None and parameter.grad.any()}
    assert {"head.weight", "head.bias", "vit.net.blocks.5.attn.qkv.weight", "vit.net.norm.weight"} <= reached
    assert not any(name.startswith(("vit.net.blocks.4", "vit.net.patch_embed")) for name in reached)


@pytest.mark.parametrize("kind", [TsCam, VitolGar])
def test_the_last_layer_is_fitted_on_the_frozen_transformer(kind: type[VitMethod], study: Study) -> None:
    study.seconds = 30.0
    method = kind()
    method.build(study)
    head: Any = method.net.head
    before = {name: value.clone() for name, value in method.net.state_dict().items()}
    left = method.fit_layer(head, study)
    assert 0 < left.seconds < 30 and study.seconds == 30
    changed = {name for name, value in method.net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"} and not head._forward_pre_hooks
    images, labels = study.train.batch(range(6), method.side, study.device)
    with torch.no_grad():
        assert torch.equal(method.net(images).argmax(1), labels), "six photos can be told apart"
    if kind is TsCam:
        assert int((head.weight != 0).any(0).any(0).sum()) == 1 and head.weight[:, :, 1, 1].any(), "the centre of the kernel"


def test_the_fitted_layer_is_a_checkpoint(study: Study) -> None:
    fit = TsCam().fit(study)
    assert fit.curve[0]["step"] == 0 and fit.steps >= 4
