"""One command, or tasks of an array that know nothing of each other: who plans, who waits, and what each says at its end."""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dips.errors import RunError
from dips.shards import launch as module
from dips.shards import merge
from dips.shards.files import LocalFiles
from dips.shards.launch import Crew, launch, planned
from dips.shards.lease import Lease, Watch, take_alone, this_process
from dips.shards.plan import Plan
from dips.shards.work import Attempt, Shards, Work
from dips.system.records import to_json

FIRST, SECOND = Crew(turn=0, of=2), Crew(turn=1, of=2)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("stub")


def lines(plan: Plan, folder: Path) -> list[bytes]:
    return list(merge.results(Shards(LocalFiles(folder), plan)))


def test_a_second_command_is_refused_while_one_is_at_it(tmp_path: Path, stub: Any) -> None:
    files = LocalFiles(tmp_path)
    with planned(files, lambda: stub.plan_of(tmp_path, 9), Crew()) as plan:
        launch(files, plan, stub.StubJob(), Crew())
        with pytest.raises(RunError, match="is in use by another command"), planned(files, lambda: plan, Crew()):
            pass
    with planned(files, lambda: stub.plan_of(tmp_path, 9), Crew()) as plan:
        assert lines(plan, tmp_path) == [stub.line(item) for item in stub.items(9)]


