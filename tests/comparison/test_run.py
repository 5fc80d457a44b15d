"""``dips.compare``: what is fitted, what is kept, what goes on, and what happens where a method fails."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dips.baselines.limits import Limits
from dips.baselines.method import Fit
from dips.baselines.study import Study
from dips.comparison import run as run_module
from dips.config import Config, to_toml
from dips.data.photo_files import find_images, has_photos
from dips.errors import ConfigError, DataError, RunError
from dips.system.files import only_one
from dips.types import DataSet, PhotoBatch, Sample

Compare = Callable[..., dict[str, Any]]


def test_a_row_says_everything_that_the_table_needs(run: Compare, kinds: Any, tmp_path: Path) -> None:
    record = run([kinds.Bright(), kinds.Learner()])
    assert record["failed"] == [] and [row["name"] for row in record["methods"]] == ["bright", "learner"]
    bright, learner = (row["runs"][0] for row in record["methods"])
    assert bright["boxes"]["n_boxed"] == record["n_boxed"] == 3 and bright["boxes"]["max_box_acc_v2"] > 0
    assert bright["at_tau"] is not None, "validation photos have boxes"
    assert bright["boxes"]["class_top1"] is None and learner["boxes"]["class_top1"] is not None
    assert learner["parameters"] == 4 and learner["fit"]["steps"] == 3 and learner["seconds_per_photo"] > 0
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"table.json", "table.md", "table.tex", "compare.json"}
    assert not has_photos(tmp_path / "out") and find_images(tmp_path / "out").problems[0].path == tmp_path / "out"
    assert json.loads((tmp_path / "out" / "table.json").read_text())["methods"][0]["title"] == "Bright"


def test_what_is_done_is_not_done_again(run: Compare, kinds: Any, capfd: pytest.CaptureFixture[str]) -> None:
    first = run([kinds.Bright(), kinds.Learner()])
    assert "already" not in capfd.readouterr().err
    again = kinds.Bright()
    second = run([again, kinds.Learner()])
    assert kinds.Learner.fits == 1 and again.asked == 0
    assert "already fitted and measured with seed 0: Bright, Learner" in capfd.readouterr().err
    assert second["methods"] == first["methods"]


def test_a_comparison_that_was_stopped_goes_on_with_what_is_missing(run: Compare, kinds: Any, tmp_path: Path) -> None:
    whole = run([kinds.Learner(), kinds.Bright()])
    (tmp_path / "out" / "seed-0" / "learner" / "test.json").unlink()
    shutil.rmtree(tmp_path / "out" / "seed-0" / "bright")
    again = run([kinds.Learner(), kinds.Bright()])
    assert kinds.Learner.fits == 1, "it was fitted and is only measured"
    for old, new in zip(whole["methods"], again["methods"], strict=True):
        assert new["runs"][0]["boxes"] == old["runs"][0]["boxes"], "a restored method answers as the fitted one did"


def test_two_commands_on_one_folder_are_refused(run: Compare, kinds: Any, tmp_path: Path) -> None:
    run([kinds.Bright()])
    with (
        only_one(tmp_path / "out" / "compare.json", tmp_path, "dips compare"),
        pytest.raises(RunError, match=r"is in use by another 'dips compare'; stop that one first"),
    ):
        run([kinds.Bright(), kinds.Learner()])
    assert kinds.Learner.fits == 0
    run([kinds.Bright(), kinds.Learner()])


def test_methods_seeds_and_splits_can_be_added(run: Compare, kinds: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run([kinds.Learner()])
    record = run([kinds.Bright(), kinds.Learner()], seeds=2)
    assert kinds.Learner.fits == 2 and [len(row["runs"]) for row in record["methods"]] == [2, 2]
    assert [run["seed"] for run in record["methods"][1]["runs"]] == [0, 1]
    table = (out / "table.md").read_text()
    other = run([kinds.Learner()], protocol="original-pixels")
    assert (out / "table.md").read_text() == table, "the finished table stands"
    assert "Learner" in (out / "table-original-pixels.md").read_text()
    assert (out / "sheet-original-pixels-1.jpg").is_file() and (out / "sheet-1.jpg").is_file()
    assert kinds.Learner.fits == 2 and other["protocol_name"] == "original-pixels"
    whole = run([kinds.Bright()])
    assert [(row["name"], len(row["runs"])) for row in whole["methods"]] == [("bright", 2), ("learner", 2)], "all it holds"


def test_a_method_is_fitted_after_what_it_builds_on(run: Compare, kinds: Any) -> None:
    from dips.comparison import catalogue

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.METHODS, "learner", kinds.Learner)
        record = run([kinds.Above()])
    assert [row["name"] for row in record["methods"]] == ["learner", "above"]
    below, above = (row["runs"][0] for row in record["methods"])
    assert above["boxes"]["curves"] == below["boxes"]["curves"]
    assert above["parameters"] == below["parameters"] == 4
    assert above["needs_seconds"] == below["fit"]["seconds"] and below["needs_seconds"] == 0


@pytest.mark.parametrize("name", ["BreaksAtFit", "BreaksAtMaps", "AnswersNothing"])
def test_a_failing_method_does_not_stop_the_others(run: Compare, kinds: Any, name: str) -> None:
    record = run([getattr(kinds, name)(), kinds.Bright()])
    assert [row["name"] for row in record["methods"]] == ["bright"]
    (failed,) = record["failed"]
    assert failed["name"] == getattr(kinds, name).name and ("today" in failed["why"] or "NaN" in failed["why"])
    assert run([getattr(kinds, name)(), kinds.Bright()])["failed"], "it is tried again"


def test_what_builds_on_a_failed_method_says_so(run: Compare, kinds: Any) -> None:
    class Broken(kinds.BreaksAtFit):  # type: ignore[misc]
        name = "learner"

    record = run([Broken(), kinds.Above(), kinds.Bright()])
    assert [row["name"] for row in record["methods"]] == ["bright"]
    assert "it builds on learner, which failed" in {failed["why"] for failed in record["failed"]}


def test_the_sheet_shows_the_photos(run: Compare, kinds: Any, tmp_path: Path) -> None:
    from PIL import Image

    run([kinds.Bright(), kinds.Learner()], photos=2)
    sheet = np.asarray(Image.open(tmp_path / "out" / "sheet-1.jpg"))
    assert sheet.ndim == 3 and sheet.std() > 10


def test_a_sheet_of_another_number_of_photos_is_refused(run: Compare, kinds: Any, tmp_path: Path) -> None:
    run([kinds.Bright()], photos=2)
    with pytest.raises(RunError, match=r"--photos 2, now 1.*another --out"):
        run([kinds.Bright(), kinds.Learner()], photos=1)
    known = tmp_path / "out" / "compare.json"
    before = json.loads(known.read_text())
    del before["--photos"]
    known.write_text(json.dumps(before))
    run([kinds.Bright()], photos=2)


def test_what_was_measured_on_another_ground_truth_is_measured_again(
    run: Compare, kinds: Any, scenes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One table never mixes two: a corrected box changes all rows, or leaves out those that were not measured again."""
    data = tmp_path / "data"
    shutil.copytree(scenes, data)
    run([kinds.Learner(), kinds.Bright()], data=data)
    boxes = data / "test.coco.json"
    coco = json.loads(boxes.read_text())
    coco["annotations"][0]["bbox"][2] += 1
    boxes.write_text(json.dumps(coco))
    capfd.readouterr()
    assert [row["name"] for row in run([kinds.Learner()], data=data)["methods"]] == ["learner"]
    assert "left out of the table, measured on other photos or another ground truth: bright (seed 0)" in capfd.readouterr().err
    assert {row["name"] for row in run([kinds.Bright()], data=data)["methods"]} == {"learner", "bright"}
    assert kinds.Learner.fits == 1, "what was learned does not depend on them"


