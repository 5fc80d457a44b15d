"""Which tiles show the object is found from the classes of the photos alone; what is known is not guessed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dips.harvest import views
from dips.harvest.views import choose_labels, choose_views
from dips.models.linear_probe import fit_linear
from dips.types import Sample

TILES, WIDTH = 12, 24
EMPTY = np.zeros((0, 4), np.float32)
BOX = np.array([[0, 0, 9, 9]], np.float32)


def scene(shown: dict[int, list[int]], labels: list[int], *, seed: int = 0) -> tuple[list[Sample], Tensor]:
    """Photos of ``labels`` in twelve tiles, of which those in ``shown`` have an object: its class is a direction in feature
    space. Every photo has a look of its own, which a classifier may take for its class."""
    rng = np.random.default_rng(seed)
    samples, rows = [], []
    for photo, label in enumerate(labels):
        look = rng.normal(0, 0.4, WIDTH)
        for tile in range(TILES):
            row = look + rng.normal(0, 0.5, WIDTH)
            if tile in shown.get(photo, []):
                row[3 * label : 3 * label + 3] += 4
            rows.append(row)
            window = (tile * 10, 0, tile * 10 + 10, 10)
            samples.append(Sample(Path(f"{photo}.jpg"), f"{photo}#{tile}", label, window=window))
    return samples, torch.from_numpy(np.array(rows, np.float32))


def found(labels: list[int | None], photo: int) -> list[int | None]:
    return labels[photo * TILES : (photo + 1) * TILES]


@pytest.mark.parametrize(("background", "classes"), [(0, 2), (1, 2), (1, 3)])
def test_the_tiles_that_show_the_object_are_found(background: int, classes: int) -> None:
    objects = [label for label in range(classes) if label != background]
    labels = [background if photo % 2 else objects[photo // 2 % len(objects)] for photo in range(40)]
    shown = {photo: [photo % TILES, (photo * 5 + 3) % TILES] for photo in range(0, 40, 2)}
    samples, pooled = scene(shown, labels)
    given = choose_views(pooled, samples, len(samples), background=background, classes=classes)
    right = wrong = 0
    for photo, label in enumerate(labels):
        if label == background:
            assert found(given, photo) == [background] * TILES
            continue
        kept = {tile for tile, value in enumerate(found(given, photo)) if value is not None}
        assert kept and set(found(given, photo)) <= {label, None}
        right, wrong = right + len(kept & set(shown[photo])), wrong + len(kept - set(shown[photo]))
    assert right >= 0.9 * sum(len(set(tiles)) for tiles in shown.values()) and wrong <= 0.2 * right


def test_photos_that_are_not_fitted_on_are_judged_alike() -> None:
    labels = [photo % 2 for photo in range(40)]
    shown = {photo: [photo % TILES] for photo in range(1, 40, 2)}
    samples, pooled = scene(shown, labels)
    fitted = 30 * TILES
    given = choose_views(pooled, samples, fitted, background=0, classes=2)
    for photo in range(31, 40, 2):
        assert found(given, photo)[photo % TILES] == 1 and found(given, photo).count(1) <= 2
    other = pooled.clone()
    other[fitted:] = 0
    again = choose_views(other, samples, fitted, background=0, classes=2)
    assert again[:fitted] == given[:fitted]


def test_known_boxes_decide_and_training_boxes_only_where_a_person_gave_them() -> None:
    labels = [photo % 2 for photo in range(16)]
    samples, pooled = scene({photo: [4] for photo in range(1, 16, 2)}, labels)
    for tile in range(TILES):  # reviewed in training, known in validation: the tile 2; known in training: never used
        boxes = BOX if tile == 2 else EMPTY
        for photo, reviewed in ((1, True), (3, False), (15, False)):
            old = samples[photo * TILES + tile]
            samples[photo * TILES + tile] = Sample(old.path, old.id, 1, boxes, (10, 10), reviewed=reviewed, window=old.window)
    given = choose_views(pooled, samples, 14 * TILES, background=0, classes=2)
    expected = [0, 0, 1, *[0] * (TILES - 3)]
    assert found(given, 1) == expected and found(given, 15) == expected
    assert found(given, 3)[4] == 1 and found(given, 3)[2] is None


def test_whole_photos_and_few_photos_keep_their_labels() -> None:
    samples, pooled = scene({0: [1]}, [1, 0])
    samples.append(Sample(Path("small.jpg"), "small", 1))
    pooled = torch.cat([pooled, pooled[1:2]])
    given = choose_views(pooled, samples, len(samples), background=0, classes=2)
    assert given[-1] == 1 and 1 in found(given, 0) and found(given, 1) == [0] * TILES


def test_of_several_labels_each_is_shown_by_a_tile() -> None:
    """Every photo of objects shows both classes, in different tiles, and some show one; a label goes to its own tiles."""
    labels = [1 if photo % 2 else 0 for photo in range(60)]
    samples, pooled = scene({photo: [photo % 6] for photo in range(1, 60, 2)}, labels)
    for photo in range(1, 60, 2):
        if photo % 3 == 0:
            continue
        for tile in range(TILES):
            samples[photo * TILES + tile] = dataclasses.replace(samples[photo * TILES + tile], others=(2,))
        pooled[photo * TILES + 6 + photo % 6, 6:9] += 4
    given = choose_labels(pooled, samples, len(samples), background=0, classes=3)
    right = wrong = 0
    for photo in range(1, 60, 2):
        own = given[photo * TILES : (photo + 1) * TILES]
        for label, place in ((1, photo % 6), (2, 6 + photo % 6 if photo % 3 else None)):
            tiles = {tile for tile, kept in enumerate(own) if kept is not None and label in kept}
            assert bool(tiles) == (place is not None)
            right, wrong = right + (place in tiles), wrong + len(tiles - {place})
    assert right >= 45 and wrong <= 0.4 * right
    assert all(given[photo * TILES] == (0,) for photo in range(0, 60, 2))


def test_a_tile_with_a_box_is_no_background_of_the_other_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, pooled = scene({photo: [photo % TILES] for photo in range(1, 24, 2)}, [photo % 2 for photo in range(24)])
    boxed = {TILES + 3: (1,), TILES + 5: (2,), TILES + 7: (2, 1), 3 * TILES + 2: (2, 2)}
    for index in (*range(TILES, 2 * TILES), *range(3 * TILES, 4 * TILES), *range(5 * TILES, 6 * TILES)):
        owners = boxed.get(index, ())
        known = {} if index >= 5 * TILES else {"reviewed": True, "boxes": BOX.repeat(len(owners), 0), "box_labels": owners}
        samples[index] = dataclasses.replace(samples[index], others=(2,), **known)
    seen: dict[int, set[int]] = {index: set() for index in boxed}

    def fit(rows: Tensor, labels: Tensor, *args: Any, **options: Any) -> Any:
        for index, own in seen.items():
            own.update(labels[(rows == pooled[index]).all(1)].tolist())
        return fit_linear(rows, labels, *args, **options)

    monkeypatch.setattr(views, "fit_linear", fit)
    given = choose_labels(pooled, samples, len(samples), background=0, classes=3)
    assert seen == {index: set(own) for index, own in boxed.items()}
    assert [given[index] for index in boxed] == [(1,), (2,), (1, 2), (2,)]
    assert given[TILES] == given[3 * TILES] == (0,)


def test_one_label_each_is_chosen_as_ever() -> None:
    labels = [photo % 3 for photo in range(30)]
    samples, pooled = scene({photo: [photo % TILES] for photo in range(30)}, labels)
    found = choose_labels(pooled, samples, 300, background=0, classes=3)
    alone = choose_views(pooled, samples, 300, background=0, classes=3)
    assert found == [None if label is None else (label,) for label in alone]


def test_boxes_say_which_labels_a_tile_shows() -> None:
    both, window = np.array([[0, 0, 9, 9], [1, 1, 5, 5]], np.float32), (0, 0, 10, 10)
    first = Sample(Path("a"), "a#0", 1, both, window=window, reviewed=True, others=(2,), box_labels=(1, 2))
    samples = [
        first,
        dataclasses.replace(first, id="a#1", boxes=both[:1], window=(10, 0, 20, 10), box_labels=(2,)),
        dataclasses.replace(first, id="a#2", boxes=EMPTY, window=(20, 0, 30, 10), box_labels=()),
        Sample(Path("b"), "b", 0, window=window),
    ]
    assert choose_labels(torch.rand(4, WIDTH), samples, 4, background=0, classes=3) == [(1, 2), (2,), (0,), (0,)]
