"""The exceptions DiPS raises on purpose.

Every message names the file or setting at fault and says what to do about it::

    DipsError
    ├── ConfigError      an unknown setting or a value out of range
    ├── DataError        a data set that cannot be used as asked
    │   └── ImageError   one photo that cannot be read
    ├── WeightsError     weights missing, damaged or of another architecture
    ├── StoreError       the harvest store on disk is damaged or cannot be written
    ├── RunError         a run folder exists already, is incomplete or damaged
    └── ProtocolError    score maps or boxes that the metrics do not accept
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "DataError",
    "DipsError",
    "ImageError",
    "ProtocolError",
    "RunError",
    "StoreError",
    "WeightsError",
]

_EXTRAS = {
    "onnx": ("onnxruntime",),
    "export": ("onnxscript",),
    "train": (
        "jinja2",
        "lightning_fabric",
        "matplotlib",
        "safetensors",
        "scipy",
        "segmentation_models_pytorch",
        "sklearn",
        "timm",
        "torch",
        "torchvision",
    ),
}


class DipsError(Exception):
    """Base of everything DiPS raises on purpose; the command line prints it without a traceback."""


class ConfigError(DipsError):
    """An unknown setting, or a value outside its range."""


class DataError(DipsError):
    """A data set that cannot be used as asked."""


class ImageError(DataError):
    """One photo that cannot be read; long runs report and skip it."""


class WeightsError(DipsError):
    """Weights that are missing, damaged or belong to another architecture."""


class StoreError(DipsError):
    """The harvest store on disk is damaged or cannot be written."""


class RunError(DipsError):
    """A run folder that exists already, is incomplete or damaged."""


class ProtocolError(DipsError):
    """Score maps or boxes that the evaluation protocol does not accept."""


def missing_package(error: ImportError) -> str | None:
    """What to tell of an import that failed because an extra is not installed; None where it failed for another reason."""
    package = (error.name or "").partition(".")[0]
    for extra, packages in _EXTRAS.items():
        if package in packages:
            return f'this needs {package}, which is not installed; pip install "dips-wsol[{extra}]"'
    return None
