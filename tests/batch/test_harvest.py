"""Harvests by several processes: the store is the same whoever worked, and a training after it computes nothing again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dips.batch.harvest import Harvested, harvest, merge_harvests
from dips.errors import ConfigError, DataError, RunError, StoreError
from dips.harvest.squares import SquareReader
from dips.shards.launch import Crew

from ..conftest import TinyTraining

pytestmark = pytest.mark.usefixtures("offline")
FAST = ("train.epochs=0", "harvest.refine_photos=4", "harvest.batch=2")
UNET = ("harvest.batch=2",)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where relative paths lie."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(training: TinyTraining, store: Path | str, *settings: str, **options: Any) -> Harvested | None:
    more = {"recipe": training.recipe, "weights": str(training.weights), "device": "cpu", **options}
    return harvest(training.data, store=store, settings=settings, **more)


def array(training: TinyTraining, store: Path | str, *settings: str, of: int = 4) -> None:
    for turn in (1, 0, 3, 2)[:of]:
        assert run(training, store, *settings, crew=Crew(turn=turn, of=of)) is None


def records(store: Path) -> dict[str, Any]:
    """All records of a store; what is called by a photo's times is left out."""
    found: dict[str, Any] = {}
    for path in sorted(store.rglob("*.sqlite")):
        with closing(sqlite3.connect(path)) as shelf:
            rows = dict(shelf.execute("SELECT key, record FROM records"))
        found |= {f"{path.parent.name} {key.hex()}": record for key, record in rows.items()}
    for path in sorted(store.rglob("*.safetensors")):
        found[path.relative_to(store).as_posix()] = sorted(path.read_bytes())  # the order of its notes is random
    return found


def names(store: Path) -> set[str]:
    return {path.name.partition("-")[0] for path in store.iterdir()}