def test_other_settings_are_refused(run: Compare, kinds: Any, tmp_path: Path) -> None:
    run([kinds.Bright()])
    with pytest.raises(RunError, match=r"train\.epochs"):
        run([kinds.Bright()], settings=["train.epochs=2"])
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="not a comparison"):
        run([kinds.Bright()], out=tmp_path / "else")


def test_photos_that_were_learned_from_are_no_test(run: Compare, kinds: Any) -> None:
    with pytest.raises(DataError, match="learn from"):
        run([kinds.Bright()], split="train")


def test_a_method_whose_file_was_edited_is_fitted_again(run: Compare, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    text = (Path(__file__).with_name("methods.py")).read_text(encoding="utf-8")
    own.write_text(text, encoding="utf-8")
    first = run([f"{own}:Bright"])
    own.write_text(text.replace("return images.mean(1)\n", "return 1 - images.mean(1)\n"), encoding="utf-8")
    second = run([f"{own}:Bright"])
    assert first["methods"][0]["runs"][0]["boxes"] != second["methods"][0]["runs"][0]["boxes"]


def test_what_builds_on_an_edited_method_is_fitted_again(run: Compare, tmp_path: Path) -> None:
    text = (Path(__file__).with_name("methods.py")).read_text(encoding="utf-8")
    below, above = tmp_path / "below.py", tmp_path / "above.py"
    below.write_text(text, encoding="utf-8")
    above.write_text(text, encoding="utf-8")
    fits = [tmp_path / "out" / "seed-0" / name / "fit.json" for name in ("learner", "above", "bright")]

    def numbers() -> tuple[list[dict[str, Any]], list[int]]:
        record = run([f"{below}:Learner", f"{above}:Above", f"{above}:Bright"])
        found = {row["name"]: row["runs"][0]["boxes"]["curves"] for row in record["methods"]}
        return [found["learner"], found["above"]], [file.stat().st_mtime_ns for file in fits]

    first, made = numbers()
    below.write_text(text.replace("return min_max(self.net(images)[:, 0])", "return images[:, 0] * 0 + 1"), encoding="utf-8")
    second, again = numbers()
    assert first[0] == first[1] and second[0] == second[1] and first != second
    assert [old != new for old, new in zip(made, again, strict=True)] == [True, True, False], "bright is as it was"


@pytest.mark.parametrize("file", ["fit.json", "test.json"])
def test_a_file_that_was_removed_is_made_again(run: Compare, kinds: Any, tmp_path: Path, file: str) -> None:
    run([kinds.Learner()])
    folder = tmp_path / "out" / "seed-0" / "learner"
    before = (folder / "test.json").stat().st_mtime_ns
    (folder / file).unlink()
    record = run([kinds.Learner()])
    assert [(row["name"], len(row["runs"])) for row in record["methods"]] == [("learner", 1)]
    assert kinds.Learner.fits == (2 if file == "fit.json" else 1)
    assert (folder / "test.json").stat().st_mtime_ns > before, "measured anew"


def test_a_copy_of_a_training_photo_is_no_test(run: Compare, kinds: Any, scenes: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(scenes, tmp_path / "copy"))
    shutil.copy(next((data / "train" / "tower").glob("*.jpg")), data / "test" / "tower" / "0000.jpg")
    with pytest.raises(DataError, match="1 photo of the split 'test'"):
        run([kinds.Bright()], data=data)


def test_an_unreadable_photo_is_skipped_and_named(run: Compare, kinds: Any, scenes: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(scenes, tmp_path / "copy"))
    (data / "test" / "tower" / "0001.jpg").write_bytes(b"no photo")
    record = run([kinds.Bright()], data=data)
    (row,) = record["methods"]
    (skipped,) = json.loads((tmp_path / "out" / "seed-0" / "bright" / "test.json").read_text(encoding="utf-8"))["skipped"]
    assert row["runs"][0]["skipped"] == [skipped] and skipped["path"].endswith("0001.jpg") and skipped["why"]
    assert record["n_skipped"] == 1
    assert row["runs"][0]["boxes"]["n_boxed"] == 2, "the others are measured"
    assert "1 of them could not be read" in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("nowhere", "nowhere"),
        ("no test part", "test"),
        ("no boxes", r"has ground-truth boxes or masks.*docs/data\.md"),
        ("train", r"holds train/ and test/"),
    ],
)
def test_a_folder_is_not_spoilt_by_wrong_data(
    run: Compare, kinds: Any, scenes: Path, tmp_path: Path, wrong: str, why: str
) -> None:
    data = tmp_path / ("nowhere" if wrong == "nowhere" else "wrong")
    if wrong == "train":
        data = scenes / "train"
    if wrong == "no test part":
        shutil.copytree(scenes / "train", data / "train")
    if wrong == "no boxes":
        for part in ("train", "test"):
            shutil.copytree(scenes / part, data / part)
    with pytest.raises(DataError, match=why):
        run([kinds.Bright()], data=data)
    record = run([kinds.Bright()])
    assert record["failed"] == [] and len(record["methods"]) == 1


