"""``dips adapt`` through the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from dips.adaptation.adapt import AdaptResult
from dips.config import AdaptConfig
from dips.models.weights.adapted import Adapted

from .conftest import Dips, Tiny, fake

FAST = {
    "sst": "test_vit",
    "steps": 2,
    "batch": 2,
    "checks": 1,
    "global_side": 48,
    "local_side": 32,
    "local_crops": 1,
    "teacher_temperature": 0.02,
    "teacher_temperature_end": 0.02,
}
SETTINGS = [word for name, value in FAST.items() for word in ("--set", f"adapt.{name}={value}")]


def record(skipped: int = 0) -> AdaptResult:
    checks = [{"step": 0, "spread": 0.5}, {"step": 2, "loss": 2.0, "spread": 0.4}]
    adapted = Adapted(arch="test_vit", note="test_vit, adapted to 9 photos", steps=2, seconds=60, checks=checks)
    return AdaptResult(Path("a.safetensors"), adapted, skipped)


def test_options_are_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dips: Dips) -> None:
    calls = fake(monkeypatch, "dips.adaptation.adapt.adapt", record())
    found = fake(monkeypatch, "dips.data.sources.read_source", "photos")
    out = tmp_path / "a.safetensors"
    said = dips("adapt", tmp_path, "s3://b/p", "--out", out)
    assert said.code == 0 and "test_vit, adapted to 9 photos" in said.out and f"--weights {out}" in said.out
    assert found[0] == {"0": [tmp_path, "s3://b/p"], "leave_out": out} and calls[0]["0"] == "photos"
    assert (calls[0]["out"], calls[0]["config"], calls[0]["weights"], calls[0]["device"]) == (out, AdaptConfig(), (), "auto")
    more = ("--minutes", "3", "--set", "adapt.blocks=4", "--weights", tmp_path, "--device", "cpu")
    assert dips("adapt", tmp_path, "--out", out, *more).code == 0
    assert calls[1]["config"] == AdaptConfig(minutes=3.0, blocks=4)
    assert (calls[1]["weights"], calls[1]["device"]) == ([str(tmp_path)], "cpu")


def test_skipped_photos_are_the_exit_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dips: Dips) -> None:
    fake(monkeypatch, "dips.adaptation.adapt.adapt", record(skipped=2))
    fake(monkeypatch, "dips.data.sources.read_source")
    said = dips("adapt", tmp_path, "--out", tmp_path / "a.safetensors")
    assert said.code == 1 and "2 photos could not be read" in said.out


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--set", "adapt.block=3"], "did you mean 'adapt.blocks'"),
        (["--set", "train.epochs=3"], "unknown stage 'train'"),
        (["--set", "adapt.centring=none"], "one of mean, sinkhorn"),
        (["--set", "blocks=3"], "write stage.name, adapt.blocks"),
        (["--blocks", "3"], "--set adapt.blocks=VALUE"),
        (["--minutes", "0"], "adapt.minutes must be a number between 0.1 and 10000"),
        (["--minutes", "1", "--set", "adapt.steps=3"], "--minutes says how long, too"),
        (["--weights", "missing.pth"], "no file or folder missing.pth"),
        (["--device", "tpu"], "there is no device 'tpu'"),
        (["--out", "a.pth"], "must end in .safetensors"),
    ],
)
def test_wrong_arguments(more: list[str], says: str, tmp_path: Path, dips: Dips) -> None:
    out = [] if "--out" in more else ["--out", tmp_path / "a.safetensors"]
    said = dips("adapt", tmp_path, *out, *more)
    assert said.code == 2 and says in said.err and said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays(tmp_path: Path, dips: Dips) -> None:
    (out := tmp_path / "a.safetensors").write_text("mine")
    said = dips("adapt", tmp_path, "--out", out)
    assert said.code == 2 and "already exists; nothing was changed" in said.err and out.read_text() == "mine"


def test_a_run_is_no_place_for_these_settings(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    said = dips(*tiny.train(tmp_path / "run", "--set", "adapt.blocks=3"))
    assert said.code == 2 and "unknown stage 'adapt'" in said.err


@pytest.mark.slow
def test_adapted_weights_train_and_predict(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    photos, out = tmp_path / "photos", tmp_path / "mine.safetensors"
    photos.mkdir()
    for number, path in enumerate(sorted((tiny.data / "train").rglob("*.jpg"))):
        (photos / f"{number}.jpg").write_bytes(path.read_bytes())
    (photos / "0.jpg").write_bytes((photos / "0.jpg").read_bytes()[:300])
    said = dips("adapt", photos, "--out", out, *SETTINGS, "--weights", tiny.weights, "--problems", tmp_path / "problems.json")
    assert said.code == 1 and "1 photo could not be read" in said.out, said.err
    assert "0.jpg" in said.err and "0.jpg" in (tmp_path / "problems.json").read_text()
    where = ("--out", tmp_path / "run", "--recipe", tiny.recipe, "--weights", out, "--weights", tiny.weights)
    more = ("--store", tmp_path / "store", "--set", "train.epochs=0", "--set", "predict.mode=accurate")
    said = dips("train", tiny.data, *where, *more)
    assert said.code == 0 and "test_vit, adapted to 17 photos" in said.err, said.err
    assert dips("predict", tmp_path / "run", tiny.data / "test", "--out", tmp_path / "boxes").code == 0
    out.unlink()
    said = dips("predict", tmp_path / "run", tiny.data / "test", "--out", tmp_path / "more", "--weights", tiny.weights)
    assert said.code == 2 and "was made with other weights" in said.err


_VICTIM = """
import os, signal, sys
from dips.adaptation.learner import Learner
from dips.cli import main
step = Learner.step
def deadly(self, crops, number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, crops, number)
Learner.step = deadly
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_kill_9_changes_no_bit(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    more = [word for setting in ("adapt.steps=4", "adapt.checks=4") for word in ("--set", setting)]
    command = ["adapt", str(tiny.data / "train"), "--device", "cpu", "--weights", str(tiny.weights), *SETTINGS, *more, "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    victim = [sys.executable, "-c", _VICTIM, *command, str(tmp_path / "cut.safetensors")]
    done = subprocess.run(victim, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"cut.resume.safetensors", "cut.resume.lock"}
    said = dips(*command, tmp_path / "cut.safetensors")
    assert said.code == 0 and "going on after step 3 of 4" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["cut.safetensors"]
    assert dips(*command, tmp_path / "whole.safetensors").code == 0
    cut, whole = (safetensors.torch.load_file(tmp_path / f"{name}.safetensors") for name in ("cut", "whole"))
    assert all(torch.equal(cut[name], whole[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no gloo here")
@pytest.mark.parametrize("centring", ["mean", "sinkhorn"])
def test_two_processes_do_what_one_does(centring: str, tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    """They share each step, so that rounding alone tells them apart, and not half a batch."""
    more = ("adapt.batch=4", "adapt.steps=4", "adapt.momentum=0", "adapt.lr=1e-3", f"adapt.centring={centring}")
    settings = [*SETTINGS, *(word for setting in more for word in ("--set", setting))]
    command = ["adapt", str(tiny.data / "train"), "--device", "cpu", "--weights", str(tiny.weights), *settings, "--out"]
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "dips"]
    done = subprocess.run([*two, *command, str(tmp_path / "two.safetensors")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("next    dips train") == 1
    assert dips(*command, tmp_path / "one.safetensors").code == 0
    assert dips(*command, tmp_path / "half.safetensors", "--set", "adapt.batch=2").code == 0
    start = safetensors.torch.load_file(tiny.weights / "test_vit.safetensors")
    states = [safetensors.torch.load_file(tmp_path / f"{name}.safetensors") for name in ("one", "two", "half")]
    one, both, half = (torch.cat([(state[name] - start[name]).flatten() for name in sorted(state)]) for state in states)
    assert (both - one).norm() < 0.02 * one.norm() < 0.2 * (half - one).norm()
    (tmp_path / "half.safetensors").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.safetensors", "two.safetensors"]
