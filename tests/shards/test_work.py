"""Workers that die between any two steps on the disk: the result is that of one that did not, and nothing is lost or double."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dips.errors import RunError
from dips.shards import merge
from dips.shards.files import Files, LocalFiles, files_at
from dips.shards.lease import Holder, Watch, take_alone, this_process
from dips.shards.plan import Item, Plan, make_plan, read_plan
from dips.shards.remote import RemoteFiles
from dips.shards.work import Attempt, Shards, Skipped, work_through

Result = bytes | Skipped
kept: list[object] = []


class Killed(BaseException):
    """What stands for SIGKILL: from here on the process does nothing more."""


class MemoryFiles:
    """An object store: whole objects by their names, and no folders."""

    place = "memory"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def read(self, name: str) -> bytes:
        if name not in self.objects:
            raise FileNotFoundError(name)
        return self.objects[name]

    def lines(self, name: str) -> Iterator[bytes]:
        return iter(self.read(name).splitlines(keepends=True))

    def write(self, name: str, data: bytes | Iterable[bytes]) -> None:
        self.objects[name] = data if isinstance(data, bytes) else b"".join(data)

    def create(self, name: str, data: bytes) -> bool:
        return self.objects.setdefault(name, data) is data

    def names(self, folder: str) -> list[str]:
        start = f"{folder}/" if folder else ""
        return sorted(name[len(start) :] for name in list(self.objects) if name.startswith(start))

    def remove(self, name: str) -> None:
        self.objects.pop(name, None)

    def discard(self, folder: str) -> None:
        for name in self.names(folder):
            del self.objects[f"{folder}/{name}"]


class MortalFiles:
    """Files of a process that is killed before or after a given step."""

    def __init__(self, files: Files, steps: float, *, after: bool = False) -> None:
        self.place, self._files, self._steps, self._after = files.place, files, steps, after

    @property
    def is_dead(self) -> bool:
        return self._steps < 0

    def kill(self) -> None:
        self._steps = -1

    def _step(self, work: Callable[[], Any]) -> Any:
        if self.is_dead:
            raise Killed
        self._steps -= 1
        if not self.is_dead:
            return work()
        if self._after:
            work()
        raise Killed

    def read(self, name: str) -> bytes:
        return bytes(self._step(lambda: self._files.read(name)))

    def lines(self, name: str) -> Iterator[bytes]:
        yield from self._step(lambda: self._files.lines(name))

    def write(self, name: str, data: bytes | Iterable[bytes]) -> None:
        whole = data if isinstance(data, bytes) else b"".join(data)
        self._step(lambda: self._files.write(name, whole))

    def create(self, name: str, data: bytes) -> bool:
        return bool(self._step(lambda: self._files.create(name, data)))

    def names(self, folder: str) -> list[str]:
        return list(self._step(lambda: self._files.names(folder)))

    def remove(self, name: str) -> None:
        self._step(lambda: self._files.remove(name))

    def discard(self, folder: str) -> None:
        for name in self.names(folder):  # a kill may leave some
            self.remove(f"{folder}/{name}")


class Machine:
    """Processes that follow one another on one machine, of which each knows which of the others are dead."""

    def __init__(self, files: Files | None = None) -> None:
        self.files: Files = files or MemoryFiles()
        self.dead: set[int] = set()
        self.count = 0

    def watch(self) -> Watch:
        return Watch(running=lambda holder: holder.process not in self.dead)

    def process(self) -> Holder:
        self.count += 1
        return replace(this_process(), process=self.count)

    def shards(self, plan: Plan, files: Files | None = None) -> Shards:
        return Shards(files or self.files, plan, me=self.process(), watch=self.watch(), beat_seconds=0)

    def run(self, plan: Plan, work: Callable[[Attempt], Iterable[Result]], files: MortalFiles | None = None) -> list[Any]:
        shards = self.shards(plan, files)
        try:
            return work_through(shards, work)
        except Killed:
            self.dead.add(self.count)
            return [None]


def items(count: int) -> list[Item]:
    return [Item(f"{number}.jpg", f"/photos/{number}.jpg") for number in range(count)]


def plan_of(machine: Machine, count: int, size: int = 10, step: int = 1) -> Plan:
    return make_plan(machine.files, lambda: items(count), {"model": "3f2a"}, size=size, step=step)


def say(attempt: Attempt) -> Iterator[Result]:
    """A line per item; every seventh has none."""
    for item in attempt.items:
        number = int(item.id.removesuffix(".jpg"))
        yield Skipped(item.id, "broken") if number % 7 == 3 else f"{item.id}\n".encode()


def expected(count: int, without: Iterable[int] = ()) -> list[bytes]:
    return [f"{number}.jpg\n".encode() for number in range(count) if number % 7 != 3 and number not in set(without)]


@pytest.fixture(params=["disk", "memory", "s3"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    if request.param == "s3":
        return Machine(files_at(f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}"))
    return Machine(LocalFiles(tmp_path) if request.param == "disk" else None)


def test_one_worker_does_all(machine: Machine) -> None:
    plan = plan_of(machine, 25)
    assert machine.run(plan, say) == []
    shards = machine.shards(plan)
    assert list(merge.results(shards)) == expected(25)
    assert [each.id for each in merge.skipped(shards)] == ["3.jpg", "10.jpg", "17.jpg", "24.jpg"]
    assert machine.files.names("tries") == []
    assert sum(done.items for _, done in merge.all_done(shards)) == 25


def test_no_items_are_no_shards(machine: Machine) -> None:
    plan = plan_of(machine, 0)
    assert machine.run(plan, say) == [] and list(merge.results(machine.shards(plan))) == []


@settings(max_examples=100)
@given(count=st.integers(1, 60), size=st.integers(1, 20), step=st.integers(1, 8), seed=st.integers(0, 10**6))
def test_kills_between_any_two_steps_change_nothing(count: int, size: int, step: int, seed: int) -> None:
    kill_often(Machine(), count, size, step, random.Random(seed))


def test_kills_between_any_two_requests_to_a_store_change_nothing(bucket: str) -> None:
    for seed, (count, size, step) in enumerate(((12, 5, 1), (17, 6, 3), (5, 20, 4))):
        kill_often(Machine(files_at(f"{bucket}/{uuid.uuid4().hex}")), count, size, step, random.Random(seed))


def kill_often(machine: Machine, count: int, size: int, step: int, chance: random.Random) -> None:
    """Plan, work, merge and clear with processes that are killed after a random number of steps; all must come out right."""

    def mortal(low: int, high: int) -> MortalFiles:
        return MortalFiles(machine.files, chance.randint(low, high), after=chance.random() < 0.5)

    plan = None
    while plan is None:
        files = mortal(0, 150)
        try:
            driver = take_alone(files, machine.process(), machine.watch(), beat_seconds=0)
            plan = make_plan(files, lambda: items(count), {}, size=size, step=step)
            driver.give_back()
        except Killed:
            machine.dead.add(machine.count)
    for _ in range(1000):
        # an item alone is not to die three times by chance: then a run does at least what was begun
        has_single = any(len(shard) == 1 for shard in machine.shards(plan).todo())
        if machine.run(plan, say, mortal(20 if has_single or chance.random() < 0.2 else 0, 40)) == []:
            break
    else:
        pytest.fail("it does not end")
    assert list(merge.results(machine.shards(plan))) == expected(count)
    for _ in range(1000):
        files = mortal(0, 100)
        try:
            driver = take_alone(files, machine.process(), machine.watch(), beat_seconds=0)
            merge.clear(files, plan, driver)
            break
        except Killed:
            machine.dead.add(machine.count)
            left = read_plan(machine.files)
            assert left is None or left.is_merged or machine.files.names("done")
            if left is None:
                break
    assert machine.files.names("") == []


@settings(max_examples=100)
@given(seed=st.integers(0, 10**6), workers=st.integers(2, 5))
def test_workers_that_take_turns_and_die(seed: int, workers: int) -> None:
    """Steps of several workers in any order, some of them killed in the middle of a shard."""
    chance, machine = random.Random(seed), Machine()
    plan = plan_of(machine, 40, size=7)
    made: list[str] = []

    def worker(shards: Shards) -> Iterator[None]:
        while todo := shards.todo():
            attempt = shards.begin(chance.choice(todo))
            yield
            if not isinstance(attempt, Attempt):
                continue
            with attempt:
                if attempt.commit(say(attempt)):
                    made.append(attempt.shard.name)
            yield

    def new() -> tuple[int, Iterator[None]]:
        shards = machine.shards(plan)
        return machine.count, worker(shards)

    running = [new() for _ in range(workers)]
    while running:
        one = chance.choice(running)
        if chance.random() < 0.1:
            machine.dead.add(one[0])
            kept.append(one)  # a generator that is thrown away ends its attempt in order
            running[running.index(one)] = new()
        elif next(one[1], "end") == "end":
            running.remove(one)
    assert list(merge.results(machine.shards(plan))) == expected(40)
    assert len(made) == len(set(made))


@pytest.mark.parametrize("poison", [{0}, {29}, {11, 12}, {4, 17, 25}])
@pytest.mark.parametrize("step", [1, 4])
def test_an_item_that_kills_is_found(machine: Machine, poison: set[int], step: int) -> None:
    if isinstance(machine.files, RemoteFiles) and (step == 1 or len(poison) > 1):
        pytest.skip("some of them are enough for a store")
    plan = plan_of(machine, 30, size=12, step=step)
    deaths = 0

    def work(attempt: Attempt) -> Iterator[Result]:
        for item, result in zip(attempt.items, say(attempt), strict=True):
            if int(item.id.removesuffix(".jpg")) in poison:
                files.kill()
                raise Killed
            yield result

    while True:
        files = MortalFiles(machine.files, float("inf"))
        if machine.run(plan, work, files) == []:
            break
        deaths += 1
        assert deaths < 100
    shards = machine.shards(plan)
    assert list(merge.results(shards)) == expected(30, without=poison)
    killed = {each.id: each.reason for each in merge.skipped(shards) if each.reason != "broken"}
    assert killed == {f"{number}.jpg": "it ended 3 processes that worked on it" for number in poison}


def test_an_error_counts_like_a_death_and_is_told(machine: Machine) -> None:
    plan = plan_of(machine, 12, size=6)

    def work(attempt: Attempt) -> Iterator[Result]:
        for item in attempt.items:
            if item.id == "8.jpg":
                raise MemoryError("too large")
            yield item.id.encode()

    assert machine.run(plan, work) == []
    reasons = [(each.id, each.reason) for each in merge.skipped(machine.shards(plan))]
    assert reasons == [("8.jpg", "it ended 3 processes that worked on it: MemoryError: too large")]


def test_an_error_of_all_shards_ends_the_work(machine: Machine) -> None:
    plan = plan_of(machine, 60, size=6)

    def work(attempt: Attempt) -> Iterator[Result]:
        raise ZeroDivisionError("a fault of the program")

    with pytest.raises(RunError, match="3 parts of the work failed, one after the other: ZeroDivisionError: a fault of"):
        machine.run(plan, work)
    assert machine.run(plan, say) == [] and list(merge.results(machine.shards(plan))) == expected(60)


@pytest.mark.parametrize("error", [RunError("the disk is full"), KeyboardInterrupt()])
def test_what_is_not_the_shards_fault_is_no_death(machine: Machine, error: BaseException) -> None:
    plan = plan_of(machine, 12, size=6)

    def work(attempt: Attempt) -> Iterator[Result]:
        yield b"a"
        raise error

    for _ in range(4):
        with pytest.raises(type(error)):
            machine.run(plan, work)
    assert machine.files.names("tries") == [] == machine.files.names("split")
    assert machine.run(plan, say) == [] and list(merge.results(machine.shards(plan))) == expected(12)


def test_what_another_one_works_on_is_left_to_it(machine: Machine) -> None:
    plan = plan_of(machine, 30)
    attempt = machine.shards(plan).begin(list(plan.shards())[1])
    assert isinstance(attempt, Attempt)
    assert [shard.name for shard in machine.run(plan, say)] == ["00001"]
    with pytest.raises(RunError, match="is unfinished: 10 of 30 photos are not done, in shard 1; repeat"):
        list(merge.results(machine.shards(plan)))
    with attempt:
        assert attempt.commit(say(attempt))
    assert list(merge.results(machine.shards(plan))) == expected(30)


def test_the_faster_of_two_attempts_counts(machine: Machine) -> None:
    plan = plan_of(machine, 10)
    shard = next(plan.shards())
    slow = machine.shards(plan).begin(shard)
    assert isinstance(slow, Attempt)
    machine.dead.add(machine.count)  # so it seems
    fast = machine.shards(plan).begin(shard)
    assert isinstance(fast, Attempt)
    with fast:
        assert fast.commit([b"fast\n"])
    with slow:
        assert not slow.commit([b"slow\n"])
    assert list(merge.results(machine.shards(plan))) == [b"fast\n"]


def test_an_attempt_that_was_taken_for_dead_stops(machine: Machine) -> None:
    plan = plan_of(machine, 10)
    shard = next(plan.shards())
    slow = machine.shards(plan).begin(shard)
    assert isinstance(slow, Attempt)
    machine.dead.add(machine.count)
    assert isinstance(machine.shards(plan).begin(shard), Attempt)
    slow._lease.beat()
    seen = []

    def results() -> Iterator[Result]:
        for item in slow.items:
            seen.append(item)
            yield b"slow\n"

    with slow:
        assert not slow.commit(results())
    assert len(seen) == 1 and machine.files.names("parts") == []


@pytest.mark.parametrize("of", [1, 2, 3, 8])
def test_an_array_of_tasks_does_the_same(machine: Machine, of: int) -> None:
    plan = plan_of(machine, 55)
    for turn in reversed(range(of)):
        assert work_through(machine.shards(plan), say, turn=turn, of=of) == []
    assert list(merge.results(machine.shards(plan))) == expected(55)


@pytest.mark.parametrize("how", ["cut", "changed", "missing"])
def test_a_damaged_part_is_named(machine: Machine, how: str) -> None:
    plan = plan_of(machine, 30)
    machine.run(plan, say)
    data = machine.files.read("parts/00001~1")
    if how == "missing":
        machine.files.remove("parts/00001~1")
    else:
        machine.files.write("parts/00001~1", data[:-4] if how == "cut" else data.replace(b"12", b"21"))
    with pytest.raises(RunError, match=r"parts/00001~1 is (damaged|missing); remove .*done/00001 and repeat"):
        list(merge.results(machine.shards(plan)))
    machine.files.remove("done/00001")
    machine.run(plan, say)
    assert list(merge.results(machine.shards(plan))) == expected(30)


def test_what_was_done_meanwhile_is_not_begun(machine: Machine) -> None:
    plan = plan_of(machine, 30)
    shards = machine.shards(plan)
    todo = shards.todo()
    machine.run(plan, say)
    assert [shards.begin(shard) for shard in todo] == [None] * 3 and machine.files.names("tries") == []


def test_errors_with_work_in_between_are_the_shards_own(machine: Machine) -> None:
    plan = plan_of(machine, 10, size=1)

    def work(attempt: Attempt) -> Iterator[Result]:
        if attempt.shard.number % 2:
            raise ZeroDivisionError
        yield b"a\n"

    assert machine.run(plan, work) == []
    assert [each.id for each in merge.skipped(machine.shards(plan))] == [f"{number}.jpg" for number in range(1, 10, 2)]


@pytest.mark.parametrize("first", [0, 1, 2, 7])
def test_workers_begin_at_different_places(machine: Machine, first: int) -> None:
    plan, order = plan_of(machine, 30), []

    def work(attempt: Attempt) -> Iterator[Result]:
        order.append(attempt.shard.number)
        return say(attempt)

    assert work_through(machine.shards(plan), work, first=first) == []
    assert order == [(first + number) % 3 for number in range(3)]


_WORKER = """
import sys, time, pathlib
from dips.shards import files, plan, work
files = files.LocalFiles(pathlib.Path(sys.argv[1]))

