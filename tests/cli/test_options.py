"""Options that stand for settings."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dips.cli.options import CrewOptions, PredictOptions
from dips.errors import ConfigError
from dips.shards.launch import Crew

from .conftest import Dips, Tiny


def settings_of(*settings: str, **options: Any) -> list[str]:
    return PredictOptions(settings=list(settings) or None, **options).all_settings()


def test_options_are_settings_of_prediction() -> None:
    assert settings_of() == []
    given = settings_of("predict.flip=true", tile="auto", mode="accurate", threshold=0.4)
    assert given == ["predict.tile=-1", "predict.mode=accurate", "predict.threshold=0.4", "predict.flip=true"]
    assert settings_of(tile="512", min_score=0, max_boxes=3) == [
        *("predict.tile=512", "predict.min_score=0", "predict.max_boxes=3")
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": 1.5}, "--threshold must be between 0 and 1"),
        ({"min_area": 2}, "--min-area must be between 0 and 1"),
        ({"min_score": -1}, "--min-score must be between 0 and 1"),
        ({"threshold": float("nan")}, "--threshold must be between 0 and 1"),
        ({"max_boxes": 0}, "--max-boxes must be between 1"),
        ({"tile": "large"}, "--tile takes a side in pixels"),
    ],
)
def test_values_out_of_range_name_the_option(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        settings_of(**options)


@pytest.mark.parametrize(("name", "value"), [("threshold", 0.5), ("min_area", 0.1), ("max_boxes", 3), ("tile", "auto")])
def test_an_option_and_the_same_setting_contradict_each_other(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"predict.{name} is given by --{name.replace('_', '-')}, too"):
        settings_of(f"predict.{name} = 1", **{name: value})


def test_short_options_predict_what_the_settings_do(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    photo = next((tiny.data / "test" / "tower").iterdir())
    short = ("--threshold", "0.25", "--min-score", "0.1", "--min-area", "0.01", "--mode", "accurate", "--max-boxes", "2")
    names = ("threshold=0.25", "min_score=0.1", "min_area=0.01", "mode=accurate", "max_boxes=2")
    long = [f"--set=predict.{name}" for name in names]
    for out, options in (("short", short), ("long", long)):
        given = ("--weights", tiny.weights, "--format", "json")
        assert dips("predict", tiny.run, photo, "--out", tmp_path / out, *given, *options).code == 0
    first, second = (json.loads((tmp_path / out / "predictions.json").read_text()) for out in ("short", "long"))
    assert first == second and first["predictions"][0]["threshold"] == 0.25
    said = dips("predict", tiny.run, photo, "--out", tmp_path / "other", "--mode", "acurate")
    assert said.code == 2 and "one of fast, accurate, unet" in said.err


@pytest.mark.parametrize("command", ["predict", "stream"])
def test_both_commands_take_them(tiny: Tiny, tmp_path: Path, dips: Dips, command: str) -> None:
    said = dips(command, "--help").out
    for option in ("mode", "threshold", "min-score", "min-area", "max-boxes", "tile", "set", "weights", "device"):
        assert f"--{option} " in said
    given = dips(command, tiny.run, tmp_path, "--out", tmp_path / "out", "--tile", "512", "--set", "predict.tile=256")
    assert given.code == 2 and "--set predict.tile=256: predict.tile is given by --tile, too" in given.err
    unknown = dips(command, tiny.run, tmp_path, "--out", tmp_path / "out", "--tile-overlap", "0.5")
    assert unknown.code == 2 and "--set predict.tile_overlap=VALUE" in unknown.err


SLURM = {f"SLURM_ARRAY_TASK_{name}": value for name, value in (("ID", "3"), ("MIN", "1"), ("STEP", "1"), ("COUNT", "8"))}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Set the variables of a scheduler, instead of those that the tests run in."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SGE_", "RANK", "JOB_COMPLETION", "AWS_BATCH", "BATCH_TASK", "CLOUD_RUN")):
            monkeypatch.delenv(name)

    def change(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return change


@pytest.mark.parametrize(
    ("variables", "options", "crew", "said"),
    [
        ({}, {}, Crew(1), ""),
        ({}, {"workers": 0}, Crew(0), ""),
        ({}, {"workers": 4, "shard": "3/8"}, Crew(4, turn=2, of=8), ""),
        ({}, {"engine": "ray"}, Crew(0, "ray"), ""),
        (SLURM, {"engine": "ray", "workers": 4}, Crew(4, "ray"), ""),
        (
            SLURM,
            {},
            Crew(1, turn=2, of=8),
            "SLURM_ARRAY_TASK_ID=3: this is task 3 of 8, which does its part; --shard 1/1 does e",
        ),
        (SLURM, {"shard": "1/1"}, Crew(1), ""),
        (SLURM, {"shard": "5/9"}, Crew(1, turn=4, of=9), ""),
        (
            {"JOB_COMPLETION_INDEX": "0"},
            {},
            Crew(1),
            "if this is one of N tasks that share the work, say so with --shard auto/N",
        ),
        ({"JOB_COMPLETION_INDEX": "0"}, {"shard": "auto/8"}, Crew(1, turn=0, of=8), ""),
    ],
)
def test_who_works(
    environment: Callable[[dict[str, str]], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    options: dict[str, Any],
    crew: Crew,
    said: str,
) -> None:
    environment(variables)
    monkeypatch.setattr("dips.cli.options.find_spec", lambda name: name)  # Ray may be missing
    assert CrewOptions(**options).crew() == crew
    heard = capsys.readouterr().err
    assert said in heard and bool(said) == bool(heard)


def test_each_command_has_its_own_number_of_processes(environment: Callable[[dict[str, str]], None]) -> None:
    assert CrewOptions().crew(0) == Crew(0) and CrewOptions(workers=2).crew(0) == Crew(2)


def test_each_place_of_a_ray_cluster_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dips.cli.options.find_spec", lambda name: name)
    assert CrewOptions(engine="ray").crew(1) == Crew(0, "ray")
    monkeypatch.setattr("dips.cli.options.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'--engine ray needs the package ray, .* pip install "dips-wsol\[ray\]"'):
        CrewOptions(engine="ray").crew()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": -1}, "--workers is a number of processes, or 0 for one per core, not -1"),
        ({"engine": "ray", "shard": "1/8"}, "--engine ray shares the work itself; leave out --shard"),
        ({"shard": "9/8"}, "counted from 1 to 8"),
    ],
)
def test_crews_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        CrewOptions(**options).crew()


def test_the_help_says_how_many_work_by_default(dips: Dips) -> None:
    said = " ".join(dips("predict", "--help").out.split())
    assert "Default: 1; for scores and with --engine ray 0." in " ".join(said.replace("│", " ").split())
