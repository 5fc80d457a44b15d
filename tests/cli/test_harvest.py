"""``dips harvest`` through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.batch.harvest import Harvested
from dips.shards.launch import Crew

from .conftest import Dips, Tiny, fake


def test_options_are_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dips: Dips) -> None:
    (tmp_path / "tower").mkdir()
    calls = fake(monkeypatch, "dips.batch.harvest.harvest", Harvested(7, is_done=True))
    said = dips("harvest", tmp_path)
    assert said.code == 0 and "7 photos in the store" in said.out
    unset = {"store": None, "recipe": None, "settings": (), "weights": (), "reviewed": None, "problems": None}
    assert calls[0] == {"0": tmp_path, **unset, "device": "auto", "crew": Crew()}
    said = dips(
        *("harvest", tmp_path, "--store", "s", "--recipe", "paper", "--set", "harvest.batch=3", "--device", "cpu"),
        *("--weights", tmp_path, "--reviewed", "r", "--problems", "p", "--workers", 3, "--shard", "2/5"),
    )
    assert said.code == 0 and f"dips train DATA --out RUN --store {Path('s')}" in said.out
    paths = {"weights": [str(tmp_path)], "reviewed": Path("r"), "problems": Path("p")}
    more = {"store": "s", "recipe": "paper", "settings": ["harvest.batch=3"], "device": "cpu", **paths}
    assert calls[1] == {"0": tmp_path, **more, "crew": Crew(workers=3, turn=1, of=5)}
    fake(monkeypatch, "dips.batch.harvest.harvest", None)
    assert "dips merge s3://b/s --store FOLDER" in dips("harvest", tmp_path, "--store", "s3://b/s").out
    assert dips("harvest", tmp_path, "--store", "s3://b/s", "--shard", "1/2").out == "", "a task says it by itself"


def test_an_array_of_two_rounds(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    store = tmp_path / "store"
    command = ("harvest", tiny.data, "--store", store, "--recipe", tiny.recipe, "--weights", tiny.weights)
    for words in ("the same 'dips harvest' again, for the U-Net's maps", "18 photos in the store"):
        for turn in ("1/2", "2/2"):
            said = dips(*command, "--shard", turn, "--set", "harvest.batch=4")
            assert said.code == 0 and f"dips merge {store}" in said.err and "unfinished/" not in said.err, said.err
        said = dips("merge", store)
        assert said.code == 0 and words in said.out
    said = dips("merge", store)
    assert said.code == 2 and "there is nothing to merge" in said.err


def test_a_url_is_no_store_to_train_from(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    said = dips("train", tiny.data, "--out", tmp_path / "run", "--recipe", tiny.recipe, "--store", "s3://bucket/store")
    assert said.code == 2 and "is no folder" in said.err and "dips merge URL --store FOLDER" in said.err
    assert not (tmp_path / "run").exists()
