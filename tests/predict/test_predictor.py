"""From photo files to predictions: coordinates, symmetry, the parts of a map in every mode, odd photos."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torch import Tensor, nn

from dips.config import PredictConfig
from dips.data.camera import Camera
from dips.data.depth import Depth
from dips.data.images import read_image
from dips.errors import ConfigError, RunError, WeightsError
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks
from dips.models.linear_map import LinearMap
from dips.models.localizer import Localizer
from dips.models.networks import TEMPER, Networks
from dips.predict.inputs import gather_photos
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor
from dips.scoremaps.calibration import Calibration
from dips.types import Answer, Answerer, PhotoBatch

from ..conftest import random_transformer

CONFIG = PredictConfig(mode="unet", second_look=0, size=64, flip=False, threshold=0.5, batch=2, min_area=0.001)
Mode = Literal["fast", "accurate", "unet"]
MODES = pytest.mark.parametrize("mode", ["fast", "unet"])


def yellow_of(images: Tensor, lean: float) -> Tensor:
    """Return how yellow each pixel is ``(B, H, W)`` in [0, 1]; with ``lean`` the left is, too."""
    yellow = ((images[:, 0] - images[:, 2]) * 2 - 0.5).clamp(0, 1)
    return (yellow * 0.9 + lean * torch.linspace(0.1, 0, images.shape[-1])).clamp(0, 1)


class Yellow(nn.Module):
    """A localizer that takes yellow for the object; with ``lean`` it also likes the left."""

    def __init__(self, lean: float = 0.0) -> None:
        super().__init__()
        self.lean, self.calls = lean, 0

    def foreground(self, images: Tensor) -> Tensor:
        self.calls += 1
        assert images.shape[-2:] == (64, 64)
        return yellow_of(images, self.lean)


class Sides(nn.Module):
    """A classifier: class 1 where there is much yellow, class 2 with ``lean`` where the left is brighter than the right.

    Its only stage is the logit of yellow.
    """

    def __init__(self, lean: float = 0.0, side: int = 32) -> None:
        super().__init__()
        self.lean, self.side, self.calls, self.head = lean, side, 0, nn.Identity()

    def stages(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        self.calls += 1
        assert images.shape[-2:] == (self.side, self.side)
        yellow, half = (images[:, 0] - images[:, 2]).clamp(min=0).mean((1, 2)), self.side // 2
        tilt = (images[..., :half].mean((1, 2, 3)) - images[..., half:].mean((1, 2, 3))) * self.lean
        stage = torch.logit(yellow_of(images, self.lean / 10), eps=1e-4)[:, None]
        return [stage], torch.stack([torch.full_like(yellow, 0.1), 20 * yellow, tilt], 1)


class Seen(FrozenNetworks):
    """Takes :class:`Sides` as it is: it has no layers that could be folded."""

    def cnn(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        return self.classifier.stages(images)


def linear_map(channels: Sequence[int] = (1,), outputs: int = 1) -> LinearMap:
    """A linear map of random directions; what has one channel is taken as it is."""
    linear = LinearMap(channels, outputs)
    generator = torch.Generator().manual_seed(0)
    for weight, width in zip(linear.weights, channels, strict=True):
        weight[:] = 1 if width == 1 else torch.randn(weight.shape, generator=generator) / width**0.5
    return linear


def networks(localizer: nn.Module | None = None, classifier: nn.Module | None = None, **settings: Any) -> Networks:
    """Yellow things found by a U-Net, which sees 64 pixels, or with ``mode=fast`` by the classifier, which sees as many."""
    config = dataclasses.replace(CONFIG, **settings)
    classifier = classifier or Sides(side=64 if config.mode == "fast" else 32)
    return Networks(
        (Seen if isinstance(classifier, Sides) else FrozenNetworks)(classifier, side=getattr(classifier, "side", 64)),  # type: ignore[arg-type]
        config=config,
        device=torch.device("cpu"),
        linear=None if config.mode == "unet" else linear_map(getattr(classifier, "stage_channels", (1,)), 3),
        localizer=localizer or Yellow(),  # type: ignore[arg-type]
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


def test_photos_of_more_than_8_bits(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each says with which scale it was seen: that of the training photos, of the photos at hand, or its own."""
    paths = []
    for name, low, high in (("a", 7000, 7900), ("b", 7200, 8000), ("c", 28000, 30000)):
        values = np.linspace(low, high, 96 * 128).reshape(96, 128).round().astype(np.uint16)
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray(values).save(paths[-1])
    plain = predictor()
    assert [found.scale for found in predict(plain, *paths)] == [(7000, 7900), (7200, 8000), (28000, 30000)]
    assert capfd.readouterr().err.count("stretched each by its own range") == 1, "told once"
    alike = plain.for_photos(paths[:2])
    assert [found.scale for found in predict(alike, *paths)] == [(7010, 7995), (7010, 7995), (28000, 30000)]
    assert plain.depth == Depth() and "values 7010 to 7995 as black to white" in alike.summary()
    assert "c.png uses values 28000 to 30000 of 16-bit grey (others: 7010 to 7995)" in capfd.readouterr().err
    plain.depth = Depth(scales=((7000.0, 9000.0),))
    whole = predict(plain.for_photos(paths[:2]), *paths[:2])
    assert [found.scale for found in whole] == [(7000, 9000)] * 2 and not capfd.readouterr().err
    plain.tile = 64
    (tiled,) = predict(plain, paths[0])
    assert tiled.scale == (7000, 9000) and tiled.record().scale == (7000, 9000)
    drawn = dataclasses.replace(tiled, scale=(7000.0, 7900.0)).overlay_jpeg(paths[0])
    assert tiled.overlay_jpeg(paths[0]) != drawn == dataclasses.replace(tiled, scale=None).overlay_jpeg(paths[0])
    assert all(found.scale is None for found in plain.pictures([(paths[0], np.zeros((9, 9, 3), np.uint8))]))


