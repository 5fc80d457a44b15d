"""The base of methods that train a classifier: which map is a photo's."""

from __future__ import annotations

import torch

from dips.baselines.classifiers import of_class


def test_of_class() -> None:
    maps = torch.arange(12.0).reshape(2, 3, 1, 2)
    assert of_class(maps, torch.tensor([2, 0])).tolist() == [[[4, 5]], [[6, 7]]]
