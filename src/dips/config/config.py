"""All settings of a run as one object, from a TOML recipe and ``--set stage.name=value``, and back to TOML.

An unknown name, a value of the wrong type or out of range is a :class:`ConfigError` that names the setting. What each setting
accepts comes from the annotations in :mod:`dips.config.stages`; :func:`all_settings` lists it for people.
"""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

import msgspec

from dips.config.adapt import AdaptConfig
from dips.config.stages import (
    ClassifierConfig,
    DataConfig,
    HarvestConfig,
    LocalizerConfig,
    PredictConfig,
    TrainConfig,
)
from dips.errors import ConfigError
from dips.system.suggestions import closest

__all__ = [
    "STAGES",
    "Adaptation",
    "Config",
    "Setting",
    "adapt_config",
    "all_settings",
    "load_config",
    "named_settings",
    "require_prediction",
    "several",
    "to_toml",
    "training_config",
]


@dataclass(frozen=True, kw_only=True)
class _Stages:
    """Settings in stages, which are its fields."""

    _example: ClassVar[str]

    def differences(self, other: Self) -> list[str]:
        """Return the dotted names of the settings that have another value in ``other``."""
        return [
            f"{stage}.{key}"
            for stage, section in vars(self).items()
            for key, value in vars(section).items()
            if value != getattr(getattr(other, stage), key)
        ]

    def replace(self, **settings: Any) -> Self:
        """Return a copy with dotted settings changed, e.g. ``config.replace(**{"train.epochs": 4})``.

        Raises:
            ConfigError: unknown setting, wrong type, value out of range.
        """
        return self._changed(settings.items(), "argument")

    def override(self, settings: Iterable[str]) -> Self:
        """Return a copy with ``stage.name=value`` strings applied; see :func:`load_config`."""
        return self._changed(map(_split, settings), "--set")

    def _changed(self, settings: Iterable[tuple[str, Any]], origin: str) -> Self:
        """Return a copy with dotted settings changed; ``origin`` says in messages where they were written."""
        changes: dict[str, dict[str, Any]] = {}
        for name, value in settings:
            stage, dot, key = name.partition(".")
            if not dot:
                named = " or ".join(named_settings(name, tuple(vars(self)))) or f"for example {self._example}"
                raise ConfigError(f"'{name}' is not a setting: write stage.name, {named}")
            _require_stage(stage, origin, vars(self))
            setting = all_settings().get(name)
            if setting is None:
                hint = closest(name, (other for other in all_settings() if other.startswith(f"{stage}.")))
                raise ConfigError(f"{origin}: unknown setting '{name}'{hint}; 'dips settings' lists all of them")
            changes.setdefault(stage, {})[key] = setting.checked(value, origin)
        stages = {stage: dataclasses.replace(getattr(self, stage), **values) for stage, values in changes.items()}
        return dataclasses.replace(self, **stages)


