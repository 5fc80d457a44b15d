"""DiPS: boxes and masks from photos that carry only a class label.

``import dips`` gives the public names below and loads nothing until one of them is used::

    model = dips.fit("photos/train", out="runs/tower")
    for prediction in model.predict("photos/new"):
        prediction.save("out/")
    model = dips.load("runs/tower")
    model.export("tower.onnx")

The metrics need no torch: ``import dips.evaluate``. An exported model needs none to predict: ``dips.load("tower.onnx")``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dips.system.environment import __version__

if TYPE_CHECKING:
    from dips.comparison import compare
    from dips.config import Config, load_config
    from dips.errors import ConfigError, DataError, DipsError, ImageError, ProtocolError, RunError, StoreError, WeightsError
    from dips.fitting.fit import fit
    from dips.loading import load
    from dips.model import Model
    from dips.predict.prediction import Prediction
    from dips.types import DataSet, Sample


__all__ = [
    "Config",
    "ConfigError",
    "DataError",
    "DataSet",
    "DipsError",
    "ImageError",
    "Model",
    "Prediction",
    "ProtocolError",
    "RunError",
    "Sample",
    "StoreError",
    "WeightsError",
    "__version__",
    "compare",
    "fit",
    "load",
    "load_config",
]

_HOMES = {
    "dips.comparison": ("compare",),
    "dips.config": ("Config", "load_config"),
    "dips.errors": (
        "ConfigError",
        "DataError",
        "DipsError",
        "ImageError",
        "ProtocolError",
        "RunError",
        "StoreError",
        "WeightsError",
    ),
    "dips.fitting.fit": ("fit",),
    "dips.loading": ("load",),
    "dips.model": ("Model",),
    "dips.predict.prediction": ("Prediction",),
    "dips.types": ("DataSet", "Sample"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dips' has no attribute {name!r}")
    try:
        value = getattr(import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        from dips.system.extras import missing_package

        if (words := missing_package(error)) is None:
            raise
        raise ModuleNotFoundError(words, name=error.name) from error
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
