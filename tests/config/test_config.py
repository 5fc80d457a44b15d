"""Settings from recipes and --set: types, ranges, messages, and back to TOML."""

from __future__ import annotations

import dataclasses
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dips.config import (
    STAGES,
    Adaptation,
    AdaptConfig,
    Config,
    adapt_config,
    all_settings,
    load_config,
    require_prediction,
    to_toml,
    training_config,
)
from dips.errors import ConfigError

RECIPES = sorted(e.name[:-5] for e in (resources.files("dips") / "recipes").iterdir() if e.name.endswith(".toml"))
SETTINGS = [(stage, name) for stage, name in (name.split(".") for name in all_settings()) if stage in STAGES]


def values(stage: str, name: str) -> st.SearchStrategy[Any]:
    """Return a strategy for what a setting may hold, by msgspec's own reading of its annotation."""
    strategy = accepted(msgspec.inspect.type_info(all_settings()[f"{stage}.{name}"].kind))
    if name == "depth":
        return st.sampled_from(["auto", "full", "7000..9000", "-0.5..1e3"])
    return strategy.filter(lambda side: not 0 < side < 32) if name == "second_look" else strategy


def accepted(kind: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case msgspec.inspect.Metadata():
            return accepted(kind.type)
        case msgspec.inspect.LiteralType():
            return st.sampled_from(kind.values)
        case msgspec.inspect.VarTupleType():
            return st.lists(accepted(kind.item_type), min_size=1, max_size=3).map(tuple)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.IntType():
            return st.integers(kind.ge, kind.le)
        case msgspec.inspect.FloatType():
            return st.floats(kind.ge, kind.le, allow_nan=False, allow_infinity=False)
        case msgspec.inspect.StrType():
            return st.text(st.characters(exclude_categories=["Cs"]))
    raise AssertionError(kind)


@pytest.mark.parametrize("depth", ["", "16", "9000..7000", "1..1", "0..inf", "a..b", "1..2..3", "AUTO"])
def test_a_depth_is_a_rule_or_two_values(depth: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.depth=.*: give auto, full, or two values"):
        Config().replace(**{"data.depth": depth})


def test_no_recipe_is_the_default() -> None:
    assert load_config() == load_config("default") == Config()


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_load(recipe: str) -> None:
    config = load_config(recipe)
    config.check()
    assert (config == Config()) == (recipe == "default")


def test_the_paper_recipe_is_the_paper() -> None:
    paper = load_config("paper")
    assert paper.harvest.refine == "none" and paper.harvest.heads == 4 and paper.harvest.score_on == "box"
    assert paper.harvest.sizes == (224,) and paper.harvest.min_area == 0.5 and paper.harvest.levels == 0
    assert paper.harvest.map_power == 1.0 and paper.train.average == 0.0
    assert (paper.train.epochs, paper.train.batch, paper.train.resize, paper.train.crop) == (50, 32, 256, 224)
    assert (paper.train.optimizer, paper.train.schedule, paper.train.lr_step) == ("sgd", "step", 15)
    assert paper.train.lambda_crf == 2e-9 and paper.train.crf_full == 224
    assert (paper.predict.mode, paper.predict.unet_share, paper.classifier.size) == ("unet", 0, 224)  # the U-Net alone
    assert 1 < paper.harvest.top_p < 5  # proposals are sampled, but not all of the five maps'
    assert paper.train.lambda_cls == 0  # as the authors ran it: no gradient of the classifier's loss


def test_the_paper_as_written_differs_in_the_classifiers_loss_alone() -> None:
    written = load_config("paper-text")
    assert written.train.lambda_cls == 1 and written.differences(load_config("paper")) == ["train.lambda_cls"]


def test_by_default_no_unet_is_trained() -> None:
    config = Config()
    assert config.train.epochs == 0 and config.harvest.refine == "dataset" and config.harvest.refine_inputs == "joined"
    assert (config.predict.mode, config.predict.unet_share, config.predict.flip) == ("fast", 0, False)
    assert config.harvest.sizes == (224,) and config.classifier.size == 512


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"harvest.refine": "image"}, r"predict\.mode=fast needs harvest\.refine=dataset.*predict\.mode=unet"),
        ({"predict.mode": "accurate", "harvest.refine": "none"}, r"predict\.mode=accurate needs harvest\.refine=dataset"),
        ({"predict.mode": "unet"}, r"predict\.mode=unet.*need a U-Net; set train\.epochs"),
        ({"predict.unet_share": 0.1}, r"predict\.unet_share above 0 need a U-Net; set train\.epochs"),
        (
            {"train.epochs": 1, "train.crop": 200, "train.resize": 184},
            r"train\.crop \(200\) must not be larger than train\.resize \(184\)",
        ),
        ({"train.epochs": 1} | {f"train.lambda_{name}": 0 for name in ("cpa", "cls", "crf")}, "nothing would be learned"),
    ],
)
def test_settings_that_do_not_go_together(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Config().replace(**changes).check()


@pytest.mark.parametrize(
    ("settings", "recipe", "tile"),
    [
        ([], "", 0),
        (["train.tile=256"], "", -1),
        (["train.tile=-1"], "", -1),
        (["train.tile=256", "predict.tile=0"], "", 0),
        (["predict.tile = 0", "train.tile = -1"], "", 0),
        (["train.tile=256", "predict.tile=512"], "", 512),
        ([], "[train]\ntile = 256", -1),
        ([], "[train]\ntile = 256\n[predict]\ntile = 0", 0),
        (["predict.tile=-1"], "[train]\ntile = 256\n[predict]\ntile = 0", -1),
        (["train.tile=0"], "[train]\ntile = 256", 0),
        (["train.tile=256"], "[predict]\nflip = true", -1),
        (["train.tile=256"], "[predict]\ntile = 0", 0),
        (["train.tile=256"], "[train]\ntile = 0\n[predict]\ntile = 0", -1),
        (["train.tile=256"], "[train]\ntile = 0\n[predict]\ntile = 512", 512),
        (["train.tile=256", "predict.tile=0"], "[train]\ntile = 0\n[predict]\ntile = 0", 0),
    ],
)
def test_what_is_learned_from_tiles_sees_tiles_unless_told_otherwise(
    tmp_path: Path, settings: list[str], recipe: str, tile: int
) -> None:
    (file := tmp_path / "own.toml").write_text(recipe)
    config = training_config(file, settings)
    assert config.predict.tile == tile
    (again := tmp_path / "config.toml").write_text(to_toml(config))
    assert training_config(again) == config, "a run's settings are a recipe"
    assert recipe or training_config(None, settings) == config


def test_a_training_checks_its_settings() -> None:
    with pytest.raises(ConfigError, match="need a U-Net"):
        training_config(None, ["predict.mode=unet"])


@pytest.mark.parametrize(
    "changes",
    [
        {"predict.mode": "accurate"},
        {"predict.mode": "unet", "train.epochs": 1},
        {"predict.mode": "unet", "train.epochs": 1, "harvest.refine": "none"},
        {"predict.unet_share": 0.5, "train.epochs": 1},
        {"train.epochs": 3},
    ],
)
def test_settings_that_do(changes: dict[str, Any]) -> None:
    Config().replace(**changes).check()


def test_drone_photos_have_the_papers_crf_loss() -> None:
    drone = load_config("drone").train
    assert drone.crf_full == drone.crop == 448 and drone.lambda_crf == 2e-9


@settings(max_examples=150)
@given(data=st.data())
def test_toml_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    stage, name = data.draw(st.sampled_from(SETTINGS))
    value = data.draw(values(stage, name))
    config = Config().replace(**{f"{stage}.{name}": value})
    assert getattr(getattr(config, stage), name) == value
    file = tmp_path_factory.getbasetemp() / "config.toml"
    file.write_text(to_toml(config), encoding="utf-8", newline="")
    assert load_config(file) == config


def test_every_setting_says_what_it_is_and_has_a_valid_default() -> None:
    sections = {**vars(Config()), **vars(Adaptation())}
    assert list(all_settings()) == [f"{stage}.{name}" for stage, section in sections.items() for name in vars(section)]
    for name, setting in all_settings().items():
        assert setting.name == name and setting.meaning and setting.accepts
        if name.startswith("adapt."):
            assert Adaptation().replace(**{name: setting.default}).adapt == adapt_config([f"{name}={setting.argument}"])
            continue
        assert Config().replace(**{name: setting.default}) == Config() == load_config(overrides=[f"{name}={setting.argument}"])


def test_the_settings_of_an_adaptation_are_no_part_of_a_run() -> None:
    assert adapt_config() == AdaptConfig() and adapt_config(["adapt.lr=1e-4", "adapt.blocks=3"]).blocks == 3
    with pytest.raises(ConfigError, match=r"--set: unknown stage 'train'; there are adapt$"):
        adapt_config(["train.lr=1e-4"])
    with pytest.raises(ConfigError, match=r"'lr' is not a setting: write stage\.name, adapt\.lr"):
        adapt_config(["lr=1e-4"])
    with pytest.raises(ConfigError, match="unknown stage 'adapt'"):
        load_config(overrides=["adapt.lr=1e-4"])
    assert "[adapt]" not in to_toml(Config())


@pytest.mark.parametrize(
    ("name", "accepts"),
    [
        ("train.epochs", "a whole number of at least 0"),
        ("train.batch", "a whole number of at least 1"),
        ("predict.mode", "one of fast, accurate, unet"),
        ("harvest.refine_inputs", "one of joined, keys, cnn"),
        ("harvest.min_area", "a number between 0 and 1"),
        ("harvest.sizes", "a list, each item a whole number between 28 and 2048"),
        ("train.grow", "one of 1, 3, 5, 7"),
        ("train.flip", "true or false"),
        ("harvest.sst", "text"),
    ],
)
def test_what_a_setting_accepts_in_words(name: str, accepts: str) -> None:
    assert all_settings()[name].accepts == accepts


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("train.epochs=4", 4),
        ("train.lr = 1", 1.0),
        ("train.flip=false", False),
        ("harvest.refine=image", "image"),
        ('harvest.refine="image"', "image"),
        ("harvest.sizes=[224, 320]", (224, 320)),
        ("data.background_class=no tower", "no tower"),
        ("data.background_class=", ""),
        ("harvest.sst=vit_small_patch16_224.dino", "vit_small_patch16_224.dino"),
        ("train.lambda_crf=2e-9", 2e-9),
    ],
)
def test_set(item: str, expected: Any) -> None:
    stage, name = item.partition("=")[0].strip().split(".")
    found = getattr(getattr(load_config(overrides=[item]), stage), name)
    assert found == expected and type(found) is type(expected)


