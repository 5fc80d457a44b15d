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
        help="The photos: a folder per class, train/ val/ test/ of those, a COCO json, a CSV of path,label, or a data set with "
        "WSOL metadata.",
    ),
]
Run = Annotated[Path, Parameter(name="RUN", help="The folder that 'dips train' wrote.")]
RunOrOnnx = Annotated[
    Path, Parameter(name="RUN", help="The folder that 'dips train' wrote, or the .onnx file that 'dips export' wrote.")
]
Settings = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        help="A setting, e.g. --set train.epochs=4; may be given several times. 'dips settings' lists all of them.",
    ),
]
PredictSettings = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        help="A setting of prediction, e.g. --set predict.threshold=0.4; may be given several times. 'dips settings predict' "
        "lists them.",
    ),
]
Tile = Annotated[
    str | None,
    Parameter(
        help="Look at large photos in overlapping tiles of so many pixels, besides as a whole, for small objects; auto: tiles "
        "as large as the training photos were.",
    ),
]
Weights = Annotated[
    list[str] | None,
    Parameter(
        name="--weights",
        help="Pretrained weights: a file, a folder of files, or NAME=FILE with timm's name of the network; may be given "
        "several times. Without it those of DIPS_WEIGHTS, the model hub and the embedded ones are looked for.",
    ),
]
Store = Annotated[
    Path | None,
    Parameter(
        name="--store",
        help="Folder for what is computed once per photo and used by all runs (default: dips/store in your cache folder).",
    ),
]
Device = Annotated[
    str, Parameter(name="--device", help="Where to compute: cpu, cuda, cuda:1, mps; auto takes a GPU where there is one.")
]
ProtocolName = Annotated[
    str,
    Parameter(
        name="--protocol",
        help="wsol-224: the field's, in a square of 224 pixels; original-pixels: the same in each photo's own pixels.",
    ),
]
Plots = Annotated[
    Path | None,
    Parameter(
        name="--plots",
        help="Folder for figures as SVG and PNG: accuracy over the threshold, activations in and outside of objects, errors.",
    ),
]


def tile_setting(tile: str | None) -> list[str]:
    """``--tile`` as a setting.

    Raises:
        ConfigError: neither ``auto`` nor a number of pixels.
    """
    if tile is None:
        return []
    if tile != "auto" and not tile.isdecimal():
        raise ConfigError(f"--tile takes a side in pixels, e.g. 512, or auto, not '{tile}'")
    return [f"predict.tile={-1 if tile == 'auto' else tile}"]
