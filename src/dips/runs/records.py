"""The JSON files of a run folder as typed records; reading them needs no torch.

``model.json`` says how to build and use the networks of ``model.safetensors``, ``run.json`` what the training was based on and
its results. :mod:`dips.fitting.fit` writes both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from dips.data.classes import ClassAccuracy
from dips.data.depth import Depth
from dips.data.gain import ReviewGain
from dips.data.problems import ProblemRecord
from dips.errors import RunError
from dips.scoremaps.calibration import Calibration
from dips.system.console import counted
from dips.system.records import Record, read_record
from dips.types import RUN_VERSION

__all__ = ["CONFIG", "MODEL", "REMEDY", "RUN", "ClassifierShape", "LinearShape", "LocalizerShape", "ModelMeta"]
__all__ += ["ModelRecord", "PhotoCounts", "RunRecord", "RunSeconds", "WeightsRecord"]
__all__ += ["read_model_record", "read_run_record"]

CONFIG, MODEL, RUN = "config.toml", "model.json", "run.json"
REMEDY = "copy the run again, or train again with another --out"


_Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


def _check_classes(classes: tuple[str, ...], background: int | None) -> None:
    if len(set(classes)) < len(classes):
        raise ValueError("its class names repeat")
    if background is not None and not 0 <= background < len(classes):
        raise ValueError("its background class is none of its classes")


class LocalizerShape(Record, frozen=True, kw_only=True):
    """How to build the U-Net: timm's name of the encoder, and the decoder's channels, deepest first."""

    encoder: str
    channels: tuple[int, ...]


class ClassifierShape(Record, frozen=True, kw_only=True):
    """How to build the CNN: timm's name, and the number of classes."""

    arch: str
    classes: int


class LinearShape(Record, frozen=True, kw_only=True):
    """How to build the linear maps.

    Attributes:
        channels: channels of each block of features, the CNN's stages first.
        stages: how many of them are the CNN's.
        outputs: number of object classes.
    """

    channels: tuple[int, ...]
    stages: int
    outputs: int


class ModelMeta(Record, frozen=True, kw_only=True):
    """How to use the networks.

    Attributes:
        classes: names in label order.
        background: label of the class without object, if there is one.
        thresholds: chosen on validation, by mode of prediction: for ``v1``, ``30``, ``50``, ``70``, ``v2`` and, as ``run``,
            for predicted boxes.
        mode, unet_share: how the run predicts by default.
        temper: divisor of the logits before the sigmoid.
        photo_side: side in pixels of a square as large as the training photos were.
        depth: how values of more than 8 bits are converted to 8: the scale of the training photos, if they had one.
        calibration: calibration of the scores of boxes, by mode; empty if too few validation photos had boxes.
        object_classes: whether objects have classes of their own, because training photos had several labels.
    """

    classes: tuple[str, ...]
    background: int | None
    thresholds: dict[str, dict[str, _Fraction]]
    mode: Literal["fast", "accurate", "unet"]
    unet_share: _Fraction
    temper: Annotated[float, msgspec.Meta(gt=0)]
    photo_side: Annotated[int, msgspec.Meta(ge=1)]
    depth: Depth = Depth()
    calibration: dict[str, Calibration] = msgspec.field(default_factory=dict)
    object_classes: bool = False

    def __post_init__(self) -> None:
        """Check what types cannot express.

        Raises:
            ValueError: class names that repeat, or a background class that is none of them.
        """
        _check_classes(self.classes, self.background)


class ModelRecord(Record, frozen=True, kw_only=True):
    """``model.json``; ``sha256`` is the checksum of ``model.safetensors``."""

    schema_version: int = msgspec.field(default=2, name="schema")
    localizer: LocalizerShape | None
    classifier: ClassifierShape
    linear: LinearShape | None
    sha256: str
    meta: ModelMeta

    def __post_init__(self) -> None:
        """Check that the networks fit these classes.

        Raises:
            ValueError: they are not.
        """
        count = len(self.meta.classes)
        if self.classifier.classes != count:
            raise ValueError(f"it names {count} classes, its classifier has {self.classifier.classes}")
        objects = count - (self.meta.background is not None)
        if self.linear is not None and self.linear.outputs != objects:
            raise ValueError(f"it has {objects} classes of objects, its linear maps have {self.linear.outputs}")


class PhotoCounts(Record, frozen=True, kw_only=True):
    """How many photos were trained and validated on, and how many could not be read."""

    train: int
    val: int
    skipped: int


class WeightsRecord(Record, frozen=True, kw_only=True):
    """Pretrained weights of one network, see :class:`~dips.models.weights.resolve.Weights`."""

    arch: str
    source: str
    origin: str
    sha256: str
    note: str
    licence: str


class RunSeconds(Record, frozen=True, kw_only=True):
    """Seconds taken by harvest and training."""

    harvest: float
    training: float


class RunRecord(Record, frozen=True, kw_only=True):
    """``run.json``.

    Attributes:
        data: the folder or file that was trained on.
        classes: names in label order.
        background: label of the class without object, if there is one.
        photos, skipped: the numbers of photos, and those that could not be read.
        problems: all problems of the data, these included.
        several: number of training photos with several labels.
        reviewed: SHA-256 of the photos whose boxes a person provided and that were trained on with them.
        review_gain: the gain from these, tested on each other; None if they are too few.
        weights: by role: ``transformer``, ``classifier`` and, for a U-Net, ``encoder``.
        accuracy: percent right in validation, of ``classifier`` and, if the transformer saw all photos, ``linear_probe``.
        class_accuracy: the classifier's accuracy with equal weight for each class; None in older runs.
        selection: how epoch and threshold were chosen, in words.
        label_free: whether no box influenced the choice.
        validation: metrics on the validation part.
        best_tau: thresholds chosen on validation, for the mode that the run predicts with.
        environment: versions and hardware.
    """

    schema_version: int = RUN_VERSION
    data: str
    classes: tuple[str, ...]
    background: int | None
    photos: PhotoCounts
    skipped: tuple[ProblemRecord, ...]
    problems: tuple[ProblemRecord, ...] = ()
    several: int = 0
    reviewed: tuple[str, ...] = ()
    review_gain: ReviewGain | None = None
    weights: dict[str, WeightsRecord]
    accuracy: dict[str, float]
    class_accuracy: ClassAccuracy | None = None
    selection: str
    label_free: bool
    validation: dict[str, float]
    best_tau: dict[str, float]
    seed: int
    seconds: RunSeconds
    environment: dict[str, Any]

    def __post_init__(self) -> None:
        """Check what types cannot express.

        Raises:
            ValueError: class names that repeat, a background class that is none of them, or no transformer among the weights.
        """
        _check_classes(self.classes, self.background)
        if "transformer" not in self.weights:
            raise ValueError("its weights lack those of the transformer")

    @property
    def labels(self) -> str:
        """What was trained on, in words."""
        return "image labels" + (f" + {counted(len(self.reviewed), 'reviewed photo')}" if self.reviewed else "")


def read_model_record(run: Path) -> ModelRecord:
    """Read ``model.json`` of a run folder.

    Raises:
        RunError: it is missing (it is written last), damaged, or of another version.
    """
    if not (run / MODEL).is_file():
        raise RunError(f"{run} holds no finished run ({MODEL} is missing); give the folder that 'dips train --out' wrote")
    return read_record(run / MODEL, ModelRecord, remedy=REMEDY)


def read_run_record(run: Path) -> RunRecord:
    """Read ``run.json`` of a run folder.

    Raises:
        RunError: it is missing, damaged, or of another version.
    """
    return read_record(run / RUN, RunRecord, remedy=REMEDY)
