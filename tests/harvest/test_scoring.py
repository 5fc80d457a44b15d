"""What the classifier is shown of a proposal, and what is made of its answer."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from dips.harvest.proposals import Proposals
from dips.harvest.scoring import best_proposals, blurred, masked_views, score_proposals

CPU = torch.device("cpu")


def photo(side: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def proposals(side: int, *boxes: tuple[int, int, int, int]) -> Proposals:
    """Discs in boxes."""
    regions = np.zeros((len(boxes), side, side), np.uint8)
    for region, (x0, y0, x1, y1) in zip(regions, boxes, strict=True):
        cv2.ellipse(region, (((x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2), (x1 - x0 - 1, y1 - y0 - 1), 0), (1,), -1)
    fractions = np.array(boxes, np.float32).reshape(-1, 4) / np.float32(side)
    return Proposals(fractions, regions.astype(bool), np.zeros(len(boxes), np.int64))


class Red(nn.Module):
    """Class 1 is likelier, the redder the photo; remembers how many photos it saw at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        assert float(images.min()) >= 0 and float(images.max()) <= 1
        amount = (images[:, 0] - images[:, 2]).mean((1, 2))
        return torch.stack([torch.zeros_like(amount), 8 * amount], 1)


def test_the_blur_is_the_papers_on_its_frame() -> None:
    line = np.zeros((224, 224, 3), np.uint8)
    line[:, 112] = 255
    reach = np.flatnonzero(blurred(line)[112, :, 0]) - 112
    assert (reach.min(), reach.max()) == (-57, 57)  # kernel 115
    profile = np.zeros((224, 224, 3), np.float32)
    profile[:, :112] = 200
    expected = cv2.GaussianBlur(profile, (115, 115), 100.5)
    assert np.abs(blurred(profile.astype(np.uint8)) - expected).max() <= 0.5


@pytest.mark.parametrize("side", [32, 96, 448])
def test_the_blur_scales_with_the_frame(side: int) -> None:
    base = np.asarray(cv2.resize(photo(8), (224, 224), interpolation=cv2.INTER_LINEAR), np.uint8)
    small = np.asarray(cv2.resize(base, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    back = cv2.resize(blurred(small), (224, 224), interpolation=cv2.INTER_LINEAR)
    assert np.abs(back.astype(int) - blurred(base)).mean() < 2


def test_box_view() -> None:
    image = photo()
    view = next(masked_views(image, proposals(64, (8, 20, 30, 50)), "box"))
    outside = np.ones((64, 64), bool)
    outside[20:50, 8:30] = False
    assert view.dtype == np.uint8 and np.array_equal(view[20:50, 8:30], image[20:50, 8:30])
    assert np.array_equal(view[outside], blurred(image)[outside])


@settings(max_examples=30)
@given(
    x=st.integers(0, 90),
    y=st.integers(0, 90),
    width=st.integers(3, 60),
    height=st.integers(3, 60),
    side=st.sampled_from([96, 150]),
)
def test_region_view_is_a_soft_blend(x: int, y: int, width: int, height: int, side: int) -> None:
    """Only the surroundings of the region are worked on; the result is that of the whole photo."""
    image = photo(side)
    item = proposals(side, (x, y, min(x + width, side), min(y + height, side)))
    view = next(masked_views(image, item, "region"))
    keep = cv2.GaussianBlur(item.regions[0].astype(np.float32), (0, 0), 3 * side / 224)[:, :, None]
    expected = keep * image + (1 - keep) * blurred(image)
    assert np.abs(view - expected).max() <= 1


def test_region_view_hides_the_rest_of_the_box() -> None:
    """A region of everything but the object has the photo as its box: the object is visible in one view only."""
    image = np.full((96, 96, 3), 90, np.uint8)
    image[30:66, 30:66] = (250, 0, 0)
    around = np.ones((1, 96, 96), bool)
    around[:, 30:66, 30:66] = False
    item = Proposals(np.array([[0, 0, 1, 1]], np.float32), around, np.zeros(1, np.int64))
    values = {on: score_proposals(Red(), [image], [item], [1], score_on=on, device=CPU)[0][0] for on in ("box", "region")}
    assert np.array_equal(next(masked_views(image, item, "box")), image)
    middle = next(masked_views(image, item, "region"))[48, 48]
    assert np.abs(middle.astype(int) - blurred(image)[48, 48]).max() <= 1
    assert values["box"] >= values["region"]


def test_scores_are_the_true_classes_probabilities() -> None:
    images = [photo(32, seed) for seed in range(3)]
    images[0][:16, :16] = (255, 0, 0)
    items = [proposals(32, (0, 0, 16, 16), (16, 16, 32, 32)), proposals(32), proposals(32, (4, 4, 20, 20))]
    ones = score_proposals(Red(), images, items, [1, 1, 1], score_on="box", device=CPU)
    zeros = score_proposals(Red(), images, items, [0, 0, 0], score_on="box", device=CPU)
    assert [len(part) for part in ones] == [2, 0, 1] and all(part.dtype == np.float32 for part in ones)
    assert ones[0][0] > ones[0][1]
    for one, zero in zip(ones, zeros, strict=True):
        np.testing.assert_allclose(one + zero, 1, rtol=1e-5)
    view = torch.from_numpy(next(masked_views(images[2], items[2], "box"))).permute(2, 0, 1)[None].float() / 255
    assert ones[2][0] == pytest.approx(float(Red()(view).softmax(1)[0, 1]))


@pytest.mark.parametrize("batch", [1, 2, 5, 64])
def test_views_pass_in_batches(batch: int) -> None:
    images = [photo(32, seed) for seed in range(3)]
    items = [proposals(32, *[(0, 0, 6 + n, 9)] * 3) for n in range(3)]
    network = Red()
    values = score_proposals(network, images, items, [1, 0, 1], score_on="region", device=CPU, batch=batch)
    assert max(network.sizes) <= batch and sum(network.sizes) == 9
    single = [
        score_proposals(Red(), [i], [p], [n], score_on="region", device=CPU)[0]
        for i, p, n in zip(images, items, [1, 0, 1], strict=True)
    ]
    np.testing.assert_allclose(np.stack(values), np.stack(single), rtol=1e-5)


def test_nothing_to_score() -> None:
    assert score_proposals(Red(), [], [], [], score_on="box", device=CPU) == []
    nothing = score_proposals(Red(), [photo(32)], [proposals(32)], [0], score_on="box", device=CPU)
    assert len(nothing) == 1 and nothing[0].shape == (0,)


@settings(max_examples=50)
@given(values=st.lists(st.floats(0, 1, width=32), max_size=12), top_p=st.integers(1, 9), min_score=st.floats(0, 1, width=32))
def test_best(values: list[float], top_p: int, min_score: float) -> None:
    scores = np.array(values, np.float32)
    chosen = best_proposals(scores, top_p=top_p, min_score=min_score)
    assert chosen.dtype == np.int64
    assert len(chosen) == min(top_p, max(int((scores >= min_score).sum()), min(1, len(scores))))
    assert len(set(chosen.tolist())) == len(chosen)
    assert (np.diff(scores[chosen]) <= 0).all()
    if len(chosen):
        assert scores[chosen[0]] == scores.max()
        left = np.delete(scores, chosen)
        assert len(chosen) == top_p or (left < min_score).all()