def say(attempt):
    for item in attempt.items:
        time.sleep(0.01)
        yield item.id.encode() + b"\\n"

shards = work.Shards(files, plan.read_plan(files))
while work.work_through(shards, say, first=int(sys.argv[2])):
    time.sleep(0.02)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the dead are waited for")
def test_processes_that_are_killed_lose_nothing(tmp_path: Path) -> None:
    chance, files = random.Random(0), LocalFiles(tmp_path)
    plan = make_plan(files, lambda: items(600), {}, size=12)
    running: list[subprocess.Popen[bytes]] = []
    kills = 0
    try:
        while Shards(files, plan).todo():
            running = [each for each in running if each.poll() is None]
            while len(running) < 3:
                running.append(subprocess.Popen([sys.executable, "-c", _WORKER, str(tmp_path), str(17 * len(running))]))
            time.sleep(chance.uniform(0.2, 0.6))
            if kills < 12:
                chance.choice(running).kill()
                kills += 1
        for each in running:
            each.wait(timeout=60)
    finally:
        for each in running:
            each.kill()
            each.wait()
    shards = Shards(files, plan)
    assert kills >= 3
    assert list(merge.results(shards)) == [f"{item.id}\n".encode() for item in items(600)]
    assert list(merge.skipped(shards)) == []
    merge.clear(files, plan, take_alone(files))
    assert not tmp_path.exists()


def test_the_end_of_the_work_ends_its_lease(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    machine = Machine(LocalFiles(folder))
    plan = plan_of(machine, 20)
    machine.run(plan, say)
    machine.files.write("driver/.work~7.x1.dips_tmp", b"")  # by one that was killed
    before = threading.active_count()
    lease = take_alone(machine.files, beat_seconds=0.005)
    merge.clear(machine.files, plan, lease)
    assert not folder.exists() and threading.active_count() == before
