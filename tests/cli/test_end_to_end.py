"""Train, evaluate, predict, report and demo through the command line with tiny networks; kill -9 and go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dips.cli import demo as demo_module
from dips.errors import RunError

from .conftest import Dips, Tiny

# Kills the process inside the function it is put around, at the given call.
KILLER = """
import os, signal, sys
from importlib import import_module
import torch
torch.set_num_threads(1)
module, name, call = import_module(sys.argv[1]), sys.argv[2], int(sys.argv[3])
real, seen = getattr(module, name), []
def deadly(*given, **named):
    seen.append(1)
    if len(seen) == call:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given, **named)
setattr(module, name, deadly)
from dips.cli import main
sys.exit(main(sys.argv[4:]))
"""


def killed(module: str, name: str, call: int, *command: object) -> None:
    """Run the command in a process that is killed at a call of ``module.name``."""
    done = subprocess.run(
        [sys.executable, "-c", KILLER, module, name, str(call), *map(str, command)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_what_a_run_holds(tiny: Tiny) -> None:
    names = {path.name for path in tiny.run.iterdir()}
    assert {"config.toml", "metrics.jsonl", "model.safetensors", "model.json", "run.json", "README.md", "report.html"} <= names
    assert len((tiny.run / "metrics.jsonl").read_text().splitlines()) == 2


def test_evaluate_and_report(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    said = dips(*("evaluate", tiny.run, tiny.data, "--weights", tiny.weights, "--json", tmp_path / "e.json"))
    assert said.code == 0, said.err
    result = json.loads((tmp_path / "e.json").read_text())
    assert result["n_images"] == 6 and result["n_boxed"] == 3
    for name in ("localizer", "mean attention", "centre"):
        assert name.split()[0] in said.out
    assert f"{result['max_box_acc_v2']:.1f}" in said.out
    before = (tiny.run / "report.html").read_text()
    (tiny.run / "report.html").unlink()
    said = dips("report", tiny.run)
    assert said.out == f"{tiny.run / 'report.html'}\n"
    assert (tiny.run / "report.html").read_text() == before


def test_threshold_is_passed_on(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    photo = tiny.data / "test" / "tower" / "0000.jpg"
    said = dips("predict", tiny.run, photo, "--out", tmp_path / "out", "--format", "json", "--set", "predict.threshold=0.25")
    assert said.code == 0
    assert json.loads((tmp_path / "out/json/0000.json").read_text())["threshold"] == 0.25


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_kill_9_in_training_then_resume(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    run = tmp_path / "run"
    killed("dips.train.loop", "append_metrics", 2, *tiny.train(run))
    assert not (run / "model.json").exists()
    said = dips("predict", run, tiny.data / "test", "--out", tmp_path / "out")
    assert said.code == 2 and "no finished run" in said.err
    assert dips(*tiny.train(run)).code == 2
    said = dips(*tiny.train(run, "--resume"))
    assert said.code == 0, said.err
    assert (run / "model.safetensors").read_bytes() == (tiny.run / "model.safetensors").read_bytes()
    assert [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [1, 2]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_kill_9_in_prediction_then_again(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    formats = ("--format", "overlays,masks,coco", "--set", "predict.batch=2")
    command = ("predict", tiny.run, tiny.data / "test", *formats, "--out")
    killed("dips.predict.writing", "write_json", 3, *command, tmp_path / "out")  # behind two photos
    finished = sorted((tmp_path / "out" / "json").rglob("*.json"))
    assert len(finished) == 2 and not (tmp_path / "out" / "predictions.json").exists()
    times = [path.stat().st_mtime_ns for path in finished]
    said = dips(*command, tmp_path / "out")
    assert said.code == 0 and "done before and kept: 2 of 6 photos" in said.err
    assert [path.stat().st_mtime_ns for path in finished] == times
    assert dips(*command, tmp_path / "whole").code == 0
    for path in (tmp_path / "whole").rglob("*"):
        twin = tmp_path / "out" / path.relative_to(tmp_path / "whole")
        assert path.is_dir() or twin.read_bytes() == path.read_bytes(), path
    assert len(list((tmp_path / "out").rglob("*"))) == len(list((tmp_path / "whole").rglob("*")))
    assert dips(*command, tmp_path / "out").code == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no gloo here")
def test_two_processes_train_one_run(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    """As on two devices: the first process harvests and writes, both train."""
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "dips"]
    command = tiny.train(tmp_path / "run", "--device", "cpu")
    done = subprocess.run([*two, *command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("next    dips predict") == 1
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    alone = [json.loads(line) for line in (tiny.run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[-1]["step"] <= alone[-1]["step"] and rows[-1]["loss"] != alone[-1]["loss"]
    assert dips("predict", tmp_path / "run", tiny.data / "test", "--out", tmp_path / "out").code == 0


def test_demo_is_interrupted_and_goes_on(
    tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the recipe of the demo has it: without a U-Net, and no box has a part in the threshold."""
    out, recipe = tmp_path / "demo", tmp_path / "demo.toml"
    recipe.write_text(tiny.recipe.read_text().replace("epochs = 2\n", 'select_on = "proposals"\n'))

    def run(seed: int = 0) -> int:
        return demo_module.run_demo(out, seed, recipe=str(recipe), train=8, test=4, weights=[str(tiny.weights)])

    from dips.predict.writing import PhotoWriter

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PhotoWriter, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.undo()
    with pytest.raises(RunError, match="holds a demo made with seed 0, now 1"):
        run(seed=1)
    capfd.readouterr()
    assert run() == 0
    said = capfd.readouterr()
    assert "GENERATED" in said.err and "trained already" in said.err
    for words in (
        "localizer",
        "accurate",
        "mean attention",
        "linear map",
        "centre",
        "Transformer: test_vit",
        "Class correct",
        "peak memory",
    ):
        assert words in said.out
    assert "U-Net" not in said.out and not (out / "run" / "metrics.jsonl").exists()
    record = json.loads((out / "run" / "run.json").read_text())
    assert record["label_free"] and "the model's own level between object and background" in record["selection"]
    card = (out / "run" / "README.md").read_text()
    assert f"- **Validation accuracy:** CNN classifier {record['accuracy']['classifier']:.1f} (percent)" in card
    assert os.environ["DIPS_OFFLINE"] == "1"
    *_, following = lines = said.out.splitlines()
    assert following.startswith("next      dips check PHOTOS ")
    for line in lines[-4:-1]:
        assert Path(line.split(maxsplit=1)[1]).exists()
    assert len(list((out / "predictions" / "overlays").rglob("*.jpg"))) == 4
    with pytest.raises(RunError, match=r"finished demo.* or remove it"):
        run()
    (out / "predictions" / "review.jsonl").touch()
    with pytest.raises(RunError, match=r"finished demo.*, and a review by 'dips view'; choose another --out$"):
        run()


def test_demo_leaves_other_folders_alone(tmp_path: Path, dips: Dips) -> None:
    (tmp_path / "mine").mkdir()
    said = dips("demo", "--out", tmp_path / "mine")
    assert said.code == 2 and "is not a demo" in said.err
    assert list((tmp_path / "mine").iterdir()) == []
