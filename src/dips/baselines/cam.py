"""CAM (Zhou et al., CVPR 2016): the last layer's weights applied to the feature map; other normalisations of the same maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from dips.baselines import normalise
from dips.baselines.choosing import best_of, chosen_by, score_candidates
from dips.baselines.cnn import CnnMethod, fit_last_layer
from dips.baselines.method import Fit, ScoreMapMethod
from dips.baselines.study import Study
from dips.models.classifier import Classifier

__all__ = ["Cam", "CamFrozen", "CamIvr", "CamMax", "CamPas", "OnCam"]


class Cam(CnnMethod):
    """Class activation maps of a plain classifier (section 2)."""

    name = "cam"
    title = "CAM"
    paper = "Zhou et al., CVPR 2016"


class CamFrozen(Cam):
    """Class activations of a classifier of which only the last layer is fitted: what ImageNet weights achieve alone."""

    name = "cam-frozen"
    title = "CAM, frozen CNN"

    def train(self, study: Study) -> Fit:
        """Fit the last layer; see :func:`~dips.baselines.cnn.fit_last_layer`."""
        fit_last_layer(cast(Classifier, self.net), study.train, self.side, study.device)
        return Fit()


class OnCam(ScoreMapMethod):
    """The base class of methods that compute other maps from the classifier fitted by :class:`Cam`."""

    labels = "image"
    needs = ("cam",)
    cam: Cam

    def build(self, study: Study) -> None:
        """Use the classifier fitted by :class:`Cam`."""
        cam = study.fitted("cam")
        assert isinstance(cam, Cam)
        self.cam = cam

    def probabilities(self, images: Tensor) -> Tensor:
        """Return the classifier's class probabilities ``(B, C)`` of images ``(B, 3, H, W)`` in [0, 1]."""
        return self.cam.probabilities(images)


class CamMax(OnCam):
    """Class activations divided by their maximum, with negative ones set to 0."""

    name = "cam-max"
    title = "CAM, max"
    paper = "Kim et al., ICCV 2021 (normalisation)"

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return score maps ``(B, h, w)`` in [0, 1]: see :func:`~dips.baselines.normalise.max_norm`."""
        return normalise.max_norm(self.cam.activations(images, labels))


class CamPas(OnCam):
    """Class activations with a percentile in place of the maximum."""

    name = "cam-pas"
    title = "CAM-PaS"
    paper = "Bae et al., ECCV 2020"

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return score maps ``(B, h, w)`` in [0, 1]: see :func:`~dips.baselines.normalise.pas`."""
        return normalise.pas(self.cam.activations(images, labels), normalise.PAS_PERCENTILE)


class CamIvr(OnCam):
    """Class activations with a percentile, chosen on validation, in place of the minimum (section 3)."""

    name = "cam-ivr"
    title = "CAM-IVR"
    paper = "Kim et al., ICCV 2021"
    percentile = 50.0

    def train(self, study: Study) -> Fit:
        """Choose the percentile by MaxBoxAccV2 on validation, the lowest of ties; without validation boxes it stays at 50."""
        options = normalise.IVR_PERCENTILES

        def maps(images: Tensor, labels: Tensor) -> list[Tensor]:
            activations = self.cam.activations(images, labels)
            return [normalise.ivr(activations, percentile) for percentile in options]

        scores = score_candidates(study, maps, self.side)
        self.percentile = options[best_of(scores)] if scores else CamIvr.percentile
        curve = tuple({"percentile": p, "v2": score} for p, score in zip(options, scores, strict=False))
        return Fit(chosen=f"percentile {self.percentile:g}{chosen_by(scores)}", curve=curve)

    def state(self) -> dict[str, Tensor]:
        """Return the percentile, a scalar."""
        return {"percentile": torch.tensor(self.percentile)}

    def load(self, study: Study, state: Mapping[str, Tensor]) -> None:
        """Load the chosen percentile."""
        self.percentile = float(state["percentile"])

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return score maps ``(B, h, w)`` in [0, 1]: see :func:`~dips.baselines.normalise.ivr`."""
        return normalise.ivr(self.cam.activations(images, labels), self.percentile)