def test_the_last_word_wins(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[train]\nepochs = 9\nbatch = 3\n")
    config = load_config(recipe, ["train.epochs=1", "train.epochs=2"])
    assert (config.train.epochs, config.train.batch) == (2, 3)
    assert config.train.resize == Config().train.resize


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("train.epoch=4", r"unknown setting 'train\.epoch' \(did you mean 'train.epochs'\?\)"),
        ("trian.epochs=4", r"unknown stage 'trian' \(did you mean 'train'\?\)"),
        ("epochs=4", "'epochs' is not a setting: write stage.name"),
        ("train.epochs", "takes stage.name=value"),
        ("=4", "takes stage.name=value"),
        ("train.epochs=-1", "train.epochs must be a whole number of at least 0, not -1"),
        ("train.batch=0", "train.batch must be a whole number of at least 1, not 0"),
        ("predict.sst_share=0.5", r"unknown setting 'predict\.sst_share'"),
        ("predict.mode=slow", "must be one of fast, accurate, unet, not 'slow'"),
        ("harvest.refine_photos=1", "must be a whole number of at least 2, not 1"),
        ("train.epochs=1.5", "must be a whole number"),
        ("train.epochs=true", "must be a whole number"),
        ("train.epochs=many", "must be a whole number"),
        ("train.flip=1", "must be true or false"),
        ("train.lr=fast", "must be a number"),
        ("train.lr=-1", "at least 0"),
        ("train.lr=nan", "train.lr must be a number of at least 0, not nan"),
        ("train.lr=inf", "train.lr must be a number of at least 0, not inf"),
        ("train.lr=1" + "0" * 400, "train.lr must be a number of at least 0, not 1000"),
        ("harvest.min_area=1.5", "must be a number between 0 and 1, not 1.5"),
        ("harvest.sst=3", "must be text"),
        ("harvest.sst=2020-01-01", "must be text"),
        ("harvest.refine=all", "must be one of none, image, dataset, not 'all'"),
        ("harvest.sizes=224", "must be a list"),
        ("harvest.sizes=[]", "must be a list"),
        ("harvest.sizes=[2]", r"whole number between 28 and 2048, not \[2\]"),
        ("harvest.sizes=[true]", "whole number"),
        ("train.grow=4", "one of 1, 3, 5, 7"),
    ],
)
def test_what_is_refused(item: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s)--set.*{says}|{says}"):
        load_config(overrides=[item])


