"""Options that several commands share, each with its one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dips.errors import ConfigError

__all__ = [
    "Data",
    "Device",
    "Plots",
    "PredictSettings",
    "Problems",
    "ProtocolName",
    "Run",
    "RunOrOnnx",
    "Settings",
    "Store",
    "Tile",
    "Weights",
    "tile_setting",
]

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
PredictSettings = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        help="A setting of prediction, e.g. --set predict.threshold=0.4; can be repeated. 'dips settings predict' lists them.",
    ),
]
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
        help="Folder for results that are computed once per photo and shared by all runs (default: dips/store in your cache "
        "folder).",
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
        help="Write everything that is wrong with the data to this JSON file; the screen shows the first few of each kind.",
    ),
]
Plots = Annotated[
    Path | None,
    Parameter(
        name="--plots",
        help="Folder for figures as SVG and PNG: accuracy over the threshold, activations inside and outside objects, errors.",
    ),
]


def tile_setting(tile: str | None) -> list[str]:
    """Return ``--tile`` as a list of settings, empty without it.

    Raises:
        ConfigError: it is neither ``auto`` nor a number of pixels.
    """
    if tile is None:
        return []
    if tile != "auto" and not tile.isdecimal():
        raise ConfigError(f"--tile takes a side in pixels, e.g. 512, or auto, not '{tile}'")
    return [f"predict.tile={-1 if tile == 'auto' else tile}"]
