"""SAT: the token's mask, what it does to the blocks, and the three losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dips.baselines import sat
from dips.baselines.sat import MASKED_BLOCKS, Sat, area_loss, normalisation_loss, spatial_mask
from dips.baselines.study import Study

IMAGES = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([2, 0])


def built(study: Study) -> Sat:
    method = Sat()
    method.take(study)
    method.build(study)
    return method


def test_the_mask_is_of_the_last_query_and_the_mean_over_heads() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4)
    found = spatial_mask(logits)
    for photo in range(2):
        for key in range(4):
            mean = sum(float(logits[photo, head, 3, key]) for head in range(3)) / 3
            assert found[photo, key] == pytest.approx(float(torch.tensor(mean).sigmoid()), rel=1e-4)


def test_the_area_is_of_the_batch() -> None:
    assert area_loss(torch.tensor([0.0, 0.5]).reshape(2, 1, 1)) == 0
    assert float(area_loss(torch.full((2, 3, 3), 0.1))) == pytest.approx(0.15)
    assert float(area_loss(torch.full((1, 3, 3), 0.9))) == pytest.approx(0.65)


def test_normalisation_by_hand() -> None:
    one = torch.zeros(1, 3, 3)
    one[0, 1, 1] = 1
    expected = (0.805 * 0.195 + 4 * 0.046 * 0.954 + 4 * 0.003 * 0.997) / 9
    assert float(normalisation_loss(one)) == pytest.approx(expected, rel=1e-5)
    assert float(normalisation_loss(torch.zeros(2, 4, 4))) == 0
    inside = torch.ones(1, 50, 50)  # there the kernel sums to 1.001
    assert abs(float(normalisation_loss(inside))) < 0.01 < float(normalisation_loss(inside / 2))


def test_the_token_starts_as_two_embeddings(study: Study) -> None:
    """The authors' token and its position, truncated normal with a standard deviation of .02 each, are only ever added."""
    torch.manual_seed(0)
    stds = [float(built(study).net.token.detach().std()) for _ in range(5)]
    assert sum(stds) / 5 == pytest.approx(0.0283, rel=0.15)