@dataclass(frozen=True, kw_only=True)
class Config(_Stages):
    """All settings of a run.

    >>> config = Config().replace(**{"train.epochs": 4})
    >>> config.train.epochs
    4
    >>> config.differences(Config())
    ['train.epochs']
    """

    _example: ClassVar[str] = "train.epochs"
    data: DataConfig = field(default_factory=DataConfig)
    harvest: HarvestConfig = field(default_factory=HarvestConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    localizer: LocalizerConfig = field(default_factory=LocalizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)

    def check(self) -> None:
        """Check that the settings work together, before any work is done.

        Raises:
            ConfigError: they do not.
        """
        train, predict = self.train, self.predict
        if self.harvest.refine != "dataset" and predict.mode != "unet":
            raise ConfigError(
                f"predict.mode={predict.mode} needs harvest.refine=dataset, which fits the linear maps; set it, or choose "
                "predict.mode=unet"
            )
        if not train.epochs and (predict.mode == "unet" or predict.unet_share > 0):
            raise ConfigError(
                "predict.mode=unet and predict.unet_share above 0 need a U-Net; set train.epochs, the number of "
                "passes over the photos in its training"
            )
        if not train.epochs:
            return
        if train.crop > train.resize:
            raise ConfigError(f"train.crop ({train.crop}) must not be larger than train.resize ({train.resize}); set both")
        if not (train.lambda_cpa or train.lambda_cls or train.lambda_crf):
            raise ConfigError("train.lambda_cpa, lambda_cls and lambda_crf are all 0: nothing would be learned; raise one")


@dataclass(frozen=True, kw_only=True)
class Adaptation(_Stages):
    """All settings of ``dips adapt``, which are no part of a run.

    >>> Adaptation().replace(**{"adapt.blocks": 4}).adapt.blocks
    4
    """

    _example: ClassVar[str] = "adapt.blocks"
    adapt: AdaptConfig = field(default_factory=AdaptConfig)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting.

    Attributes:
        name: ``stage.name``.
        kind: the annotated type.
        default: the value where neither a recipe nor ``--set`` gives another.
        accepts: in words, which values it accepts.
        meaning: what it does.
    """

    name: str
    kind: Any
    default: Any
    accepts: str
    meaning: str

    @property
    def argument(self) -> str:
        """The default as one types it after ``--set NAME=``."""
        text = self.default if isinstance(self.default, str) else _toml_value(self.default).replace(" ", "")
        return text or '""'

    def checked(self, value: Any, origin: str) -> Any:
        """Return ``value`` in the type of the setting.

        Raises:
            ConfigError: the setting does not accept it; ``origin`` says where the value was written.
        """
        with suppress(msgspec.ValidationError):
            result = msgspec.convert(value, self.kind)
            if not isinstance(result, float) or math.isfinite(result):
                return result
        raise ConfigError(f"{origin}: {self.name} must be {self.accepts}, not {_quoted(value)}")


STAGES = tuple(item.name for item in dataclasses.fields(Config))
"""Names of the stages of a run."""


def named_settings(key: str, stages: Sequence[str] = STAGES) -> list[str]:
    """Return the settings of these stages that are called ``key``, or else whose names begin with this word.

    >>> named_settings("threshold"), named_settings("label_column"), named_settings("thresh")
    (['predict.threshold'], ['data.label_column'], [])
    """
    names = [name for name in all_settings() if name.partition(".")[0] in stages]
    exact = [name for name in names if name.partition(".")[2] == key]
    return exact or [name for name in names if name.partition(".")[2].startswith(f"{key}_")]


@cache
def all_settings() -> Mapping[str, Setting]:
    """Return every setting by its dotted name: those of a run in the order of its stages, then those of an adaptation."""
    return {
        f"{stage}.{key}": Setting(
            name=f"{stage}.{key}",
            kind=kind,
            default=getattr(section, key),
            accepts=_accepts(kind),
            meaning=kind.__metadata__[0].description,
        )
        for stage, section in {**vars(Config()), **vars(Adaptation())}.items()
        for key, kind in get_type_hints(type(section), include_extras=True).items()
    }


def several(items: Sequence[str]) -> tuple[str, ...]:
    """Return strings that a user may pass in a list or, if there is only one, alone."""
    return (items,) if isinstance(items, str) else tuple(map(str, items))


def require_prediction(settings: Iterable[str]) -> None:
    """Check that all ``stage.name=value`` strings are settings of prediction, or of how the CSV of another data set is read.

    A trained model takes no others.

    Raises:
        ConfigError: one is not.
    """
    for item in settings:
        if not item.strip().startswith(("predict.", "data.label_column")):
            raise ConfigError(
                f"--set {item}: a trained model takes only settings of prediction, predict.NAME=VALUE, and data.label_column; "
                "all others were fixed by the training ('dips settings predict' lists them)"
            )


def load_config(recipe: str | Path | None = None, overrides: Iterable[str] = (), *, defaults: Config | None = None) -> Config:
    """Return the settings of a recipe, changed by ``stage.name=value`` strings.

    Args:
        recipe: a TOML file, or the name of one that comes with the package; None = ``default``.
        overrides: values as TOML writes them; a bare word is text. The last one of a name wins.
        defaults: what neither of them says.

    Raises:
        ConfigError: unknown recipe or setting, wrong type, value out of range.
    """
    text, origin = _read_recipe("default" if recipe is None else recipe)
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, thousands of brackets
        raise ConfigError(f"{origin} is not valid TOML: {error}") from error
    return (defaults or Config())._changed(_flattened(tree, origin), origin).override(overrides)


def training_config(recipe: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Return the settings of a training, of :func:`load_config`'s arguments, after checking that they work together.

    What is learned from tiles sees tiles, unless recipe or ``overrides`` say what ``predict.tile`` is. Where the recipe says
    that both are 0, such as the settings of a run on whole photos, its ``predict.tile`` was not meant for tiles.

    Raises:
        ConfigError: as :func:`load_config`, or they do not work together.
    """
    overrides = tuple(overrides)
    config = load_config(recipe, overrides)
    if config.train.tile:
        recipe_alone = load_config(recipe, defaults=Config().replace(**{"train.tile": -1, "predict.tile": -1}))
        if not (recipe_alone.train.tile or recipe_alone.predict.tile):
            overrides = ("predict.tile=-1", *overrides)
        config = load_config(recipe, overrides, defaults=Config().replace(**{"predict.tile": -1}))
    config.check()
    return config


def adapt_config(overrides: Iterable[str] = ()) -> AdaptConfig:
    """Return the settings of ``dips adapt``, changed by ``adapt.name=value`` strings.

    Raises:
        ConfigError: unknown setting, wrong type, value out of range.
    """
    return Adaptation().override(overrides).adapt


def to_toml(config: Config) -> str:
    """Return the settings as TOML that :func:`load_config` reads back to an equal object."""
    lines = []
    for stage, section in vars(config).items():
        lines += [f"[{stage}]", *(f"{key} = {_toml_value(value)}" for key, value in vars(section).items()), ""]
    return "\n".join(lines)


def _read_recipe(recipe: str | Path) -> tuple[str, str]:
    """Return the text of a recipe, and what messages call it."""
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


def _flattened(tree: Mapping[str, Any], origin: str) -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values of a recipe."""
    for stage, section in tree.items():
        _require_stage(stage, origin, STAGES)
        if not isinstance(section, Mapping):
            raise ConfigError(f"{origin}: '{stage}' is a stage, not a setting: write stage.name, for example train.epochs")
        yield from ((f"{stage}.{key}", value) for key, value in section.items())


def _split(item: str) -> tuple[str, Any]:
    """Return the name and the value of a ``stage.name=value`` string."""
    name, equals, value = item.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"--set takes stage.name=value, not '{item}'")
    try:
        return name.strip(), tomllib.loads(f"x = {value}")["x"]
    except (ValueError, RecursionError):
        return name.strip(), value.strip()


def _require_stage(name: str, origin: str, stages: Collection[str]) -> None:
    if name not in stages:
        raise ConfigError(f"{origin}: unknown stage '{name}'{closest(name, stages)}; there are {', '.join(stages)}")


def _quoted(value: Any) -> str:
    """Return a value as messages show it, however long or nested it is."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    try:
        return short.repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python writes
        return f"such a long {type(value).__name__}"


def _toml_value(value: Any) -> str:
    """Return the value of a setting as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # all other escapes of TOML are JSON's
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    return repr(value)


def _accepts(kind: Any) -> str:
    """Return in words which values an annotated type of :mod:`dips.config.stages` accepts."""
    base, limits = kind.__origin__, kind.__metadata__[0]
    if get_origin(base) is Literal:
        return f"one of {', '.join(map(str, get_args(base)))}"
    if get_origin(base) is tuple:
        return f"a list, each item {_accepts(get_args(base)[0])}"
    word = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[base]
    if limits.ge is None:
        return word
    return f"{word} of at least {limits.ge}" if limits.le is None else f"{word} between {limits.ge} and {limits.le}"