def test_one_name_and_another_first_seed(run: Compare, tmp_path: Path) -> None:
    assert [row["name"] for row in run("centre", settings=["train.seed=5"])["methods"]] == ["centre"]
    assert (tmp_path / "out" / "seed-5" / "centre" / "test.json").is_file()


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf"), "long"])
def test_a_budget_is_above_zero(scenes: Path, tmp_path: Path, budget: Any) -> None:
    import dips

    with pytest.raises(ConfigError, match="--budget"):
        dips.compare(scenes, out=tmp_path / "out", methods=["centre"], budget=budget)
    with pytest.raises(ConfigError, match=r"--stride 12: give 8, 16 or 32"):
        dips.compare(scenes, out=tmp_path / "out", methods=["centre"], stride=12)
    with pytest.raises(ConfigError, match=r"--photos -1 must be at least 0"):
        dips.compare(scenes, out=tmp_path / "out", methods=["centre"], photos=-1)
    assert not (tmp_path / "out").exists()


def test_another_budget_or_stride_is_another_comparison(run: Compare, kinds: Any, tmp_path: Path) -> None:
    run([kinds.Bright()])
    with pytest.raises(RunError, match=r"budget 0\.001, now converged"):
        run([kinds.Bright()], budget="converged")
    with pytest.raises(RunError, match=r"--stride 16, now 8"):
        run([kinds.Bright()], stride=8)
    known = tmp_path / "out" / "compare.json"
    before = json.loads(known.read_text())
    del before["--stride"]
    known.write_text(json.dumps(before))
    run([kinds.Bright()])


