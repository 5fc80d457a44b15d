"""CAM by loops, its normalisations, and how IVR's percentile is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dips.baselines import normalise
from dips.baselines.cam import Cam, CamIvr, CamMax, CamPas, OnCam
from dips.baselines.study import Study
from dips.types import FloatArray, Sample

IMAGES, LABELS = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 1])


@pytest.fixture
def fitted(study: Study) -> Study:
    cam = Cam()
    cam.build(study)
    cam.freeze()
    study.done["cam"] = cam
    return study


def without_boxes(study: Study) -> None:
    study.val = replace(study.val, samples=tuple(replace(sample, boxes=None) for sample in study.val.samples))


def test_activations_by_loops(fitted: Study) -> None:
    cam: Any = fitted.fitted("cam")
    features, weight = cam.net.feature_map(IMAGES), cam.net.head.weight
    assert features.shape[2:] == (4, 4), "stride 16"
    found = cam.activations(IMAGES, LABELS)
    for photo, label in enumerate(LABELS):
        for i in range(4):
            for j in range(4):
                expected = sum(float(weight[label, k] * features[photo, k, i, j]) for k in range(cam.net.width))
                assert float(found[photo, i, j]) == pytest.approx(expected, abs=1e-5)
    # their mean is the class's score, but for its bias
    scores = (cam.net(IMAGES) - cam.net.head.bias).gather(1, LABELS[:, None])[:, 0]
    torch.testing.assert_close(found.mean((1, 2)), scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cam.maps(IMAGES, LABELS), normalise.min_max(found))
    torch.testing.assert_close(cam.probabilities(IMAGES).sum(1), torch.ones(3))


def test_the_others_are_its_activations_otherwise_normalised(fitted: Study) -> None:
    cam: Any = fitted.fitted("cam")
    found = cam.activations(IMAGES, LABELS)
    expected: dict[Callable[[], OnCam], Tensor] = {
        CamMax: normalise.max_norm(found),
        CamPas: normalise.pas(found, normalise.PAS_PERCENTILE),
        CamIvr: normalise.ivr(found, 50),
    }
    for kind, maps in expected.items():
        method = kind()
        method.take(fitted)
        method.build(fitted)
        torch.testing.assert_close(method.maps(IMAGES, LABELS), maps)
        assert method.needs == ("cam",) and method.labels == "image"
        assert method.parameters == cam.parameters
        torch.testing.assert_close(method.probabilities(IMAGES), cam.probabilities(IMAGES))


def test_cam_learns_and_comes_back(study: Study) -> None:
    method = Cam()
    fit = method.fit(study)
    assert fit.steps == 4 and fit.seconds > 0
    again = Cam()
    again.restore(study, method.state())
    torch.testing.assert_close(again.maps(IMAGES, LABELS), method.maps(IMAGES, LABELS), rtol=0, atol=0)


@pytest.mark.parametrize("wanted", [10.0, 40.0, 80.0])
def test_ivr_takes_the_percentile_that_the_judge_prefers(wanted: float, fitted: Study) -> None:
    asked: list[list[FloatArray]] = []

    def judge(maps: Iterable[FloatArray], samples: Sequence[Sample]) -> float:
        assert list(samples) == list(fitted.val.samples)
        asked.append(list(maps))
        return -abs(normalise.IVR_PERCENTILES[len(asked) - 1] - wanted)

    fitted.judge = judge
    method = CamIvr()
    fit = method.fit(fitted)
    assert method.percentile == wanted and f"percentile {wanted:g} " in fit.chosen
    assert [row["percentile"] for row in fit.curve] == list(normalise.IVR_PERCENTILES)
    cam: Any = fitted.fitted("cam")
    activations = cam.activations(*fitted.val.batch([0, 1, 2], 224, fitted.device))
    for percentile, maps in zip(normalise.IVR_PERCENTILES, asked, strict=True):
        np.testing.assert_allclose(np.stack(maps), normalise.ivr(activations, percentile).numpy(), atol=1e-4)


def test_of_equal_percentiles_the_lowest(fitted: Study) -> None:
    method = CamIvr()
    method.fit(fitted)
    assert method.percentile == min(normalise.IVR_PERCENTILES)


def test_ivr_without_boxes_stays_in_the_middle(fitted: Study) -> None:
    without_boxes(fitted)
    method = CamIvr()
    fit = method.fit(fitted)
    assert method.percentile == 50 and fit.curve == () and "no validation photo has a box" in fit.chosen
