"""Writing whole or not at all, seeds, devices, and what a person sees."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dips.errors import RunError
from dips.system import console
from dips.system.console import log, track
from dips.system.device import environment, pick_device, seed_everything
from dips.system.files import atomic_file, file_sha256, new_folder

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="permissions of Unix")


def hidden(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(("mode", "data"), [("w", "grün"), ("wb", b"\x00\xff")])
def test_a_file_is_written(tmp_path: Path, mode: str, data: str | bytes) -> None:
    path = tmp_path / "deep" / "file"
    with atomic_file(path, mode) as file:
        file.write(data)
        assert not path.exists()
    assert path.read_bytes() == (data if isinstance(data, bytes) else data.encode("utf-8"))
    assert hidden(path.parent) == []


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_file(path) as file:
        file.write("new")
        raise KeyError
    assert path.read_text() == "old" and hidden(tmp_path) == []


def test_no_space_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"file: No space left.*free some space"), atomic_file(path) as file:
        file.write("new")
    assert path.read_text() == "old" and hidden(tmp_path) == []


@UNIX
@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o755), (0o002, 0o775), (0o077, 0o700)])
def test_others_may_read_what_the_umask_allows(tmp_path: Path, mask: int, expected: int) -> None:
    before = os.umask(mask)
    try:
        with atomic_file(tmp_path / "file") as file:
            file.write("x")
        with new_folder(tmp_path / "folder"):
            pass
        assert os.umask(mask) == mask, "the process's own mask was changed"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == expected & 0o666
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == expected


def test_a_folder_appears_when_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "one"
    with new_folder(path) as work:
        (work / "file").write_text("x")
        assert not path.exists()
    assert [p.name for p in path.iterdir()] == ["file"] and hidden(path.parent) == []


def test_a_folder_that_failed_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "one") as work:
        (work / "file").write_text("x")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "file").write_text("old")
    with pytest.raises(RunError, match="exists already"), new_folder(tmp_path / "one"):
        raise AssertionError("not reached")
    assert (tmp_path / "one" / "file").read_text() == "old"


def test_another_run_was_faster(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot write"), new_folder(tmp_path / "one") as work:
        (work / "mine").touch()
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "theirs").touch()
    assert [p.name for p in tmp_path.rglob("*")] == ["one", "theirs"]


def test_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for attempt in (new_folder(tmp_path / "file" / "x"), atomic_file(tmp_path / "file" / "x")):
        with pytest.raises(RunError, match="cannot write"), attempt:
            raise AssertionError("not reached")


@pytest.mark.parametrize("size", [0, 1, 3_000_001])
def test_file_sha256(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "file").write_bytes(data)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_log_says_what_it_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    message = "a photo :heart: [bold]called[/bold] /a/very/long/path" + "/folder" * 40 + " 3.5%"
    log(message)
    said = capsys.readouterr()
    assert said.err == message + "\n" and said.out == ""


def test_track_passes_everything_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter(range(5)), "counting", 5)) == list(range(5))
    assert list(track([], "nothing")) == []
    assert capsys.readouterr() == ("", "")


def test_track_shows_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    monkeypatch.setattr(console, "_console", Console(stderr=True, force_terminal=True, width=80))
    assert list(track(range(3), "counting", 3)) == [0, 1, 2]
    assert "counting" in capsys.readouterr().err


def test_the_command_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("/opt/my env/bin/dips", "/opt/site-packages/dips/__main__.py"):
        monkeypatch.setattr(sys, "argv", [program, "compare", "my birds", "--methods", "cam"])
        assert environment()["command"] == "dips compare 'my birds' --methods cam"
    monkeypatch.setattr(sys, "argv", ["mine.py", "a b"])
    assert environment()["command"] == "mine.py 'a b'"


def test_an_unknown_device_names_the_known_ones() -> None:
    with pytest.raises(RunError) as found:
        pick_device("gpu")
    assert str(found.value) == "there is no device 'gpu'; --device takes auto, cpu, cuda, mps"


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type in ("cpu", "cuda", "mps")
    with pytest.raises(RunError, match=r"'cuda:99' cannot be used.*--device cpu"):
        pick_device("cuda:99")


@pytest.mark.parametrize("seed", [0, 7, 2**40])
def test_seeds(seed: int) -> None:
    draws = []
    for _ in range(2):
        seed_everything(seed)
        draws.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
    assert draws[0] == draws[1]
    seed_everything(seed + 1)
    assert float(torch.rand(())) != draws[0][2]


def test_environment_can_be_written() -> None:
    import json

    record = json.loads(json.dumps(environment()))
    assert record["torch"] == torch.__version__ and record["cpus"] >= 1
