"""The exceptions that DiPS raises on purpose.

Every message names the file or setting at fault and says what to do about it::

    DipsError
    ├── ConfigError      an unknown setting or a value out of range
    ├── DataError        a data set that cannot be used as requested
    │   └── ImageError   a photo that cannot be read
    ├── WeightsError     weights that are missing, damaged or of another architecture
    ├── StoreError       a harvest store that is damaged or cannot be written
    ├── RunError         a run folder that already exists, is incomplete or damaged
    └── ProtocolError    score maps or boxes that the metrics do not accept

>>> from dips import DipsError, load_config
>>> try:
...     load_config(overrides=["train.epoch=4"])
... except DipsError as error:
...     print(error)
--set: unknown setting 'train.epoch' (did you mean 'train.epochs'?); 'dips settings' lists all of them
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


class DipsError(Exception):
    """Base of everything that DiPS raises on purpose; the command line prints it without a traceback."""


class ConfigError(DipsError):
    """An unknown setting, or a value out of range."""


class DataError(DipsError):
    """A data set that cannot be used as requested."""


class ImageError(DataError):
    """A photo that cannot be read; long runs report it and skip it."""


class WeightsError(DipsError):
    """Weights that are missing, damaged or of another architecture."""


class NoWeightsError(WeightsError):
    """Weights that were found nowhere, while nothing is wrong with those that were given."""


class StoreError(DipsError):
    """A harvest store on disk that is damaged or cannot be written."""


class RunError(DipsError):
    """A run folder that already exists, is incomplete or damaged."""


class ProtocolError(DipsError):
    """Score maps or boxes that the evaluation protocol does not accept."""
