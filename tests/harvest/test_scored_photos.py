"""Scored proposals: kept by photo, class, classifier and settings; read back as training wants them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dips.config import TrainConfig
from dips.errors import StoreError
from dips.harvest.harvest import Harvest
from dips.harvest.scored_photos import ScoredPhoto, ScoredPhotos, score_photos
from dips.train.batches import Feed, TrainingPhoto
from dips.types import DataSet, Outline, Review

Rig = Any
DataOf = Callable[..., DataSet]
LABELS = [0, 1, 2, 0, 1, 2]


class Colours(nn.Module):
    """A linear classifier of three colours that counts the views it is shown."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)))
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[1:] == (3, 28, 28)
        self.seen += len(images)
        weight: Tensor = self.get_buffer("weight")
        return images.mean((2, 3)) @ weight * 20


@pytest.fixture
def found(rig: Rig, data_of: DataOf, photos: list[Path]) -> Harvest:
    harvest: Harvest = rig.run(data_of(photos, LABELS))
    return harvest


def items_of(
    rig: Rig,
    found: Harvest,
    classifier: nn.Module,
    labels: list[int] | None = None,
    background: int | None = None,
    reviews: dict[str, Review] | None = None,
    **settings: Any,
) -> ScoredPhotos:
    labels = LABELS if labels is None else labels
    config = rig.config(**({"heads": 2, "min_area": 0.01, "top_p": 3} | settings))
    return score_photos(
        found,
        range(len(labels)),
        labels,
        classifier,
        config=config,
        side=28,
        store=rig.store,
        background=background,
        reviews=reviews or {},
        device=torch.device("cpu"),
    )


def every(items: ScoredPhotos) -> list[ScoredPhoto]:
    return [items[index] for index in range(len(items))]


def test_items(rig: Rig, found: Harvest) -> None:
    items = items_of(rig, found, Colours(), map_power=0.5)
    assert len(items) == 6 and len(every(items)) == 6
    for position, item in enumerate(every(items)):
        as_training_sees_it: TrainingPhoto = item
        assert as_training_sees_it.label == LABELS[position]
        count = len(item.boxes)
        assert 1 <= count <= 3
        assert item.image.shape == (32, 32, 3) and item.image.dtype == np.uint8
        assert np.array_equal(item.image, found.square(found.digests[position]))
        assert item.maps.shape == (count, 4, 4) and item.maps.dtype == np.float16
        assert item.regions.shape == (count, 28, 28) and item.regions.dtype == np.bool_
        assert (np.diff(item.scores) <= 0).all() and item.scores.min() >= 0 and item.scores.max() <= 1
        for box, region, level_map in zip(item.boxes, item.regions, item.maps, strict=True):
            y, x = np.nonzero(region)
            np.testing.assert_allclose(box * 28, [x.min(), y.min(), x.max() + 1, y.max() + 1], atol=1e-4)
            sources = found.source_maps(found.digests[position], 2) ** 0.5
            assert np.abs(sources - level_map).max((1, 2)).min() < 1e-3 and level_map.max() == 1


@pytest.mark.parametrize("position", [6, 100])
def test_past_the_end(rig: Rig, found: Harvest, position: int) -> None:
    with pytest.raises(IndexError):
        items_of(rig, found, Colours())[position]


def test_training_takes_them(rig: Rig, found: Harvest) -> None:
    feed = Feed(items_of(rig, found, Colours(), background=2), TrainConfig(batch=6, resize=32))
    (batch,) = feed.epoch(0)
    assert batch.images.shape == (6, 32, 32, 3) and batch.regions.shape == (6, 1, 28, 28)
    assert batch.has_proposal.tolist() == (batch.labels != 2).tolist()


def test_photos_of_the_background_class_have_no_proposal(rig: Rig, found: Harvest) -> None:
    classifier = Colours()
    items = items_of(rig, found, classifier, background=2)
    alone = Colours()
    items_of(rig, found, alone, labels=[0, 1, 0, 1], background=2, top_p=2)
    for position in (2, 5):
        item = items[position]
        assert len(item.maps) == len(item.boxes) == len(item.regions) == len(item.scores) == 0
        assert item.label == 2 and item.image.shape == (32, 32, 3)
    assert items.shelf.missing([]) == [] and classifier.seen > 0
    nothing = Colours()
    assert len(items_of(rig, found, nothing, labels=[2] * 6, background=2)) == 6 and nothing.seen == 0


def test_a_second_run_asks_no_classifier(rig: Rig, found: Harvest, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = Colours(), Colours()
    before = items_of(rig, found, first)
    assert "0 photos are in the store, 6 to be scored" in capsys.readouterr().err
    after = items_of(rig, found, second)
    assert "6 photos are in the store, 0 to be scored" in capsys.readouterr().err
    assert first.seen > 0 and second.seen == 0
    for one, other in zip(every(before), every(after), strict=True):
        assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("maps", "regions", "boxes", "scores"))


def test_a_new_label_is_scored_and_no_other(rig: Rig, found: Harvest) -> None:
    items_of(rig, found, Colours())
    alone = Colours()
    items_of(rig, found, alone, labels=[1, 1, 2, 0, 1, 2])
    proposals_of_first = Colours()
    items_of(rig, found, proposals_of_first, labels=[2])
    assert alone.seen == proposals_of_first.seen > 0
    back = Colours()
    items_of(rig, found, back, labels=[1, 1, 2, 0, 1, 2], background=0)
    assert back.seen == 0


