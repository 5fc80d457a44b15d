"""The loop over a split: each batch is shown to every answerer, and the numbers are those of the maps alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dips.baselines.method import ScoreMapMethod
from dips.benchmark.loop import CENTRE, StoredMaps, evaluate_maps, evaluate_photos
from dips.config import PredictConfig
from dips.data.depth import Depth
from dips.evaluate import centre_map
from dips.export.description import Description
from dips.export.onnx_model import OnnxNetworks
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks
from dips.models.linear_map import LinearMap
from dips.models.networks import Networks
from dips.types import Answer, Answerer, FloatArray, PhotoBatch, Sample

MakePhoto = Callable[..., Path]


class Fixed(ScoreMapMethod):
    """Answers with the brightness, remembers what it was given."""

    name, title, paper, side = "fixed", "Fixed", "none", 24

    def __init__(self) -> None:
        self.images: list[Tensor] = []
        self.asked: list[int] = []

    def build(self, study: Any) -> None: ...

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        self.images.append(images)
        self.asked += labels.tolist()
        return images.mean(1)


class Naming(Fixed):
    name = "naming"

    def probabilities(self, images: Tensor) -> Tensor:
        return torch.tensor([[0.1, 0.7, 0.2]]).expand(len(images), 3)


@pytest.fixture
def samples(tmp_path: Path, make_photo: MakePhoto) -> list[Sample]:
    """Three photos with a bright rectangle of classes 0, 1 and unknown, and one without object of class 2."""
    found = []
    for i, label in enumerate((0, 1, None)):
        box = (4 + i, 6, 16 + i, 18)
        path = make_photo(tmp_path / f"{i}.png", seed=i, box=box)
        found.append(Sample(path, path.name, label, np.array([box], np.float32)))
    path = make_photo(tmp_path / "empty.png", seed=9)
    return [*found, Sample(path, path.name, 2, np.zeros((0, 4), np.float32))]


@pytest.mark.parametrize(("depth", "greys"), [(None, (0, 255)), (Depth(rule="fixed", scales=((7000.0, 9000.0),)), (0, 128))])
def test_photos_of_more_than_8_bits_are_seen_as_in_training(
    tmp_path: Path, depth: Depth | None, greys: tuple[int, int]
) -> None:
    path, method = tmp_path / "a.png", Fixed()
    Image.fromarray(np.repeat(np.array([7000, 8000], np.uint16), 12)[None].repeat(24, 0)).save(path)
    evaluate_photos({"fixed": method}, [Sample(path, path.name, 0, np.array([[0, 0, 9, 9]], np.float32))], depth=depth)
    found = (method.images[0] * 255).round()
    assert (int(found.min()), int(found.max())) == greys


def test_the_numbers_are_those_of_the_maps(samples: list[Sample]) -> None:
    method = Fixed()
    answered: dict[str, FloatArray] = {}
    found = evaluate_photos(
        {"fixed": method},
        samples,
        batch=2,
        on_map=lambda name, truth, score_map, classes: answered.update({truth.sample.id: score_map}),
    )
    maps = [image.mean(0).numpy() for batch in method.images for image in batch]
    alone = evaluate_maps(maps, samples[:3])
    assert len(maps) == 3, "the photo without object is not asked for"
    assert (found.methods["fixed"].boxes.v2 == alone.v2).all() and found.methods["fixed"].boxes.n_boxed == 3
    assert list(answered) == [sample.id for sample in samples[:3]]
    np.testing.assert_array_equal(answered[samples[1].id], maps[1])
    assert found.samples == tuple(samples) and found.problems == ()


def test_a_map_is_asked_of_the_true_class_and_of_the_named_one_where_none_is_known(samples: list[Sample]) -> None:
    method = Naming()
    found = evaluate_photos({"naming": method}, samples)
    assert method.asked == [0, 1, 1]
    boxes = found.methods["naming"].boxes
    assert boxes.n_classified == 3 and boxes.class_top1 == pytest.approx(100 / 3)


def test_methods_of_one_side_get_the_same_tensor(samples: list[Sample]) -> None:
    """By which the transformer that they share knows the batch again."""
    first, second = Fixed(), Naming()
    evaluate_photos({"a": first, "b": second}, samples, batch=4)
    assert all(one is other for one, other in zip(first.images, second.images, strict=True))


def test_each_answerer_sees_its_own_side(samples: list[Sample]) -> None:
    small, large = Fixed(), Fixed()
    small.side, large.side = 8, 24
    evaluate_photos({"small": small, "large": large}, samples)
    assert [images.shape[-1] for images in (*small.images, *large.images)] == [8, 24]


def test_a_method_that_raises_is_left_out(samples: list[Sample]) -> None:
    class Second(Fixed):
        def maps(self, images: Tensor, labels: Tensor) -> Tensor:
            if self.images:
                raise ValueError("tired")
            return super().maps(images, labels)

    failures: list[str] = []
    methods = {"good": Fixed(), "bad": Second()}
    found = evaluate_photos(methods, samples, batch=1, on_failure=lambda name, error: failures.append(f"{name} {error}"))
    assert failures == ["bad tired"] and set(found.methods) == {"good"}
    with pytest.raises(ValueError, match="tired"):
        evaluate_photos({"bad": Second()}, samples, batch=1)


@pytest.mark.parametrize("maps", [torch.full((3, 4, 4), float("nan")), torch.full((3, 4, 4), 2.0), torch.zeros(2, 4, 4)])
def test_what_is_no_map_of_each_photo_is_a_failure(samples: list[Sample], maps: Tensor) -> None:
    class Wrong(Fixed):
        def maps(self, images: Tensor, labels: Tensor) -> Tensor:
            return maps

    failures: list[str] = []
    found = evaluate_photos({"wrong": Wrong()}, samples, on_failure=lambda name, error: failures.append(name))
    assert failures == ["wrong"] and not found.methods


def test_a_photo_that_cannot_be_read_is_reported(samples: list[Sample]) -> None:
    samples[0].path.write_bytes(b"no photo")
    found = evaluate_photos({"fixed": Fixed()}, samples)
    assert [p.path for p in found.problems] == [samples[0].path] and found.methods["fixed"].boxes.n_boxed == 2
    assert found.samples == tuple(samples[1:])


def test_stored_maps_and_the_centre_with_the_classes_of_another(samples: list[Sample]) -> None:
    maps = {sample.id: np.random.default_rng(i).random((6, 6)).astype(np.float32) for i, sample in enumerate(samples)}
    answerers = {"naming": Naming(), "stored": StoredMaps(maps.__getitem__, 24)}
    found = evaluate_photos(answerers, samples, classes_of="naming", centre=True, batch=3)
    assert list(found.methods) == ["naming", "stored", CENTRE]
    stored, centre = found.methods["stored"].boxes, found.methods[CENTRE].boxes
    assert (stored.v2 == evaluate_maps([maps[s.id] for s in samples[:3]], samples[:3]).v2).all()
    assert (centre.v2 == evaluate_maps([centre_map()] * 3, samples[:3]).v2).all()
    assert {result.boxes.n_classified for result in found.methods.values()} == {3}
    alone = evaluate_photos({"stored": answerers["stored"]}, samples, centre=True).methods
    assert alone["stored"].boxes.n_classified == alone[CENTRE].boxes.n_classified == 0


def test_rows_are_kept_of_those_that_have_thresholds(samples: list[Sample]) -> None:
    taus = {"a": dict.fromkeys(("v1", "30", "50", "70"), 0.5)}
    found = evaluate_photos({"a": Fixed(), "b": Fixed()}, samples, taus=taus, replicates=20).methods
    assert [row.id for row in found["a"].boxes.images] == [sample.id for sample in samples] and not found["b"].boxes.images
    assert found["b"].boxes.intervals is not None


def test_maps_of_photos_without_ground_truth_can_be_had(samples: list[Sample]) -> None:
    names: list[str] = []
    keep = lambda name, truth, score_map, classes: names.append(truth.sample.id)  # noqa: E731
    evaluate_photos({"fixed": Fixed()}, samples, localize_all=True, on_map=keep)
    assert names == [sample.id for sample in samples]


def test_maps_come_with_the_answerers_own_classes(samples: list[Sample]) -> None:
    """Also where the classes of another count."""
    classes: dict[str, list[list[int]]] = {"naming": [], "fixed": []}
    keep = lambda name, truth, score_map, likeliest: classes[name].append(likeliest.tolist())  # noqa: E731
    evaluate_photos({"naming": Naming(), "fixed": Fixed()}, samples, classes_of="naming", localize_all=True, on_map=keep)
    assert classes == {"naming": [[1, 2, 0]] * 4, "fixed": [[]] * 4}


def test_an_exported_file_is_measured_like_its_networks(samples: list[Sample]) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is missing; it is in the extra dev")
    from dips.export.onnx import to_bytes

    torch.manual_seed(0)
    config = PredictConfig(mode="fast", flip=False, threshold=0.5)
    classifier = Classifier("test_efficientnet", 3)
    linear = LinearMap(classifier.stage_channels, 3)
    for weight in linear.weights:
        weight.normal_(std=0.3)
    networks = Networks(FrozenNetworks(classifier, side=64), config=config, device=torch.device("cpu"), linear=linear)
    description = Description(
        classes=("a", "b", "c"),
        background=None,
        settings=dataclasses.asdict(config),
        side=networks.side,
        photo_side=None,
        weights={},
        model="",
        dips="0",
    )
    answerers: dict[str, Answerer] = {"torch": networks, "onnx": OnnxNetworks(to_bytes(networks, description), "it", "cpu")}
    maps: dict[str, list[FloatArray]] = {"torch": [], "onnx": []}
    found = evaluate_photos(
        answerers, samples, on_map=lambda name, truth, score_map, classes: maps[name].append(score_map)
    ).methods
    np.testing.assert_allclose(maps["onnx"], maps["torch"], atol=1e-4)
    for name, result in found.items():
        assert (result.boxes.v2 == evaluate_maps(maps[name], samples[:3]).v2).all() and len(maps[name]) == 3
    assert found["onnx"].boxes.class_top1 == found["torch"].boxes.class_top1 and found["onnx"].boxes.n_classified == 3


class Telling(Fixed):
    """Says of the cells which photo of the batch it is."""

    def answer(self, batch: PhotoBatch) -> Answer:
        answer = super().answer(batch)
        cells = np.stack([np.full((3, 2, 2), float(position), np.float32) for position in batch.positions])
        return Answer(answer.maps, answer.probabilities, cells)


def test_what_cells_say_comes_before_the_map(samples: list[Sample]) -> None:
    said: list[tuple[str, str]] = []
    evaluate_photos(
        {"fixed": Fixed(), "telling": Telling()},
        samples,
        localize_all=True,
        batch=len(samples),
        on_map=lambda name, truth, score_map, classes: said.append((name, truth.sample.id)),
        on_cells=lambda name, truth, cells: said.append((f"cells {cells[0, 0, 0]:.0f}", truth.sample.id)),
    )
    expected = [(("cells " + str(number), item.id), ("telling", item.id)) for number, item in enumerate(samples)]
    assert said[len(samples) :] == [pair for pairs in expected for pair in pairs]
    assert [name for name, _ in said[: len(samples)]] == ["fixed"] * len(samples)