def test_who_worked_makes_no_difference(tiny_training: TinyTraining, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One process, an array, and a training that makes its own."""
    assert run(tiny_training, tmp_path / "one", *FAST) == Harvested(10, is_done=True)
    assert names(tmp_path / "one") == {"digests", "cnn", "features", "linear"}
    array(tiny_training, tmp_path / "four", *FAST)
    assert names(tmp_path / "four") == {".unfinished", "digests", "cnn"}
    assert merge_harvests(str(tmp_path / "four")) == Harvested(10, is_done=True)
    own = tiny_training.fit("own", *FAST, store=tmp_path / "own")
    assert records(tmp_path / "one") == records(tmp_path / "four") == records(tmp_path / "own") != {}
    assert merge_harvests(str(tmp_path / "four")) is None and names(tmp_path / "four") == names(tmp_path / "one")
    capfd.readouterr()
    other = tiny_training.fit("other", *FAST, store=tmp_path / "four")
    said = capfd.readouterr().err
    assert "the linear maps are in the store" in said and "the transformer is not run" in said and "runs on" not in said
    for name in (path.name for path in own.run.glob("*.safetensors")):
        assert sorted((own.run / name).read_bytes()) == sorted((other.run / name).read_bytes())


@pytest.mark.parametrize("refine", ["dataset", "none"])
def test_maps_of_a_unet_are_a_second_round(
    tiny_training: TinyTraining, tmp_path: Path, capfd: pytest.CaptureFixture[str], refine: str
) -> None:
    settings = (*UNET, f"harvest.refine={refine}", "predict.mode=unet")
    assert run(tiny_training, tmp_path / "one", *settings) == Harvested(10, is_done=True)
    array(tiny_training, tmp_path / "two", *settings)
    assert merge_harvests(str(tmp_path / "two")) == Harvested(10, is_done=False) and "maps" not in names(tmp_path / "two")
    array(tiny_training, tmp_path / "two", *settings)
    assert {"maps", "squares", "proposals"} <= names(tmp_path / "two")
    assert merge_harvests(str(tmp_path / "two")) == Harvested(10, is_done=True)
    tiny_training.fit(f"own-{refine}", *settings, store=tmp_path / "own")
    assert records(tmp_path / "one") == records(tmp_path / "two") == records(tmp_path / "own")
    assert ".unfinished" not in names(tmp_path / "one") | names(tmp_path / "two")
    capfd.readouterr()
    tiny_training.fit(f"other-{refine}", *settings, store=tmp_path / "two")
    said = capfd.readouterr().err
    assert "10 photos are in the store" in said and "0 to be scored" in said and "runs on" not in said


def test_a_network_that_is_trained_itself_finds_its_photos(
    tiny_training: TinyTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (*FAST, "classifier.mode=full", "classifier.epochs=1")
    array(tiny_training, tmp_path / "four", *settings)
    assert "squares" in names(tmp_path / "four")
    titles: list[str] = []
    read = SquareReader.read

    def recorded(reader: SquareReader, digests: Any, **named: Any) -> Any:
        titles.extend([named["title"]] if digests else [])
        return read(reader, digests, **named)

    monkeypatch.setattr(SquareReader, "read", recorded)
    assert merge_harvests(str(tmp_path / "four")) == Harvested(10, is_done=True)
    assert titles == ["harvest"], "only those that the linear maps are fitted on"


def test_tiles(tiny_training: TinyTraining, tmp_path: Path) -> None:
    settings = (*FAST, "train.tile=40")
    found = run(tiny_training, tmp_path / "one", *settings)
    assert found is not None and found.photos > 10
    array(tiny_training, tmp_path / "four", *settings)
    assert merge_harvests(str(tmp_path / "four")) == found
    assert records(tmp_path / "one") == records(tmp_path / "four")


class Kill(BaseException):
    """In the place of a kill."""


def killed(monkeypatch: pytest.MonkeyPatch, *where: int) -> None:
    """End the process at the n-th write into a shelf."""
    from dips.harvest.store import Shelf

    put, count = Shelf.put_rows, [0]

    def counted(shelf: Shelf, rows: Any) -> None:
        count[0] += bool(rows)
        if rows and count[0] in where:
            raise Kill
        put(shelf, rows)

    monkeypatch.setattr(Shelf, "put_rows", counted)


@pytest.mark.parametrize("settings", [FAST, UNET])
def test_killed_harvests_go_on(
    tiny_training: TinyTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    run(tiny_training, tmp_path / "one", *settings)
    at = [3, 9, 12, 17, 25, 33] if settings == UNET else [3, 9, 12]
    deaths = 0
    killed(monkeypatch, *at)
    while True:
        try:
            assert run(tiny_training, tmp_path / "two", *settings) == Harvested(10, is_done=True)
            break
        except Kill:
            deaths += 1
            if settings == UNET and deaths < 2:
                with pytest.raises(RunError, match=r"is unfinished: .* of 10 photos are not done"):
                    merge_harvests(str(tmp_path / "two"))
    assert deaths >= 2 and records(tmp_path / "one") == records(tmp_path / "two")
    assert ".unfinished" not in names(tmp_path / "two")


def test_a_photo_that_kills_is_named(tiny_training: TinyTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = sorted((tiny_training.data / "train").rglob("*.jpg"))[3]

    class Poisoned(SquareReader):
        def __init__(self, samples: Any, *given: Any, **named: Any) -> None:
            if any(sample.path == bad for sample in samples):
                raise RuntimeError("poison")
            super().__init__(samples, *given, **named)

    monkeypatch.setattr("dips.batch.harvest_jobs.SquareReader", Poisoned)
    with pytest.raises(
        DataError, match=rf"1 photo ended the processes that worked .* {bad}; take them out of the data"
    ) as caught:
        run(tiny_training, tmp_path / "store", *FAST, problems=tmp_path / "problems.json")
    assert caught.value and "RuntimeError: poison" in (tmp_path / "problems.json").read_text()
    assert ".unfinished" not in names(tmp_path / "store")
    rest = {path.stem for path in (tmp_path / "store").rglob("*.sqlite") if path.parent.name.startswith("cnn")}
    assert rest, "what was made of the others is kept"


@pytest.fixture(params=["file", "memory"])
def bucket(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A URL."""
    if request.param == "file":
        return (tmp_path / "bucket").as_uri()
    pytest.importorskip("fsspec", reason="fsspec is not installed (extra 'remote')")
    return f"memory://{tmp_path.name}/store"


def test_parts_at_a_url_become_a_store(tiny_training: TinyTraining, tmp_path: Path, bucket: str) -> None:
    run(tiny_training, tmp_path / "one", *FAST)
    assert run(tiny_training, bucket, *FAST) is None
    assert merge_harvests(bucket, tmp_path / "two") == Harvested(10, is_done=True)
    assert records(tmp_path / "one") == records(tmp_path / "two")
    assert merge_harvests(bucket, tmp_path / "two") is None
    array(tiny_training, bucket, *FAST)
    with pytest.raises(ConfigError, match=r"a U-Net's maps \(train.epochs above 0\) .* give a folder"):
        run(tiny_training, bucket, *UNET)
    with pytest.raises(StoreError, match=r"'dips merge URL --store FOLDER'"):
        tiny_training.fit("url", *FAST, store=bucket)


def test_two_harvests_share_a_store(tiny_training: TinyTraining, tmp_path: Path) -> None:
    other = (*FAST, "harvest.refine_photos=5")
    for settings in (FAST, other):
        run(tiny_training, tmp_path / "store", *settings, crew=Crew(turn=0, of=2))
    assert len(list((tmp_path / "store/.unfinished/harvests").iterdir())) == 2
    with pytest.raises(RunError, match="is unfinished"):
        merge_harvests(str(tmp_path / "store"))
    for settings in (FAST, other):
        run(tiny_training, tmp_path / "store", *settings, crew=Crew(turn=1, of=2))
    assert merge_harvests(str(tmp_path / "store")) == Harvested(10, is_done=True)
    assert ".unfinished" not in names(tmp_path / "store")
