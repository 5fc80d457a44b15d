"""What a run starts from: classifier, linear maps, and, only where a U-Net is trained, the harvest of all photos."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dips.config import Config
from dips.data.images import read_image, resize_image
from dips.data.tiling import in_tiles
from dips.errors import DataError
from dips.fitting.inputs import TrainingInputs
from dips.harvest.features import linear_maps
from dips.harvest.store import Store
from dips.models.inputs import to_tensor
from dips.types import DataSet, Outline, Sample

pytestmark = pytest.mark.usefixtures("unfolded")  # passes are counted

Parts = tuple[DataSet, DataSet]
PrepareParts = Callable[..., TrainingInputs]


@pytest.fixture
def fresh(tmp_path: Path) -> Store:
    """A store that holds nothing."""
    return Store(tmp_path / "store")


def shelves(store: Store) -> Counter[str]:
    """How many shelves of each kind there are."""
    return Counter(path.name.split("-")[0] for path in store.folder.iterdir() if path.is_dir() and path.name != "digests")


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def squares(samples: tuple[Sample, ...], side: int = 64) -> Tensor:
    return to_tensor([resize_image(read_image(sample.path), (side, side)) for sample in samples])


def test_by_default_nothing_is_made_for_a_unet(
    parts: Parts, prepare_parts: PrepareParts, plain_config: Config, fresh: Store, passes: Counter[str]
) -> None:
    """Every photo passes the CNN once; the transformer sees those of the fit alone."""
    config = plain_config.replace(**{"harvest.refine_photos": 4})
    inputs = prepare_parts(parts, config=config, store=fresh)
    assert passes == {"loads": 1, "transformer": 4, "cnn": 12}
    assert inputs.proposals is None and set(inputs.weights) == {"transformer", "classifier"}
    assert set(inputs.accuracy) == {"classifier"} and inputs.problems == () and len(inputs.digests) == 12
    assert inputs.linear is not None and inputs.linear.channels == (32, 48, 64, 64)
    assert inputs.linear.fast.bias.shape == (1,), "one class shows objects"
    assert {name: count for name, count in shelves(fresh).items() if name in ("squares", "maps", "scores")} == {}
    passes.clear()
    again = prepare_parts(parts, config=config, store=fresh)
    assert passes == {} and again.linear is not None and same(inputs.linear, again.linear), "all is in the store"
    assert same(inputs.classifier, again.classifier) and inputs.origin == again.origin


def test_a_unet_is_trained_on_maps_of_all_photos(
    parts: Parts, prepare_parts: PrepareParts, tiny_config: Config, fresh: Store, passes: Counter[str]
) -> None:
    inputs = prepare_parts(parts, config=tiny_config.replace(**{"harvest.refine_photos": 4}), store=fresh)
    assert passes["loads"] == 1 and passes["transformer"] == 4 + 12
    assert set(inputs.weights) == {"transformer", "classifier", "encoder"}
    assert set(inputs.accuracy) == {"classifier", "linear_probe"} and 0 <= inputs.accuracy["linear_probe"] <= 100
    assert inputs.proposals is not None and inputs.linear is not None
    harvest = inputs.proposals.harvest
    assert len(inputs.proposals.train) == 8 and len(inputs.proposals.val) == 4 and harvest.digests == inputs.digests
    assert np.array_equal(inputs.val_square(1), harvest.square(inputs.digests[9]))
    # the maps are the accurate ones, twice as fine as the finest grid, in which each photo's maximum is 1
    look = inputs.frozen().look(squares(inputs.val.samples[1:2]))
    with torch.inference_mode():
        logits = inputs.linear.accurate([*look.stages, *look.keys], torch.ones(1, 1))
        expected = (torch.nn.functional.interpolate(logits[:, None], (16, 16), mode="bilinear")[0, 0] / 2).sigmoid()
    refined = harvest.refined(inputs.digests[9])
    assert refined is not None
    np.testing.assert_allclose(refined, expected / expected.max(), atol=5e-3)


@pytest.mark.parametrize("refine", ["none", "image"])
def test_without_linear_maps(
    parts: Parts, prepare_parts: PrepareParts, tiny_config: Config, fresh: Store, passes: Counter[str], refine: str
) -> None:
    config = tiny_config.replace(**{"harvest.refine": refine, "predict.mode": "unet"})
    inputs = prepare_parts(parts, config=config, store=fresh)
    assert inputs.linear is None and inputs.proposals is not None and passes["transformer"] == 12
    refined = inputs.proposals.harvest.refined(inputs.digests[0])
    assert (refined is None) == (refine == "none") and "linear" not in shelves(fresh)


def test_nothing_is_fitted_on_the_validation_part(
    parts: Parts, prepare_parts: PrepareParts, plain_config: Config, monkeypatch: pytest.MonkeyPatch, fresh: Store
) -> None:
    seen = recorded(monkeypatch)
    inputs = prepare_parts(parts, config=plain_config, store=fresh)
    assert seen["labels"] == dict(zip(inputs.digests[:8], [-1, 0] * 4, strict=True)), "of the object classes"
    assert seen["classes"] == 1 and seen["reviews"] == {}
    other = Sample(parts[1].samples[0].path, "other", 1)  # another label in validation changes no fit
    val = dataclasses.replace(parts[1], samples=(other, *parts[1].samples[1:]))
    changed = prepare_parts((parts[0], val), config=plain_config, store=fresh)
    assert changed.linear is not None and inputs.linear is not None and same(changed.linear, inputs.linear)
    assert same(changed.classifier, inputs.classifier)


def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Keep what the fit of the linear maps is asked for."""
    seen: dict[str, Any] = {}

    def record(reader: Any, labels: Any, **options: Any) -> Any:
        seen.update(options, labels=labels)
        return linear_maps(reader, labels, **options)

    monkeypatch.setattr("dips.fitting.prepare.linear_maps", record)
    return seen


