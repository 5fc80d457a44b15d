"""From finished shards to a complete folder: in the plan's order, or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dips.errors import DataError, ImageError, RunError
from dips.predict import merging
from dips.predict.folder import PredictionFolder, parse_formats
from dips.predict.merging import Filled, merge_predictions
from dips.predict.prediction import Prediction
from dips.shards.files import LocalFiles
from dips.shards.lease import take_alone
from dips.shards.plan import PLAN, Plan, mark_merged, read_plan
from dips.types import Problem

Made = Callable[..., Prediction]
Fill = Callable[..., Filled]
FORMATS = parse_formats("coco,csv,voc")
Done = Callable[[Path], PredictionFolder]


@pytest.fixture
def done(tmp_path: Path, make_photo: Callable[..., Path], make_prediction: Made, fill: Fill) -> Done:
    """``done(out)`` leaves all photos done, one cannot be read, and nothing merged."""
    for number in range(5):
        make_photo(tmp_path / "p" / f"{number}.png", (120, 90), seed=number)

    def made(path: Path) -> Prediction:
        if path.name == "2.png":
            raise ImageError(f"{path} is no photo")
        return make_prediction(path=path, box=None if path.name == "3.png" else (30, 20, 80, 60))

    def make(out: Path) -> PredictionFolder:
        folder = PredictionFolder.plan([tmp_path / "p"], out, formats=FORMATS, made_with={"model": "m"}, step=2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dips.predict.folder.merge_predictions", lambda out: Filled())
            fill(folder, made)
        return folder

    return make


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_written_and_told(done: Done, tmp_path: Path) -> None:
    done(tmp_path / "out")
    told: list[Problem] = []
    filled = merge_predictions(tmp_path / "out", told.extend)
    assert (filled.found.photos, filled.found.boxed) == (4, 3) and filled.skipped == told
    assert [problem.path for problem in told] == [tmp_path / "p" / "2.png"]
    whole = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [record["name"] for record in whole["predictions"]] == ["0.png", "1.png", "3.png", "4.png"]
    assert list(whole["failed"]) == ["2.png"] and not (tmp_path / "out" / ".unfinished").exists()
    with pytest.raises(RunError, match="nothing is left to be done"):
        merge_predictions(tmp_path / "out")


def test_what_is_not_done_is_counted_and_nothing_is_written(done: Done, tmp_path: Path) -> None:
    done(tmp_path / "out")
    (tmp_path / "out/.unfinished/done/00001").unlink()
    before = files(tmp_path / "out")
    with pytest.raises(RunError, match=r"is unfinished: 2 of 5 photos are not done, in shard 1; repeat the command"):
        merge_predictions(tmp_path / "out")
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize("damage", ["swapped", "cut", "missing", "flipped"])
def test_a_damaged_part_is_named_and_no_file_of_all_photos_is_left(done: Done, tmp_path: Path, damage: str) -> None:
    done(tmp_path / "out")
    part = tmp_path / "out/.unfinished/parts/00000~1"
    first, second = part.read_bytes().splitlines(keepends=True)
    if damage == "missing":
        part.unlink()
    else:
        part.write_bytes({"swapped": second + first, "cut": first, "flipped": first + second.replace(b"0.9", b"0.8")}[damage])
    with pytest.raises(RunError, match=r"00000~1 is (damaged|missing).*; remove .*done/00000 and repeat the command"):
        merge_predictions(tmp_path / "out")
    assert not {"predictions.json", "coco.json", "boxes.csv"} & files(tmp_path / "out").keys()


def test_two_at_once_are_refused(done: Done, tmp_path: Path) -> None:
    folder = done(tmp_path / "out")
    lease = take_alone(folder.files)
    with pytest.raises(RunError, match="is in use by another command"):
        merge_predictions(tmp_path / "out")
    lease.give_back()
    assert merge_predictions(tmp_path / "out").found.photos == 4


def test_whoever_comes_next_keeps_its_lease(done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading what a folder holds takes long where it is in a store, and another command may begin meanwhile."""
    folder = done(tmp_path / "out")
    plan = read_plan(folder.files)
    assert plan is not None
    mark_merged(folder.files, plan)

    def read(out: Path) -> Filled:
        take_alone(folder.files, beat_seconds=0)
        return Filled()

    monkeypatch.setattr(merging, "_read", read)
    merge_predictions(tmp_path / "out")
    assert folder.files.names("driver") == ["work~1"]


class Killed(BaseException):
    """Ends the process, as far as its files are concerned."""


@pytest.mark.parametrize("after", ["mark_merged", *(f"discard {number}" for number in range(1, 7)), "remove plan.json"])
def test_a_kill_at_the_end_goes_on(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str, make_prediction: Made, fill: Fill
) -> None:
    """With the summary of the whole, and without predicting any photo again."""
    folder = done(tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "whole")
    merge_predictions(tmp_path / "whole")
    left = 6
    discard, remove, mark = LocalFiles.discard, LocalFiles.remove, mark_merged

    def marked(files: LocalFiles, plan: Plan) -> None:
        mark(files, plan)
        if after == "mark_merged":
            raise Killed

    def discarded(files: LocalFiles, name: str) -> None:
        nonlocal left
        discard(files, name)
        left -= 1
        if after == f"discard {6 - left}":
            raise Killed

    def removed(files: LocalFiles, name: str) -> None:
        if after == f"remove {name}":
            (files.folder / name).unlink()
            raise Killed
        remove(files, name)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFiles, "discard", discarded)
        patch.setattr(LocalFiles, "remove", removed)
        patch.setattr("dips.shards.merge.mark_merged", marked)
        with pytest.raises(Killed):
            merge_predictions(tmp_path / "out")
    if after == "remove plan.json":
        with pytest.raises(RunError, match="already exists"):
            PredictionFolder.plan([tmp_path / "p"], tmp_path / "out", formats=FORMATS, made_with={"model": "m"}, step=2)
    else:
        again = PredictionFolder.plan([tmp_path / "p"], tmp_path / "out", formats=FORMATS, made_with={"model": "m"}, step=2)
        filled = fill(again, lambda path: pytest.fail("it was done"))
        assert (filled.found.photos, filled.found.boxed, len(filled.skipped)) == (4, 3, 1)
        assert not Path(folder.files.place).exists()
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_folder_that_was_given_up_halfway_starts_anew(
    tmp_path: Path, make_photo: Callable[..., Path], make_prediction: Made, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill while it was removed leaves no marker that counts later."""
    photo = make_photo(tmp_path / "a.png", (120, 90))

    def plan() -> PredictionFolder:
        return PredictionFolder.plan([photo], tmp_path / "out", formats=FORMATS, made_with={"model": "m"})

    def unreadable(path: Path) -> Prediction:
        raise ImageError(f"{path} is no photo")

    remove = LocalFiles.remove

    def killed(files: LocalFiles, name: str) -> None:
        remove(files, name)
        if name == PLAN:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(LocalFiles, "remove", killed)
        with pytest.raises(Killed):
            fill(plan(), unreadable)
    assert (tmp_path / "out/.unfinished/done/00000").is_file()
    assert fill(plan(), lambda path: make_prediction(path=path)).found.photos == 1
    with pytest.raises(DataError, match="cannot read the only photo"):
        fill(PredictionFolder.plan([photo], tmp_path / "b", formats=FORMATS, made_with={}), unreadable)
    assert not (tmp_path / "b").exists()
