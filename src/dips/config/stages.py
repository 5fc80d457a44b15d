"""The settings of each stage: name, type, range or choices, default and meaning, all in the fields of a frozen dataclass.

The annotation of a field is the only description of a setting. Validation, ``dips settings`` and ``docs/settings.md`` come from
it (:func:`dips.config.all_settings`). Sections of the paper are cited where a setting comes from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from dips.errors import ConfigError

__all__ = ["ClassifierConfig", "DataConfig", "HarvestConfig", "LocalizerConfig", "PredictConfig", "TrainConfig"]

_Side = Annotated[int, Meta(ge=28, le=2048)]
_MIN_SECOND_LOOK = _MIN_TILE = 32


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How the photos are read."""

    background_class: Annotated[
        str,
        Meta(
            description="class whose photos show no object: its name, 'auto' (the class called 'none' or 'background') or '' "
            "for no such class"
        ),
    ] = "auto"
    label_column: Annotated[
        str,
        Meta(
            description="name of the column of a CSV, or of Label Studio's question (from_name), that holds the class; "
            "'' = found by its name or its content"
        ),
    ] = ""
    val_share: Annotated[
        float, Meta(ge=0.02, le=0.5, description="fraction of train/ held out for validation where the data has no val/")
    ] = 0.15
    val_seed: Annotated[int, Meta(ge=-1, le=10**9, description="seed of that split; -1 = train.seed")] = -1
    depth: Annotated[
        str,
        Meta(
            description="which values become black and white in photos of more than 8 bits: 'auto' (the range of their type, "
            "or one found in the training photos where these use less than a quarter of it), 'full' (always that of the type), "
            "or two values as in '7000..9000'"
        ),
    ] = "auto"

    def __post_init__(self) -> None:
        """Check what a type cannot say.

        Raises:
            ConfigError: ``depth`` is none of what it may be.
        """
        if self.depth not in ("auto", "full") and self.depth_range is None:
            raise ConfigError(f"data.depth={self.depth}: give auto, full, or two values, black below white, as in 7000..9000")

    @property
    def depth_range(self) -> tuple[float, float] | None:
        """The two values that ``depth`` names, if it does."""
        try:
            low, high = map(float, self.depth.split(".."))
        except ValueError:
            return None
        return (low, high) if math.isfinite(high - low) and low < high else None