def test_methods_converge(run: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Limits(passes=4, every=1, patience=1, least=2, rates=(0.5, 1.0), trial=1)
    monkeypatch.setattr(run_module, "Limits", lambda: small)
    record = run(["cam", "layercam"], budget="converged", stride=8)
    assert record["failed"] == [] and record["budget_minutes"] is None and record["limits"] == small.words
    fit = record["methods"][0]["runs"][0]["fit"]
    assert "rate 0.0" in fit["chosen"] and [row.get("step") for row in fit["curve"][:4]] == [None, None, None, 0]
    assert record["stride"] == 8 and fit["steps"] >= 3 + 2 + 1, "trials, the constant rate, the falling one"


def test_a_method_has_what_those_below_it_left(run: Compare, kinds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where these were fitted before."""
    left: list[float] = []

    def train(self: Any, study: Study) -> Fit:
        left.append(study.seconds)
        return Fit(steps=1)

    monkeypatch.setattr(kinds.Above, "train", train)
    monkeypatch.setattr(kinds.Learner, "train", lambda self, study: Fit(steps=3, seconds=90.0))
    run([kinds.Learner(), kinds.Above()], budget=2.0)
    again = kinds.Above()
    type(again).name = "again"
    record = run([kinds.Learner(), again], budget=2.0)
    assert len(left) == 2 and all(29 < seconds <= 30 for seconds in left)
    assert {row["name"] for row in record["methods"]} == {"learner", "above", "again"}


def test_the_method_of_the_documentation_works(run: Compare, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(# eigen\.py\n.*?)```", page, flags=re.DOTALL)
    (tmp_path / "eigen.py").write_text(example, encoding="utf-8")
    record = run([f"{tmp_path / 'eigen.py'}:EigenCam"])
    assert record["failed"] == [] and {row["title"] for row in record["methods"]} == {"CAM", "Eigen-CAM"}
    cam, own = (row["runs"][0] for row in record["methods"])
    assert own["parameters"] == cam["parameters"] > 0 and own["boxes"]["class_top1"] == cam["boxes"]["class_top1"] is not None


def test_the_python_example_of_the_documentation_runs_as_it_stands(
    scenes: Path, tmp_path: Path, tiny_config: Config, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dips
    from dips.comparison import run

    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
    method, example = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "eigen.py").write_text(method, encoding="utf-8")
    (tmp_path / "tiny.toml").write_text(to_toml(tiny_config), encoding="utf-8")
    shutil.copytree(scenes, tmp_path / "birds")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    more: dict[str, Any] = {"weights": [str(tiny_weights)], "store": tmp_path / "store"}
    monkeypatch.setattr(dips, "compare", partial(run.compare, recipe="tiny.toml", budget=0.001, device="cpu", **more))
    exec(example, {})
    assert (tmp_path / "compare" / "birds" / "table.md").is_file()


@pytest.mark.slow
def test_every_method_runs(run: Compare, scenes: Path, tmp_path: Path, tiny_weights: Path) -> None:
    """All of them on tiny networks: nobody fails, and the maps of DiPS are those of its run folder, not mirrored."""
    import dips
    from dips.comparison.catalogue import METHODS
    from dips.comparison.folder import MethodFolder
    from dips.data.images import read_image, resize_image

    record = run(["all"])
    assert record["failed"] == [] and {row["name"] for row in record["methods"]} == {*METHODS, "head1", "head2"}
    assert (tmp_path / "out" / "attention-1.jpg").is_file()
    folder = tmp_path / "out" / "seed-0" / "dips"
    model = dips.load(folder / "run", device="cpu", settings=["predict.flip=false"], weights=[str(tiny_weights)])
    assert isinstance(model, dips.Model)
    side = model.networks.side
    for name, score_map in MethodFolder(folder).maps("test").items():
        square = resize_image(read_image(scenes / "test" / name, max_side=side), (side, side))
        own_map = model.networks.answer(PhotoBatch(square[None])).maps[0]
        np.testing.assert_allclose(np.asarray(own_map), score_map, atol=1e-5)


def test_what_methods_of_one_label_learn_is_told() -> None:
    samples = [Sample(Path("a"), "a", 0, others=(1,)), Sample(Path("b"), "b", 1)]
    data = DataSet(Path("photos"), ("owl", "tit"), tuple(samples))
    (problem,) = run_module._first_labels(data)
    assert "1 photo has several labels, of which all methods but DiPS learn the first" in problem.message
    assert not run_module._first_labels(dataclasses.replace(data, samples=data.samples[1:]))
