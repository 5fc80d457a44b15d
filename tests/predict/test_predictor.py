"""From photo files to predictions: coordinates, symmetry, the transformer's share, odd photos."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from dips.config import PredictConfig
from dips.data.images import read_image
from dips.errors import ConfigError
from dips.models.classifier import Classifier
from dips.models.keymap import KeyMap
from dips.models.localizer import Localizer
from dips.models.networks import TEMPER, Networks
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor

from ..conftest import random_transformer

CONFIG = PredictConfig(size=64, flip=False, sst_share=0.0, threshold=0.5, batch=2, min_area=0.001)


class Yellow(nn.Module):
    """A localizer that takes yellow for the object; with ``lean`` it also likes the left."""

    def __init__(self, lean: float = 0.0) -> None:
        super().__init__()
        self.lean, self.calls = lean, 0

    def foreground(self, images: Tensor) -> Tensor:
        self.calls += 1
        assert images.shape[-2:] == (64, 64)
        yellow = ((images[:, 0] - images[:, 2]) * 2 - 0.5).clamp(0, 1)
        return (yellow * 0.9 + self.lean * torch.linspace(0.1, 0, 64)).clamp(0, 1)


class Sides(nn.Module):
    """A classifier: class 1 where there is much yellow, class 2 with ``lean`` where the left is brighter than the right."""

    def __init__(self, lean: float = 0.0) -> None:
        super().__init__()
        self.lean = lean

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[-2:] == (32, 32)
        yellow = (images[:, 0] - images[:, 2]).clamp(min=0).mean((1, 2))
        tilt = (images[..., :16].mean((1, 2, 3)) - images[..., 16:].mean((1, 2, 3))) * self.lean
        return torch.stack([torch.full_like(yellow, 0.1), 20 * yellow, tilt], 1)


def networks(localizer: nn.Module | None = None, classifier: nn.Module | None = None, **settings: Any) -> Networks:
    extra = {name: settings.pop(name) for name in ("key_map", "transformer") if name in settings}
    return Networks(
        localizer or Yellow(),  # type: ignore[arg-type]
        classifier or Sides(),  # type: ignore[arg-type]
        config=dataclasses.replace(CONFIG, **settings),
        classifier_size=32,
        device=torch.device("cpu"),
        **extra,
    )


def predictor(localizer: nn.Module | None = None, classifier: nn.Module | None = None, **settings: Any) -> Predictor:
    background = settings.pop("background", None)
    made = networks(localizer, classifier, **settings)
    return Predictor(made, config=made.config, classes=("none", "bird", "left"), background=background)


def predict(made: Predictor, *paths: Path) -> list[Prediction]:
    def refuse(path: Path, why: str) -> None:
        raise AssertionError(why)

    return list(made.photos(paths, refuse))


MakePhoto = Callable[..., Path]


@pytest.mark.parametrize("size", [(64, 64), (300, 200), (90, 410)])
def test_boxes_are_in_the_photos_own_pixels(tmp_path: Path, make_photo: MakePhoto, size: tuple[int, int]) -> None:
    width, height = size
    box = (width // 4, height // 2, width // 2, height * 3 // 4)
    (found,) = predict(predictor(), make_photo(tmp_path / "a.png", size, box=box))
    assert found.size == size and found.score_map.shape == found.mask.shape == (height, width)
    assert found.score_map.dtype == np.float32 and found.score_map.min() >= 0 and found.score_map.max() <= 1
    assert found.label == "bird" and found.classes == ("none", "bird", "left") and found.threshold == 0.5
    assert found.label_score == pytest.approx(float(found.class_scores[1])) == pytest.approx(float(found.class_scores.max()))
    np.testing.assert_allclose(found.boxes[:1], [box], atol=max(size) / 64 * 1.5)
    x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
    assert found.mask[y, x] and not found.mask[2, 2]


def test_large_and_turned_photos(tmp_path: Path, make_photo: MakePhoto) -> None:
    """A JPEG is decoded small, and may lie on its side; the answer is in its full, upright size."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    path = make_photo(tmp_path / "a.jpg", (1600, 800), box=(200, 100, 600, 500), exif=exif, quality=95)
    (found,) = predict(predictor(), path)
    assert found.size == (800, 1600) == read_image(path).shape[1::-1]
    np.testing.assert_allclose(found.boxes[0], [300, 200, 700, 600], atol=40)


