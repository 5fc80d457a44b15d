"""The classifier on the class token of a transformer."""

from __future__ import annotations

import torch

from dips.baselines.study import Study
from dips.baselines.vit import ClassToken
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
