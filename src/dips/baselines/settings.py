"""Hyperparameters of the rivals, each as its paper gives it, in one place.

All methods on the CNN share network, schedule and budget (one backbone per table), so that what differs is the method. Rates
and numbers of steps are not the papers', which train for 50 epochs and more: they were chosen for budgets of minutes on
validation photos (docs/results.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from dips.baselines.training import Schedule

__all__ = [
    "ACOL",
    "ADL",
    "C2AM",
    "CNN",
    "CUTMIX",
    "FCAM",
    "HAS",
    "LOST",
    "SPG",
    "TOKENCUT",
    "TSCAM",
    "AcolSettings",
    "AdlSettings",
    "C2amSettings",
    "CnnSettings",
    "CutMixSettings",
    "FCamSettings",
    "HasSettings",
    "LostSettings",
    "NormaliseSettings",
    "SpgSettings",
    "TokenCutSettings",
    "TsCamSettings",
]


@dataclass(frozen=True)
class CnnSettings:
    """The classifier that the methods on a CNN change.

    Attributes:
        stride: pixels of the photo per pixel of the last feature map. The benchmark (Choe et al. 2020) uses 8; 16 is what
            minutes on a CPU allow.
        schedule: of the training.
    """

    stride: int = 16
    schedule: Schedule = Schedule(lr=1e-2)


@dataclass(frozen=True)
class NormaliseSettings:
    """From class activations to score maps (Kim et al., ICCV 2021, "Normalization Matters in WSOL").

    Attributes:
        pas: percentile that stands for the maximum in PaS (Bae et al., ECCV 2020): 90.
        ivr: percentiles that stand for the minimum in IVR; the best on validation is taken.
    """

    pas: float = 90.0
    ivr: tuple[float, ...] = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0)


@dataclass(frozen=True)
class FCamSettings:
    """Which pixels F-CAM is taught on (Belharbi et al., WACV 2022, section 3).

    The paper searches both shares for each data set; these were chosen on validation photos of birds20.

    Attributes:
        fg_share: share of the pixels, by activation, that may be drawn as foreground, weighted by it.
        bg_share: share of the lowest pixels that may be drawn as background, uniformly.
    """

    fg_share: float = 0.1
    bg_share: float = 0.3


@dataclass(frozen=True)
class TsCamSettings:
    """TS-CAM (Gao et al., ICCV 2021).

    Attributes:
        trained_blocks: last blocks that learn. The paper trains all 12; 4 take half the time per photo.
        schedule: body and weight decay at the paper's 5e-5 and 5e-4; the new convolution is 20 times as fast, which steps for
            minutes need and the paper's 60 epochs do not. Half the batch of the CNNs, as a photo costs more.
    """

    trained_blocks: int = 4
    schedule: Schedule = Schedule(lr=1e-3, body_share=0.05, weight_decay=5e-4, batch=16)


@dataclass(frozen=True)
class LostSettings:
    """LOST (Siméoni et al., BMVC 2021).

    Attributes:
        size: side in pixels that the transformer sees. The paper keeps each photo's own size, in patches of 16.
        centred: keys less their mean over the photo (:func:`~dips.baselines.frozen.centred`). The paper's DINO does without,
            the embedded transformer does not (MaxBoxAccV2 on 60 training photos of birds20: 69, without 55).
        k: patches of lowest degree among which the seed is expanded: 100, the paper's.
    """

    size: int = 448
    centred: bool = True
    k: int = 100


@dataclass(frozen=True)
class TokenCutSettings:
    """TokenCut (Wang et al., CVPR 2022).

    Attributes:
        size, centred: as LOST's (MaxBoxAccV2 on the same photos: 61, without centring 32).
        tau: cosine above which two patches are joined: 0.2, the paper's.
        eps: weight of the other edges: 1e-5, the paper's.
    """

    size: int = 448
    centred: bool = True
    tau: float = 0.2
    eps: float = 1e-5


@dataclass(frozen=True)
class C2amSettings:
    """C2AM (Xie et al., CVPR 2022), on the schedule of the other CNNs.

    Attributes:
        alpha: how fast a positive pair's weight falls with its rank: 0.25 (the authors' code for CUB takes 0.05 with supervised
            weights).
        margin: how near a cosine may come to 0 and to 1 in the losses: 5e-4, the authors'.
    """

    alpha: float = 0.25
    margin: float = 5e-4


@dataclass(frozen=True)
class HasSettings:
    """Hide-and-Seek (Singh & Lee, ICCV 2017).

    Attributes:
        sizes: sides of a cell in pixels of a crop of 224, drawn per crop: those of HaS-Mixed (section 4); 0 hides nothing.
        probability: that a cell is hidden: 0.5 (section 4).
        photos: training photos, about, that the mean colour is taken of; chosen here, the paper takes all.
    """

    sizes: tuple[int, ...] = (0, 16, 32, 44, 56)
    probability: float = 0.5
    photos: int = 256


@dataclass(frozen=True)
class AcolSettings:
    """ACoL (Zhang et al., CVPR 2018).

    Attributes:
        threshold: of the first head's normalised map, above which the second head sees nothing: delta of 0.6, the best of
            the paper's ablation (section 4).
        width: channels of a head's convolutions. Chosen here: the authors' 1024 would cost many times the network below.
        schedule: one rate for all layers. Chosen here: at that of a linear layer the heads' rectified layers die.
    """

    threshold: float = 0.6
    width: int = 256
    schedule: Schedule = Schedule(lr=1e-3, body_share=1.0)


@dataclass(frozen=True)
class SpgSettings:
    """SPG (Zhang et al., ECCV 2018). Pairs are thresholds above which a pixel is object and below which it is ground.

    Attributes:
        attention: of the normalised class activations, which teach B2; as in the authors' code, and so are the next three.
        b2: of B2's probability, which teaches B1.
        fused: of the mean probability of B1 and B2, which teaches C.
        least: pixels of the photo that have to be object; where they are fewer, those above ``near`` times the maximum are it.
        near: see ``least``.
        width: channels of the branches. Chosen here: the authors' 512 would cost several times the network below.
    """

    attention: tuple[float, float] = (0.7, 0.05)
    b2: tuple[float, float] = (0.5, 0.05)
    fused: tuple[float, float] = (0.7, 0.1)
    least: int = 30
    near: float = 0.7
    width: int = 128


@dataclass(frozen=True)
class AdlSettings:
    """ADL (Choe & Shim, CVPR 2019).

    Attributes:
        drop_rate: how often features are dropped rather than weighted: 0.75, the paper's (section 4).
        gamma: share of the largest attention above which they are dropped: 0.8, the paper's for VGG.
        stages: last stages whose outputs the layer sits on: 3, as in the paper's VGG (pool3, pool4, conv5-3).
    """

    drop_rate: float = 0.75
    gamma: float = 0.8
    stages: int = 3


@dataclass(frozen=True)
class CutMixSettings:
    """CutMix (Yun et al., ICCV 2019). Shares of area are uniform, Beta(1, 1), as everywhere in the paper (section 3.1).

    Attributes:
        probability: that a batch is mixed: 1, as in the WSOL benchmark (Choe et al. 2020).
    """

    probability: float = 1.0


ACOL = AcolSettings()
ADL = AdlSettings()
C2AM = C2amSettings()
CNN = CnnSettings()
CUTMIX = CutMixSettings()
FCAM = FCamSettings()
HAS = HasSettings()
LOST = LostSettings()
SPG = SpgSettings()
TOKENCUT = TokenCutSettings()
TSCAM = TsCamSettings()