def test_the_background_class_gives_no_boxes(tmp_path: Path, make_photo: MakePhoto) -> None:
    with_bird = make_photo(tmp_path / "a.png", (64, 64), box=(10, 10, 40, 40))
    without = tmp_path / "b.png"
    Image.new("RGB", (64, 64), (90, 90, 90)).save(without)
    made = predictor(background=0)
    one, other = predict(made, with_bird, without)
    assert one.label == "bird" and len(one.boxes) == len(one.box_scores) >= 1
    assert other.label == "none" and other.boxes.shape == (0, 4) and other.box_scores.shape == (0,) and not other.mask.any()
    (bird_as_background,) = predict(predictor(background=1), with_bird)
    assert len(bird_as_background.boxes) == 0 and bird_as_background.score_map.max() > 0.5


def test_flip_makes_predictions_symmetric(tmp_path: Path, make_photo: MakePhoto) -> None:
    paths = [make_photo(tmp_path / f"{n}.png", (128, 64), seed=n, box=(8, 8 + n, 60, 40)) for n in range(3)]
    mirrored = [p.with_name(f"m{p.name}") for p in paths]
    for path, other in zip(paths, mirrored, strict=True):
        Image.fromarray(read_image(path)[:, ::-1]).save(other)
    torch.manual_seed(0)
    network = Localizer("test_efficientnet", channels=(16, 16, 8, 8, 4))
    for localizer in (Yellow(lean=2.0), network):
        made = predictor(localizer, Sides(lean=30.0), flip=True)
        plain = predictor(localizer, Sides(lean=30.0))
        for there, back in zip(predict(made, *paths), predict(made, *mirrored), strict=True):
            np.testing.assert_allclose(back.score_map[:, ::-1], there.score_map, atol=1e-5)
            np.testing.assert_allclose(back.class_scores, there.class_scores, atol=1e-5)
            assert there.label == back.label
        pairs = zip(predict(plain, *paths), predict(plain, *mirrored), strict=True)
        assert any(np.abs(b.score_map[:, ::-1] - t.score_map).max() > 1e-4 for t, b in pairs)


@pytest.fixture(scope="module")
def linear() -> dict[str, Any]:
    network = random_transformer("vit_tiny_patch16_224", embed_dim=24, depth=2, num_heads=3, patch_size=8)
    key_map = KeyMap((64, 96), 24)
    key_map.weight[:] = 3 * torch.randn(2, 24, generator=torch.Generator().manual_seed(0))
    return {"key_map": key_map, "transformer": network}