@MODES
@pytest.mark.parametrize("size", [(64, 64), (300, 200), (90, 410)])
def test_boxes_are_in_the_photos_own_pixels(tmp_path: Path, make_photo: MakePhoto, size: tuple[int, int], mode: str) -> None:
    width, height = size
    box = (width // 4, height // 2, width // 2, height * 3 // 4)
    (found,) = predict(predictor(mode=mode), make_photo(tmp_path / "a.png", size, box=box))
    assert found.size == size and found.score_map.shape == found.mask.shape == (height, width)
    assert found.score_map.dtype == np.float32 and found.score_map.min() >= 0 and found.score_map.max() <= 1
    assert found.label == "bird" and found.classes == ("none", "bird", "left") and found.threshold == 0.5
    assert found.label_score == pytest.approx(float(found.class_scores[1])) == pytest.approx(float(found.class_scores.max()))
    np.testing.assert_allclose(found.boxes[:1], [box], atol=max(size) / 64 * 1.5)
    x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
    assert found.mask[y, x] and not found.mask[2, 2]


@MODES
def test_large_and_turned_photos(tmp_path: Path, make_photo: MakePhoto, mode: str) -> None:
    """A JPEG is decoded small, and may lie on its side; the answer is in its full, upright size."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    path = make_photo(tmp_path / "a.jpg", (1600, 800), box=(200, 100, 600, 500), exif=exif, quality=95)
    (found,) = predict(predictor(mode=mode), path)
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
    for mode, localizer, side in (("unet", Yellow(lean=2.0), 32), ("unet", network, 32), ("fast", None, 64)):
        made = predictor(localizer, Sides(lean=30.0, side=side), mode=mode, flip=True)
        plain = predictor(localizer, Sides(lean=30.0, side=side), mode=mode)
        for there, back in zip(predict(made, *paths), predict(made, *mirrored), strict=True):
            np.testing.assert_allclose(back.score_map[:, ::-1], there.score_map, atol=1e-5)
            np.testing.assert_allclose(back.class_scores, there.class_scores, atol=1e-5)
            assert there.label == back.label
        pairs = zip(predict(plain, *paths), predict(plain, *mirrored), strict=True)
        assert any(np.abs(b.score_map[:, ::-1] - t.score_map).max() > 1e-4 for t, b in pairs)


@pytest.fixture(scope="module")
def frozen() -> FrozenNetworks:
    """A classifier that sees 32 pixels, and a transformer that sees squares of 64 and 96."""
    torch.manual_seed(0)
    transformer = random_transformer("vit_tiny_patch16_224", embed_dim=24, depth=2, num_heads=3, patch_size=8)
    return FrozenNetworks(Classifier("test_efficientnet", 3), side=32, transformer=transformer, key_sides=(64, 96))


def joined(frozen: FrozenNetworks, mode: Mode, localizer: nn.Module | None = None, **settings: Any) -> Networks:
    channels = frozen.classifier.stage_channels if mode == "fast" else (*frozen.classifier.stage_channels, 24, 24)
    return Networks(
        frozen,
        config=dataclasses.replace(CONFIG, mode=mode, **settings),
        device=torch.device("cpu"),
        linear=linear_map(channels, 3),
        localizer=localizer,  # type: ignore[arg-type]
    )


def maps(networks: Networks, images: Tensor) -> Tensor:
    return networks.judge(networks.frozen.look(images))[0]


@pytest.mark.parametrize("mode", ["fast", "accurate"])
def test_ends_of_the_unets_share(frozen: FrozenNetworks, mode: Mode) -> None:
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    localizer = Yellow()
    alone = joined(frozen, mode, localizer)
    look = frozen.look(images)
    blocks = look.stages if mode == "fast" else [*look.stages, *look.keys]
    priors = frozen.classifier.head(look.pooled).softmax(1)
    grid = max(block.shape[-1] for block in blocks)
    with torch.no_grad():
        finest = linear_map([block.shape[1] for block in blocks], 3)(blocks, priors)
        size = (2 * grid, 2 * grid)
        expected = torch.nn.functional.interpolate(finest[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    assert finest.shape == (2, grid, grid) and grid == (4 if mode == "fast" else 12)
    torch.testing.assert_close(maps(alone, images), (expected / TEMPER).sigmoid(), atol=1e-5, rtol=1e-4)
    assert localizer.calls == 0, "the U-Net has no part in it"
    full = joined(frozen, mode, localizer, unet_share=1.0)
    torch.testing.assert_close(maps(full, images), maps(joined(frozen, "unet", Yellow()), images))
    assert localizer.calls == 1


def test_squares_are_as_large_as_the_largest_that_a_network_sees(frozen: FrozenNetworks) -> None:
    assert [joined(frozen, mode, Yellow()).side for mode in get_args(Mode)] == [32, 96, 64]
    assert joined(frozen, "fast", Yellow(), unet_share=0.1).side == 64
    answer = joined(frozen, "fast").answer(PhotoBatch(np.zeros((2, 32, 32, 3), np.uint8)))
    assert answer.maps.shape == (2, 8, 8) and answer.probabilities.shape == (2, 3)


def test_between_the_ends_logits_are_mixed(frozen: FrozenNetworks) -> None:
    images = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(2))
    linear = maps(joined(frozen, "accurate", flip=True), images)
    low = torch.nn.functional.interpolate(torch.logit(linear)[:, None], (64, 64), mode="bilinear", align_corners=False)[:, 0]
    high = torch.logit(maps(joined(frozen, "unet", Yellow(), flip=True), images), eps=1e-6)
    middle = torch.logit(maps(joined(frozen, "accurate", Yellow(), unet_share=0.25, flip=True), images), eps=1e-6)
    assert middle.shape == (1, 64, 64)
    torch.testing.assert_close(middle, 0.75 * low + 0.25 * high, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("settings", [{"mode": "unet"}, {"mode": "fast", "unet_share": 0.3}])
def test_the_unet_must_have_been_trained(settings: dict[str, Any]) -> None:
    config = dataclasses.replace(CONFIG, **settings)
    with pytest.raises(ConfigError, match=r"need a U-Net.*--set train\.epochs=3"):
        Networks(
            FrozenNetworks(Classifier("test_efficientnet", 3), side=64),
            config=config,
            device=torch.device("cpu"),
            linear=linear_map((48, 64)),
        )


@pytest.mark.parametrize("mode", ["fast", "accurate"])
def test_linear_maps_must_have_been_fitted(mode: Mode) -> None:
    config = dataclasses.replace(CONFIG, mode=mode)
    with pytest.raises(ConfigError, match=rf"predict\.mode={mode}: .*harvest\.refine=dataset"):
        Networks(FrozenNetworks(Classifier("test_efficientnet", 3), side=64), config=config, device=torch.device("cpu"))


def test_only_the_accurate_mode_needs_the_transformer(frozen: FrozenNetworks) -> None:
    alone = FrozenNetworks(frozen.classifier, side=32)
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(maps(joined(alone, "fast"), images), maps(joined(frozen, "fast"), images))
    with pytest.raises(WeightsError, match="transformer"):
        maps(joined(alone, "accurate"), images)


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


def test_one_batch_is_read_while_the_networks_see_the_one_before(
    tmp_path: Path, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [make_photo(tmp_path / f"{number}.jpg", (64, 64)) for number in range(7)]
    model, read, seen = predictor(), list[Path](), list[int]()
    view, answer = model._view, model.networks.answer

    def reads(path: Any) -> Any:
        read.append(path)
        return view(path)

    def answers(batch: PhotoBatch) -> Answer:
        deadline = time.monotonic() + 30
        while len(read) < min(7, len(seen) * 2 + 4) and time.monotonic() < deadline:  # read meanwhile, by another thread
            time.sleep(0.001)
        seen.append(len(read))
        return answer(batch)

    monkeypatch.setattr(model, "_view", reads)
    monkeypatch.setattr(model.networks, "answer", answers)
    made = model.photos(paths, lambda path, reason: pytest.fail(reason))
    assert [prediction.path for prediction in made] == paths == read
    assert seen == [4, 6, 7, 7], "one batch ahead, and no further"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dips reads ahead")]


@pytest.mark.parametrize("how", ["stops early", "networks fail", "reading fails"])
def test_no_thread_outlives_the_predictions(
    tmp_path: Path, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    paths = [make_photo(tmp_path / f"{number}.jpg", (64, 64)) for number in range(9)]
    model, made, view = predictor(), [], Predictor._view

    def fails(*_: object) -> Any:
        raise MemoryError(how)

    def reads(path: Any) -> Any:
        return fails() if path == paths[4] else view(model, path)

    if how == "networks fail":
        monkeypatch.setattr(model.networks, "answer", fails)
    if how == "reading fails":
        monkeypatch.setattr(model, "_view", reads)
    photos = model.photos(paths, lambda path, reason: pytest.fail(reason))
    if how == "stops early":
        made = [next(photos).path]
        photos.close()  # type: ignore[attr-defined]
    else:
        with pytest.raises(MemoryError, match=how):
            for prediction in photos:
                made.append(prediction.path)
    assert made == paths[: {"stops early": 1, "networks fail": 0, "reading fails": 4}[how]]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dips reads ahead")]


def test_a_list_and_an_iterator_skip_the_same_photos_in_the_same_order(tmp_path: Path, make_photo: MakePhoto) -> None:
    paths = [make_photo(tmp_path / f"{number}.jpg", (64, 64)) for number in range(6)]
    for number in (0, 3, 4, 5):
        paths[number].write_text("no photo")
    events: list[list[str]] = [[], []]
    for said, photos in zip(events, (paths, iter(paths)), strict=True):
        for prediction in predictor().photos(photos, lambda path, _, said=said: said.append(f"skipped {path.name}")):  # type: ignore[misc]
            said.append(prediction.path.name)
    assert events[0] == events[1] == ["skipped 0.jpg", "1.jpg", "skipped 3.jpg", "2.jpg", "skipped 4.jpg", "skipped 5.jpg"]


@MODES
def test_the_batch_does_not_matter(tmp_path: Path, make_photo: MakePhoto, mode: str) -> None:
    paths = [make_photo(tmp_path / f"{n}.png", (40, 50), seed=n, box=(4, 4, 20, 9 + n)) for n in range(5)]
    torch.manual_seed(0)
    networks = Localizer("test_efficientnet", channels=(16, 16, 8, 8, 4)), Classifier("test_efficientnet", 3)
    for one, other in zip(
        predict(predictor(*networks, batch=1, mode=mode), *paths),
        predict(predictor(*networks, batch=4, mode=mode), *paths),
        strict=True,
    ):
        np.testing.assert_allclose(one.score_map, other.score_map, atol=1e-5)
        np.testing.assert_allclose(one.class_scores, other.class_scores, atol=1e-5)


class Answers(Answerer):
    """Answers every photo with one score, or one probability."""

    def __init__(self, score: float, probability: float) -> None:
        self.score, self.probability = score, probability

    @property
    def side(self) -> int:
        return 8

    def answer(self, batch: PhotoBatch) -> Answer:
        maps, probabilities = np.zeros((len(batch), 4, 4), np.float32), np.zeros((len(batch), 3), np.float32)
        maps[:, 1, 2], probabilities[:, 1] = self.score, self.probability
        return Answer(maps, probabilities)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1.01, -0.5, 3e38])
@pytest.mark.parametrize("tile", [0, 16])
def test_answers_that_are_no_scores_are_refused(tmp_path: Path, make_photo: MakePhoto, number: float, tile: int) -> None:
    photo = make_photo(tmp_path / "a.png", (40, 30))
    for score, probability in ((number, 0.5), (0.5, number)):
        config = dataclasses.replace(CONFIG, tile=tile)
        damaged = Predictor(Answers(score, probability), config=config, classes=("a", "b", "c"), background=0)
        with pytest.raises(RunError, match="not numbers from 0 to 1: its weights are damaged"):
            damaged.photo(photo)


def test_answers_may_be_rounded(tmp_path: Path, make_photo: MakePhoto) -> None:
    photo = make_photo(tmp_path / "a.png", (40, 30))
    rounded = float(np.nextafter(np.float32(1), np.float32(2)))
    found = Predictor(Answers(rounded, rounded), config=CONFIG, classes=("a", "b", "c"), background=0).photo(photo)
    assert found.label == "b" and found.record().label_score == 1 and found.score_map.max() <= 1


def test_networks_are_in_evaluation_mode() -> None:
    localizer, classifier = (
        Localizer("test_efficientnet", channels=(16, 16, 8, 8, 4)).train(),
        Classifier("test_efficientnet", 3).train(),
    )
    networks(localizer, classifier)
    assert not localizer.training and not classifier.training


@pytest.mark.parametrize(
    ("sizes", "tile", "told"),
    [
        ([(640, 480)] * 3, 0, True),
        ([(640, 480), (600, 500), (96, 72)], 0, True),
        ([(120, 80)] * 3, 0, False),
        ([(640, 480), (96, 72), (96, 72)], 0, False),
        ([(640, 480)] * 3, 64, False),
    ],
)
def test_photos_much_larger_than_those_of_the_training_are_told_once(
    sizes: list[tuple[int, int]], tile: int, told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "broken.jpg"]
    paths[0].write_bytes(b"x")
    for number, size in enumerate(sizes):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", size).save(paths[-1])
    networks: Any = None
    config = dataclasses.replace(CONFIG, tile=tile)
    Predictor(networks, config=config, classes=("owl",), background=None, photo_side=83).for_photos(paths)
    assert ("--tile auto" in capsys.readouterr().err) == told


def geotag() -> Image.Exif:
    exif = Image.Exif()
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps.update({1: "S", 2: (31.0, 33.0, 30.0), 3: "W", 4: (64.0, 30.0, 0.0)})
    exif[ExifTags.IFD.GPSInfo] = gps
    return exif


@pytest.mark.parametrize("tile", [0, 64])
def test_where_a_photo_was_taken(tmp_path: Path, make_photo: MakePhoto, tile: int) -> None:
    """Files, bytes and pictures of Pillow say it, arrays do not."""
    path = make_photo(tmp_path / "a.jpg", (160, 120), exif=geotag())
    made, place = predictor(tile=tile), Camera(latitude=-31.55833333, longitude=-64.5)
    with Image.open(path) as image:
        given: list[Any] = [path, path.read_bytes(), image, read_image(path), make_photo(tmp_path / "b.jpg", (160, 120))]
        found = list(made.photos(gather_photos(given, is_told=True), lambda *_: None))
    assert [prediction.camera for prediction in found] == [place, place, place, None, None]
    assert found[0].record().camera == made.photo(path).record().camera == place
    assert not found[4].record().camera


def test_a_photo_is_opened_once(tmp_path: Path, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_photo(tmp_path / "a.jpg", exif=geotag())
    opened: list[str] = []
    real = Path.open

    def count(self: Path, *args: Any, **kwargs: Any) -> Any:
        opened.append(self.name)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", count)
    (found,) = predict(predictor(), path)
    assert found.camera is not None and opened == ["a.jpg"]


# --- scores that are chances


class Peak(Answerer):
    """Networks whose map has one block of a height, wherever they look."""

    side = 64

    def __init__(self, height: float) -> None:
        self.height = height

    def answer(self, batch: PhotoBatch) -> Answer:
        maps = np.full((len(batch), 32, 32), 0.01, np.float32)
        maps[:, 8:24, 8:24] = self.height
        return Answer(maps, np.tile(np.array([0.2, 0.8], np.float32), (len(batch), 1)))


CALIBRATION = Calibration(slope=2.5, offset=-2.5, gate=0.2, typical=0.4, cautious=0.8)


@pytest.mark.parametrize(("height", "boxes"), [(0.9, 1), (0.7, 1), (0.55, 0), (0.3, 0), (0.05, 0)])
@pytest.mark.parametrize("size", [(64, 64), (300, 200)])
def test_a_photo_that_is_low_all_over_has_no_box(height: float, boxes: int, size: tuple[int, int]) -> None:
    """Alone, and with the calibration's gate off where a lowest score is given."""
    config = PredictConfig(threshold=0.5)
    options: dict[str, Any] = {"classes": ("none", "mast"), "background": 0, "calibration": CALIBRATION}
    photo = np.zeros((*size[::-1], 3), np.uint8)
    (found,) = Predictor(Peak(height), config=config, **options).pictures([(Path("a.png"), photo)])
    assert len(found.boxes) == boxes and found.record().calibration == CALIBRATION
    if boxes:
        mean = found.score_map[found.mask].mean()
        np.testing.assert_allclose(found.box_scores, CALIBRATION.chance(mean), atol=1e-3)
    asked = dataclasses.replace(config, min_score=0.001)
    (every,) = Predictor(Peak(height), config=asked, **options).pictures([(Path("a.png"), photo)])
    assert len(every.boxes) == int(CALIBRATION.chance(height) > 0.001)


@pytest.mark.parametrize("height", [0.95, 0.62, 0.58])
def test_tiles_keep_the_boxes_that_they_kept_by_means_of_the_map(height: float) -> None:
    photo = np.zeros((200, 300, 3), np.uint8)
    options: dict[str, Any] = {"config": PredictConfig(threshold=0.5, tile=100), "classes": ("none", "mast"), "background": 0}
    open_gate = msgspec.structs.replace(CALIBRATION, gate=0.0)
    (plain,) = Predictor(Peak(height), **options).pictures([(Path("a.png"), photo)])
    (chances,) = Predictor(Peak(height), calibration=open_gate, **options).pictures([(Path("a.png"), photo)])
    assert np.array_equal(plain.boxes, chances.boxes) and chances.min_score == pytest.approx(float(open_gate.chance(0.6)))
