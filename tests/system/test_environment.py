"""Command line, cores and cache folder of this process."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dips.errors import StoreError, WeightsError
from dips.system.device import environment
from dips.system.environment import _core_limit, quoted, require_weights, store_folder, torchrun_rank, usable_cores


def test_the_command_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("/opt/my env/bin/dips", "/opt/site-packages/dips/__main__.py"):
        monkeypatch.setattr(sys, "argv", [program, "compare", "my birds", "--methods", "cam"])
        assert environment()["command"] == "dips compare 'my birds' --methods cam"
    monkeypatch.setattr(sys, "argv", ["mine.py", "a b"])
    assert environment()["command"] == "mine.py 'a b'"


@pytest.mark.parametrize(
    ("argument", "posix", "windows"),
    [
        ("my birds", "'my birds'", '"my birds"'),
        ("a&b.onnx", "'a&b.onnx'", '"a&b.onnx"'),
        (Path("runs/a-1.x"), "runs/a-1.x", "runs/a-1.x"),
        ("C:\\runs\\a", "'C:\\runs\\a'", "C:\\runs\\a"),
        ("", "''", '""'),
    ],
)
def test_arguments_are_quoted_as_the_shell_takes_them(
    argument: str | Path, posix: str, windows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = str(argument)
    for name, expected in (("posix", posix), ("nt", windows)):
        monkeypatch.setattr("dips.system.environment.os.name", name)
        found = quoted(text)
        monkeypatch.undo()
        assert found == expected


def test_given_weights_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "vit.pth").touch()
    (tmp_path / "a=b.pth").touch()
    for item in (tmp_path, tmp_path / "vit.pth", f"vit={tmp_path / 'vit.pth'}", tmp_path / "a=b.pth"):
        require_weights(str(item))
    for item, missing in ((tmp_path / "gone.pth", "gone.pth"), (f"vit={tmp_path / 'gone'}", "gone"), ("vit", "vit")):
        with pytest.raises(WeightsError, match=rf"--weights: there is no file or folder .*{missing}$"):
            require_weights(str(item))


def test_the_store_is_in_the_cache_folder_unless_another_one_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store_folder() == tmp_path / "dips" / "store"
    assert store_folder("mine") == Path("mine")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert store_folder() == Path.home() / ".cache" / "dips" / "store"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_usable_cores_are_those_of_this_process() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    code = (
        "import os; from dips.system.environment import usable_cores;"
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/", {"cpu.max": "250000 100000"}, 2.5),
        ("0::/", {"cpu.max": "max 100000"}, math.inf),
        ("0::/", {}, math.inf),
        ("0::/a/b", {"cpu.max": "100000 100000", "a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"}, 0.5),
        ("0::/a", {"b/cpu.max": "50000 100000"}, math.inf),  # of somebody else
        ("0::/../host", {"cpu.max": "300000 100000"}, 3.0),
        (
            "4:memory:/m\n3:cpu,cpuacct:/docker/1\n0::/",
            {"cpu,cpuacct/cpu.cfs_quota_us": "150000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            1.5,
        ),
        ("3:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, math.inf),
        ("damaged", {"cpu.max": "100000 100000"}, math.inf),
    ],
)
def test_a_containers_limit_of_cores_counts(tmp_path: Path, groups: str, files: dict[str, str], limit: float) -> None:
    (tmp_path / "self").write_text(groups)
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text + "\n")
    assert _core_limit(tmp_path / "self", tmp_path / "fs") == limit


def test_part_of_a_core_is_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dips.system.environment._core_limit", lambda: 0.25)
    assert usable_cores() == 1


TORCHRUN = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}


@pytest.mark.parametrize(
    ("changed", "rank"),
    [
        ({}, 1),
        ({"RANK": "0"}, 0),
        ({"RANK": ""}, None),
        ({"LOCAL_RANK": ""}, None),
        ({"MASTER_ADDR": ""}, None),
        ({"WORLD_SIZE": "many"}, None),
        ({"WORLD_SIZE": "1"}, None),
    ],
)
def test_only_all_of_torchruns_variables_count(monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], rank: int) -> None:
    for name, value in {**TORCHRUN, **changed}.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
    assert torchrun_rank() == rank


def test_a_store_is_a_folder() -> None:
    assert store_folder("C:/store") == Path("C:/store")
    for url in ("s3://bucket/store", Path("s3://bucket/store"), "file:///nfs/store"):
        with pytest.raises(StoreError, match="is no folder: 'dips harvest DATA --store URL' collects there"):
            store_folder(url)
