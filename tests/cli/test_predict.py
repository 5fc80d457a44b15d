"""``dips predict``: what continues an interrupted prediction, and where its list of problems may lie."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dips.predict.writing import PhotoWriter

from .conftest import Dips, Tiny


def stop(dips: Dips, monkeypatch: pytest.MonkeyPatch, *command: object) -> None:
    """Run a prediction that is stopped at its first photo."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PhotoWriter, "write", interrupted)
        assert dips(*command).code == 130


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        (["predict.threshold=0.2", "predict.threshold=0.6"], ["predict.threshold=0.6", "predict.threshold=0.2"], False),
        (["predict.min_score=0.5", "predict.min_score=0"], ["predict.min_score=0", "predict.min_score=0.5"], False),
        (["predict.flip=true", "predict.threshold=0.5"], ["predict.threshold=0.50", "predict.flip=true"], True),
        (["predict.max_boxes=3", "predict.max_boxes=2"], ["predict.max_boxes=2"], True),
    ],
)
def test_only_the_same_settings_go_on(
    tiny: Tiny, tmp_path: Path, dips: Dips, monkeypatch: pytest.MonkeyPatch, before: list[str], now: list[str], same: bool
) -> None:
    command = ("predict", tiny.run, tiny.data / "test" / "tower", "--out", tmp_path / "out", "--format", "json")
    stop(dips, monkeypatch, *command, *(f"--set={item}" for item in before))
    said = dips(*command, *(f"--set={item}" for item in now))
    assert (said.code == 0) == same and ("other settings" in said.err) != same, said.err


@pytest.mark.parametrize(
    "name",
    [
        "predictions.json",
        "skipped.json",
        "coco.json",
        "Coco.json",
        "json/x.json",
        "voc/deep/x.json",
        ".unfinished/plan.json",
        "",
    ],
)
def test_a_list_of_problems_does_not_replace_what_is_predicted(tiny: Tiny, tmp_path: Path, dips: Dips, name: str) -> None:
    out = tmp_path / "out"
    said = dips("predict", tiny.run, tiny.data / "test", "--out", out, "--format", "json,coco", "--problems", out / name)
    assert said.code == 2 and "--problems" in said.err and "is what the prediction itself writes" in said.err
    assert not out.exists()


