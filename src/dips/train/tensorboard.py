"""The numbers of each epoch for TensorBoard (``train.tensorboard``), beside ``metrics.jsonl``; needs the extra of that name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dips.errors import ConfigError

__all__ = ["FOLDER", "require_board", "write_epoch"]

FOLDER = "tensorboard"


def require_board() -> Any:
    """Return TensorBoard's event writer.

    Raises:
        ConfigError: the package is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            'train.tensorboard needs the package tensorboard: pip install "dips-wsol[tensorboard]", or set it to false'
        ) from error
    return SummaryWriter


def write_epoch(run: Path, record: Mapping[str, Any]) -> None:
    """Write one line of ``metrics.jsonl`` as events in ``RUN/tensorboard``, replacing an epoch that was written before."""
    epoch = int(record["epoch"])
    with require_board()(str(run / FOLDER), purge_step=epoch) as writer:
        for name, value in record.items():
            if name != "epoch" and isinstance(value, int | float) and math.isfinite(value):
                group = "validation" if name.startswith("val_") else "loss" if name.startswith("loss") else "training"
                writer.add_scalar(f"{group}/{name.removeprefix('val_')}", value, epoch)
