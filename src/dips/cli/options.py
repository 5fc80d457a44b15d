"""Options that several commands share, each with its one help text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, Token

from dips.errors import ConfigError
from dips.system.names import file_url_path, scheme_of

if TYPE_CHECKING:
    from dips.shards.launch import Crew
    from dips.shards.turns import Turn

__all__ = [
    "ALONE",
    "AS_TRAINED",
    "AdaptSettings",
    "CrewOptions",
    "Data",
    "Device",
    "MaxBoxes",
    "MinArea",
    "MinScore",
    "Mode",
    "Photos",
    "PhotosDir",
    "Plots",
    "PredictOptions",
    "PredictSettings",
    "Problems",
    "ProtocolName",
    "Run",
    "RunOrOnnx",
    "Settings",
    "Store",
    "Threshold",
    "Tile",
    "Url",
    "Weights",
    "path_or_url",
    "place",
    "places",
    "require_fractions",
    "require_max_boxes",
]


class Url(str):
    """A URL, which a path cannot hold."""

    __slots__ = ()


def place(_: type, tokens: Sequence[Token]) -> Path | Url:
    """Return what a user wrote as a path, or as a URL."""
    return path_or_url(tokens[0].value)


def places(_: type, tokens: Sequence[Token]) -> list[Path | Url]:
    """Return what a user wrote as paths and URLs."""
    return [path_or_url(token.value) for token in tokens]


def path_or_url(text: str) -> Path | Url:
    """Return text as a path, also where it is a URL of a file on this machine, or as a URL.

    >>> path_or_url("file:///nfs/boxes").as_posix(), path_or_url("s3://bucket/boxes")
    ('/nfs/boxes', 's3://bucket/boxes')
    """
    scheme = scheme_of(text)
    return Path(file_url_path(text)) if scheme == "file" else Url(text) if scheme else Path(text)


Data = Annotated[
    Path,
    Parameter(
        name="DATA",
        help="The photos: one folder per class, train/ val/ test/ folders of those, a COCO JSON file, a CSV of path,label, "
        "or a data set with WSOL metadata.",
    ),
]
Run = Annotated[Path, Parameter(name="RUN", help="The folder written by 'dips train'.")]
RunOrOnnx = Annotated[
    Path, Parameter(name="RUN", help="The folder written by 'dips train', or the .onnx file written by 'dips export'.")
]
Settings = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        help="A setting, e.g. --set train.epochs=4; can be repeated. 'dips settings' lists them all.",
    ),
]
Photos = Annotated[
    list[Path | Url],
    Parameter(
        name="PHOTOS",
        converter=places,
        help="Photos, folders of photos, searched with all subfolders, or lists of photos (.txt, .csv, .parquet); also "
        "behind URLs: s3://, gs://, az://, hf://, https://.",
    ),
]
AdaptSettings = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        help="A setting of the adaptation, e.g. --set adapt.blocks=4; can be repeated. 'dips settings adapt' lists them.",
    ),
]
PredictSettings = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        help="A setting of prediction, e.g. --set predict.flip=true; can be repeated. 'dips settings predict' lists them.",
    ),
]
Mode = Annotated[
    str | None,
    Parameter(
        name="--mode",
        help="What makes the score maps: fast, accurate (slower; the transformer sees the object again) or unet; default: as "
        "trained.",
    ),
]
Threshold = Annotated[
    float | None,
    Parameter(
        name="--threshold",
        help="Fraction of the map's maximum above which a pixel is foreground, 0 to 1; default: the model's own.",
    ),
]
MinScore = Annotated[float | None, Parameter(name="--min-score", help="Lowest score of a box, 0 to 1; default: unchanged.")]
MinArea = Annotated[
    float | None,
    Parameter(
        name="--min-area",
        help="Smallest area of a box as a fraction of the photo (with --tile: of a tile), 0 to 1; default: unchanged.",
    ),
]
MaxBoxes = Annotated[int | None, Parameter(name="--max-boxes", help="Maximum number of boxes per photo; default: unchanged.")]
Tile = Annotated[
    str | None,
    Parameter(
        help="To find small objects, also look at large photos in overlapping tiles with sides of this many pixels; auto: "
        "tiles as large as the training photos were.",
    ),
]
Weights = Annotated[
    list[str] | None,
    Parameter(
        name="--weights",
        help="Pretrained weights: a file, a folder of files, or NAME=FILE with timm's name of the network; can be repeated. "
        "Without it, DIPS_WEIGHTS, the model hub and the embedded weights are searched.",
    ),
]
Store = Annotated[
    Path | None,
    Parameter(
        name="--store",
        help="Folder for results that are computed once per photo and shared by all runs (default: ~/.cache/dips/store).",
    ),
]
Device = Annotated[
    str, Parameter(name="--device", help="Where to compute: cpu, cuda, cuda:1, mps; auto uses a GPU if there is one.")
]
ProtocolName = Annotated[
    str,
    Parameter(
        name="--protocol",
        help="wsol-224: the field's standard, in a square of 224 pixels; original-pixels: the same at the size of each photo.",
    ),
]
Problems = Annotated[
    Path | None,
    Parameter(
        name="--problems",
        help="Write everything that is wrong with the data to this JSON file; the screen shows one of each kind.",
    ),
]
PhotosDir = Annotated[
    Path | None,
    Parameter(
        name="--photos-dir",
        help="Where the photos lie now, if they were moved, or are on another computer, since they were predicted: the deepest "
        "folder that held all photos, in its new place.",
    ),
]
Plots = Annotated[
    Path | None,
    Parameter(
        name="--plots",
        help="Folder for figures as SVG and PNG: accuracy over the threshold, activations inside and outside objects, errors.",
    ),
]


def require_fractions(**options: float | None) -> None:
    """Check that options are between 0 and 1, or not given.

    Raises:
        ConfigError: one is not.
    """
    for name, value in options.items():
        if value is not None and not 0 <= value <= 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be between 0 and 1, not {value}")


def require_max_boxes(number: int | None) -> None:
    """Check ``--max-boxes``.

    Raises:
        ConfigError: it is out of range.
    """
    if number is not None and not 1 <= number <= 65535:
        raise ConfigError(f"--max-boxes must be between 1 and 65535, not {number}")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What 'dips predict' and 'dips stream' take alike: how a model predicts, and how it is opened."""

    mode: Mode = None
    threshold: Threshold = None
    min_score: MinScore = None
    min_area: MinArea = None
    max_boxes: MaxBoxes = None
    tile: Tile = None
    settings: PredictSettings = None
    weights: Weights = None
    device: Device = "auto"

    def all_settings(self) -> list[str]:
        """Return the options of a prediction as settings, with those of ``--set``.

        Raises:
            ConfigError: one is out of range, or is given by ``--set``, too.
        """
        scores = {"threshold": self.threshold, "min_score": self.min_score, "min_area": self.min_area}
        require_fractions(**scores)
        require_max_boxes(self.max_boxes)
        if self.tile is not None and self.tile != "auto" and not self.tile.isdecimal():
            raise ConfigError(f"--tile takes a side in pixels, e.g. 512, or auto, not '{self.tile}'")
        side = "-1" if self.tile == "auto" else self.tile
        values = {"tile": side, "mode": self.mode, **scores, "max_boxes": self.max_boxes}
        given = {f"predict.{name}": value for name, value in values.items() if value is not None}
        for item in self.settings or ():
            if (name := item.partition("=")[0].strip()) in given:
                raise ConfigError(
                    f"--set {item}: {name} is given by --{name.partition('.')[2].replace('_', '-')}, too; leave one out"
                )
        return [*(f"{name}={value}" for name, value in given.items()), *(self.settings or ())]


