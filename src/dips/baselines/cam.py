"""CAM (Zhou et al., CVPR 2016): the last layer's weights against the feature map; and other normalisations of the same maps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dips.baselines import normalise
from dips.baselines.cnn import CnnMethod
from dips.baselines.method import Fit, ScoreMapMethod
from dips.baselines.study import Study

__all__ = ["Cam", "CamIvr", "CamMax", "CamPas", "OnCam"]


class Cam(CnnMethod):
    """Class activation maps of a plain classifier."""

    name = "cam"
    title = "CAM"
    paper = "Zhou et al., CVPR 2016"


class OnCam(ScoreMapMethod):
    """The base of methods that make other maps of the classifier that :class:`Cam` fitted."""

    labels = "image"
    needs = ("cam",)
    cam: Cam

    def build(self, study: Study) -> None:
        """Takes the fitted classifier."""
        found = study.fitted("cam")
        assert isinstance(found, Cam)
        self.cam = found

    @property
    def parameters(self) -> int:
        """Those of the classifier."""
        return self.cam.parameters

    def probabilities(self, images: Tensor) -> Tensor:
        """The classifier's."""
        return self.cam.probabilities(images)


class CamMax(OnCam):
    """Divided by the maximum, without what is negative."""

    name = "cam-max"
    title = "CAM, max"
    paper = "Kim et al., ICCV 2021 (normalisation)"

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """See :func:`~dips.baselines.normalise.max_norm`."""
        return normalise.max_norm(self.cam.activations(images, labels))


class CamPas(OnCam):
    """A percentile stands for the maximum."""

    name = "cam-pas"
    title = "CAM-PaS"
    paper = "Bae et al., ECCV 2020"

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """See :func:`~dips.baselines.normalise.pas`."""
        return normalise.pas(self.cam.activations(images, labels), normalise.PAS_PERCENTILE)


class CamIvr(OnCam):
    """A percentile, chosen on validation, stands for the minimum."""

    name = "cam-ivr"
    title = "CAM-IVR"
    paper = "Kim et al., ICCV 2021"
    percentile = 50.0

    def train(self, study: Study) -> Fit:
        """Choose the percentile; without boxes on validation it stays at 50."""
        scores: dict[float, float] = {}
        for self.percentile in normalise.IVR_PERCENTILES:
            score = study.choose(self.maps, self.side)
            if score is None:
                self.percentile = CamIvr.percentile
                return Fit(chosen="percentile 50, no validation photo has a box")
            scores[self.percentile] = score
        self.percentile = max(scores, key=lambda p: scores[p])
        curve = tuple({"percentile": p, "v2": score} for p, score in scores.items())
        return Fit(chosen=f"percentile {self.percentile:g} by true boxes of validation", curve=curve)

    def state(self) -> dict[str, Tensor]:
        """The percentile."""
        return {"percentile": torch.tensor(self.percentile)}

    def restore(self, study: Study, state: Mapping[str, Tensor]) -> None:
        """The classifier, and the percentile that was chosen."""
        self.build(study)
        self.percentile = float(state["percentile"])

    def maps(self, images: Tensor, labels: Tensor) -> Tensor:
        """See :func:`~dips.baselines.normalise.ivr`."""
        return normalise.ivr(self.cam.activations(images, labels), self.percentile)
