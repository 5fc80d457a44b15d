"""HaS: which pixels are covered, by what, and how often."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dips.baselines.has import CELL_SIDES, Has, hide, mean_colour
from dips.baselines.study import Study


def test_cells_by_loops() -> None:
    images = torch.rand(3, 3, 7, 10, generator=torch.Generator().manual_seed(0))
    before, fill, sizes = images.clone(), torch.tensor([2.0, 3.0, 4.0]), (4, 0, 3)
    found = hide(images, sizes, 0.5, fill, torch.Generator().manual_seed(7))
    assert torch.equal(images, before)
    generator, seen = torch.Generator().manual_seed(7), set()
    for b, size in enumerate(sizes):
        cells = torch.rand(-(-7 // size), -(-10 // size), generator=generator) if size else None
        for y in range(7):
            for x in range(10):
                covered = cells is not None and bool(cells[y // size, x // size] < 0.5)
                seen.add((b, covered))
                assert torch.equal(found[b, :, y, x], fill if covered else images[b, :, y, x])
    assert len(seen) == 5, "both kinds of cells in the two photos with a grid"


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_fraction_of_what_is_hidden(probability: float) -> None:
    found = hide(torch.zeros(8, 3, 64, 64), [2] * 8, probability, torch.ones(3), torch.Generator().manual_seed(0))
    assert float(found.mean()) == pytest.approx(probability, abs=0.02)


def test_fill_is_the_mean_of_the_training_photos(study: Study) -> None:
    squares = np.stack([study.train.square(i) for i in range(6)]).astype(float) / 255
    np.testing.assert_allclose(mean_colour(study.train, 6).numpy(), squares.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(mean_colour(study.train, 1000).numpy(), squares.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(mean_colour(study.train, 2).numpy(), squares[[0, 3]].mean((0, 1, 2)), rtol=1e-5)


def test_crops_get_sizes_of_their_own(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    method, drawn = Has(), []

    def spy(images: torch.Tensor, sizes: list[int], *rest: object) -> torch.Tensor:
        drawn.extend(sizes)
        return images

    monkeypatch.setattr("dips.baselines.has.hide", spy)
    method.build(study)
    method.fill = torch.zeros(3)
    method.loss(torch.rand(40, 3, 32, 32), torch.zeros(40, dtype=torch.long), torch.Generator().manual_seed(0))
    assert len(drawn) == 40 and set(drawn) == set(CELL_SIDES)
