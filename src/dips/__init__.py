"""DiPS: boxes and masks from photos that have nothing but a class label.

``import dips`` provides the public names below; each is loaded when it is first used::

    model = dips.fit("photos/train", out="runs/tower")
    for prediction in model.predict("photos/new"):
        prediction.save("out/")
    model = dips.load("runs/tower")
    model.export("tower.onnx")

Neither the metrics (``import dips.evaluate``) nor predicting with an exported model (``dips.load("tower.onnx")``) needs torch.
"""

from __future__ import annotations

import os
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

# Read when torch is loaded: waiting OpenMP threads then sleep instead of occupying a core that another process needs.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

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

_NAMES_BY_MODULE = {
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
_MODULES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'dips' has no attribute {name!r}")
    try:
        value = getattr(import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        from dips.system.extras import missing_package

        if (message := missing_package(error)) is None:
            raise
        raise ModuleNotFoundError(message, name=error.name) from error
    globals()[name] = value  # the next access finds the name without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
