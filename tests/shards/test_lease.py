"""Leases: one holder at a time, the dead are found, and who was taken for dead stops."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from dips.errors import RunError
from dips.shards.files import LocalFiles
from dips.shards.lease import Holder, Lease, Watch, is_running, take_alone, this_process


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def take(files: LocalFiles, watch: Watch, most: int = 0, name: str = "tries/a") -> Lease | list[Holder] | None:
    return Lease.take(files, name, this_process(), watch, most=most, beat_seconds=0)


def unknown(clock: Clock) -> Watch:
    """A watch that knows nothing of processes, as that of another machine."""
    return Watch(90, running=lambda holder: None, clock=clock)


def test_one_holds_it_and_gives_it_back(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    first = take(files, Watch())
    assert isinstance(first, Lease) and first.number == 1
    assert take(files, Watch()) is None
    assert isinstance(take(files, Watch(), name="tries/b"), Lease)
    first.give_back()
    again = take(files, Watch())
    assert isinstance(again, Lease) and again.number == 1


def test_of_many_at_once_one_takes_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: take(LocalFiles(tmp_path), Watch()), range(24)))
    assert sum(isinstance(each, Lease) for each in taken) == 1


def test_without_a_change_the_holder_counts_as_dead(tmp_path: Path) -> None:
    files, clock = LocalFiles(tmp_path), Clock()
    watch, first = unknown(clock), take(files, Watch())
    assert isinstance(first, Lease)
    for _ in range(5):
        assert take(files, watch) is None
        clock.now += 80
        first.beat()
    assert take(files, watch) is None
    clock.now += 91
    second = take(files, watch)
    assert isinstance(second, Lease) and second.number == 2
    assert not first.is_lost
    first.beat()
    second.beat()
    assert first.is_lost and not second.is_lost
    first.fail("too late")
    assert files.names("tries") == ["a~2"]


def test_the_time_of_waiting_begins_with_the_first_look(tmp_path: Path) -> None:
    files, clock = LocalFiles(tmp_path), Clock()
    take(files, Watch())
    clock.now = 1e6
    assert take(files, unknown(clock)) is None


def test_a_process_that_is_gone_is_dead_at_once(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from dips.shards import lease, files\n"
        "files = files.LocalFiles(pathlib.Path(sys.argv[1]))\n"
        "assert lease.Lease.take(files, 'tries/a', lease.this_process(), lease.Watch(), beat_seconds=0)\n"
        "print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        files, watch = LocalFiles(tmp_path), Watch()
        assert take(files, watch) is None
        other.kill()
        if sys.platform == "linux":  # nobody has asked how it ended: it stands in the list of processes
            deadline = time.monotonic() + 20
            while (second := take(files, watch)) is None and time.monotonic() < deadline:
                time.sleep(0.01)
            assert isinstance(second, Lease)


def test_a_number_that_was_given_again_is_another_process() -> None:
    me = this_process()
    if me.started:
        assert is_running(me) is True
        assert is_running(replace(me, started="1")) is False
    assert is_running(replace(me, place="another")) is None and is_running(replace(me, started="")) is None


def test_the_dead_are_returned_where_no_more_may_die(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    for reason in ("out of memory", "\udcff"):
        lease = take(files, Watch(), most=2)
        assert isinstance(lease, Lease)
        lease.fail(reason)
    dead = take(files, Watch(), most=2)
    assert isinstance(dead, list) and [holder.failed for holder in dead] == ["out of memory", "\udcff"]


def test_a_thread_gives_signs_of_life(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    lease = Lease.take(files, "tries/a", this_process(), Watch(), beat_seconds=0.01)
    assert isinstance(lease, Lease)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        holder = Lease.holder(files, "tries/a", 1)
        if holder is not None and holder.beat > 1:
            break
    else:
        pytest.fail("no sign of life")
    lease.give_back()
    assert files.names("tries") == []


def test_whoever_started_a_holder_tells_its_end(tmp_path: Path) -> None:
    files, clock = LocalFiles(tmp_path), Clock()
    watch = unknown(clock)
    mine, other, failed = (take(files, Watch(), most=3, name=f"tries/{name}") for name in "abc")
    assert isinstance(mine, Lease) and isinstance(other, Lease) and isinstance(failed, Lease)
    failed.fail("out of memory")
    session = {name: Lease.holder(files, f"tries/{name}", 1) for name in "abc"}
    assert session["a"] is not None and session["c"] is not None
    Lease.bury(files, "tries", session["a"].session)
    Lease.bury(files, "tries", session["c"].session)
    assert take(files, watch, most=3, name="tries/b") is None
    second = take(files, watch, most=3, name="tries/a")
    assert isinstance(second, Lease) and second.number == 2
    kept = Lease.holder(files, "tries/c", 1)
    assert kept is not None and kept.failed == "out of memory" and not kept.is_dead
    for name in "abc":
        holder = Lease.holder(files, f"tries/{name}", 1)
        assert holder is not None
        Lease.free(files, "tries", holder.session)
    assert files.names("tries") == ["a~2", "c~1"], "what failed has failed"


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    first = take_alone(files, beat_seconds=0)
    with pytest.raises(RunError, match="is in use by another command; stop that one first"):
        take_alone(files)
    first.give_back()
    take_alone(files, beat_seconds=0).give_back()


def test_dead_drivers_do_not_pile_up(tmp_path: Path) -> None:
    files, watch = LocalFiles(tmp_path), Watch(running=lambda holder: False)
    numbers = [take_alone(files, watch=watch, beat_seconds=0).number for _ in range(4)]
    assert numbers == [1, 2, 3, 4] and files.names("driver") == ["work~4"]


@pytest.mark.parametrize("beats", [0, 1])
def test_a_driver_of_which_nothing_is_known_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], beats: int
) -> None:
    """As after a restart of the machine: it is dead unless it gives a sign of life."""
    files, unseen = LocalFiles(tmp_path), Watch(patience=0.05, running=lambda holder: None)
    first = take_alone(files, beat_seconds=0.01 if beats else 0)
    if beats:
        with pytest.raises(RunError, match="is in use by another command; stop that one first"):
            take_alone(files, watch=unseen, pause=0.03)
        first.give_back()
    else:
        assert take_alone(files, watch=unseen, beat_seconds=0, pause=0.03).number == 2
    assert capsys.readouterr().err.count("for a sign of life") == 1


def test_a_lease_is_given_back_once(tmp_path: Path) -> None:
    first = take_alone(LocalFiles(tmp_path), beat_seconds=0)
    first.give_back()
    take_alone(LocalFiles(tmp_path), beat_seconds=0)
    first.give_back()
    assert LocalFiles(tmp_path).names("driver") == ["work~1"], "the other's"