AS_TRAINED = PredictOptions()
"""The default: nothing is given."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CrewOptions:
    """Who works: options of all commands whose work can be shared out."""

    workers: Annotated[
        int | None,
        Parameter(
            name="--workers",
            help="Number of processes, each with a model of its own; 0: one per core, or with --engine ray as many as the "
            "cluster has places for. Default: 1; for scores and with --engine ray 0.",
        ),
    ] = None
    engine: Annotated[
        Literal["processes", "ray"],
        Parameter(name="--engine", help="processes: on this computer; ray: on the Ray cluster of RAY_ADDRESS, or a local one."),
    ] = "processes"
    shard: Annotated[
        str | None,
        Parameter(
            name="--shard",
            help="I/N: this is the I-th of N tasks that share the work, and 'dips merge' ends it; auto/N: I is Kubernetes' "
            "JOB_COMPLETION_INDEX. Without it, arrays of Slurm, Grid Engine and cloud batch services, srun and torchrun are "
            "recognized; 1/1: do everything here.",
        ),
    ] = None

    def crew(self, workers: int = 1) -> Crew:
        """Return who works, after what the user says, or the scheduler that started this process.

        Args:
            workers: number of processes where the user gives none, but on a Ray cluster.

        Raises:
            ConfigError: a value means nothing, or contradicts another one.
        """
        from dips.shards.launch import Crew

        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"--workers is a number of processes, or 0 for one per core, not {self.workers}")
        if self.engine == "ray":
            if self.shard is not None:
                raise ConfigError("--engine ray shares the work itself; leave out --shard")
            if find_spec("ray") is None:
                raise ConfigError('--engine ray needs the package ray, which is not installed; pip install "dips-wsol[ray]"')
            return Crew(self.workers or 0, "ray")
        turn, of, source = self._turn()
        return Crew(workers if self.workers is None else self.workers, turn=turn, of=of, source=source)

    def _turn(self) -> Turn:
        from dips.shards.turns import Turn, parse_turn, scheduled_turn, unnumbered_task
        from dips.system.console import log

        if self.shard is not None:
            return parse_turn(self.shard)
        if (found := scheduled_turn()) is not None:
            log(
                f"{found.source}: this is task {found.number + 1} of {found.of}, which does its part; --shard 1/1 does "
                "everything here"
            )
            return found
        if variable := unnumbered_task():
            log(f"{variable}: if this is one of N tasks that share the work, say so with --shard auto/N")
        return Turn(0, 1)


ALONE = CrewOptions()
"""The default: nothing is given."""
