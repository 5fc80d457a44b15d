"""Settings: one frozen dataclass per stage, read from TOML recipes and ``--set stage.name=value``.

An unknown name, a value of the wrong type or outside its range is a :class:`ConfigError` that names the setting.
The names are those of ``docs/settings.md``; the sections of the paper are given where a setting comes from it.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from dips.errors import ConfigError

__all__ = [
    "ClassifierConfig",
    "Config",
    "DataConfig",
    "HarvestConfig",
    "LocalizerConfig",
    "PredictConfig",
    "TrainConfig",
    "load_config",
    "require_prediction",
    "several",
    "to_toml",
]


_SST_SHARE = 0.6  # measured: docs/results.md


def _setting(
    default: Any,
    doc: str,
    *,
    choices: tuple[Any, ...] | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    return field(default=default, metadata={"doc": doc, "choices": choices, "low": low, "high": high})


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How the photos are understood."""

    background_class: str = _setting(
        "auto", "class without an object: a class name, 'auto' (a class called 'none' or 'background') or '' for no such class"
    )
    val_share: float = _setting(0.15, "share of train/ cut off for validation where there is none", low=0.02, high=0.5)
    val_seed: int = _setting(-1, "seed of that cut; -1 = train.seed", low=-1, high=10**9)


@dataclass(frozen=True, kw_only=True)
class HarvestConfig:
    """From a photo to its proposals, once per photo (paper 3.1, 3.2)."""

    sst: str = _setting(
        "auto",
        "self-supervised transformer: a timm ViT, 'auto' (the paper's DINO where its weights are found, else the embedded one) "
        "or 'embedded'",
    )
    sizes: tuple[int, ...] = _setting(
        (224, 448), "sides in pixels that the transformer sees each photo at, rounded to its patches", low=28, high=2048
    )
    flip: bool = _setting(False, "average the transformer's answer over the photo and its mirror image")
    heads: int = _setting(
        0, "single attention heads that make proposals besides the mean map: the first N, -1 = all (paper: 4)", low=-1
    )
    map_power: float = _setting(1.0, "temper: map ** power before Otsu", low=0.05, high=4.0)
    refine: str = _setting(
        "dataset", "maps from the last block's keys instead of the attention", choices=("none", "image", "dataset")
    )
    refine_rounds: int = _setting(3, "rounds of the refinement over the data set", low=1, high=20)
    refine_photos: int = _setting(400, "photos at most that the refinement is fitted on", low=2)
    levels: int = _setting(0, "thresholds per map: 0 = Otsu's, N = evenly spaced shares of the map's maximum", low=0, high=64)
    min_area: float = _setting(0.02, "least area of a proposal's box as a share of the image", low=0.0, high=1.0)
    score_on: str = _setting("region", "what stays sharp when a proposal is scored", choices=("region", "box"))
    top_p: int = _setting(1, "proposals kept per photo", low=1, high=64)
    min_score: float = _setting(0.0, "least score of a kept proposal; the best one is always kept", low=0.0, high=1.0)
    batch: int = _setting(16, "photos per forward pass", low=1)


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The CNN that scores proposals and names the class (paper 3.2)."""

    arch: str = _setting("tf_efficientnet_lite0", "any CNN of timm")
    mode: str = _setting("head", "what is fitted: the last layer on stored features, or everything", choices=("head", "full"))
    size: int = _setting(224, "input side in pixels", low=32, high=2048)
    epochs: int = _setting(8, "epochs of mode 'full'", low=1)
    lr: float = _setting(0.01, "learning rate of mode 'full'", low=0.0)
    batch: int = _setting(32, "photos per step", low=1)


@dataclass(frozen=True, kw_only=True)
class LocalizerConfig:
    """The U-Net that is trained (paper 3.3)."""

    encoder: str = _setting("tf_efficientnet_lite0", "any timm CNN with feature pyramid, ImageNet weights")
    pretrained: bool = _setting(True, "start the encoder from ImageNet weights")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Sampling of pseudo-pixels, losses and schedule (paper 3.2, 3.3)."""

    seed: int = _setting(0, "seed of initial weights, order, crops, pixel draws and the validation cut", low=0, high=10**9)
    epochs: int = _setting(3, "passes over the training photos", low=1)
    batch: int = _setting(16, "photos per step", low=1)
    optimizer: str = _setting("adamw", "AdamW, or SGD with Nesterov momentum 0.9 (paper)", choices=("adamw", "sgd"))
    lr: float = _setting(1e-3, "learning rate of the decoder", low=0.0)
    encoder_lr: float = _setting(0.3, "the encoder's learning rate as a share of the decoder's", low=0.0)
    weight_decay: float = _setting(1e-4, "weight decay of the optimizer", low=0.0)
    schedule: str = _setting("cosine", "'step' divides the rate by ten every lr_step epochs", choices=("cosine", "step"))
    lr_step: int = _setting(15, "epochs between two steps of schedule 'step'", low=1)
    average: float = _setting(0.99, "decay of the moving average of the weights; 0 = off", low=0.0, high=0.99999)
    resize: int = _setting(184, "photos are resized to this square", low=32)
    crop: int = _setting(160, "side of the random crop", low=32)
    flip: bool = _setting(True, "mirror half of the crops")
    fg_from: str = _setting(
        "region", "foreground pixels come from the proposal's component or its box", choices=("region", "box")
    )
    fg_share: float = _setting(1.0, "n+: share of the proposal's pixels, by activation, that may be drawn", low=0.0, high=1.0)
    fg_pixels: int = _setting(200, "k+: foreground pixels drawn per photo and step", low=1)
    bg_share: float = _setting(0.7, "n-: share of the lowest pixels that may be drawn", low=0.0, high=1.0)
    bg_pixels: int = _setting(200, "k-: background pixels drawn per photo and step", low=1)
    bg_from: str = _setting(
        "image", "background from the whole image (3.3) or outside the box (3.2)", choices=("image", "outside")
    )
    grow: int = _setting(3, "side of the square that every drawn pixel grows to", choices=(1, 3, 5, 7))
    lambda_cpa: float = _setting(1.0, "weight of the partial cross-entropy", low=0.0)
    lambda_cls: float = _setting(0.0, "weight of the classifier's loss on the masked photo", low=0.0)
    lambda_crf: float = _setting(2e-9, "weight of the CRF loss at full size", low=0.0)
    crf_size: int = _setting(48, "side that the CRF loss is computed at", low=8, high=160)
    select_on: str = _setting(
        "auto",
        "what chooses the checkpoint: true boxes of the validation part, agreement with its proposals, the last epoch; "
        "'auto' takes boxes where there are any",
        choices=("auto", "boxes", "proposals", "last"),
    )
    tensorboard: bool = _setting(False, "also write the epochs' numbers for TensorBoard into RUN/tensorboard")
    workers: int = _setting(0, "processes that read photos; 0 = in the main one", low=0)


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """From a photo to boxes with a trained localizer."""

    size: int = _setting(160, "side of the square that the U-Net sees", low=32)
    flip: bool = _setting(True, "average over the photo and its mirror image")
    sst_share: float = _setting(
        -1.0,
        "share of the transformer's linear map in the score map: 0 = the U-Net alone, no transformer at prediction; 1 = that "
        "map alone; -1 = 0.6 with harvest.refine=dataset, else 0",
        low=-1.0,
        high=1.0,
    )
    threshold: float = _setting(
        -1.0,
        "share of the map's maximum above which a pixel is foreground; -1 = the one chosen on validation",
        low=-1.0,
        high=1.0,
    )
    min_area: float = _setting(
        0.005, "least area of a box as a share of what the networks see at once: the photo, or a tile", low=0.0, high=1.0
    )
    min_score: float = _setting(
        -1.0,
        "least score of a box; -1 = 0.4 in photos that are seen in tiles, most of which show nothing, else 0",
        low=-1.0,
        high=1.0,
    )
    max_boxes: int = _setting(100, "boxes per photo at most", low=1, high=65535)
    tile: int = _setting(
        0,
        "side in pixels of the overlapping tiles that a larger photo is seen in, besides as a whole; 0 = as a whole alone, "
        "-1 = tiles as large as the training photos were (--tile auto)",
        low=-1,
    )
    tile_overlap: float = _setting(0.25, "least share of its side that a tile has in common with the next", low=0.0, high=0.75)
    batch: int = _setting(16, "photos per forward pass", low=1)


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    harvest: HarvestConfig = field(default_factory=HarvestConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    localizer: LocalizerConfig = field(default_factory=LocalizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)

    @property
    def sst_share(self) -> float:
        """``predict.sst_share`` with its automatic value worked out.

        Raises:
            ConfigError: a share of a map that this harvest does not make.
        """
        share = self.predict.sst_share
        if share > 0 and self.harvest.refine != "dataset":
            raise ConfigError("predict.sst_share above 0 needs harvest.refine=dataset, which fits the linear map; set it to 0")
        return share if share >= 0 else _SST_SHARE if self.harvest.refine == "dataset" else 0.0

    def check(self) -> None:
        """See that the settings can work together, before any work is done.

        Raises:
            ConfigError: they cannot.
        """
        _ = self.sst_share
        train = self.train
        if train.crop > train.resize:
            raise ConfigError(f"train.crop ({train.crop}) must not be larger than train.resize ({train.resize}); set both")
        if not (train.lambda_cpa or train.lambda_cls or train.lambda_crf):
            raise ConfigError("train.lambda_cpa, lambda_cls and lambda_crf are all 0: nothing would be learned; raise one")

    def differences(self, other: Config) -> list[str]:
        """Dotted names of the settings that are not the same in ``other``."""
        return [
            f"{stage.name}.{setting.name}"
            for stage in dataclasses.fields(self)
            for setting in dataclasses.fields(getattr(self, stage.name))
            if getattr(getattr(self, stage.name), setting.name) != getattr(getattr(other, stage.name), setting.name)
        ]

    def replace(self, **settings: Any) -> Config:
        """A copy with dotted settings changed, e.g. ``config.replace(**{"train.epochs": 4})``."""
        return _merge(self, _nest(settings.items()), "argument")

    def override(self, settings: Iterable[str]) -> Config:
        """A copy with ``stage.name=value`` strings applied, as :func:`load_config` takes them."""
        return _merge(self, _nest(_split(item) for item in settings), "--set")


def several(items: Sequence[str]) -> tuple[str, ...]:
    """Strings that a user may give in a list or, when it is one, alone."""
    return (items,) if isinstance(items, str) else tuple(map(str, items))


def require_prediction(settings: Iterable[str]) -> None:
    """See that all of ``stage.name=value`` are settings of prediction, as a trained model takes no others.

    Raises:
        ConfigError: one is not.
    """
    for item in settings:
        if not item.strip().startswith("predict."):
            raise ConfigError(
                f"--set {item}: a trained model takes only settings of prediction, predict.NAME=VALUE; all others were fixed "
                "by the training ('dips settings predict' lists them)"
            )


def load_config(recipe: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Settings from a recipe and ``stage.name=value`` strings, the latter winning.

    Args:
        recipe: a TOML file, or the name of one that comes with the package; None = ``default``.
        overrides: values as TOML writes them; a bare word is taken as text.

    Raises:
        ConfigError: unknown recipe or setting, wrong type, value out of range.
    """
    text, origin = _read_recipe("default" if recipe is None else recipe)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin} is not valid TOML: {error}") from error
    return _merge(Config(), tree, origin).override(overrides)


def to_toml(config: Config) -> str:
    """The settings as TOML that :func:`load_config` reads back to an equal object."""
    lines = []
    for stage in dataclasses.fields(config):
        lines.append(f"[{stage.name}]")
        section = getattr(config, stage.name)
        lines += [f"{f.name} = {_toml_value(getattr(section, f.name))}" for f in dataclasses.fields(section)]
        lines.append("")
    return "\n".join(lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # else the escapes of TOML are JSON's
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return repr(value)


def _read_recipe(recipe: str | Path) -> tuple[str, str]:
    path = Path(recipe)
    if path.suffix == ".toml":
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the recipe {path}: {error}") from error
    folder = resources.files("dips") / "recipes"
    names = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    if str(recipe) not in names:
        raise ConfigError(f"no recipe is called '{recipe}'; there are {', '.join(names)}, or give a .toml file")
    return (folder / f"{recipe}.toml").read_text(encoding="utf-8"), f"recipe '{recipe}'"


def _split(item: str) -> tuple[str, Any]:
    name, equals, value = item.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"--set takes stage.name=value, not '{item}'")
    try:
        return name.strip(), tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()


def _nest(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in items:
        stage, dot, setting = name.partition(".")
        if not dot:
            raise ConfigError(f"'{name}' is no setting: write stage.name, for example train.epochs")
        tree.setdefault(stage, {})[setting] = value
    return tree


def _merge(config: Config, tree: Mapping[str, Any], origin: str) -> Config:
    stages = {f.name for f in dataclasses.fields(config)}
    changed = {}
    for stage, values in tree.items():
        if stage in stages and not isinstance(values, Mapping):
            raise ConfigError(f"{origin}: '{stage}' is a stage, not a setting: write {stage}.name, for example train.epochs")
        if stage not in stages:
            raise ConfigError(f"{origin}: unknown stage '{stage}'{_hint(stage, stages)}; there are {', '.join(sorted(stages))}")
        section = getattr(config, stage)
        known = {f.name: f for f in dataclasses.fields(section)}
        hints = get_type_hints(type(section))
        qualified = [f"{stage}.{name}" for name in known]
        for name in values:
            if name not in known:
                close = _hint(f"{stage}.{name}", qualified)
                raise ConfigError(f"{origin}: unknown setting '{stage}.{name}'{close}; 'dips settings' lists all of them")
        checked = {
            name: _checked(f"{origin}: {stage}.{name}", value, hints[name], known[name].metadata)
            for name, value in values.items()
        }
        changed[stage] = dataclasses.replace(section, **checked)
    return dataclasses.replace(config, **changed)


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _checked(name: str, value: Any, kind: Any, limits: Mapping[str, Any]) -> Any:
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple) or not value:
            raise ConfigError(f"{name} must be a list, not {value!r}")
        return tuple(_checked(name, item, get_args(kind)[0], limits) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**53 else math.inf
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{name} must be {_kind_name(kind)}, not {value!r}")
    if limits["choices"] is not None and value not in limits["choices"]:
        raise ConfigError(f"{name} must be one of {', '.join(map(str, limits['choices']))}, not {value!r}")
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"{name} must be a finite number, not {value!r}")
    low, high = limits["low"], limits["high"]
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        span = f"between {low} and {high}" if low is not None and high is not None else f"at least {low}"
        raise ConfigError(f"{name} must be {span}, not {value!r}")
    return value


def _kind_name(kind: Any) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
