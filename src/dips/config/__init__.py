"""Settings: one frozen dataclass per stage, read from TOML recipes and ``--set stage.name=value``."""

from __future__ import annotations

from dips.config.adapt import AdaptConfig
from dips.config.config import (
    STAGES,
    Adaptation,
    Config,
    Setting,
    adapt_config,
    all_settings,
    load_config,
    named_settings,
    require_prediction,
    several,
    to_toml,
    training_config,
)
from dips.config.stages import ClassifierConfig, DataConfig, HarvestConfig, LocalizerConfig, PredictConfig, TrainConfig

__all__ = [
    "STAGES",
    "AdaptConfig",
    "Adaptation",
    "ClassifierConfig",
    "Config",
    "DataConfig",
    "HarvestConfig",
    "LocalizerConfig",
    "PredictConfig",
    "Setting",
    "TrainConfig",
    "adapt_config",
    "all_settings",
    "load_config",
    "named_settings",
    "require_prediction",
    "several",
    "to_toml",
    "training_config",
]
