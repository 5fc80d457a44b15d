"""Several processes do what one would, whichever of them die, and none outlives the command."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dips.errors import RunError
from dips.shards import merge
from dips.shards.files import LocalFiles
from dips.shards.plan import Plan, read_plan
from dips.shards.processes import run_processes
from dips.shards.work import Shards

PROGRAM = Path(__file__).with_name("stub.py")
on_posix = pytest.mark.skipif(os.name == "nt", reason="no such signals")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the dead are waited for")


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, by a name that other processes know, too."""
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    return importlib.import_module("stub")


def lines(plan: Plan, folder: Path) -> list[bytes]:
    return list(merge.results(Shards(LocalFiles(folder), plan)))


def files_of(folder: Path) -> dict[str, bytes]:
    """The parts, and the markers, without the number of the attempt."""
    parts = {path.name.partition("~")[0]: path.read_bytes() for path in (folder / "parts").iterdir()}
    return parts | {f"done {path.name}": path.read_bytes() for path in (folder / "done").iterdir()}


@pytest.mark.parametrize("workers", [2, 3])
def test_they_make_the_same_files_as_one(tmp_path: Path, stub: Any, workers: int) -> None:
    made = []
    for count in (1, workers):
        folder = tmp_path / str(count)
        plan = stub.plan_of(folder, 90)
        run_processes(LocalFiles(folder), plan, stub.StubJob(), count, "work")
        assert lines(plan, folder) == [stub.line(item) for item in stub.items(90)]
        made.append(files_of(folder))
    assert made[0] == made[1] and not multiprocessing.active_children()


def test_they_take_their_turn(tmp_path: Path, stub: Any) -> None:
    plan = stub.plan_of(tmp_path, 90)
    run_processes(LocalFiles(tmp_path), plan, stub.StubJob(), 2, "work", turn=1, of=3)
    assert {int(name) % 3 for name in os.listdir(tmp_path / "done")} == {1}
    assert not Shards(LocalFiles(tmp_path), plan).todo(1, 3)


@on_linux
def test_the_dead_are_replaced(tmp_path: Path, stub: Any) -> None:
    once = tmp_path / "once"
    once.mkdir()
    plan = stub.plan_of(tmp_path / "work", 90)
    run_processes(LocalFiles(tmp_path / "work"), plan, stub.StubJob(once=str(once)), 2, "work")
    assert len(os.listdir(once)) == 9, "so many died"
    assert lines(plan, tmp_path / "work") == [stub.line(item) for item in stub.items(90)]
    assert list(merge.skipped(Shards(LocalFiles(tmp_path / "work"), plan))) == []


@on_linux
@pytest.mark.parametrize("step", [1, 4])
def test_an_item_that_kills_is_skipped(tmp_path: Path, stub: Any, step: int) -> None:
    plan = stub.plan_of(tmp_path, 12, step)
    run_processes(LocalFiles(tmp_path), plan, stub.StubJob(deadly=("5.jpg",)), 2, "work")
    assert lines(plan, tmp_path) == [stub.line(item) for item in stub.items(12) if item.id != "5.jpg"]
    skipped = [(each.id, each.reason) for each in merge.skipped(Shards(LocalFiles(tmp_path), plan))]
    assert skipped == [("5.jpg", "it ended 3 processes that worked on it")]


def test_an_error_on_purpose_ends_all_of_them(tmp_path: Path, stub: Any) -> None:
    plan = stub.plan_of(tmp_path, 90)
    with pytest.raises(RunError, match=r"^the disk is full$"):
        run_processes(LocalFiles(tmp_path), plan, stub.StubJob(seconds=0.05, wrong="3.jpg"), 2, "work")
    assert not multiprocessing.active_children()
    assert LocalFiles(tmp_path).names("tries") == []
    run_processes(LocalFiles(tmp_path), plan, stub.StubJob(), 2, "work")
    assert lines(plan, tmp_path) == [stub.line(item) for item in stub.items(90)]


@on_posix
def test_one_that_does_not_end_is_killed_and_its_shard_is_free(
    tmp_path: Path, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dips.shards.processes._END_SECONDS", 0.2)
    plan = stub.plan_of(tmp_path, 20)
    with pytest.raises(RunError, match="the disk is full"):
        run_processes(LocalFiles(tmp_path), plan, stub.StubJob(seconds=0.3, wrong="9.jpg", stubborn=True), 2, "work")
    assert LocalFiles(tmp_path).names("tries") == [] and not multiprocessing.active_children()


def test_another_error_is_told_with_its_place(tmp_path: Path, stub: Any) -> None:
    plan = stub.plan_of(tmp_path, 20)
    with pytest.raises(ValueError, match="no such model") as caught:
        run_processes(LocalFiles(tmp_path), plan, stub.StubJob(open_error="no such model"), 2, "work")
    assert "in a worker process" in caught.value.__notes__[0] and "in open" in caught.value.__notes__[0]


@on_posix
def test_too_many_deaths_end_the_work(tmp_path: Path, stub: Any) -> None:
    plan = stub.plan_of(tmp_path, 20)
    with pytest.raises(RunError, match=r"^17 worker processes have died .* signal SIGKILL; if memory is short, take fewer"):
        run_processes(LocalFiles(tmp_path), plan, stub.StubJob(open_error="dies"), 2, "work")
    assert not multiprocessing.active_children()


def test_a_script_that_starts_itself_again_is_told(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(PROGRAM.parent)!r})\n"
        "import stub, pathlib\n"
        "from dips.shards.processes import run_processes\n"
        f"folder = pathlib.Path({str(tmp_path / 'work')!r})\n"
        "run_processes(stub.LocalFiles(folder), stub.plan_of(folder, 20), stub.StubJob(), 2, 'work')\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "worker processes ended while they started; in your own script, call this below 'if __name__" in done.stderr


