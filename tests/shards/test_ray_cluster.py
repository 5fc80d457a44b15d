"""Actors on a Ray cluster do what one process does, whoever of them is killed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dips.errors import ConfigError, RunError
from dips.shards import merge, ray_cluster
from dips.shards.files import LocalFiles
from dips.shards.launch import Crew, launch
from dips.shards.plan import Item, Plan, make_plan
from dips.shards.ray_actor import unseen, work_here
from dips.shards.ray_cluster import Share, run_ray, share_out
from dips.shards.work import Attempt, Shards, Skipped, Work

pytestmark = [
    # Ray leaves its own pipes and processes to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed (file|socket):ResourceWarning"),
    pytest.mark.filterwarnings("ignore:subprocess \\d+ is still running:ResourceWarning"),
]

_STORE = 80 << 20
_PHOTOS = 200


class Job:
    """Says each item's name; what comes of an item depends on the item alone.

    Args:
        folder: where it notes who has worked, and which items have killed.
        seconds: for an item.
        once, always: items that kill the process at the first try, or at all.
        fails: where it raises an error of DiPS: ``open`` or an item.
    """

    device = "auto"

    def __init__(
        self,
        folder: Path,
        *,
        seconds: float = 0.0,
        once: tuple[int, ...] = (),
        always: tuple[int, ...] = (),
        fails: int | str = "",
    ) -> None:
        self.folder, self.seconds, self.once, self.always, self.fails = folder, seconds, once, always, fails

    def open(self) -> Work:
        ray = sys.modules.get("ray")
        node = ray.get_runtime_context().get_node_id() if ray is not None and ray.is_initialized() else ""
        (self.folder / f"by-{os.getpid()}").write_text(node)
        if self.fails == "open":
            raise RunError("this model is damaged")
        if self.fails == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return self._work

    def _work(self, attempt: Attempt) -> Iterator[bytes | Skipped]:
        for item in attempt.items:
            number = int(item.id.removesuffix(".jpg"))
            time.sleep(self.seconds)
            if number == self.fails:
                raise RunError("the disk is full")
            done = self.folder / f"killed-{number}"
            if number in self.always or (number in self.once and not done.exists()):
                done.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield Skipped(item.id, "broken") if number % 7 == 3 else f"{item.id} {'#' * number}\n".encode()


class HiddenFiles(LocalFiles):
    """A folder of this process's machine alone."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.process = os.getpid()

    def read(self, name: str) -> bytes:
        if os.getpid() != self.process:
            raise FileNotFoundError(name)
        return super().read(name)


def plan_in(files: LocalFiles, count: int = _PHOTOS) -> Plan:
    return make_plan(files, lambda: (Item(f"{number}.jpg", f"{number}.jpg") for number in range(count)), {}, size=8, step=4)


def outcome(files: LocalFiles, plan: Plan) -> tuple[list[bytes], list[Skipped]]:
    """Return lines and skipped items, after making sure that no probe is left."""
    shards = Shards(files, plan)
    assert not [name for name in files.names("driver") if name.startswith("seen")]
    return list(merge.results(shards)), list(merge.skipped(shards))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], list[Skipped]]:
    """What one process makes."""
    folder = tmp_path_factory.mktemp("alone")
    files = LocalFiles(folder / "work")
    plan = plan_in(files)
    launch(files, plan, Job(folder), Crew())
    return outcome(files, plan)


@pytest.fixture(scope="module")
def ray_cluster_of_two(loopback_ray: Any) -> Iterator[Any]:
    """A cluster of two nodes on this machine, at 127.0.0.1, with two CPUs each."""
    from ray.cluster_utils import Cluster

    quick = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    before = signal.getsignal(signal.SIGTERM)
    node: dict[str, Any] = {
        "num_cpus": 2,
        "object_store_memory": _STORE,
        "include_dashboard": False,
        "node_ip_address": "127.0.0.1",
    }
    cluster: Any = Cluster(initialize_head=True, head_node_args={**node, "_system_config": quick})
    try:
        cluster.add_node(**node)
        loopback_ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield cluster
    finally:
        cluster.shutdown()
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def cluster(ray_cluster_of_two: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster_of_two.address)
    return ray_cluster_of_two


def test_two_nodes_make_what_one_process_makes(cluster: Any, tmp_path: Path, alone: object) -> None:
    files = LocalFiles(tmp_path / "work")
    plan = plan_in(files)
    launch(files, plan, Job(tmp_path, seconds=0.01), Crew(engine="ray", workers=0))
    assert outcome(files, plan) == alone
    workers = list(tmp_path.glob("by-*"))
    assert len(workers) == 4 and len({worker.read_text() for worker in workers}) == 2
    assert files.names("tries") == []


