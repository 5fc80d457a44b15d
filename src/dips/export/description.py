"""What an exported file says about itself, in its metadata; needs neither torch nor onnx nor onnxruntime.

In: a file that :mod:`dips.export.onnx` wrote, or one of any other origin: types, keys and ranges are checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from dips.config import Config, PredictConfig
from dips.data.depth import Depth
from dips.errors import ConfigError, RunError
from dips.export.wire import read_metadata
from dips.scoremaps.calibration import Calibration
from dips.system.names import as_text
from dips.system.records import Record, parse_record, to_json

__all__ = ["KEY", "Description", "is_onnx", "parse_description", "read_description"]

KEY = "dips"
"""The description's key in the file's metadata."""

_MAX_SIDE = 8192  # pixels that a file may require
_REMEDY = "export the run again with this version"


class Description(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an exported file says about itself.

    Attributes:
        classes: names in label order.
        background: label of the class without object, if there is one.
        settings: the settings of prediction by name, with the threshold resolved; see :attr:`predict`.
        side: side of the squares that the networks see, in pixels.
        photo_side: see :class:`~dips.predict.predictor.Predictor`.
        depth: how values of more than 8 bits are converted to the 8 that the networks see.
        calibration: converts the scores of boxes into chances.
        weights: what is known about the weights of each pretrained network inside, and of a transformer that was only the
            ``teacher`` of the map: ``arch``, ``note``, ``licence``.
        model: SHA-256 of the run's ``model.json``.
        dips: the version that exported it.

    Example:
        >>> networks = {"encoder": {"arch": "resnet18", "note": "", "licence": "BSD"}}
        >>> description = Description(
        ...     classes=("none", "tower"), background=0, settings={"threshold": 0.4}, side=224, photo_side=None,
        ...     weights=networks, model="", dips="0.1.0",
        ... )
        >>> parse_description(description.to_json(), "tower.onnx").predict.threshold
        0.4
    """

    schema_version: int = msgspec.field(default=2, name="schema")
    classes: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    background: int | None
    settings: dict[str, bool | int | float | str] = msgspec.field(name="predict")
    side: Annotated[int, msgspec.Meta(ge=1, le=_MAX_SIDE)]
    photo_side: Annotated[int, msgspec.Meta(ge=1)] | None
    depth: Depth = Depth()
    calibration: Calibration | None = None
    weights: dict[str, dict[str, str]]
    model: str
    dips: str
    precision: Literal["float32", "int8"] = "float32"

    def __post_init__(self) -> None:
        """Check what types cannot express.

        Raises:
            ValueError: class names that repeat, a background class that is none of them, weights with something missing, or a
                setting out of its range.
        """
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("its class names repeat")
        if self.background is not None and not 0 <= self.background < len(self.classes):
            raise ValueError("its background class is none of its classes")
        for role, item in self.weights.items():
            if missing := [name for name in ("arch", "note", "licence") if name not in item]:
                raise ValueError(f"of the weights '{role}' it lacks {', '.join(missing)}")
        try:
            _ = self.predict
        except ConfigError as error:
            raise ValueError(str(error)) from error

    @property
    def predict(self) -> PredictConfig:
        """The settings of prediction."""
        return Config().replace(**{f"predict.{name}": value for name, value in self.settings.items()}).predict

    def to_json(self) -> str:
        """Return the text that :func:`parse_description` reads back."""
        return as_text(to_json(self))


def is_onnx(path: str | Path) -> bool:
    """Return whether this is the name of an exported model rather than of a run folder."""
    return Path(path).suffix.lower() == ".onnx" and not Path(path).is_dir()


def parse_description(text: str, name: str) -> Description:
    """Read a description; ``name`` is the file's name in messages.

    Raises:
        RunError: it is damaged, or of another version.
    """
    return parse_record(text, Description, source=name, remedy=_REMEDY)


def read_description(file: Path) -> Description:
    """Read the description in an exported file.

    Raises:
        RunError: the file is missing, damaged, or was not exported by DiPS.
    """
    try:
        text = read_metadata(file.read_bytes())[KEY]
    except (OSError, ValueError, LookupError) as error:
        raise RunError(f"{file} is not a file that 'dips export' wrote, or is damaged ({error}); {_REMEDY}") from error
    return parse_description(text, str(file))