@pytest.mark.parametrize("first", [True, False])
def test_a_photo_in_both_kinds_of_folder_shows_something(
    parts: Parts,
    prepare_parts: PrepareParts,
    plain_config: Config,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    first: bool,
) -> None:
    seen = recorded(monkeypatch)
    shown = parts[0].samples[1]
    copy = Sample(Path(shutil.copy(shown.path, tmp_path / "copy.png")), "copy", 0)
    samples = (copy, *parts[0].samples) if first else (*parts[0].samples, copy)
    inputs = prepare_parts((dataclasses.replace(parts[0], samples=samples), parts[1]), config=plain_config)
    assert len(seen["labels"]) == 8 and seen["labels"][inputs.digests[samples.index(shown)]] == 0
    assert len(inputs.train) == 9


def test_all_layers_of_the_classifier(
    parts: Parts, prepare_parts: PrepareParts, plain_config: Config, fresh: Store, passes: Counter[str]
) -> None:
    """The linear maps are fitted on the features of the network that was trained, not on those that it started from."""
    head = prepare_parts(parts, config=plain_config, store=fresh)
    assert "squares" not in shelves(fresh)
    config = plain_config.replace(**{"classifier.mode": "full", "classifier.epochs": 1, "classifier.batch": 7})  # 8 photos
    one, again = (prepare_parts(parts, config=config, store=fresh) for _ in range(2))
    assert same(one.classifier, again.classifier) and not same(one.classifier, head.classifier)
    assert not any(p.requires_grad for p in one.classifier.parameters()) and not one.classifier.training
    assert head.linear is not None and one.linear is not None and again.linear is not None
    assert same(one.linear, again.linear) and not same(one.linear, head.linear)
    assert shelves(fresh) >= Counter(linear=2, squares=1, cnn=1), "the trained network's features are not kept as others'"
    assert passes["loads"] == 2, "for the second training the maps are in the store"


