"""``dips score``, and ``dips evaluate`` with another protocol, through the command line."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dips.cli.tables import print_evaluation
from dips.evaluate import centre_map
from dips.shards.launch import Crew

from .conftest import Dips, Tiny, fake


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Metadata of two splits, and maps of the same names in ``maps``; no photo."""
    for split, count in (("val", 6), ("test", 10)):
        folder = tmp_path / "data" / "metadata" / split
        folder.mkdir(parents=True)
        ids = [f"{split}/owl, snowy/{number} ü.jpg" for number in range(count)]
        (folder / "image_ids.txt").write_text("".join(f"{id}\n" for id in ids), encoding="utf-8")
        (folder / "class_labels.txt").write_text("".join(f"{id},0\n" for id in ids), encoding="utf-8")
        (folder / "image_sizes.txt").write_text("".join(f"{id},64,48\n" for id in ids), encoding="utf-8")
        lines = [f"{id},{number},4,{40 + number},40\n" for number, id in enumerate(ids)]
        (folder / "localization.txt").write_text("".join(lines), encoding="utf-8")
        for number, id in enumerate(ids):
            path = tmp_path / "maps" / split / id.removeprefix(f"{split}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(number).random((5, 5)).astype(np.float32)
            np.save(path.with_suffix(".npy"), centre_map() * cv2.resize(noise, (224, 224)))
    return tmp_path / "data"


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_score_against_a_csv(tmp_path: Path, dips: Dips, make_photo: Callable[..., Path]) -> None:
    (tmp_path / "maps").mkdir()
    for name in "ab":
        make_photo(tmp_path / f"{name}.jpg", (64, 48))
        np.save(tmp_path / "maps" / f"{name}.npy", centre_map())
    table = tmp_path / "test.csv"
    table.write_text("photo,place,kind,xmin,ymin,xmax,ymax\na.jpg,here,x,9,9,50,40\nb.jpg,there,y,9,9,50,40\n")
    given = ("score", tmp_path / "maps", table, "--workers", 1)
    assert "no column is known to be the class" in dips(*given).err
    said = dips(*given, "--label-column", "kind")
    assert said.code == 0 and "2 photos, 2 with ground-truth boxes" in said.out


def test_score(data: Path, tmp_path: Path, dips: Dips) -> None:
    out = tmp_path / "out"
    said = dips("score", tmp_path / "maps/val", data, "--split", "val", "--json", out / "val.json", "--workers", 2)
    assert said.code == 0, said.err
    given = ("score", tmp_path / "maps/test", data, "--tau-from", out / "val.json")
    said = dips(*given, "--json", out / "e.json", "--csv", out / "e.csv", "--plots", out / "plots")
    assert said.code == 0, said.err
    assert files(out) == {"val.json", "e.json", "e.csv", "plots"}, "no halves are left"
    result = json.loads((out / "e.json").read_text())
    assert "split test: 10 photos, 10 with ground-truth boxes" in said.out
    table = {line.split("  ")[1].strip(): line.split() for line in said.out.splitlines() if line.startswith("  ")}
    own, centre = (result[name] for name in ("max_box_acc_v2", "baselines"))
    assert table["MaxBoxAccV2"][-2:] == [f"{own:.1f}", f"{centre['centre']['max_box_acc_v2']:.1f}"]
    chosen = (result["at_validation_tau"], centre["centre"]["at_validation_tau"])
    assert table["BoxAccV2"][-2:] == [f"{one['box_acc_v2']:.1f}" for one in chosen] and "validation" in table["BoxAccV2"]
    with (out / "e.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [f"test/owl, snowy/{number} ü.jpg" for number in range(10)]
    pictures = files(out / "plots")
    assert pictures and {Path(name).suffix for name in pictures} == {".svg", ".png"}
    assert all(str(out / "plots" / name) in said.out for name in pictures)


def test_files_are_replaced_whole(data: Path, tmp_path: Path, dips: Dips) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("e.json", "e.csv"):
        (out / name).write_text("old")
    (tmp_path / "maps/test/owl, snowy/3 ü.npy").write_text("no map")
    given = ("score", tmp_path / "maps/test", data, "--json", out / "e.json", "--csv", out / "e.csv")
    assert dips(*given).code == 2
    assert {(out / name).read_text() for name in files(out)} == {"old"} and len(files(out)) == 2
    np.save(tmp_path / "maps/test/owl, snowy/3 ü.npy", centre_map())
    assert dips(*given).code == 0
    assert json.loads((out / "e.json").read_text())["n_images"] == 10 and (out / "e.csv").read_text().count("\n") == 11
    assert files(out) == {"e.json", "e.csv"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--protocol", "voc"), "no protocol 'voc'; take one of wsol-224, original-pixels"),
        (
            ("--protocol", "original-pixels"),
            "owl, snowy/0 ü.npy is 224x224 (width x height); protocol original-pixels wants 64x48",
        ),
        (("--split", "val"), "has 4 maps of photos"),
        (("--split", "train"), "there are val, test"),
        (("--predicted", "gone.csv"), "gone.csv cannot be read"),
        (("--tau-from", "gone.json"), "gone.json (No such file or directory); give the JSON"),
        (("--json", "metadata/x/"), "cannot write"),
        (("--csv", "."), "cannot write"),
        (("--plots", "file"), "file"),
        (("--workers", "many"), "--workers"),
    ],
)
def test_mistakes_are_one_line(
    more: tuple[str, str], words: str, data: Path, tmp_path: Path, dips: Dips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    (data / "file").write_text("")
    (data / "metadata" / "x").mkdir()
    said = dips("score", tmp_path / "maps/test", data, *more)
    assert said.code == 2 and words in said.err
    assert said.err.startswith("dips: error: ") and said.err.count("\n") == 1


def test_places_that_hold_nothing(data: Path, tmp_path: Path, dips: Dips) -> None:
    (tmp_path / "empty").mkdir()
    for maps, truth, words in (
        (tmp_path / "gone", data, "gone does not exist"),
        (tmp_path / "empty", data, "empty holds no score map"),
        (data / "metadata/val/image_ids.txt", data, "image_ids.txt is not an archive of score maps"),
        (tmp_path / "maps/test", tmp_path / "gone", "gone does not exist"),
        (tmp_path / "maps/test", tmp_path / "empty", "empty"),
        (data, tmp_path / "maps/test", "test"),
    ):
        said = dips("score", maps, truth)
        assert said.code == 2 and words in said.err and said.err.count("\n") == 1, said.err


def hear_ctrl_c() -> None:
    """A shell's background jobs do not hear it, and hand that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(os.name == "nt", reason="no Ctrl-C for groups of processes here")
def test_ctrl_c_ends_all_processes(data: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; import dips.benchmark.map_shards as s; from dips.cli import main\n"
        "def slow(*given, **named):\n"
        "    print('begun', flush=True); time.sleep(60)\n"
        "s.compare_map = slow\n"  # in each of the processes
        "if __name__ == '__main__':\n"
        "    sys.exit(main(sys.argv[1:]))\n"
    )
    (tmp_path / "run.py").write_text(code)
    command = [sys.executable, tmp_path / "run.py", "score", tmp_path / "maps/test", data, "--csv", tmp_path / "e.csv"]
    with subprocess.Popen(
        [*map(str, command), "--workers", "2"],
        text=True,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        time.sleep(0.5)  # it is asleep by then
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "dips: interrupted: nothing was changed\n", "the other processes say nothing"
    assert not (tmp_path / "e.csv").exists()


def test_evaluate_in_original_pixels(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    given = ("evaluate", tiny.run, tiny.data, "--weights", tiny.weights)
    (tmp_path / "e.json").write_text("old")
    said = dips(*given, "--protocol", "original-pixels", "--plots", tmp_path / "plots", "--json", tmp_path / "e.json")
    assert said.code == 0, said.err
    result = json.loads((tmp_path / "e.json").read_text())
    assert result["protocol_name"] == "original-pixels" and "original photo" in result["protocol"]
    assert "original photo" in " ".join(said.out.split())
    assert {path.suffix for path in (tmp_path / "plots").iterdir()} == {".svg", ".png"}
    with (tiny.run / "evaluation.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == result["n_images"] == 6 and sum(row["iou"] != "" for row in rows) == result["n_boxed"] == 3
    assert {row["label"] for row in rows} == {"none", "tower"} and all(row["predicted"] for row in rows)
    right = sum(row["correct_50"] == "1" for row in rows)
    own = next(method for method in result["methods"] if method["own"])
    tau = json.loads((tiny.run / "run.json").read_text())["best_tau"]["50"]
    place = int(np.abs(np.array(own["boxes"]["curves"]["tau"]) - tau).argmin())
    assert own["boxes"]["curves"]["50"][place] == pytest.approx(100 * right / 3, abs=1e-3)
    assert result["at_validation_tau"] is None and "protocol wsol-224" in result["validation_tau_from"]


def test_photos_of_the_training_validate_nothing(tiny: Tiny, dips: Dips) -> None:
    """Thresholds were chosen on a part of ``train/``; on ``test/`` they are honest."""
    for split, honest in (("train", False), ("all", False), ("test", True)):
        said = dips("evaluate", tiny.run, tiny.data, "--weights", tiny.weights, "--split", split)
        assert said.code == 0, said.err
        result = json.loads((tiny.run / "evaluation.json").read_text())
        assert (result["at_validation_tau"] is not None) == honest
        assert ("perhaps on these; take the split 'test'" in said.err) == (not honest)
        assert ("numbers on training photos flatter" in said.err) == (not honest)
        assert ("validation: the thresholds were chosen on photos of this data" in said.out) == (not honest)
    said = dips("evaluate", tiny.run, tiny.data / "train", "--weights", tiny.weights, "--split", "all")
    assert said.code == 0 and "take photos that it was not trained with" in said.err and "'test'" not in said.err


def test_evaluate_with_an_unknown_protocol(tiny: Tiny, dips: Dips) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny.run.iterdir()}
    said = dips("evaluate", tiny.run, tiny.data, "--weights", tiny.weights, "--protocol", "voc")
    assert said.code == 2 and "no protocol 'voc'" in said.err and said.err.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in tiny.run.iterdir()} == before


def test_masks_without_boxes_have_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    empty: dict[str, Any] = {"boxes": {}, "at_tau": None}
    methods = [{"name": "maps", "pxap": 42.5, **empty}, {"name": "centre", "pxap": 17.0, **empty}]
    print_evaluation({"n_boxed": 0, "pxap": 42.5, "methods": methods})
    out = capsys.readouterr().out
    assert "PxAP" in out and "42.5" in out and "17.0" in out and "only the classification" not in out
    print_evaluation({"n_boxed": 0, "pxap": None, "methods": [{"name": "maps", "boxes": {}, "at_tau": None, "pxap": None}]})
    assert "only the classification" in capsys.readouterr().out


def test_options_are_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dips: Dips) -> None:
    result = {"data": "d", "split": "val", "n_images": 9, "n_boxed": 0, "methods": [], "max_box_acc_v2": None}
    calls = fake(monkeypatch, "dips.benchmark.score.score_maps", result)
    assert dips("score", "maps", "data").code == 0
    plain = {"split": "test", "protocol": "wsol-224", "resize": False, "partial_maps": False, "tau_from": None}
    unset = {"predicted": None, "label_column": "", "csv_path": None, "problems": None, "out": None, "crew": Crew(workers=0)}
    assert calls[0] == {"0": Path("maps"), "1": Path("data"), **plain, **unset}
    said = dips(
        *("score", "maps", "data", "--split", "val", "--protocol", "original-pixels", "--tau-from", "v.json", "--resize"),
        *("--partial", "--predicted", "p.csv", "--json", tmp_path / "e.json", "--csv", "e.csv", "--workers", "3"),
        *("--label-column", "kind", "--problems", "p.txt", "--out", "o"),
    )
    assert said.code == 0 and json.loads((tmp_path / "e.json").read_text()) == result
    more = {"split": "val", "protocol": "original-pixels", "resize": True, "partial_maps": True, "tau_from": Path("v.json")}
    files = {"predicted": Path("p.csv"), "label_column": "kind", "csv_path": Path("e.csv")}
    files |= {"problems": Path("p.txt"), "out": "o", "crew": Crew(workers=3)}
    assert calls[1] == {"0": Path("maps"), "1": Path("data"), **more, **files}


@pytest.mark.parametrize(("option", "file"), [("--json", "x.json"), ("--csv", "x.json"), ("--json", "sub/../x.json")])
def test_two_options_cannot_share_a_file(tmp_path: Path, dips: Dips, option: str, file: str) -> None:
    (tmp_path / "sub").mkdir()
    said = dips("score", "maps", "data", option, tmp_path / file, "--problems", tmp_path / "x.json")
    assert said.code == 2 and f"{option} and --problems both name" in said.err and not (tmp_path / "x.json").exists()


def test_boxes_in_shares_are_told(data: Path, tmp_path: Path, dips: Dips) -> None:
    file = data / "metadata/test/localization.txt"
    lines = [line.rsplit(",", 4) for line in file.read_text(encoding="utf-8").splitlines()]
    shares = ["{},{},{},{},{}".format(id, *(float(n) / 64 for n in box)) for id, *box in lines]
    file.write_text("\n".join(shares), encoding="utf-8")
    np.save(tmp_path / "maps/test/owl, snowy/stray.npy", centre_map())
    given = ("score", tmp_path / "maps/test", data, "--partial", "--workers", 1)
    said = dips(*given, "--problems", tmp_path / "p.json", "--json", tmp_path / "e.json")
    assert said.code == 0 and "all 10 boxes of this data: smaller than 2 pixels" in said.err and "stray" in said.err
    problems = json.loads((tmp_path / "p.json").read_text())["problems"]
    assert len(problems) == 2 and json.loads((tmp_path / "e.json").read_text())["problems"] == problems
    said = dips(*given, "--problems", tmp_path / "e.json")
    assert said.code == 2 and "is no list of problems" in said.err and json.loads((tmp_path / "e.json").read_text())["n_images"]


def test_an_array_is_merged(data: Path, tmp_path: Path, dips: Dips, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ("score", tmp_path / "maps/test", data)
    alone = dips(*given, "--json", tmp_path / "e.json", "--csv", tmp_path / "e.csv")
    tasks = (*given, "--out", tmp_path / "out", "--csv", tmp_path / "a.csv")
    for turn in ("2/2", "1/2"):
        said = dips(*tasks, "--shard", turn)
        assert said.code == 0 and said.out == "" and f"dips merge {tmp_path / 'out'}" in said.err
    said = dips("merge", tmp_path / "out")
    assert (said.code, said.out) == (0, alone.out)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "e.csv").read_bytes()
    found, own = (json.loads((tmp_path / name).read_text()) for name in ("out/scores.json", "e.json"))
    assert {**found, "environment": None} == {**own, "environment": None}
    for option in ("--json", "--plots"):
        said = dips(*tasks, "--shard", "1/2", option, tmp_path / "x")
        assert said.code == 2 and "'dips merge' makes scores.json in --out" in said.err
    said = dips(*given, "--shard", "1/2")
    assert said.code == 2 and "--shard and --engine ray need --out" in said.err
    monkeypatch.setenv("BATCH_TASK_INDEX", "0")
    monkeypatch.setenv("BATCH_TASK_COUNT", "2")
    said = dips(*given)
    assert said.code == 2 and "error: BATCH_TASK_INDEX=0 is one of 2 tasks, which need --out" in said.err
    assert "--shard 1/1 does everything here" in said.err
