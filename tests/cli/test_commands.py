"""What is parsed, what is called, what is printed, which code is returned. No network is run here."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dips as package
from dips.cli.app import app
from dips.config import Config, load_config
from dips.errors import RunError
from dips.fitting import fit as fitting
from dips.model import Model
from dips.report import run_report as reporting
from dips.system import console

from .conftest import Dips

COMMANDS = (
    "demo",
    "check",
    "train",
    "predict",
    "stream",
    "export",
    "boxes",
    "evaluate",
    "score",
    "compare",
    "report",
    "view",
    "settings",
    "completion",
    "doctor",
)


HOMES = {"fit": fitting, "open": Model, "write_run_report": reporting}


class Calls(list[dict[str, Any]]):
    """Stands in for a function of the API: remembers its arguments."""

    def __init__(self, answer: Any = None) -> None:
        super().__init__()
        self.answer = answer

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.append({**{str(i): value for i, value in enumerate(given)}, **named})
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def fake(monkeypatch: pytest.MonkeyPatch, name: str, answer: Any = None) -> Calls:
    calls = Calls(answer)
    monkeypatch.setattr(HOMES[name], name, calls)
    return calls


# --- help and mistakes


def test_help_names_every_command(dips: Dips) -> None:
    said = dips("--help")
    assert said.code == 0
    assert re.findall(r"^│ ([a-z]+) ", said.out, flags=re.MULTILINE) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command: str, dips: Dips) -> None:
    said = dips(command, "--help")
    assert said.code == 0
    rows = re.findall(r"^│[ *]+(--[a-z0-9-]+|[A-Z]+) ", said.out, flags=re.MULTILINE)
    for argument in app[command].assemble_argument_collection():
        assert argument.parameter.help, f"{command} {argument.names}"
        assert argument.name in rows


def test_version(dips: Dips) -> None:
    assert dips("--version").out == f"dips {package.__version__}\n"
    done = subprocess.run([sys.executable, "-m", "dips", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"dips {package.__version__}\n"


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("trian photos", 'Did you mean "train"'),
        ("train photos --out x --recip paper", "--recipe"),
        ("train photos", "--out"),
        ("train", "DATA"),
        ("predict run --out x", "IMAGES"),
        ("demo --seed x", "--seed"),
        ("check a b", "b"),
    ],
)
def test_wrong_command_line(line: str, hint: str, dips: Dips) -> None:
    said = dips(*line.split())
    assert said.code == 2
    assert said.err.startswith("dips: error: ") and said.err.count("\n") == 1
    assert hint in said.err and "--help" in said.err
    assert said.out == ""


# --- errors


def test_errors_are_one_line(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    fake(monkeypatch, "open", RunError("run is\ndamaged [bold]; copy it"))
    said = dips("evaluate", "run", "data")
    assert (said.code, said.out, said.err) == (2, "", "dips: error: run is damaged [bold]; copy it\n")


def test_debug_shows_where(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    fake(monkeypatch, "open", RunError("damaged"))
    with pytest.raises(RunError, match="damaged"):
        dips("evaluate", "run", "data", "--debug")


def test_faults_of_the_program_are_not_hidden(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    fake(monkeypatch, "open", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        dips("evaluate", "run", "data")


class OutOfMemoryError(RuntimeError):
    """Called as torch's own is."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x.bin"), "x.bin: No space left on device"),
        (OutOfMemoryError("CUDA"), "smaller batches"),
        (MemoryError(), "smaller batches"),
    ],
)
def test_the_machine_is_full(error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    fake(monkeypatch, "fit", error)
    said = dips("train", "data", "--out", "run")
    assert said.code == 2 and words in said.err


@pytest.mark.parametrize(
    ("command", "hint"), [("train data --out run", "--resume"), ("evaluate run data", "the run is unchanged")]
)
def test_interrupted(command: str, hint: str, monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    for name in ("fit", "open"):
        fake(monkeypatch, name, KeyboardInterrupt())
    said = dips(*command.split())
    assert said.code == 130
    assert said.err.startswith("dips: interrupted: ") and hint in said.err


def test_reader_that_has_seen_enough() -> None:
    code = "import sys; from dips.cli import main; sys.exit(main(['settings']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


# --- what is passed on


def test_train(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    calls = fake(monkeypatch, "fit", SimpleNamespace(run=Path("my runs/x")))
    said = dips("train", "data", "--out", "my runs/x")
    assert said.code == 0
    plain = {"recipe": None, "settings": (), "weights": (), "store": None, "device": "auto", "resume": False}
    assert calls[0] == {"0": Path("data"), "out": Path("my runs/x"), **plain}
    assert "dips predict 'my runs/x' PHOTOS" in said.out
    dips(
        *("train", "data", "--out", "x", "--set", "train.epochs=4", "--set", "harvest.sizes=[224,448]", "--set=train.lr=-1"),
        *("--weights", "a.pth", "--weights", "vit=b.pth", "--store", "s", "--recipe", "paper", "--device", "cpu", "--resume"),
    )
    assert calls[1]["settings"] == ["train.epochs=4", "harvest.sizes=[224,448]", "train.lr=-1"]
    assert calls[1]["weights"] == ["a.pth", "vit=b.pth"]
    assert (calls[1]["store"], calls[1]["recipe"], calls[1]["device"], calls[1]["resume"]) == (Path("s"), "paper", "cpu", True)


def test_evaluate(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    boxes = {"max_box_acc_v2": 51.25, "max_box_acc_at": {"30": 80.0, "50": 60.0, "70": 13.75}, "max_box_acc": 55.0}
    result: dict[str, Any] = {"data": "d", "split": "val", "n_images": 9, "n_boxes": 5, "top1_cls": 88.88, "top5_cls": None}
    result |= {
        "sst": "tuned one",
        "methods": [
            {"name": "localizer", "boxes": boxes, "at_tau": {"box_acc_v2": 49.9}},
            {"name": "centre", "boxes": {**boxes, "max_box_acc_v2": 1.0}, "at_tau": None},
        ],
        "skipped": [{}],
    }
    evaluate = Calls(result)
    calls = fake(monkeypatch, "open", SimpleNamespace(evaluate=evaluate))
    said = dips("evaluate", "run", "data", "--split", "val", "--json", "e.json", "--set", "predict.flip=false")
    assert said.code == 0
    assert calls[0] == {"0": Path("run"), "device": "auto", "settings": ["predict.flip=false"], "weights": ()}
    plain = {"split": "val", "store": None, "json_path": Path("e.json"), "photos": 300, "protocol": "wsol-224"}
    assert evaluate[0] == {"0": Path("data"), **plain}
    rows = {line.split("  ")[1].strip(): line for line in said.out.splitlines() if line.startswith("  ")}
    assert "oracle" in rows["MaxBoxAccV2"] and rows["MaxBoxAccV2"].split()[-2:] == ["51.2", "1.0"]
    assert "validation" in rows["BoxAccV2"] and "49.9" in rows["BoxAccV2"]
    assert "Top-1 localization" not in said.out and "PxAP" not in said.out
    for words in (
        "split val: 9 photos, 5 with ground-truth boxes",
        "top 1: 88.9%",
        "transformer: tuned one",
        "skipped: 1 photo",
    ):
        assert words in said.out


def test_evaluate_without_boxes(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    result = {"data": "d", "split": "test", "n_images": 9, "n_boxes": 0, "methods": [], "top1_cls": 50.0}
    fake(monkeypatch, "open", SimpleNamespace(evaluate=Calls(result)))
    said = dips("evaluate", "run", "data")
    assert (
        "no photo has ground-truth boxes or masks: only the classification" in said.out
        and "50.0%" in said.out
        and "MaxBoxAcc" not in said.out
    )


def test_score(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dips: Dips) -> None:
    from dips.benchmark import score as scoring

    result = {"data": "d", "split": "val", "n_images": 9, "n_boxes": 0, "methods": [], "max_box_acc_v2": None}
    calls = Calls(result)
    monkeypatch.setattr(scoring, "score_maps", calls)
    assert dips("score", "maps", "data").code == 0
    plain = {"split": "test", "protocol": "wsol-224", "resize": False, "partial_maps": False, "tau_from": None}
    assert calls[0] == {"0": Path("maps"), "1": Path("data"), **plain, "predicted": None, "csv_path": None, "workers": 0}
    said = dips(
        *("score", "maps", "data", "--split", "val", "--protocol", "original-pixels", "--tau-from", "v.json", "--resize"),
        *("--partial", "--predicted", "p.csv", "--json", tmp_path / "e.json", "--csv", "e.csv", "--workers", "3"),
    )
    assert said.code == 0 and json.loads((tmp_path / "e.json").read_text()) == result
    more = {"split": "val", "protocol": "original-pixels", "resize": True, "partial_maps": True, "tau_from": Path("v.json")}
    files = {"predicted": Path("p.csv"), "csv_path": Path("e.csv"), "workers": 3}
    assert calls[1] == {"0": Path("maps"), "1": Path("data"), **more, **files}


def test_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dips: Dips) -> None:
    import webbrowser

    opened = Calls()
    monkeypatch.setattr(webbrowser, "open", opened)
    fake(monkeypatch, "write_run_report", tmp_path / "report.html")
    assert dips("report", "run").out == f"{tmp_path / 'report.html'}\n"
    assert opened == []
    dips("report", "run", "--open")
    assert opened == [{"0": (tmp_path / "report.html").as_uri()}]


# --- settings


def test_settings_lists_all_and_the_lines_are_settings(dips: Dips) -> None:
    said = dips("settings")
    lines = re.findall(r"^(\S+) = (\S+) ", said.out, flags=re.MULTILINE)
    stages = {name.split(".")[0] for name, _ in lines}
    assert stages == {"data", "harvest", "classifier", "localizer", "train", "predict"}
    assert load_config(None, [f"{name}={value}" for name, value in lines]) == Config()
    assert len(lines) == sum(len(vars(getattr(Config(), stage))) for stage in stages)


def test_settings_by_name(dips: Dips) -> None:
    said = dips("settings", "train.epochs")
    assert (
        said.out
        == f"train.epochs = {Config().train.epochs}    (a whole number of at least 1)\n    passes over the training photos\n"
    )
    assert len(re.findall(r"^predict\.", dips("settings", "predict").out, flags=re.MULTILINE)) == len(vars(Config().predict))
    assert "classifier.epochs" in dips("settings", "epochs").out
    said = dips("settings", "trian")
    assert said.code == 2 and "did you mean 'train'" in said.err


# --- check


def test_check(class_folders: Path, dips: Dips) -> None:
    said = dips("check", class_folders)
    assert said.code == 0
    assert "usable for training" in said.out and "(background: no object)" in said.out
    assert "(background: no object)" not in dips("check", class_folders, "--background", "").out
    for photo in class_folders.rglob("*.jpg"):
        photo.write_text("no photo")
    said = dips("check", class_folders)
    assert said.code == 1 and "not usable" in said.out


def test_nothing_heavy_for_a_small_question() -> None:
    code = (
        "import sys; from dips.cli import main; main(['settings', 'train']); main(['train', '--help']); main(['trian']);"
        "sys.exit(bool({'torch', 'sklearn', 'matplotlib', 'jinja2', 'cv2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Messages go where the test looks for them."""
    from rich.console import Console

    monkeypatch.setattr(console, "_console", Console(stderr=True, highlight=False, soft_wrap=True))
    yield


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(shell: str, dips: Dips) -> None:
    said = dips("completion", shell)
    assert said.code == 0 and all(command in said.out for command in COMMANDS) and "--recipe" in said.out
