"""The networks of a run in each mode: which of them runs, how their answers are mixed, and what a mode needs."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dips.config import HarvestConfig, PredictConfig
from dips.errors import ConfigError
from dips.harvest.grids import joint_grids
from dips.harvest.linear import PhotoFeatures, fit_linear_maps
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks
from dips.models.inputs import resize_to
from dips.models.linear_map import LinearMaps
from dips.models.localizer import Localizer
from dips.models.networks import TEMPER, Networks, mode_settings, tempered, unet_logits
from dips.models.second_look import crop, object_windows, paste
from dips.scoremaps.priority import LOG_ODDS
from dips.types import PhotoBatch

from ..conftest import random_transformer

pytestmark = pytest.mark.usefixtures("unfolded")  # passes are counted

CPU = torch.device("cpu")


class Rig:
    """A run's networks of random weights, and how often each ran."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.calls: Counter[str] = Counter()
        transformer = random_transformer("vit_tiny_patch16_224", embed_dim=24, depth=1, num_heads=3, patch_size=8)
        classifier = Classifier("test_efficientnet", 4).eval()
        with torch.no_grad():
            classifier.head.weight.mul_(30)  # classes that differ
        self.frozen = FrozenNetworks(classifier, side=64, transformer=transformer, key_sides=(72,))
        self.localizer = Localizer("test_efficientnet", channels=(16, 16, 8, 8, 4)).eval()
        classifier.body.register_forward_hook(lambda *_: self.calls.update(["cnn"]))
        transformer.register_forward_hook(lambda *_: self.calls.update(["transformer"]))
        self.localizer.net.register_forward_hook(lambda *_: self.calls.update(["unet"]))
        self.maps = self._maps(3)

    def _maps(self, outputs: int) -> LinearMaps:
        channels = (*self.frozen.classifier.stage_channels, 24)
        maps = LinearMaps(channels, stages=len(channels) - 1, outputs=outputs)
        for module in (maps.accurate, maps.fast):
            for weight in (*module.weights, module.bias):
                weight.copy_(torch.randn(weight.shape))
        return maps

    def networks(self, *, background: int | None = 1, localizer: bool = True, linear: bool = True, **settings: Any) -> Networks:
        config = PredictConfig(**({"size": 96, "second_look": 0} | settings))
        maps = self.maps if background is not None else self._maps(4)
        return Networks(
            self.frozen,
            config=config,
            device=CPU,
            background=background,
            linear=maps.of(config.mode) if linear and config.mode != "unet" else None,
            localizer=self.localizer if localizer else None,
        )

    def judge(self, images: Tensor, **settings: Any) -> tuple[Tensor, Tensor]:
        """Return the logits of the maps, as they are before tempering, and class probabilities."""
        maps, probabilities = self.networks(**settings).judge(self.frozen.look(images))
        return TEMPER * torch.logit(maps), probabilities


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig()


@pytest.fixture(autouse=True)
def nothing_ran(rig: Rig) -> None:
    rig.calls.clear()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("settings", "runs", "side", "map_side"),
    [
        ({"mode": "fast"}, {"cnn": 1}, 64, 16),
        ({"mode": "accurate"}, {"cnn": 1, "transformer": 1}, 72, 18),
        ({"mode": "unet"}, {"cnn": 1, "unet": 1}, 96, 96),
        ({"mode": "unet", "unet_share": 0.3}, {"cnn": 1, "unet": 1}, 96, 96),
        ({"mode": "fast", "unet_share": 0.5}, {"cnn": 1, "unet": 1}, 96, 96),
        ({"mode": "accurate", "unet_share": 1.0}, {"cnn": 1, "unet": 1}, 96, 96),
        ({"mode": "accurate", "unet_share": 0.2, "size": 32}, {"cnn": 1, "unet": 1, "transformer": 1}, 72, 32),
    ],
)
def test_only_what_a_mode_needs_runs(
    rig: Rig, settings: dict[str, Any], runs: dict[str, int], side: int, map_side: int
) -> None:
    networks = rig.networks(**settings)
    assert networks.side == side
    answer = networks.answer(PhotoBatch(np.zeros((2, side, side, 3), np.uint8)))
    assert answer.maps.shape == (2, map_side, map_side) and answer.probabilities.shape == (2, 4)
    assert answer.maps.dtype == np.float32 and 0 <= answer.maps.min() <= answer.maps.max() <= 1
    np.testing.assert_allclose(answer.probabilities.sum(1), 1, atol=1e-5)
    assert rig.calls == runs


