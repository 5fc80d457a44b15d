"""What a CNN says of each cell: the same as of the photo, taken apart."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import nn

from dips.models.cells import cell_logits, has_cells, unpooled
from dips.models.classifier import Classifier


def seen(arch: str, side: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    classifier = Classifier(arch, 3).eval()
    with torch.no_grad(), unpooled(classifier) as features:
        logits = classifier(torch.rand(2, 3, side, side))
        return cell_logits(classifier, features[0]), logits


@pytest.mark.parametrize("arch", ["test_efficientnet", "test_resnet", "test_nfnet", "regnetx_002"])
def test_the_mean_of_the_cells_is_the_photo(arch: str) -> None:
    cells, logits = seen(arch)
    assert cells.shape == (2, 3, 3, 3) and float(cells.std()) > 0
    torch.testing.assert_close(cells.mean((2, 3)), logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("arch", "side"), [("mobilenetv3_small_050", 64), ("test_convnext", 64), ("swin_tiny_patch4_window7_224", 224)]
)
def test_layers_after_the_pooling_are_applied_to_each_cell(arch: str, side: int) -> None:
    cells, logits = seen(arch, side)
    assert cells.shape == (2, 3, side // 32, side // 32) and torch.isfinite(cells).all()
    assert logits.shape == (2, 3)


@pytest.mark.parametrize("arch", ["test_efficientnet", "test_convnext"])
def test_a_cell_says_what_a_photo_says_that_is_the_same_everywhere(arch: str) -> None:
    """Where all cells agree, each of them is the photo, whatever comes after the pooling."""
    torch.manual_seed(0)
    classifier = Classifier(arch, 3).eval()
    width = 8
    body = cast(Any, classifier.body)
    features = torch.rand(1, body.num_features, 1, 1).expand(-1, -1, 4, width)
    with torch.no_grad():
        whole = classifier.head(body.forward_head(features))
        cells = cell_logits(classifier, features)
    torch.testing.assert_close(cells, whole[:, :, None, None].expand(-1, -1, 4, width), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("arch", ["test_vit", "test_mambaout"])
def test_a_network_without_a_pooling_layer_has_none(arch: str) -> None:
    assert not has_cells(Classifier(arch, 2))
    assert has_cells(Classifier("test_efficientnet", 2))


def test_nothing_stays_behind() -> None:
    classifier = Classifier("test_efficientnet", 2).eval()
    with pytest.raises(RuntimeError, match="must match"), unpooled(classifier), torch.no_grad():
        classifier(torch.rand(1, 5, 64, 64))
    pool = classifier.body.global_pool
    assert isinstance(pool, nn.Module) and not pool._forward_hooks