def test_actors_that_are_killed_lose_nothing(
    cluster: Any, tmp_path: Path, alone: object, capsys: pytest.CaptureFixture[str]
) -> None:
    files = LocalFiles(tmp_path / "work")
    plan = plan_in(files)
    run_ray(files, plan, Job(tmp_path, once=(5, 6, 77, 120, 199)), 2, "predict")
    assert outcome(files, plan) == alone
    assert len(list(tmp_path.glob("killed-*"))) == 5 and len(list(tmp_path.glob("by-*"))) > 5
    said = capsys.readouterr()
    assert said.err.count("died, perhaps for lack of memory; another one takes its place") == 5 and said.out == ""


def test_a_node_that_is_lost_loses_nothing(cluster: Any, tmp_path: Path, alone: object) -> None:
    node = cluster.add_node(num_cpus=2, object_store_memory=_STORE, node_ip_address="127.0.0.1")
    files = LocalFiles(tmp_path / "work")
    plan = plan_in(files)

    def lose() -> None:
        while len(list(tmp_path.glob("by-*"))) < 6 or len(files.names("done")) < 4:
            time.sleep(0.02)
        cluster.remove_node(node, allow_graceful=False)

    loser = threading.Thread(target=lose)
    loser.start()
    run_ray(files, plan, Job(tmp_path, seconds=0.05), 6, "predict")
    loser.join()
    assert outcome(files, plan) == alone
    assert len({worker.read_text() for worker in tmp_path.glob("by-*")}) == 3


def test_an_item_that_kills_is_skipped(cluster: Any, tmp_path: Path, alone: tuple[list[bytes], list[Skipped]]) -> None:
    files = LocalFiles(tmp_path / "work")
    plan = plan_in(files)
    run_ray(files, plan, Job(tmp_path, always=(42,)), 2, "predict")
    lines, skipped = outcome(files, plan)
    assert lines == [line for line in alone[0] if not line.startswith(b"42.jpg")]
    reasons = {each.id: each.reason for each in skipped if each not in alone[1]}
    assert reasons == {"42.jpg": "it ended 3 processes that worked on it"}


@pytest.mark.parametrize(("fails", "words"), [("open", "this model is damaged"), (9, "the disk is full")])
def test_errors_of_the_work_come_as_they_are(cluster: Any, tmp_path: Path, fails: int | str, words: str) -> None:
    files = LocalFiles(tmp_path / "work")
    plan = plan_in(files)
    with pytest.raises(RunError, match=f"^{words}$"):
        run_ray(files, plan, Job(tmp_path, fails=fails), 2, "predict")
    assert files.names("tries") == [] and files.names("driver") == []


def test_actors_that_all_die_end_the_command(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "_MOST_DEATHS", 0)
    files = LocalFiles(tmp_path / "work")
    plan = plan_in(files)
    with pytest.raises(RunError, match=r"4 Ray workers have died without finishing .*; the last one on \S+ died, perhaps for"):
        run_ray(files, plan, Job(tmp_path, fails="die"), 1, "predict")


def test_a_folder_that_actors_do_not_see_is_refused(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "_SEEN_SECONDS", 0.2)
    files = HiddenFiles(tmp_path / "work")
    plan = plan_in(files)
    with pytest.raises(RunError, match=r"the Ray worker on .* does not see what is written to .*work; all machines"):
        run_ray(files, plan, Job(tmp_path), 1, "predict")
    assert files.names("done") == []


def test_another_version_of_dips_is_refused(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "__version__", "9.9")
    files = LocalFiles(tmp_path / "work")
    plan = plan_in(files)
    with pytest.raises(RunError, match=r"the Ray worker on \S+ has DiPS \d.*; install DiPS 9.9 on all machines"):
        run_ray(files, plan, Job(tmp_path), 1, "predict")