def test_a_list_of_problems_may_lie_among_the_predictions(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(next((tiny.data / "test" / "tower").iterdir()).read_bytes())
    (photos / "b.jpg").write_text("no photo")
    said = dips("predict", tiny.run, photos, "--out", out, "--format", "json", "--problems", out / "problems.json")
    assert said.code == 1, said.err
    (problem,) = json.loads((out / "problems.json").read_text())["problems"]
    assert problem["path"].endswith("b.jpg") and len(json.loads((out / "predictions.json").read_text())["predictions"]) == 1


def test_an_unusable_list_of_problems_is_refused_before_anything_is_done(
    tiny: Tiny, tmp_path: Path, dips: Dips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dips.loading.load", lambda *_, **__: pytest.fail("the networks were loaded"))
    (tmp_path / "notes").write_text("mine")
    for file in (tmp_path, tmp_path / "notes", tmp_path / "notes" / "p.json"):
        said = dips("predict", tiny.run, tiny.data / "test", "--out", tmp_path / "out", "--problems", file)
        assert said.code == 2 and str(file) in said.err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_but_unreadable_photos_is_bad_input(tiny: Tiny, tmp_path: Path, dips: Dips, count: int) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(count):
        (photos / f"{number}.jpg").write_text("no photo")
    said = dips("predict", tiny.run, photos, "--out", out, "--problems", tmp_path / "p.json")
    assert said.code == 2 and said.out == "" and said.err.splitlines()[-1].startswith("dips: error: nothing is predicted")
    assert "0.jpg" in said.err and not out.exists()
    assert len(json.loads((tmp_path / "p.json").read_text())["problems"]) == count


def test_photos_and_results_in_a_store_are_those_of_a_folder(
    tiny: Tiny, tmp_path: Path, dips: Dips, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte by byte, but for the photos' paths; from a folder of the store, and, by two processes, from a list."""
    from dips.shards import remote

    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in this process: the last bit depends on it
    monkeypatch.chdir(tmp_path)
    store, top = remote.open_store(bucket)
    for path in sorted((tiny.data / "test" / "tower").iterdir())[:3]:
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "photos" / "bad.jpg").write_text("no photo")
    for path in (tmp_path / "photos").iterdir():
        store.pipe_file(f"{top}/photos/{path.name}", path.read_bytes())
    (tmp_path / "list.csv").write_text("".join(f"{bucket}/photos/{path.name}\n" for path in (tmp_path / "photos").iterdir()))
    more = ("--format", "overlays,heatmaps,masks,coco,yolo-seg,labelstudio", "--set", "predict.batch=2")
    assert dips("predict", tiny.run, "photos", "--out", "out", *more).code == 1
    for photos, out, workers in ((f"{bucket}/photos/", f"{bucket}/a", 1), ("list.csv", f"{bucket}/b", 2)):
        said = dips("predict", tiny.run, photos, "--out", out, *more, "--workers", workers)
        assert said.code == 1 and f"see {out}/skipped.json" in said.out and "copy it here" in said.out, said.err
        assert f"{bucket}/photos/bad.jpg is not a photo" in said.err
        names = set(remote.each_name(out))
        assert names == {path.relative_to("out").as_posix() for path in Path("out").rglob("*") if path.is_file()}
        for name in names:
            there = remote.read_url(f"{out}/{name}").replace(f"{bucket}/".encode(), b"")
            assert there == Path("out", name).read_bytes(), name
        records = json.loads(remote.read_url(f"{out}/predictions.json"))["predictions"]
        assert {record["path"] for record in records} == {f"{bucket}/photos/{record['name']}" for record in records}
    said = dips("merge", f"{bucket}/a")
    assert said.code == 2 and f"there is nothing to merge: {bucket}/a/.unfinished holds no plan" in said.err
    said = dips("predict", tiny.run, "photos", "--out", "s3://no-such/out")
    assert said.code == 2 and "there is no such bucket; make it, or mend the address" in said.err
    said = dips("predict", tiny.run, "photos", "--out", "hf://datasets/a/b")
    assert said.code == 2 and "can be read, but not written" in said.err


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_processes_and_tasks_make_what_one_process_makes(
    tiny: Tiny, tmp_path: Path, dips: Dips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in this process: the last bit depends on it
    photos = tmp_path / "photos"
    shutil.copytree(tiny.data / "test", photos)
    (photos / "tower" / "broken.jpg").write_text("no photo")
    command = ("predict", tiny.run, photos, "--format", "json,coco,masks,overlays", "--set=predict.batch=1")
    assert dips(*command, "--out", tmp_path / "one").code == 1
    expected = files_of(tmp_path / "one")
    assert "skipped.json" in expected and len(expected) > 20

    said = dips(*command, "--out", tmp_path / "two", "--workers", "2")
    assert said.code == 1 and "broken.jpg" in said.err and files_of(tmp_path / "two") == expected, said.err

    out = tmp_path / "tasks"
    said = dips(*command, "--out", out, "--shard", "2/2")
    assert said.code == 0 and f"4 of 7 photos are left to other tasks; once they have ended: dips merge {out}" in said.err
    said = dips("merge", out)
    assert said.code == 2 and "is unfinished: 4 of 7 photos are not done" in said.err
    for name, value in (("ID", "5"), ("MIN", "5"), ("STEP", "1"), ("COUNT", "2")):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    said = dips(*command, "--out", out)
    assert said.code == 0 and "SLURM_ARRAY_TASK_ID=5: this is task 1 of 2" in said.err
    assert f"all 7 photos are done; next: dips merge {out}" in said.err
    assert dips("merge", out).code == 1 and files_of(out) == expected