def test_the_first_task_plans_and_the_others_wait(
    tmp_path: Path, stub: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    files, made, plans = LocalFiles(tmp_path), [], []

    def make() -> Plan:
        if files.names("lists"):
            made.append("again")
        else:
            files.write("lists/begun", b"")
            time.sleep(0.1)
            made.append("first")
        plan: Plan = stub.plan_of(tmp_path, 40)
        return plan

    def task(turn: int) -> None:
        with planned(files, make, Crew(turn=turn, of=3)) as plan:
            plans.append(plan)

    tasks = [threading.Thread(target=task, args=(turn,)) for turn in range(3)]
    for each in tasks:
        each.start()
        while not files.names("lists"):
            time.sleep(0.001)
    for each in tasks:
        each.join()
    assert made == ["first", "again", "again"] and plans == [plans[0]] * 3
    assert capsys.readouterr().err == "waiting for another task to plan the work\n" * 2
    assert files.names("driver") == []


def test_a_task_that_died_while_it_planned_is_replaced(tmp_path: Path, stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    files = LocalFiles(tmp_path)
    take_alone(files, beat_seconds=0)
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "Watch", lambda: Watch(0.05, running=lambda holder: None))
    with planned(files, lambda: stub.plan_of(tmp_path, 40), FIRST) as plan:
        assert plan.items == 40


def test_an_error_of_the_plan_is_the_tasks_own(tmp_path: Path, stub: Any) -> None:
    files = LocalFiles(tmp_path)
    with pytest.raises(RunError, match="count 40, now 41"), ExitStack() as stack:
        for count in (40, 41):
            stack.enter_context(planned(files, partial(stub.plan_of, tmp_path, count), FIRST))
    assert files.names("driver") == []


def test_tasks_say_what_is_left_and_what_ends_the_work(
    tmp_path: Path, stub: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("my boxes") / ".unfinished"
    files, plan = LocalFiles(folder), stub.plan_of(folder, 41)
    launch(files, plan, stub.StubJob(), FIRST)
    assert capsys.readouterr().err == "20 of 41 photos are left to other tasks; once they have ended: dips merge 'my boxes'\n"
    launch(files, plan, stub.StubJob(), SECOND)
    assert capsys.readouterr().err == "all 41 photos are done; next: dips merge 'my boxes'\n"
    launch(files, plan, stub.StubJob(open_error="not opened"), Crew(turn=60, of=70))
    assert "nothing is left for this task: the work has 41 parts, for 70 tasks" in capsys.readouterr().err
    assert lines(plan, folder) == [stub.line(item) for item in stub.items(41)]


def test_what_was_done_before_is_told_and_not_done_again(tmp_path: Path, stub: Any, capsys: pytest.CaptureFixture[str]) -> None:
    files, plan = LocalFiles(tmp_path), stub.plan_of(tmp_path, 100)
    launch(files, plan, stub.StubJob(), Crew(turn=1, of=5))
    capsys.readouterr()
    launch(files, plan, stub.StubJob(), Crew())
    assert capsys.readouterr().err == "done before and kept: 20 of 100 photos\n"
    launch(files, plan, stub.StubJob(open_error="not opened"), Crew())
    assert capsys.readouterr().err == "done before and kept: 100 of 100 photos\n"


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_processes_are_started_where_there_are_to_be_several(
    tmp_path: Path, stub: Any, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    started: list[int] = []
    monkeypatch.setattr(module, "run_processes", lambda *given, **_: started.append(given[3]))
    monkeypatch.setattr(module, "usable_cores", lambda: 5)
    files, plan = LocalFiles(tmp_path), stub.plan_of(tmp_path, 9)
    launch(files, plan, stub.StubJob(), Crew(workers))
    assert started == {0: [5], 1: [], 2: [2]}[workers]
    launch(files, stub.plan_of(tmp_path / "one", 1), stub.StubJob(), Crew(4))
    assert len(started) == (workers != 1), "one shard needs no second process"


@pytest.mark.parametrize("dead", [{"started": "gone"}, {"place": "another machine"}, {"failed": "ValueError: odd"}])
def test_where_somebody_died_of_a_shard_the_next_one_can_be_replaced(
    tmp_path: Path, stub: Any, monkeypatch: pytest.MonkeyPatch, dead: dict[str, str]
) -> None:
    started: list[int] = []
    monkeypatch.setattr(module, "run_processes", lambda *given, **_: started.append(given[3]))
    files, plan = LocalFiles(tmp_path), stub.plan_of(tmp_path, 9)
    last = list(plan.shards())[-1].name
    files.create(f"tries/{last}~1", to_json(replace(this_process(), **dead)).encode())
    launch(files, plan, stub.StubJob(), Crew(of=len(list(plan.shards())), turn=0))
    assert started == [], "another task's shard"
    launch(files, plan, stub.StubJob(), Crew())
    assert started == [1]


def test_a_command_that_only_plans_leaves_the_rest_to_others() -> None:
    assert Crew().works_here and FIRST.works_here
    assert not any(crew.works_here for crew in (Crew(2), Crew(0), Crew(1, "ray")))


class Does:
    """A job that does something at its first item."""

    def __init__(self, what: Any) -> None:
        self.what = what

    def open(self) -> Work:
        return self.work

    def work(self, attempt: Attempt) -> Iterator[bytes]:
        for item in attempt.items:
            self.what()
            yield item.id.encode()


@pytest.fixture
def plain_end() -> Iterator[None]:
    """SIGTERM as a program finds it: Ray, which other tests start in this process, leaves a handler of its own."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@pytest.mark.skipif(os.name == "nt", reason="no such signal")
@pytest.mark.usefixtures("plain_end")
def test_the_end_of_the_process_is_an_interruption(tmp_path: Path, stub: Any) -> None:
    files, plan = LocalFiles(tmp_path), stub.plan_of(tmp_path, 9)
    with pytest.raises(KeyboardInterrupt):
        launch(files, plan, Does(lambda: signal.raise_signal(signal.SIGTERM)), Crew())
    assert files.names("tries") == [] and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        launch(files, plan, Does(lambda: signal.raise_signal(signal.SIGTERM)), Crew())  # the program has a way of its own
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not Shards(files, plan).todo()


def test_an_interruption_between_two_steps_leaves_nothing_begun(
    tmp_path: Path, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, plan = LocalFiles(tmp_path), stub.plan_of(tmp_path, 9)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dips.shards.work.read_items", interrupted)
    monkeypatch.setattr(Lease, "give_back", lambda lease: None)
    with pytest.raises(KeyboardInterrupt):
        launch(files, plan, stub.StubJob(), Crew())
    assert files.names("tries") == []


def test_what_another_process_works_on_is_waited_for(tmp_path: Path, stub: Any, capsys: pytest.CaptureFixture[str]) -> None:
    files, plan = LocalFiles(tmp_path), stub.plan_of(tmp_path, 9)
    held = Lease.take(files, "tries/00004", this_process(), Watch(), most=3, beat_seconds=0)
    assert isinstance(held, Lease)
    timer = threading.Timer(0.3, held.give_back)
    timer.start()
    launch(files, plan, stub.StubJob(), Crew())
    timer.join()
    assert capsys.readouterr().err == "waiting for another process, which works on 1 photo\n"
    assert lines(plan, tmp_path) == [stub.line(item) for item in stub.items(9)]