_DRIVER = """
import sys
sys.path.insert(0, {tests!r})
import test_ray_cluster
import ray
from pathlib import Path
from dips.shards.files import LocalFiles
from dips.shards.plan import read_plan

files = LocalFiles(Path({folder!r}) / "work")

ray.cloudpickle.register_pickle_by_value(test_ray_cluster)
try:
    job = test_ray_cluster.Job(Path({folder!r}), seconds={seconds})
    test_ray_cluster.run_ray(files, read_plan(files), job, 2, "predict")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.fixture
def command(
    loopback_ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[float], subprocess.Popen[str]]]:
    """Start a command of its own that does the work in ``tmp_path``."""
    tests = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [tests, os.environ.get("PYTHONPATH")])))
    begun: list[subprocess.Popen[str]] = []

    def start(seconds: float) -> subprocess.Popen[str]:
        words = _DRIVER.format(tests=tests, folder=str(tmp_path), seconds=seconds)
        process = subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def wait_for_work(process: subprocess.Popen[str], files: LocalFiles, shards: int = 4) -> None:
    """Wait until some work is done."""
    while len(files.names("done")) < shards:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_ctrl_c_on_this_machine_and_again(
    command: Callable[[float], subprocess.Popen[str]], tmp_path: Path, alone: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    files = LocalFiles(tmp_path / "work")
    plan = plan_in(files)
    first = command(0.05)
    wait_for_work(first, files)
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=60)
    assert (out, err, first.returncode) == ("interrupted\n", "", 0)
    assert Shards(files, plan).todo() and files.names("tries") == []  # given back, so that they count as no deaths
    again = command(0.0)
    assert again.communicate(timeout=60) == ("", "") and again.returncode == 0
    assert outcome(files, plan) == alone


def test_a_command_that_is_killed_goes_on(
    cluster: Any, command: Callable[[float], subprocess.Popen[str]], tmp_path: Path, alone: object
) -> None:
    files = LocalFiles(tmp_path / "work")
    plan = plan_in(files)
    first = command(0.05)
    wait_for_work(first, files)
    first.kill()
    first.communicate()
    assert Shards(files, plan).todo()
    run_ray(files, plan, Job(tmp_path), 2, "predict")
    for probe in files.names("driver"):  # merging removes it
        files.remove(f"driver/{probe}")
    assert outcome(files, plan) == alone


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265"])
def test_the_ray_client_is_refused(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    files = LocalFiles(tmp_path)
    with pytest.raises(ConfigError, match=f"RAY_ADDRESS is {address}, .* 'ray job submit', or"):
        run_ray(files, plan_in(files), Job(tmp_path), 1, "predict")


def test_an_address_where_nobody_is_is_refused(loopback_ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    files = LocalFiles(tmp_path)
    with pytest.raises(RunError, match=r"RAY_ADDRESS is 127\.0\.0\.1:1, which cannot be used: "):
        run_ray(files, plan_in(files), Job(tmp_path), 1, "predict")
    assert os.environ["RAY_ADDRESS"] == "127.0.0.1:1"


def test_what_is_done_needs_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://nowhere")
    files = LocalFiles(tmp_path / "work")
    plan = plan_in(files)
    launch(files, plan, Job(tmp_path), Crew())
    run_ray(files, plan, Job(tmp_path), 1, "predict")


@pytest.mark.parametrize(
    ("nodes", "workers", "device", "share"),
    [
        ([(2, 0)], 0, "cpu", Share(2, 1)),
        ([(16, 4)], 0, "cpu", Share(16, 1)),
        ([(16, 0)], 4, "auto", Share(4, 4)),
        ([(4, 0), (8, 0)], 2, "auto", Share(2, 4)),
        ([(4, 0), (8, 0)], 3, "mps", Share(3, 4)),
        ([(4, 0)], 6, "cpu", Share(6, 1)),
        ([(0, 0)], 6, "auto", Share(6, 1)),
        ([(16, 4), (64, 0)], 0, "auto", Share(4, 4, 1.0)),
        ([(16, 4)], 8, "cuda", Share(8, 2, 0.5)),
        ([(16, 4), (2, 0)], 9, "cuda", Share(9, 1, 0.3333)),
        ([(4, 8)], 0, "cuda", Share(8, 0, 1.0)),
        ([(0, 0)], 6, "cuda", Share(6, 1, 1.0)),
    ],
)
def test_shares(nodes: list[tuple[int, int]], workers: int, device: str, share: Share) -> None:
    assert share_out(nodes, workers, device) == share


@pytest.mark.parametrize(
    ("nodes", "device", "words"),
    [
        ([(4, 0)], "cuda", "the Ray cluster has no GPU; take --device cpu"),
        ([(0, 0)], "auto", "the Ray cluster has no CPU for a worker; say with --workers N"),
        ([(4, 2)], "cuda:1", "--device cuda:1: on a Ray cluster each worker gets its own device"),
    ],
)
def test_no_shares(nodes: list[tuple[int, int]], device: str, words: str) -> None:
    with pytest.raises((ConfigError, RunError), match=words):
        share_out(nodes, 0, device)


def test_photos_that_a_machine_does_not_see(tmp_path: Path) -> None:
    files, there = LocalFiles(tmp_path), tmp_path / "there.jpg"
    files.write("probe", b"")
    there.touch()
    assert unseen(pickle.dumps(files), "probe", [str(there)], 0.1) == ""
    assert "does not see /nowhere/a.jpg; all" in unseen(pickle.dumps(files), "probe", [str(there), "/nowhere/a.jpg"], 0.1)


def test_a_worker_that_is_stopped_frees_its_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dips.system.console._hear", None)  # restored afterwards
    files, stopped = LocalFiles(tmp_path / "work"), threading.Event()
    plan = plan_in(files)
    stopped.set()
    work_here(pickle.dumps((files, plan, Job(tmp_path))), "session", 0, stopped, lambda message: None)
    assert len(Shards(files, plan).todo()) == len(list(plan.shards())) and files.names("tries") == []