@pytest.mark.parametrize("mode", ["head", "full"])
def test_accuracy_is_that_of_the_classifier_on_the_photos(
    parts: Parts, prepare_parts: PrepareParts, plain_config: Config, mode: str
) -> None:
    inputs = prepare_parts(parts, config=plain_config.replace(**{"classifier.mode": mode, "classifier.epochs": 1}))
    with torch.no_grad():
        predicted = inputs.classifier(squares(inputs.val.samples)).argmax(1).tolist()
    expected = [label == sample.label for label, sample in zip(predicted, inputs.val.samples, strict=True)]
    assert inputs.accuracy["classifier"] == 100 * sum(expected) / 4
    by_class = [100 * sum(expected[label::2]) / 2 for label in (0, 1)]  # labels take turns
    found = inputs.class_accuracy
    assert (found.mean, found.lowest, found.photos) == (sum(by_class) / 2, min(by_class), 2)
    assert found.worst == ("thing" if by_class[1] < by_class[0] else "none")


@pytest.mark.parametrize("epochs", [0, 1])
@pytest.mark.parametrize("mode", ["head", "full"])
def test_unreadable_photos(
    parts: Parts, prepare_parts: PrepareParts, tiny_config: Config, tmp_path: Path, epochs: int, mode: str
) -> None:
    config = tiny_config.replace(**{"train.epochs": epochs, "classifier.mode": mode, "classifier.epochs": 1})
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    bad = Sample(tmp_path / "bad.jpg", "bad.jpg", 1)
    more = dataclasses.replace(parts[0], samples=(bad, *parts[0].samples))
    inputs = prepare_parts((more, parts[1]), config=config)
    assert len(inputs.train) == 8 and len(inputs.digests) == 12 and [p.path for p in inputs.problems] == [bad.path]
    assert inputs.proposals is None or inputs.proposals.harvest.digests == inputs.digests
    only = dataclasses.replace(parts[1], samples=(bad,))
    with pytest.raises(DataError, match="no validation photo"):
        prepare_parts((parts[0], only), config=config)


def test_a_unet_is_shown_what_a_person_outlined(parts: Parts, prepare_parts: PrepareParts, tiny_config: Config) -> None:
    """Also a training that was stopped goes on only with the same boxes and outlines."""

    def inputs_of(boxes: list[list[float]], *outlines: Outline) -> TrainingInputs:
        shown = dataclasses.replace(
            parts[0].samples[1], boxes=np.array(boxes, np.float32), frame=(64, 48), reviewed=True, outlines=outlines
        )
        train = dataclasses.replace(parts[0], samples=(parts[0].samples[0], shown, *parts[0].samples[2:]))
        return prepare_parts((train, parts[1]), config=tiny_config)

    triangle = Outline((64, 48), (np.array([[16, 12], [48, 12], [16, 36]], np.float32),))
    other = Outline((64, 48), (np.array([[16, 12], [48, 12], [48, 36]], np.float32),))
    boxed, outlined, otherwise, moved = (
        inputs_of([[16, 12, 48, 36]]),
        inputs_of([[16, 12, 48, 36]], triangle),
        inputs_of([[16, 12, 48, 36]], other),
        inputs_of([[16, 12, 40, 36]]),
    )
    regions = []
    for inputs in (boxed, outlined):
        assert inputs.proposals is not None and inputs.linear is not None
        regions.append(inputs.proposals.train[1].regions[0])
    assert regions[0].mean() == 0.25 and abs(regions[1].mean() - 0.125) < 0.02 and not (regions[1] & ~regions[0]).any()
    assert len({inputs.origin for inputs in (boxed, outlined, otherwise, moved, prepare_parts(parts))}) == 5
    assert outlined.origin == inputs_of([[16, 12, 48, 36]], triangle).origin


def test_tiles_of_validation_photos_alone_show_what_their_boxes_say(
    parts: Parts, prepare_parts: PrepareParts, plain_config: Config
) -> None:
    """The photos to train on may be no larger than a tile."""
    train, val = parts
    corner = np.array([[2, 2, 12, 12]], np.float32)
    samples = [dataclasses.replace(sample, boxes=corner) if sample.boxed else sample for sample in val.samples]
    val = in_tiles(dataclasses.replace(val, samples=tuple(samples)), 32, 0.25)
    found = prepare_parts((train, val), config=plain_config).val
    assert len(val) > 4 and [sample.id for sample in found.samples] == [sample.id for sample in val.samples]
    labels = [sample.label for sample in found.samples]
    assert labels == [int(sample.boxed) for sample in val.samples] and labels.count(1) == 2