@pytest.mark.parametrize(("given", "threads"), [("", 1), ("3", 3)])
def test_each_computes_with_its_share(
    tmp_path: Path, stub: Any, monkeypatch: pytest.MonkeyPatch, given: str, threads: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr("dips.shards.processes.usable_cores", lambda: 3)
    before = dict(os.environ)
    plan = stub.plan_of(tmp_path, 6)
    run_processes(LocalFiles(tmp_path), plan, stub.StubJob(shows=True), 2, "work")
    assert set(lines(plan, tmp_path)) == {f"{threads} 1\n".encode()}
    assert dict(os.environ) == before


def test_each_has_a_gpu_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    from dips.shards.processes import _variables

    class Torch:
        class cuda:
            count = 2

            @staticmethod
            def device_count() -> int:
                return Torch.cuda.count

    def gpus(device: str) -> list[str | None]:
        return [variables.get("CUDA_VISIBLE_DEVICES") for variables in _variables(3, device)]

    monkeypatch.setitem(sys.modules, "torch", Torch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus("auto") == gpus("cuda") == ["0", "1", "0"]
    assert gpus("cpu") == gpus("cuda:1") == [None] * 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, GPU-7f")
    assert gpus("auto") == ["4", "GPU-7f", "4"]
    Torch.cuda.count = 1
    assert gpus("auto") == [None] * 3


def test_what_all_of_them_say_is_said_once(tmp_path: Path, stub: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plan = stub.plan_of(tmp_path, 20)
    run_processes(LocalFiles(tmp_path), plan, stub.StubJob(says="weights of tower"), 2, "work")
    assert capsys.readouterr().err == "weights of tower\n"


# --- commands that are ended


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the stub as a command, in a group of processes of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        program = [sys.executable, str(PROGRAM), str(tmp_path / "work"), "--seconds", "0.02", *arguments]
        started.append(subprocess.Popen(program, start_new_session=True, stderr=subprocess.PIPE))
        return started[-1]

    yield start
    for each in started:
        if each.poll() is None:
            os.killpg(each.pid, signal.SIGKILL)
        each.communicate()


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_empty(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@on_posix
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGKILL"])
def test_a_command_that_is_ended_gives_back_what_it_was_at(
    tmp_path: Path, stub: Any, command: Callable[..., subprocess.Popen[bytes]], how: str, workers: str
) -> None:
    folder = tmp_path / "work"
    files = LocalFiles(folder)
    first = command("--workers", workers)
    wait_for(lambda: len(files.names("tries")) == int(workers))
    if how == "SIGINT":
        os.killpg(first.pid, signal.SIGINT)  # as a terminal does
    else:
        first.send_signal(getattr(signal, how))
    code = first.wait(timeout=30)
    wait_for(lambda: is_empty(first.pid))
    if how != "SIGKILL":
        assert code == 130 and first.stderr is not None and first.stderr.read() == b""
    if how != "SIGKILL" or workers != "1":
        assert files.names("tries") == []
    if how == "SIGKILL" and sys.platform != "linux":
        return  # the lease of the work is waited for
    again = command("--workers", workers, "--seconds", "0")
    assert again.wait(timeout=60) == 0, again.stderr and again.stderr.read()
    plan = read_plan(files)
    assert plan is not None and lines(plan, folder) == [stub.line(item) for item in stub.items(200)]


def test_tasks_that_start_at_once_make_what_one_process_makes(
    tmp_path: Path, stub: Any, command: Callable[..., subprocess.Popen[bytes]]
) -> None:
    tasks = [command("--turn", str(turn), "--of", "3", "--seconds", "0") for turn in range(3)]
    said = [each.communicate(timeout=60)[1].decode() for each in tasks]
    assert [each.returncode for each in tasks] == [0, 0, 0], said
    assert any("all 200 photos are done; next: dips merge" in each for each in said)
    plan = read_plan(LocalFiles(tmp_path / "work"))
    assert plan is not None and lines(plan, tmp_path / "work") == [stub.line(item) for item in stub.items(200)]


@on_linux
def test_kills_of_processes_and_of_commands_lose_nothing(
    tmp_path: Path, stub: Any, command: Callable[..., subprocess.Popen[bytes]]
) -> None:
    chance, folder = random.Random(0), tmp_path / "work"
    files, kills = LocalFiles(folder), 0
    for _ in range(3):
        running = command("--workers", "2", "--count", "3000", "--seconds", "0.01")
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        for _ in range(3):
            time.sleep(chance.uniform(0.2, 0.6))
            while not (there := children.read_text().split()):  # of these one tracks resources
                assert running.poll() is None, "it came to its end too soon to be killed"
                time.sleep(0.01)
            os.kill(int(chance.choice(there)), signal.SIGKILL)
            kills += 1
        running.kill()
        running.wait()
    assert command("--workers", "2", "--count", "3000", "--seconds", "0").wait(timeout=60) == 0
    plan = read_plan(files)
    assert plan is not None and kills == 9
    assert lines(plan, folder) == [stub.line(item) for item in stub.items(3000)]
    assert list(merge.skipped(Shards(files, plan))) == []