def test_ends_of_the_transformers_share(linear: dict[str, Any]) -> None:
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    localizer = Yellow()
    alone = networks(localizer).score_maps(images)
    assert localizer.calls == 1
    none = networks(localizer, sst_share=0.0, **linear).score_maps(images)
    torch.testing.assert_close(none, alone)
    localizer.calls = 0
    full = networks(localizer, sst_share=1.0, **linear)
    assert full.side == 96 and networks(sst_share=0.0, **linear).side == 64
    coarse = torch.logit(linear["key_map"](linear["transformer"], images), eps=1e-4)
    expected = torch.nn.functional.interpolate(coarse[:, None], (64, 64), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(full.score_maps(images), (expected / TEMPER).sigmoid(), atol=1e-4, rtol=1e-4)
    assert localizer.calls == 0, "the U-Net has no part in it"


def test_between_the_ends_logits_are_mixed(linear: dict[str, Any]) -> None:
    images = torch.rand(1, 3, 96, 96)
    low, middle, high = (
        torch.logit(networks(sst_share=share, flip=True, **linear).score_maps(images), eps=1e-6) for share in (0.0, 0.25, 1.0)
    )
    torch.testing.assert_close(middle, 0.75 * low + 0.25 * high, atol=1e-2, rtol=1e-2)


def test_a_share_needs_the_linear_map(linear: dict[str, Any]) -> None:
    images = torch.rand(1, 3, 96, 96)
    for given in ({}, {"key_map": linear["key_map"]}, {"transformer": linear["transformer"]}):
        with pytest.raises(ConfigError, match=r"predict\.sst_share.*set it to 0"):
            networks(sst_share=0.5, **given).score_maps(images)
    with pytest.raises(ConfigError, match="automatic"):
        networks(sst_share=-1.0)


def test_known_linear_maps_need_no_transformer(linear: dict[str, Any]) -> None:
    images = torch.rand(2, 3, 96, 96)
    known = linear["key_map"](linear["transformer"], images)
    expected = networks(sst_share=0.6, **linear).score_maps(images)
    torch.testing.assert_close(networks(sst_share=0.6).score_maps(images, known), expected)


def test_threshold(tmp_path: Path, make_photo: MakePhoto) -> None:
    path = make_photo(tmp_path / "a.png", (64, 64), box=(10, 10, 40, 40))
    areas = [int(predict(predictor(threshold=t), path)[0].mask.sum()) for t in (0.0, 0.3, 0.9, 1.0)]
    assert areas == sorted(areas, reverse=True) and areas[0] > areas[2] > areas[3] == 0
    with pytest.raises(ConfigError, match=r"predict\.threshold"):
        predict(predictor(threshold=-1.0), path)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (20000, 30), (30, 20000)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "odd.png"
    Image.new("RGB", size, (250, 220, 10)).save(path)
    (found,) = predict(predictor(flip=True), path)
    assert found.size == size and found.score_map.shape == size[::-1]
    assert (found.boxes[:, 2:] <= size).all() and (found.boxes[:, :2] >= 0).all()


def test_broken_photos_are_skipped_and_named(tmp_path: Path, make_photo: MakePhoto) -> None:
    good = [make_photo(tmp_path / f"{n}.jpg", (40, 30), seed=n) for n in range(3)]
    cut = make_photo(tmp_path / "cut.jpg", (400, 300))
    cut.write_bytes(cut.read_bytes()[:2000])
    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    paths = [cut, text, good[0], good[1], tmp_path / "missing.jpg", good[2]]  # a whole batch of broken ones first
    skipped: dict[Path, str] = {}
    found = list(predictor().photos(paths, skipped.__setitem__))
    assert [p.path for p in found] == good
    assert set(skipped) == {cut, text, tmp_path / "missing.jpg"}
    assert all(str(path) in why for path, why in skipped.items())
    assert list(predictor().photos([], skipped.__setitem__)) == []


def test_photos_are_streamed(tmp_path: Path, make_photo: MakePhoto) -> None:
    taken = 0

    def paths() -> Any:
        nonlocal taken
        for n in range(100):
            taken += 1
            yield make_photo(tmp_path / f"{n % 3}.png", (8, 8), seed=n % 3)

    next(predictor(batch=2).photos(paths(), lambda path, why: None))
    assert taken == 2


def test_the_batch_does_not_matter(tmp_path: Path, make_photo: MakePhoto) -> None:
    paths = [make_photo(tmp_path / f"{n}.png", (40, 50), seed=n, box=(4, 4, 20, 9 + n)) for n in range(5)]
    torch.manual_seed(0)
    networks = Localizer("test_efficientnet", channels=(16, 16, 8, 8, 4)), Classifier("test_efficientnet", 3)
    for one, other in zip(
        predict(predictor(*networks, batch=1), *paths), predict(predictor(*networks, batch=4), *paths), strict=True
    ):
        np.testing.assert_allclose(one.score_map, other.score_map, atol=1e-5)
        np.testing.assert_allclose(one.class_scores, other.class_scores, atol=1e-5)


def test_networks_are_in_evaluation_mode() -> None:
    localizer, classifier = (
        Localizer("test_efficientnet", channels=(16, 16, 8, 8, 4)).train(),
        Classifier("test_efficientnet", 3).train(),
    )
    networks(localizer, classifier)
    assert not localizer.training and not classifier.training
