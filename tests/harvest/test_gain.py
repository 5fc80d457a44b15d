"""What a review brings, on scenes in which boxes tell the object from what looks like one."""

from __future__ import annotations

import copy

import pytest
import torch

from dips.harvest.gain import review_gain

from .test_correct import NONE, STANDARD, scene


def test_a_review_that_helps() -> None:
    linear, blocks, reviews, labels = scene(12)
    before = copy.deepcopy(linear)
    gain = review_gain(linear, blocks, labels, reviews, STANDARD)
    assert gain is not None and gain.photos == gain.without.objects == gain.half.objects == gain.most.objects == 12
    assert (gain.without.right, gain.without.boxes) == (12, 24), "each object, and each thing that looks like one"
    assert gain.most.right == 12 and gain.most.boxes < 18 and 0.8 < gain.without.mean_iou <= gain.most.mean_iou + 0.02
    assert all(torch.equal(a, b) for a, b in zip(linear.state_dict().values(), before.state_dict().values(), strict=True))


def test_empty_photos_have_a_part_and_are_not_counted() -> None:
    linear, blocks, reviews, labels = scene(12)
    gain = review_gain(linear, blocks, [*labels[:10], (), ()], [*reviews[:10], NONE, NONE], STANDARD)
    assert gain is not None and gain.photos == gain.most.objects == 10


@pytest.mark.parametrize("count", [1, 7])
def test_a_few_photos_tell_nothing(count: int) -> None:
    linear, blocks, reviews, labels = scene(count)
    assert review_gain(linear, blocks, labels, reviews, STANDARD) is None


def test_of_many_photos_some_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dips.harvest.gain._MOST", 9)
    linear, blocks, reviews, labels = scene(20)
    gain = review_gain(linear, blocks, labels, reviews, STANDARD)
    assert gain is not None and 6 <= gain.photos <= 9


def test_tiles_of_a_photo_are_not_tried_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 tiles of eight photos, and four empty ones of the first two and of another photo."""
    linear, blocks, reviews, labels = scene(20)
    reviews, labels = [*reviews[:16], *[NONE] * 4], [*labels[:16], *[()] * 4]
    photos = [f"{row % 8}" for row in range(16)] + ["0", "1", "other", "other"]
    fitted: list[int] = []
    monkeypatch.setattr("dips.harvest.gain.correct", lambda _, blocks, *rest: fitted.append(len(blocks[0])))
    gain = review_gain(linear, blocks, labels, reviews, STANDARD, photos)
    assert gain is not None and gain.photos == 8 and gain.without.objects == gain.half.objects == gain.most.objects == 16
    assert sorted(fitted[:2]) == [8 + 3, 8 + 3] and sorted(fitted[2:]) == [12 + 3, 12 + 3, 12 + 4, 12 + 4]
    assert review_gain(linear, blocks, labels, reviews, STANDARD, ["one"] * 20) is None, "tiles of a single photo"