@pytest.mark.parametrize(
    "change",
    [{"heads": 0}, {"map_power": 0.5}, {"levels": 2}, {"min_area": 0.2}, {"score_on": "box"}, {"top_p": 1}, {"min_score": 0.9}],
)
def test_what_scores_depend_on(rig: Rig, found: Harvest, change: dict[str, Any]) -> None:
    items_of(rig, found, Colours())
    again = Colours()
    items_of(rig, found, again, **change)
    assert again.seen > 0


def test_another_classifier_or_square_scores_anew(rig: Rig, data_of: DataOf, photos: list[Path], found: Harvest) -> None:
    items_of(rig, found, Colours())
    other = Colours(seed=1)
    items_of(rig, found, other)
    assert other.seen > 0
    rig.resize = 40
    larger = rig.run(data_of(photos, LABELS))
    same = Colours()
    assert items_of(rig, larger, same)[0].image.shape == (40, 40, 3) and same.seen > 0


def test_what_scores_do_not_depend_on(rig: Rig, found: Harvest) -> None:
    items_of(rig, found, Colours())
    again = Colours()
    items_of(rig, found, again, batch=5, refine_rounds=7)
    assert again.seen == 0


def test_a_stopped_run_goes_on(rig: Rig, found: Harvest, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stops(Colours):
        def forward(self, images: Tensor) -> Tensor:
            if self.calls == 1:
                raise KeyboardInterrupt
            self.calls += 1
            return super().forward(images)

        calls = 0

    with pytest.raises(KeyboardInterrupt):
        items_of(rig, found, Stops())
    rest, all_of = Colours(), Colours()
    items = items_of(rig, found, rest)
    items_of(rig, found, all_of, min_score=1e-6)
    assert 0 < rest.seen < all_of.seen
    assert all(len(item.boxes) for item in every(items))


def test_constant_maps_give_no_proposal(rig: Rig, found: Harvest) -> None:
    found.maps.put({d: {"attention": np.ones((3, 4, 4), np.float16), "cls": np.zeros(24, np.float16)} for d in found.digests})
    items = items_of(rig, found, Colours())
    assert [len(item.regions) for item in every(items)] == [0] * 6
    assert items[0].maps.shape[0] == 0 and items[0].boxes.shape == (0, 4)
    (batch,) = Feed(items, TrainConfig(batch=6, resize=32)).epoch(0)
    assert not batch.has_proposal.any()


def test_a_lost_record_is_named(rig: Rig, found: Harvest) -> None:
    items = items_of(rig, found, Colours())
    items.shelf.close()
    for file in items.shelf.folder.glob("*.sqlite"):
        file.unlink()
    with pytest.raises(StoreError, match="run the command again"):
        items[0]


def test_a_part_of_the_photos(rig: Rig, found: Harvest) -> None:
    items = score_photos(
        found,
        [4, 1],
        [1, 1],
        Colours(),
        config=rig.config(),
        side=28,
        store=rig.store,
        background=None,
        reviews={},
        device=torch.device("cpu"),
    )
    assert [np.array_equal(items[i].image, found.square(found.digests[p])) for i, p in enumerate((4, 1))] == [True, True]


HALVES = np.array([[0, 0, 0.5, 1], [0.5, 0.5, 1, 1]], np.float32)  # of the frame; the second is a quarter


def shape_of(*corners: tuple[float, float]) -> Outline:
    """An outline in fractions of the frame."""
    return Outline((1, 1), (np.array(corners, np.float32),))


def test_reviewed_boxes_take_the_place_of_the_proposals(rig: Rig, found: Harvest) -> None:
    before = items_of(rig, found, Colours())
    items = items_of(rig, found, Colours(), reviews={found.digests[1]: Review(HALVES)})
    item = items[1]
    assert len(item.boxes) == len(item.scores) == 1 and item.boxes[0].tolist() == [0, 0, 1, 1] and item.scores[0] == 1
    expected = np.zeros((28, 28), bool)
    expected[:, :14] = expected[14:, 14:] = True
    assert np.array_equal(item.regions[0], expected)
    assert not item.maps[0][:2, 2:].any() and item.maps.max() == 1 and item.maps.dtype == np.float16
    assert np.array_equal(items[0].regions, before[0].regions), "nobody reviewed it"


@pytest.mark.parametrize(
    ("outlines", "area"),
    [
        ((shape_of((0, 0), (0.5, 0), (0.5, 0.5), (0, 0.5)), None), 0.25 + 0.25),  # the upper half of the first box
        ((shape_of((0, 0), (0.5, 0), (0, 1)), shape_of((0.5, 0.5), (1, 0.5), (0.5, 1))), 0.25 + 0.125),  # triangles
        ((None, shape_of((0.75, 0.5), (1, 0.5), (1, 1), (0.75, 1))), 0.5 + 0.125),
        ((shape_of((0.2, 0), (0.2, 1), (0.205, 1), (0.205, 0)), None), 1 / 28 + 0.25),  # thinner than a cell
        ((shape_of((5, 5), (6, 5), (6, 6)), None), 0.5 + 0.25),  # beside the photo: the box counts
    ],
)
def test_the_pixels_of_an_outline_are_the_region(
    rig: Rig, found: Harvest, outlines: tuple[Outline | None, ...], area: float
) -> None:
    digest = found.digests[1]
    item = items_of(rig, found, Colours(), reviews={digest: Review(HALVES, outlines)})[1]
    boxed = items_of(rig, found, Colours(), reviews={digest: Review(HALVES)})[1]
    assert abs(float(item.regions[0].mean()) - area) < 0.03 and not (item.regions & ~boxed.regions).any()
    assert item.maps.max() == 1 and np.array_equal(item.boxes, boxed.boxes)
    coarse = item.regions[0].reshape(4, 7, 4, 7).any((1, 3))
    assert not item.maps[0][~coarse].any(), "foreground is drawn inside of the outlines alone"