@dataclass(frozen=True, kw_only=True)
class HarvestConfig:
    """From photos to linear maps on frozen features and, where a U-Net is trained, to proposals (paper 3.1, 3.2)."""

    sst: Annotated[
        str,
        Meta(
            description="self-supervised transformer: a timm ViT, 'auto' (the paper's DINO if its weights are found, otherwise "
            "the embedded one) or 'embedded'"
        ),
    ] = "auto"
    sizes: Annotated[
        tuple[_Side, ...],
        Meta(min_length=1, description="sides in pixels of the squares that the transformer sees, rounded to its patches"),
    ] = (224,)
    flip: Annotated[bool, Meta(description="for a U-Net: average the attention over the photo and its mirror image")] = False
    heads: Annotated[
        int,
        Meta(
            ge=-1,
            description="attention heads that make proposals in addition to the mean map: the first N, -1 = all (paper: 4)",
        ),
    ] = 0
    map_power: Annotated[float, Meta(ge=0.05, le=4, description="exponent applied to the map before Otsu's threshold")] = 1.0
    refine: Annotated[
        Literal["none", "image", "dataset"],
        Meta(
            description="maps from frozen features instead of the attention: for each image from the last block's keys, or "
            "with linear maps fitted to the data set, which predict.mode=accurate and fast need"
        ),
    ] = "dataset"
    refine_inputs: Annotated[
        Literal["joined", "keys", "cnn"],
        Meta(
            description="what the accurate linear map sees: the transformer's keys joined with the stages of the classifier's "
            "CNN, or one of them"
        ),
    ] = "joined"
    refine_rounds: Annotated[int, Meta(ge=1, le=20, description="rounds of the fit of the linear maps")] = 7
    refine_photos: Annotated[int, Meta(ge=2, description="number of photos, at most, that the linear maps are fitted on")] = 400
    refine_penalty: Annotated[
        float, Meta(ge=0, description="ridge of the linear maps, as a multiple of the features' mean variance")
    ] = 20.0
    refine_fraction: Annotated[
        float,
        Meta(
            ge=0,
            le=0.9,
            description="fraction of a photo's cells that are called object in each round; 0 = found for each photo, by Otsu's "
            "threshold of its map",
        ),
    ] = 0.0
    fast_penalty: Annotated[float, Meta(ge=0, description="ridge of the fast linear map, which imitates the accurate one")] = (
        0.1
    )
    levels: Annotated[
        int, Meta(ge=0, le=64, description="thresholds per map: 0 = Otsu's, N = evenly spaced fractions of the map's maximum")
    ] = 0
    min_area: Annotated[
        float, Meta(ge=0, le=1, description="smallest area of a proposal's box, as a fraction of the image")
    ] = 0.02
    score_on: Annotated[
        Literal["region", "box"], Meta(description="what stays sharp when a proposal is scored; the rest is blurred")
    ] = "region"
    top_p: Annotated[int, Meta(ge=1, le=64, description="proposals kept per photo")] = 1
    min_score: Annotated[
        float, Meta(ge=0, le=1, description="lowest score of a proposal that is kept; the best one always is")
    ] = 0.0
    batch: Annotated[int, Meta(ge=1, description="photos per forward pass")] = 16


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The CNN that scores proposals and predicts the class (paper 3.2)."""

    arch: Annotated[str, Meta(description="any timm CNN")] = "tf_efficientnet_lite0"
    mode: Annotated[
        Literal["head", "full"],
        Meta(description="what is trained: the last layer on stored features, or the whole network"),
    ] = "head"
    size: Annotated[
        int,
        Meta(ge=32, le=2048, description="side of the square that it sees, in pixels, for the class and for the linear maps"),
    ] = 512
    epochs: Annotated[int, Meta(ge=1, description="epochs of mode 'full'")] = 8
    lr: Annotated[float, Meta(ge=0, description="learning rate of mode 'full'")] = 0.01
    batch: Annotated[int, Meta(ge=1, description="photos per step")] = 32
    balance: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="1 = all classes are equally likely, 0 = each as likely as its fraction of the training photos",
        ),
    ] = 1.0


@dataclass(frozen=True, kw_only=True)
class LocalizerConfig:
    """The U-Net that is trained where train.epochs is above 0 (paper 3.3)."""

    encoder: Annotated[str, Meta(description="any timm CNN that returns a feature pyramid and has ImageNet weights")] = (
        "tf_efficientnet_lite0"
    )
    pretrained: Annotated[bool, Meta(description="initialise the encoder with ImageNet weights")] = True


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Training of a U-Net, if there is one: sampling of pseudo-pixels, losses and schedule (paper 3.2, 3.3); and the seed."""

    seed: Annotated[
        int, Meta(ge=0, le=10**9, description="seed of initial weights, order, crops, sampled pixels and the validation split")
    ] = 0
    epochs: Annotated[
        int,
        Meta(ge=0, description="passes over the training photos; 0 = no U-Net is trained, the linear maps are the localizer"),
    ] = 0
    tile: Annotated[
        int,
        Meta(
            ge=-1,
            description="side in pixels of the tiles in which large photos are learned from, by the photos' classes alone; "
            "a background class is needed. 0 = photos as a whole, -1 = tiles of a quarter of the photos' side, at most "
            "what the CNN sees (classifier.size), where photos are at least twice as wide and high as that",
        ),
    ] = 0
    batch: Annotated[int, Meta(ge=1, description="photos per step")] = 16
    optimizer: Annotated[Literal["adamw", "sgd"], Meta(description="AdamW, or SGD with Nesterov momentum 0.9 (paper)")] = (
        "adamw"
    )
    lr: Annotated[float, Meta(ge=0, description="learning rate of the decoder")] = 1e-3
    encoder_lr: Annotated[float, Meta(ge=0, description="learning rate of the encoder, as a multiple of the decoder's")] = 0.3
    weight_decay: Annotated[float, Meta(ge=0, description="weight decay of the optimizer")] = 1e-4
    schedule: Annotated[
        Literal["cosine", "step"], Meta(description="'step' divides the learning rate by ten every lr_step epochs")
    ] = "cosine"
    lr_step: Annotated[int, Meta(ge=1, description="epochs between two steps of schedule 'step'")] = 15
    average: Annotated[float, Meta(ge=0, le=0.99999, description="decay of the moving average of the weights; 0 = off")] = 0.99
    resize: Annotated[int, Meta(ge=32, description="photos are resized to squares of this side")] = 184
    crop: Annotated[int, Meta(ge=32, description="side of the random crop")] = 160
    flip: Annotated[bool, Meta(description="mirror half of the crops")] = True
    fg_from: Annotated[
        Literal["region", "box"],
        Meta(description="foreground pixels are sampled from the proposal's connected component, or from its box"),
    ] = "region"
    fg_share: Annotated[
        float,
        Meta(ge=0, le=1, description="n+: fraction of the proposal's pixels, highest activation first, that may be sampled"),
    ] = 1.0
    fg_pixels: Annotated[int, Meta(ge=1, description="k+: foreground pixels sampled per photo and step")] = 200
    bg_share: Annotated[
        float, Meta(ge=0, le=1, description="n-: fraction of the pixels, lowest activation first, that may be sampled")
    ] = 0.7
    bg_pixels: Annotated[int, Meta(ge=1, description="k-: background pixels sampled per photo and step")] = 200
    bg_from: Annotated[
        Literal["image", "outside"],
        Meta(description="background pixels are sampled from the whole image (3.3), or outside the box (3.2)"),
    ] = "image"
    grow: Annotated[Literal[1, 3, 5, 7], Meta(description="side of the square that each sampled pixel is grown to")] = 3
    lambda_cpa: Annotated[float, Meta(ge=0, description="weight of the partial cross-entropy")] = 1.0
    lambda_cls: Annotated[float, Meta(ge=0, description="weight of the classifier's loss on the masked photo")] = 0.0
    lambda_crf: Annotated[float, Meta(ge=0, description="weight of the CRF loss at full size, crf_full")] = 2e-9
    crf_full: Annotated[
        int,
        Meta(
            ge=32,
            description="full size: side of the crops that lambda_crf and the CRF loss's sigma of 100 px are meant for; "
            "the loss of other crops is scaled to it, so that the weight means the same (paper: 2e-9 for crops of 224, but "
            "also for those of 448 from drone photos: crf_full=448)",
        ),
    ] = 224
    crf_size: Annotated[int, Meta(ge=8, le=160, description="side at which the CRF loss is computed")] = 48
    select_on: Annotated[
        Literal["auto", "boxes", "proposals", "last"],
        Meta(
            description="what chooses thresholds, and the epoch of a U-Net: the validation photos' ground-truth boxes, or, as "
            "'proposals', no box (agreement with proposals); 'last' takes the last epoch; 'auto' takes boxes if there are any"
        ),
    ] = "auto"
    tensorboard: Annotated[bool, Meta(description="also write each epoch's numbers to RUN/tensorboard")] = False
    workers: Annotated[int, Meta(ge=0, description="processes that read photos; 0 = the main process does")] = 0

    def __post_init__(self) -> None:
        """Check what a range cannot say.

        Raises:
            ConfigError: a tile would show next to nothing.
        """
        if 0 < self.tile < _MIN_TILE:
            raise ConfigError(f"train.tile={self.tile}: give at least {_MIN_TILE} pixels, 0 for whole photos, or -1")


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """From a photo to boxes with a trained localizer."""

    mode: Annotated[
        Literal["fast", "accurate", "unet"],
        Meta(
            description="what makes the score map: the linear map on the classifier's CNN, which needs no transformer; the "
            "same, and after it that on CNN and transformer, which see the object again; or the trained U-Net"
        ),
    ] = "fast"
    unet_share: Annotated[
        float, Meta(ge=0, le=1, description="weight of the U-Net in the score maps of the modes fast and accurate")
    ] = 0.0
    second_look: Annotated[
        int,
        Meta(
            ge=-1,
            le=2048,
            description="side of the square in which the CNN sees the object again, cut out of the photo with a margin, for a "
            "linear map; 32 or more, 0 = one look only, -1 = 384 in the mode accurate, otherwise 0",
        ),
    ] = -1
    size: Annotated[int, Meta(ge=32, description="side of the square that the U-Net sees")] = 160
    object_class: Annotated[
        Literal["auto", "photo", "object"],
        Meta(
            description="what a box's class is: that of the photo, or that of the object alone; auto = the object's where "
            "training photos had several labels"
        ),
    ] = "auto"
    flip: Annotated[bool, Meta(description="average over the photo and its mirror image")] = False
    threshold: Annotated[
        float,
        Meta(
            ge=-1,
            le=1,
            description="fraction of the map's maximum above which a pixel is foreground; -1 = chosen on the validation photos",
        ),
    ] = -1.0
    min_area: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="smallest area of a box, as a fraction of what the networks see at once: the photo, or a tile",
        ),
    ] = 0.005
    min_score: Annotated[
        float,
        Meta(
            ge=-1,
            le=1,
            description="lowest score of a box; -1 = a mean of the score map of 0.6 in photos that are tiled, as most tiles "
            "show nothing, otherwise none but the gate of the model",
        ),
    ] = -1.0
    max_boxes: Annotated[int, Meta(ge=1, le=65535, description="maximum number of boxes per photo")] = 100
    tile: Annotated[
        int,
        Meta(
            ge=-1,
            description="side in pixels of the overlapping tiles in which larger photos are seen, in addition to the whole "
            "photo; 0 = the whole photo only, -1 = tiles as large as the training photos were (--tile auto), also where "
            "train.tile is set and this is not",
        ),
    ] = 0
    tile_overlap: Annotated[
        float, Meta(ge=0, le=0.75, description="smallest overlap of neighbouring tiles, as a fraction of their side")
    ] = 0.25
    batch: Annotated[int, Meta(ge=1, description="photos per forward pass")] = 16

    def __post_init__(self) -> None:
        """Check what a range cannot say.

        Raises:
            ConfigError: the second look would see next to nothing.
        """
        if 0 < self.second_look < _MIN_SECOND_LOOK:
            raise ConfigError(
                f"predict.second_look={self.second_look}: give at least {_MIN_SECOND_LOOK} pixels, 0 for one look only, or -1"
            )