def test_masks_of_ones_leave_the_blocks_unchanged(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    net = built(study).net
    monkeypatch.setattr(sat, "spatial_mask", lambda logits: torch.ones(len(logits), logits.shape[-1]))
    with torch.no_grad():
        logits, masks = net.with_masks(IMAGES)
        tokens = net.vit.run(torch.cat([net.vit.embed(IMAGES), net.token.expand(2, -1, -1)], 1))
        patches = net.vit.norm(tokens)[:, 1:-1].transpose(1, 2).unflatten(2, (14, 14))
        torch.testing.assert_close(logits, net.head(patches).mean((2, 3)), rtol=1e-4, atol=1e-5)
    assert masks.shape == (2, 14, 14) and (masks == 1).all()


def test_masked_blocks_by_hand(study: Study) -> None:
    """Against timm's own blocks, whose attention a hook masks."""
    net: Any = built(study).net
    found: list[Tensor] = []
    handles = []
    with torch.no_grad():
        logits, masks = net.with_masks(IMAGES)
        tokens = torch.cat([net.vit.embed(IMAGES), net.token.expand(2, -1, -1)], 1)
        for block in net.vit.blocks[-MASKED_BLOCKS:]:
            block.attn.fused_attn = False

            def mask(block: Any, inputs: tuple[Tensor, ...]) -> None:
                normed = block.norm1(inputs[0])
                q, k, _ = block.attn.qkv(normed).unflatten(-1, (3, block.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
                found.append((q[:, :, -1:] @ k.transpose(-2, -1) * block.attn.scale).mean(1).squeeze(1).sigmoid())

            handles.append(block.register_forward_pre_hook(mask))
            handles.append(
                block.attn.attn_drop.register_forward_hook(lambda _module, _inputs, output: output * found[-1][:, None, None])
            )
        for block in net.vit.blocks:
            tokens = block(tokens)
        for handle in handles:
            handle.remove()
        patches = net.vit.norm(tokens)[:, 1:-1].transpose(1, 2).unflatten(2, (14, 14))
        torch.testing.assert_close(logits, net.head(patches).mean((2, 3)), rtol=1e-4, atol=1e-5)
    assert len(found) == MASKED_BLOCKS and found[0].shape == (2, 14 * 14 + 2)
    expected = torch.stack(found).mean(0)[:, 1:-1].unflatten(1, (14, 14))
    torch.testing.assert_close(masks, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("part", ["area", "normalisation", "class"])
def test_each_loss_reaches_the_token_and_the_blocks_that_learn(part: str, study: Study) -> None:
    net: Any = built(study).net
    logits, masks = net.with_masks(IMAGES)
    losses = {
        "area": area_loss(masks),
        "normalisation": normalisation_loss(masks),
        "class": F.cross_entropy(logits, LABELS),
    }
    losses[part].backward()
    assert net.token.grad.abs().sum() > 0
    first = net.vit.blocks[2].attn.qkv.weight  # of the four that learn
    assert first.grad is not None and first.grad.abs().sum() > 0
    assert (net.head.weight.grad is not None) == (part == "class")
    assert all(parameter.grad is None for block in net.vit.blocks[:2] for parameter in block.parameters())
    assert net.vit.net.patch_embed.proj.weight.grad is None


def test_the_loss_is_their_sum_over_photos_with_an_object(study: Study) -> None:
    method = built(study)
    with torch.no_grad():
        logits, masks = method.net.with_masks(IMAGES)
        classes = F.cross_entropy(logits, LABELS)
        loss = method.loss(IMAGES, LABELS, torch.Generator())
        torch.testing.assert_close(loss, classes + area_loss(masks) + normalisation_loss(masks))
        study.background = 2  # the first photo's class
        method.take(study)
        second = masks[1:]
        torch.testing.assert_close(
            method.loss(IMAGES, LABELS, torch.Generator()), classes + area_loss(second) + normalisation_loss(second)
        )
        nothing = torch.tensor([2, 2])
        torch.testing.assert_close(method.loss(IMAGES, nothing, torch.Generator()), F.cross_entropy(logits, nothing))


def test_maps_know_no_class_and_each_photo_has_its_own(study: Study) -> None:
    method = built(study)
    images = torch.cat([IMAGES, torch.full((1, 3, 224, 224), 0.5)])
    with torch.no_grad():
        maps = method.maps(images, torch.tensor([0, 1, 2]))
        assert maps.shape == (3, 14, 14) and maps.isfinite().all() and maps.min() == 0 and maps.max() == 1
        assert torch.equal(maps, method.maps(images, torch.tensor([2, 2, 1])))
        torch.testing.assert_close(maps[2:], method.maps(images[2:], torch.tensor([0])), rtol=1e-2, atol=1e-2)
        torch.testing.assert_close(method.probabilities(images).sum(1), torch.ones(3))


@pytest.mark.usefixtures("small_crops")
def test_a_fit_comes_back_and_the_same_seed_gives_the_same(study: Study) -> None:
    first, second, again = Sat(), Sat(), Sat()
    fit = first.fit(study)
    second.fit(study)
    state = first.state()
    assert fit.steps >= 4 and all(torch.equal(value, second.state()[name]) for name, value in state.items())
    start = built(study)
    again.restore(study, state)
    assert torch.equal(again.maps(IMAGES, LABELS), first.maps(IMAGES, LABELS))
    assert not torch.allclose(start.maps(IMAGES, LABELS), first.maps(IMAGES, LABELS)), "nothing was learned"
    assert {id(p) for p in first.new_parameters()} == {id(first.net.token), *map(id, first.net.head.parameters())}
