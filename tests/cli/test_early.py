"""What is mistyped is refused before the networks are loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dips.cli.early import require_model, require_training
from dips.config import to_toml, training_config
from dips.errors import ConfigError, DataError, DipsError, RunError, WeightsError
from dips.runs.records import CONFIG

from .conftest import Tiny

_RUN = """
import json, sys
from dips.cli import main
codes = [main(command) for command in json.load(sys.stdin)]
sys.exit(0 if codes == [2] * len(codes) and "torch" not in sys.modules else 1)
"""


def test_no_mistyped_argument_loads_torch(tiny: Tiny, tmp_path: Path) -> None:
    run, data, out = tiny.run, tiny.data, tmp_path / "out"
    commands = [
        ["train", data / "nowhere", "--out", out],
        ["train", data, "--out", out, "--recipe", "papre"],
        ["train", data, "--out", out, "--set", "train.epcohs=3"],
        ["train", data, "--out", out, "--set", "epochs=3"],
        ["train", data, "--out", out, "--weights", tmp_path / "gone.pth"],
        ["train", data, "--out", out, "--device", "gpu"],
        ["train", data, "--out", run],
        ["predict", tmp_path / "gone", data, "--out", out],
        ["predict", tmp_path / "gone.onnx", data, "--out", out],
        ["predict", run, data / "gone", "--out", out],
        ["predict", run, data, "--out", out, "--set", "predict.treshold=3"],
        ["predict", run, data, "--out", out, "--mode", "fsat"],
        ["predict", run, data, "--out", out, "--format", "coko"],
        ["stream", run, data / "gone.mp4", "--out", out],
        ["stream", run, data, "--out", out, "--set", "predict.size=x"],
        ["evaluate", run, data / "gone"],
        ["evaluate", run, data, "--split", "tset"],
        ["evaluate", run, data, "--protocol", "x"],
        ["evaluate", tmp_path, data],
        ["export", tmp_path / "gone", "--out", tmp_path / "x.onnx"],
        ["export", run, "--out", tmp_path / "x.onnx", "--photos", data / "gone"],
        ["export", run, "--out", tmp_path / "x.onnx", "--int8", data / "gone"],
        ["compare", data / "gone", "--out", out],
        ["compare", data, "--out", out, "--split", "tset"],
        ["compare", data, "--out", out, "--recipe", "papre"],
        ["adapt", data / "gone", "--out", tmp_path / "x.safetensors"],
        ["adapt", data, "--out", tmp_path / "x.safetensors", "--set", "adapt.block=3"],
        ["adapt", data, "--out", out],
    ]
    told = json.dumps([[str(item) for item in command] for command in commands])
    done = subprocess.run([sys.executable, "-c", _RUN], input=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("dips: error") == len(commands) and not out.exists()


def test_what_is_right_passes(tiny: Tiny, tmp_path: Path) -> None:
    require_training(tiny.data, out=tmp_path / "new", recipe=str(tiny.recipe), weights=[f"vit={tiny.weights}"], device="cuda:1")
    require_training(tiny.data / "train", split="all")
    require_model(tiny.run, settings=["predict.threshold=0.4"], device="mps", data=tiny.data, split="all")
    require_model(tiny.run, data=tiny.data, split="test")


@pytest.mark.parametrize("settings", [["train.tile=48"], ["train.tile=-1"], ["train.tile=64", "predict.tile=80"], []])
def test_a_training_goes_on_with_the_settings_that_it_was_given(tiny: Tiny, tmp_path: Path, settings: list[str]) -> None:
    """The run folder holds those that follow from them, too."""
    config = training_config(None, settings)
    assert config.predict.tile == (80 if len(settings) == 2 else -1 if settings else 0)
    (tmp_path / "config.toml").write_text(to_toml(config))
    require_training(tiny.data, out=tmp_path, resume=True, settings=settings)
    with pytest.raises(RunError, match=r"other settings \(train\.tile"):
        require_training(tiny.data, out=tmp_path, resume=True, settings=["train.tile=99"])


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"settings": ["train.epochs=3"]}, ConfigError),
        ({"settings": ["predict.threshold=much"]}, ConfigError),
        ({"weights": ["vit=gone.pth"]}, WeightsError),
        ({"device": "cuda:x"}, RunError),
        ({"data": Path("gone")}, DataError),
    ],
)
def test_what_is_wrong_is_named(tiny: Tiny, wrong: dict[str, object], kind: type[DipsError]) -> None:
    with pytest.raises(kind):
        require_model(tiny.run, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [["train.tile=48"], ["train.tile=-1"], ["train.tile=48", "predict.tile=0"], []])
def test_a_stopped_training_is_resumed_with_the_same_settings(tiny: Tiny, tmp_path: Path, settings: list[str]) -> None:
    (tmp_path / CONFIG).write_text(to_toml(training_config(None, settings)))
    require_training(tiny.data, out=tmp_path, resume=True, settings=settings)
    with pytest.raises(RunError, match=r"other settings \(train\.seed\)"):
        require_training(tiny.data, out=tmp_path, resume=True, settings=[*settings, "train.seed=1"])