@torch.no_grad()
@pytest.mark.parametrize("mode", ["fast", "accurate"])
def test_linear_modes_by_hand(rig: Rig, images: Tensor, mode: str) -> None:
    """The linear map of the photo's classes, at twice its grid, tempered."""
    stages, pooled = rig.frozen.classifier.stages(resize_to(images, 64))
    classes = rig.frozen.classifier.head(pooled)
    priors = classes[:, [0, 2, 3]].softmax(1)
    blocks = [*stages, *(rig.frozen.look(images).keys if mode == "accurate" else [])]
    logits = rig.maps.of(mode)(blocks, priors)
    expected = F.interpolate(logits[:, None], scale_factor=2, mode="bilinear", align_corners=False)[:, 0]
    maps, probabilities = rig.networks(mode=mode).judge(rig.frozen.look(images))
    torch.testing.assert_close(maps, (expected / TEMPER).sigmoid(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(probabilities, classes.softmax(1))


@torch.no_grad()
def test_the_unet_by_hand(rig: Rig, images: Tensor) -> None:
    maps, probabilities = rig.networks(mode="unet", size=64, linear=False).judge(rig.frozen.look(images))
    small = resize_to(images, 64)
    expected = torch.logit(rig.localizer.foreground(small), eps=1e-4) / TEMPER
    torch.testing.assert_close(maps, expected.sigmoid(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(probabilities, rig.frozen.classifier(small).softmax(1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tempered(unet_logits(rig.localizer, small)), maps, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("mode", ["fast", "accurate"])
@pytest.mark.parametrize("flip", [False, True])
def test_between_the_ends_logits_are_mixed(rig: Rig, images: Tensor, mode: str, flip: bool) -> None:
    low, middle, high = (rig.judge(images, mode=mode, unet_share=s, flip=flip)[0] for s in (0.0, 0.25, 1.0))
    unet = rig.judge(images, mode="unet", flip=flip)[0]
    torch.testing.assert_close(high, unet)
    expected = 0.75 * F.interpolate(low[:, None], (96, 96), mode="bilinear", align_corners=False)[:, 0] + 0.25 * high
    torch.testing.assert_close(middle, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("settings", [{"mode": "fast"}, {"mode": "accurate"}, {"mode": "unet"}, {"unet_share": 0.4}])
def test_flip_averages_with_the_mirror_image(rig: Rig, images: Tensor, settings: dict[str, Any]) -> None:
    logits, probabilities = rig.judge(images, flip=True, **settings)
    one, one_classes = rig.judge(images, **settings)
    other, other_classes = rig.judge(images.flip(-1), **settings)
    torch.testing.assert_close(logits, (one + other.flip(-1)) / 2, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(probabilities, (one_classes + other_classes) / 2)
    mirrored, same = rig.judge(images.flip(-1), flip=True, **settings)
    torch.testing.assert_close(mirrored.flip(-1), logits, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(same, probabilities)
    assert float((logits - one).abs().max()) > 1e-2, "the networks are symmetric themselves"


@pytest.mark.parametrize("background", [None, 0, 1, 3])
def test_priors_leave_out_the_background(rig: Rig, images: Tensor, background: int | None) -> None:
    """They are the classifier's probabilities, given that there is an object, even where it is sure that there is none."""
    networks = rig.networks(background=background)
    seen: list[Tensor] = []
    assert networks.linear is not None
    hook = networks.linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    with torch.no_grad():
        before = rig.frozen.classifier.head.bias.clone()
        try:
            for bias in (0.0, 100.0):
                if background is not None:
                    rig.frozen.classifier.head.bias[background] = bias
                _, probabilities = networks.judge(rig.frozen.look(images))
        finally:
            hook.remove()
            rig.frozen.classifier.head.bias.copy_(before)
        logits = rig.frozen.classifier(resize_to(images, 64))
    objects = [k for k in range(4) if k != background]
    for priors in seen:
        torch.testing.assert_close(priors, logits[:, objects].softmax(1), atol=1e-5, rtol=1e-4)
    if background is not None:
        assert (probabilities[:, background] > 0.999).all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"mode": "unet", "localizer": False},
            r"predict\.mode=unet.*trained none.*train\.epochs=3, or choose fast or accurate",
        ),
        ({"unet_share": 0.2, "localizer": False}, r"predict\.unet_share above 0 need a U-Net.*train\.epochs=3"),
        ({"mode": "fast", "linear": False}, r"predict\.mode=fast.*no linear maps.*harvest\.refine=dataset, or choose unet"),
        ({"mode": "accurate", "linear": False}, r"predict\.mode=accurate.*no linear maps.*harvest\.refine=dataset"),
        ({"unet_share": 0.9, "linear": False}, r"predict\.mode=fast.*no linear maps"),
    ],
)
def test_what_a_mode_lacks_is_named(rig: Rig, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        rig.networks(**settings)


def test_a_share_of_one_needs_no_linear_map(rig: Rig, images: Tensor) -> None:
    alone = rig.judge(images, mode="fast", unet_share=1.0, linear=False)[0]
    torch.testing.assert_close(alone, rig.judge(images, mode="unet", linear=False)[0])


class TestSecondLook:
    """The fast map finds the object; the map of the mode sees it again."""

    @pytest.fixture
    def levels(self, rig: Rig) -> Iterator[float]:
        """The level of the fast map, a third of the accurate one's."""
        level = 0.7
        rig.maps.fast.level.fill_(level)
        rig.maps.accurate.level.fill_(3 * level)
        yield level
        rig.maps.fast.level.zero_()
        rig.maps.accurate.level.zero_()

    def networks(self, rig: Rig, mode: Any, share: float = 0.0, **settings: Any) -> Networks:
        return Networks.of_mode(
            mode,
            rig.frozen,
            settings=PredictConfig(mode=mode, size=96, unet_share=share, **settings),
            device=CPU,
            background=1,
            linear=rig.maps,
            localizer=rig.localizer,
        )

    @pytest.mark.parametrize(
        ("mode", "second_look", "runs", "side"),
        [
            ("fast", -1, {"cnn": 1}, 64),
            ("accurate", -1, {"cnn": 2, "transformer": 1}, 768),
            ("unet", -1, {"cnn": 1, "unet": 1}, 96),
            ("fast", 48, {"cnn": 2}, 96),
            ("accurate", 56, {"cnn": 2, "transformer": 1}, 144),  # the transformer sees 72
            ("accurate", 0, {"cnn": 1, "transformer": 1}, 72),
            ("unet", 48, {"cnn": 1, "unet": 1}, 96),
        ],
    )
    def test_what_runs(self, rig: Rig, mode: str, second_look: int, runs: dict[str, int], side: int) -> None:
        """The transformer sees the crop alone; squares are large enough for half of one to fill the second look."""
        networks = self.networks(rig, mode, second_look=second_look)
        assert networks.side == side
        networks.answer(PhotoBatch(np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)))
        assert rig.calls == runs

    @pytest.mark.parametrize("mode", ["fast", "accurate"])
    @pytest.mark.parametrize("share", [0.0, 0.3])
    @pytest.mark.parametrize("flip", [False, True])
    def test_the_second_map_is_pasted_into_the_first(
        self, rig: Rig, images: Tensor, mode: str, share: float, flip: bool, levels: float
    ) -> None:
        networks = self.networks(rig, mode, share=share, second_look=48, flip=flip)
        first, second = (rig.networks(mode=name, unet_share=share, flip=flip) for name in ("fast", mode))
        maps, probabilities = first.judge(rig.frozen.look(images))
        logits = TEMPER * torch.logit(maps)
        windows = object_windows(logits, (1 - share) * levels)
        assert not torch.equal(windows, object_windows(logits, 0.0)), "the level decides"
        cut = max([48, *([72] if mode == "accurate" else []), *([96] if share else [])])
        again = TEMPER * torch.logit(second.judge(rig.frozen.look(crop(images, windows, cut), 48))[0])
        found, classes = networks.judge(rig.frozen.look(images))
        torch.testing.assert_close(TEMPER * torch.logit(found), paste(logits, again, windows), atol=5e-3, rtol=5e-3)
        assert torch.equal(classes, probabilities), "the class is that of the whole photo"

    @pytest.mark.parametrize("side", [1, 31])
    def test_too_small_to_see_anything(self, rig: Rig, side: int) -> None:
        with pytest.raises(ConfigError, match=rf"predict\.second_look={side}: give at least 32 pixels"):
            self.networks(rig, "fast", second_look=side)

    def test_the_level_is_that_of_both_looks(self, rig: Rig, levels: float) -> None:
        for mode, side, expected in (("fast", 0, 1.0), ("fast", 64, 1.0), ("accurate", 0, 3.0), ("accurate", 64, 2.0)):
            assert self.networks(rig, mode, second_look=side).level == pytest.approx(expected * levels)
        assert self.networks(rig, "fast", share=0.25).level == pytest.approx(0.75 * levels)
        assert self.networks(rig, "unet").level == 0


@pytest.mark.parametrize("arch", ["test_resnet", "test_nfnet", "test_convnext"])
@pytest.mark.parametrize("mode", ["fast", "accurate"])
def test_any_cnn_serves_both_modes(rig: Rig, arch: str, mode: str) -> None:
    """Whatever its stages and strides are: maps are fitted on its features, and applied."""
    torch.manual_seed(0)
    classifier = Classifier(arch, 4).eval()
    frozen = FrozenNetworks(classifier, side=64, transformer=rig.frozen.transformer, key_sides=(72,))
    photos = torch.rand(8, 3, 64, 64)
    photos[:, :, 16:40, 24:56] /= 8  # a dark object
    with torch.inference_mode():
        look = frozen.look(photos)
        blocks = tuple(joint_grids([*look.stages, *look.keys]))
        attention = 1 - photos.mean(1)
    features = PhotoFeatures(blocks, (72,), attention, np.array([0, 1, 2, 0, 1, 2, 0, 1]))
    maps, _ = fit_linear_maps(features, 3, HarvestConfig())
    networks = Networks.of_mode(
        mode,
        frozen,
        settings=PredictConfig(second_look=48),
        device=CPU,
        background=3,
        linear=maps,
        localizer=None,
    )
    found = networks.answer(PhotoBatch((photos.permute(0, 2, 3, 1) * 255).byte().numpy())).maps
    assert found.shape[0] == 8 and found.shape[1] == found.shape[2] >= 16
    rows = (np.arange(found.shape[1]) + 0.5) * 64 / found.shape[1]
    inside = ((rows > 16) & (rows < 40))[:, None] & ((rows > 24) & (rows < 56))[None]
    assert found[:, inside].mean() > found[:, ~inside].mean() + 0.2


def test_only_localized_photos_have_maps(rig: Rig) -> None:
    networks = rig.networks()
    squares = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    every = networks.answer(PhotoBatch(squares))
    part = networks.answer(PhotoBatch(squares, localized=(2, 0)))
    assert np.array_equal(part.maps, every.maps[[2, 0]]) and np.array_equal(part.probabilities, every.probabilities)


def test_modes_that_are_asked_about_one_batch_share_the_networks(rig: Rig) -> None:
    made = [rig.networks(mode=mode, size=64) for mode in ("fast", "accurate", "unet")]
    squares = np.random.default_rng(0).integers(0, 256, (2, 72, 72, 3), np.uint8)
    answers = [networks.answer(PhotoBatch(squares)) for networks in made]
    assert rig.calls == {"cnn": 1, "transformer": 1, "unet": 1}
    for networks, answer in zip(made, answers, strict=True):
        other = networks.answer(PhotoBatch(squares.copy()))
        assert np.array_equal(answer.maps, other.maps) and np.array_equal(answer.probabilities, other.probabilities)


def test_everything_is_in_evaluation_mode(rig: Rig) -> None:
    rig.frozen.train()
    rig.localizer.train()
    networks = rig.networks(unet_share=0.5)
    assert not networks.frozen.training and not rig.frozen.classifier.training and not rig.localizer.training


def test_settings_of_another_mode() -> None:
    chosen = PredictConfig(mode="accurate", unet_share=0.3, flip=True, size=96)
    assert mode_settings(chosen, "accurate") == chosen
    assert mode_settings(chosen, "fast") == dataclasses.replace(chosen, mode="fast", unet_share=0.0)
    assert mode_settings(chosen, "unet") == dataclasses.replace(chosen, mode="unet", unet_share=0.0)


def test_thresholds_near_that_of_an_object_are_a_logit_away() -> None:
    assert torch.allclose(tempered(torch.tensor(0.3 + 1)).logit() - tempered(torch.tensor(0.3)).logit(), torch.tensor(LOG_ODDS))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("mode", ["fast", "accurate", "unet"])
def test_classes_of_cells_change_nothing_else(rig: Rig, images: Tensor, mode: str, flip: bool) -> None:
    plain, own = (rig.networks(mode=mode, flip=flip, object_class=kind) for kind in ("photo", "object"))
    squares = np.random.default_rng(0).integers(0, 255, (3, plain.side, plain.side, 3)).astype(np.uint8)
    try:
        before, after = (item.answer(PhotoBatch(squares.copy())) for item in (plain, own))
        assert before.cells is None and after.cells is not None and after.cells.shape == (3, 4, 2, 2)
        assert np.array_equal(before.maps, after.maps) and np.array_equal(before.probabilities, after.probabilities)
        if not flip:  # the mean of two photos' probabilities is not that of the mean of their logits
            odds = np.exp(after.cells.mean((2, 3)))
            np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), after.probabilities, atol=1e-5)
        some = own.answer(PhotoBatch(squares.copy(), localized=(2, 0))).cells
        assert some is not None and np.allclose(some, after.cells[[2, 0]], atol=1e-5)
        mirrored = own.answer(PhotoBatch(np.ascontiguousarray(squares[:, :, ::-1]))).cells
        assert mirrored is not None and np.allclose(mirrored[..., ::-1], after.cells, atol=1e-3) == flip
    finally:
        rig.frozen.keeps_cells = False


@pytest.mark.parametrize(
    ("setting", "trained", "expected"),
    [("auto", False, False), ("auto", True, True), ("photo", True, False), ("object", False, True)],
)
def test_who_decides_on_classes_of_objects(rig: Rig, setting: str, trained: bool, expected: bool) -> None:
    networks = Networks.of_mode(
        "fast",
        rig.frozen,
        settings=PredictConfig(object_class=setting),  # type: ignore[arg-type]
        device=CPU,
        background=1,
        linear=rig.maps,
        localizer=None,
        object_classes=trained,
    )
    try:
        assert networks.object_classes is expected
        assert (networks.answer(PhotoBatch(np.zeros((1, 64, 64, 3), np.uint8))).cells is not None) is expected
    finally:
        rig.frozen.keeps_cells = False


def test_a_cnn_that_says_nothing_of_parts_cannot_classify_objects(capfd: pytest.CaptureFixture[str]) -> None:
    frozen = FrozenNetworks(Classifier("test_mambaout", 2).eval(), side=64)
    linear = LinearMaps((8,), stages=1, outputs=2).fast
    assert not Networks(frozen, config=PredictConfig(), device=CPU, linear=linear).object_classes
    assert not capfd.readouterr().err
    assert not Networks(frozen, config=PredictConfig(), device=CPU, linear=linear, object_classes=True).object_classes
    assert "test_mambaout says nothing of parts of a photo, so boxes have the class of their photo" in capfd.readouterr().err
    with pytest.raises(ConfigError, match=r"predict\.object_class: the CNN test_mambaout .* set it to photo"):
        Networks(frozen, config=PredictConfig(object_class="object"), device=CPU, linear=linear)
