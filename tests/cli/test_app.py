"""Help, wrong command lines, errors, exit codes. No network is run here."""

from __future__ import annotations

import errno
import re
import subprocess
import sys

import pytest

import dips as package
from dips.cli.app import app
from dips.errors import RunError

from .conftest import Dips, fake

COMMANDS = (
    "adapt",
    "demo",
    "check",
    "harvest",
    "train",
    "predict",
    "stream",
    "export",
    "merge",
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


def test_help_names_every_command(dips: Dips) -> None:
    said = dips("--help")
    assert said.code == 0
    assert re.findall(r"^│ ([a-z]+) ", said.out, flags=re.MULTILINE) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command: str, dips: Dips) -> None:
    said = dips(command, "--help")
    assert said.code == 0
    rows = re.findall(r"^│[ *]+(--[a-z0-9-]+|(?:\[[A-Z]+\] )?[A-Z]+) ", said.out, flags=re.MULTILINE)
    for argument in app[command].assemble_argument_collection():
        if argument.children:  # options that commands share; each of them follows
            continue
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
        ("predict run --out x", "PHOTOS"),
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


@pytest.mark.usefixtures("unchecked")
def test_errors_are_one_line(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    fake(monkeypatch, "dips.model.Model.open", RunError("run is\ndamaged [bold]; copy it"))
    said = dips("evaluate", "run", "data")
    assert (said.code, said.out, said.err) == (2, "", "dips: error: run is damaged [bold]; copy it\n")


@pytest.mark.usefixtures("unchecked")
def test_debug_shows_where(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    fake(monkeypatch, "dips.model.Model.open", RunError("damaged"))
    with pytest.raises(RunError, match="damaged"):
        dips("evaluate", "run", "data", "--debug")


@pytest.mark.usefixtures("unchecked")
def test_faults_of_the_program_are_not_hidden(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    fake(monkeypatch, "dips.model.Model.open", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        dips("evaluate", "run", "data")


class OutOfMemoryError(RuntimeError):
    """Called as torch's own is."""


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x.bin"), "x.bin: No space left on device"),
        (OutOfMemoryError("CUDA"), "smaller batches"),
        (MemoryError(), "smaller batches"),
    ],
)
def test_the_machine_is_full(error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    fake(monkeypatch, "dips.fitting.fit.fit", error)
    said = dips("train", "data", "--out", "run")
    assert said.code == 2 and words in said.err


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("train data --out run", "--resume"),
        ("evaluate run data", "the run is unchanged"),
        ("score maps data --out=x", "repeat the command"),
        ("score maps data", "nothing was changed"),
    ],
)
def test_interrupted(command: str, hint: str, monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    for name in ("dips.fitting.fit.fit", "dips.model.Model.open", "dips.benchmark.score.score_maps"):
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


def test_nothing_heavy_for_a_small_question() -> None:
    code = (
        "import sys; from dips.cli import main; main(['settings', 'train']); main(['train', '--help']); main(['trian']);"
        "sys.exit(bool({'torch', 'sklearn', 'matplotlib', 'jinja2', 'cv2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(shell: str, dips: Dips) -> None:
    said = dips("completion", shell)
    assert said.code == 0 and all(command in said.out for command in COMMANDS) and "--recipe" in said.out
