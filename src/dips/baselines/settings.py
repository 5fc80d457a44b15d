"""Hyperparameters of the rivals, each as its paper gives it, in one place.

All methods on the CNN share network, schedule and budget (one backbone per table), so that what differs is the method. Rates
and numbers of steps are not the papers', which train for 50 epochs and more: they were chosen for budgets of minutes on
validation photos (docs/results.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from dips.baselines.training import Schedule

__all__ = ["CNN", "CnnSettings", "NormaliseSettings"]


@dataclass(frozen=True)
class CnnSettings:
    """The classifier that the methods on a CNN change.

    Attributes:
        stride: pixels of the photo per pixel of the last feature map. The benchmark (Choe et al. 2020) uses 8; 16 is what
            minutes on a CPU allow.
        schedule: of the training.
    """

    stride: int = 16
    schedule: Schedule = Schedule(lr=3e-3)


@dataclass(frozen=True)
class NormaliseSettings:
    """From class activations to score maps (Kim et al., ICCV 2021, "Normalization Matters in WSOL").

    Attributes:
        pas: percentile that stands for the maximum in PaS (Bae et al., ECCV 2020): 90.
        ivr: percentiles that stand for the minimum in IVR; the best on validation is taken.
    """

    pas: float = 90.0
    ivr: tuple[float, ...] = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0)


CNN = CnnSettings()