def test_recipes_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no recipe is called 'papers'; there are .*default.*paper"):
        load_config("papers")
    with pytest.raises(ConfigError, match=r"cannot read the recipe .*none\.toml"):
        load_config(tmp_path / "none.toml")
    for text, says in (
        ("[train", "not valid TOML"),
        ("train = 3", "'train' is a stage"),
        ("[trains]\nepochs = 2", "unknown stage 'trains'"),
        ("[train]\nepochs = -1", r"bad\.toml.*at least 0"),
    ):
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(ConfigError, match=says):
            load_config(str(tmp_path / "bad.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "bytes.toml")


def test_replace_checks_too() -> None:
    with pytest.raises(ConfigError, match=r"argument: train\.epochs must be a whole number of at least 0, not -1"):
        Config().replace(**{"train.epochs": -1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().train.epochs = 3  # type: ignore[misc]


def test_what_a_trained_model_takes() -> None:
    require_prediction(["predict.threshold=0.4", " data.label_column=kind"])
    for item in ("data.val_share=0.2", "train.epochs=1"):
        with pytest.raises(ConfigError, match=rf"--set {item}: a trained model takes only settings of prediction"):
            require_prediction([item])


NESTED = [
    "[" * 200_000,
    "[" * 400 + "]" * 400,
    "9" * 5_000,
    "{a=" * 3_000,
    "[[" * 150 + "]]" * 150,
    "2020-99-99",
]


@pytest.mark.parametrize("value", NESTED, ids=lambda value: value[:2] + str(len(value)))
def test_what_is_nested_to_death_is_no_setting(tmp_path: Path, value: str) -> None:
    (tmp_path / "bad.toml").write_text(f"[train]\nepochs = {value}\n")
    for arguments in ((tmp_path / "bad.toml", ()), (None, (f"train.epochs={value}",))):
        with pytest.raises(ConfigError, match=r"is not valid TOML|train\.epochs must be") as found:
            load_config(*arguments)
        assert len(str(found.value)) < 1000
    (tmp_path / "deep.toml").write_text(f"[{'a.' * 50_000}a]\n")
    with pytest.raises(ConfigError, match=r"unknown stage 'a'|is not valid TOML"):
        load_config(tmp_path / "deep.toml")


def test_brackets_of_any_depth_are_refused_in_a_line(tmp_path: Path) -> None:
    """Deep enough for the reader, and too deep for what follows it: each depth fails in another place."""
    for depth in range(50, 500, 7):
        with pytest.raises(ConfigError):
            load_config(None, [f"harvest.sizes={'[' * depth}{']' * depth}"])
    with pytest.raises(ConfigError, match=r"predict\.mode must be .*, not such a long int"):
        load_config(None, [f"predict.mode=0x{'f' * 5_000}"])
