"""``dips merge``: ends what the tasks of an array did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dips.predict import folder as folder_module
from dips.shards.launch import Crew, Job
from dips.shards.plan import Plan
from dips.shards.work import Shards, work_through

from .conftest import Dips, Tiny


def test_what_tasks_did_is_ended(tiny: Tiny, tmp_path: Path, dips: Dips, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they would: each does its turn, none merges."""
    command = ("predict", tiny.run, tiny.data / "test", "--format", "json,coco", "--set", "predict.batch=2", "--out")
    assert dips(*command, tmp_path / "whole").code == 0
    out = tmp_path / "out"
    for turn in range(2):

        def launch(files: object, plan: Plan, job: Job, crew: Crew, turn: int = turn) -> None:
            work_through(Shards(files, plan), job.open(), turn=turn, of=2)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(folder_module, "launch", launch)
            patch.setattr("dips.shards.launch.Crew.is_task", property(lambda crew: True))
            said = dips(*command, out)
        assert said.code == 0 and said.out == "", said.err
        if turn == 0:
            said = dips("merge", out)
            assert said.code == 2 and "is unfinished: 2 of 6 photos are not done, in shard 1; repeat the" in said.err
            assert "is unfinished" in dips("report", out).err
    said = dips("merge", out)
    assert said.code == 0 and said.out.startswith("6 photos"), said.err
    for path in (path for path in (tmp_path / "whole").rglob("*") if path.is_file()):
        assert (out / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes(), path
    assert len(list(out.rglob("*"))) == len(list((tmp_path / "whole").rglob("*")))


@pytest.mark.parametrize("place", ["none", "empty", "file", "done"])
def test_nothing_to_merge(tiny: Tiny, tmp_path: Path, dips: Dips, place: str) -> None:
    out = tmp_path / place
    if place == "file":
        out.touch()
    elif place == "done":
        photo = tiny.data / "test" / "tower" / "0000.jpg"
        assert dips("predict", tiny.run, photo, "--out", out, "--format", "json").code == 0
    elif place == "empty":
        out.mkdir()
    before = sorted(out.rglob("*"))
    said = dips("merge", out)
    words = "there is no folder" if place == "none" else "there is nothing to merge"
    assert said.code == 2 and words in said.err and str(out) in said.err
    assert sorted(out.rglob("*")) == before and out.exists() == (place != "none")


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ("{", "is damaged"),
        (json.dumps({"identity": {"work": "dance"}, "items": 1, "size": 1, "step": 1, "sha256": ""}), "does not know"),
        (json.dumps({"identity": {"work": "predict"}, "items": 1, "size": 1, "step": 1, "sha256": ""}), "is damaged"),
    ],
)
def test_a_plan_that_cannot_be_merged(tmp_path: Path, dips: Dips, plan: str, words: str) -> None:
    (tmp_path / "out" / ".unfinished").mkdir(parents=True)
    (tmp_path / "out" / ".unfinished" / "plan.json").write_text(plan)
    said = dips("merge", tmp_path / "out")
    assert said.code == 2 and words in said.err


@pytest.mark.parametrize("work", ["predict", "score"])
def test_a_store_is_for_harvests(tmp_path: Path, dips: Dips, work: str) -> None:
    (tmp_path / "out" / ".unfinished").mkdir(parents=True)
    plan = {"identity": {"work": work}, "items": 1, "size": 1, "step": 1, "sha256": ""}
    (tmp_path / "out" / ".unfinished" / "plan.json").write_text(json.dumps(plan))
    said = dips("merge", tmp_path / "out", "--store", tmp_path / "store")
    assert said.code == 2 and f"--store {tmp_path / 'store'} is for a harvest" in said.err


def test_a_url_of_this_machine_is_a_folder(tiny: Tiny, tmp_path: Path, dips: Dips, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, out = tiny.data / "test" / "tower" / "0000.jpg", tmp_path / "my out"
    url = out.as_uri()
    with monkeypatch.context() as patch:
        patch.setattr("dips.shards.launch.Crew.is_task", property(lambda crew: True))
        said = dips("predict", tiny.run, photo.as_uri(), "--out", url, "--format", "json")
    assert said.code == 0 and f"dips merge '{out}'" in said.err
    said = dips("merge", url)
    assert said.code == 0 and f"dips report '{out}' --open" in said.out, said.err
    (record,) = json.loads((out / "predictions.json").read_text())["predictions"]
    assert record["path"] == str(photo) and not (out / ".unfinished").exists()


def test_problems_are_written_by_the_merge(tiny: Tiny, tmp_path: Path, dips: Dips, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each task knows but a part of them, and would replace the list of the others."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    (photos / "a.jpg").write_bytes((tiny.data / "test" / "tower" / "0000.jpg").read_bytes())
    (photos / "b.jpg").write_text("no photo")
    command = ("predict", tiny.run, photos, "--format", "json", "--out", out)
    with monkeypatch.context() as patch:
        patch.setattr("dips.shards.launch.Crew.is_task", property(lambda crew: True))
        said = dips(*command, "--problems", tmp_path / "p.json")
        assert said.code == 2 and "give it to the 'dips merge' that ends the tasks" in said.err and not out.exists()
        assert dips(*command).code == 0
    said = dips("merge", out, "--problems", out / "predictions.json")
    assert said.code == 2 and "is what the prediction itself writes" in said.err
    assert dips("merge", out, "--problems", tmp_path / "p.json").code == 1
    (problem,) = json.loads((tmp_path / "p.json").read_text())["problems"]
    assert problem["path"].endswith("b.jpg")


def test_problems_of_a_harvest_are_those_of_its_data(tmp_path: Path, dips: Dips) -> None:
    (tmp_path / ".unfinished" / "harvests").mkdir(parents=True)
    (tmp_path / ".unfinished" / "harvests" / "0").touch()
    said = dips("merge", tmp_path, "--problems", tmp_path / "p.json")
    assert said.code == 2 and "'dips check DATA --problems FILE'" in said.err
