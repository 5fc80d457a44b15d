"""``dips compare`` through the command line: the table, a kill in the middle, a method of one's own, wrong input."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from .conftest import Dips, Tiny
from .test_end_to_end import killed

OWN = """
from dips.baselines.method import ScoreMapMethod


class Bright(ScoreMapMethod):
    name, title, paper = "bright", "Bright", "of this test"

    def build(self, study): ...

    def maps(self, images, labels):
        return images.mean(1)


class Broken(Bright):
    name, title = "broken", "Broken"

    def maps(self, images, labels):
        raise ValueError("not today")
"""


def command(tiny: Tiny, out: Path, methods: str, *more: object) -> list[object]:
    given = ["compare", tiny.data, "--methods", methods, "--out", out, "--recipe", tiny.recipe]
    for option, value in (("--budget", "0.001"), ("--device", "cpu")):
        given += [] if option in more else [option, value]
    return [*given, "--weights", tiny.weights, "--store", tiny.store, *more]


def test_a_table_is_printed_and_written(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    out = tmp_path / "out"
    said = dips(*command(tiny, out, "centre,cam, cam-max", "--photos", 2))
    assert said.code == 0, said.err
    assert "CAM" in said.out and "Centred Gaussian" in said.out and str(out / "table.md") in said.out
    written = {path.name for path in out.iterdir()}
    assert written >= {"table.json", "table.md", "table.tex", "box_acc_over_tau.svg", "sheet-1.jpg"}
    record = json.loads((out / "table.json").read_text())
    assert {row["name"] for row in record["methods"]} == {"centre", "cam", "cam-max"}
    best = max(run["boxes"]["max_box_acc_v2"] for row in record["methods"] for run in row["runs"])
    assert f"{best:.1f}" in said.out and f"{best:.1f}" in (out / "table.md").read_text()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_kill_9_between_two_methods_then_again(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    out = tmp_path / "out"
    killed("dips.comparison.measure", "evaluate_photos", 3, *command(tiny, out, "cam,cutmix"))
    kept = out / "seed-0" / "cam" / "test.json"
    time = kept.stat().st_mtime_ns
    assert not (out / "table.json").exists() and not (out / "seed-0" / "cutmix" / "test.json").exists()
    said = dips(*command(tiny, out, "cam,cutmix"))
    assert said.code == 0, said.err
    assert kept.stat().st_mtime_ns == time and "[1/2]" not in said.err, "CAM is neither fitted nor measured again"
    assert len(json.loads((out / "table.json").read_text())["methods"]) == 2


def test_a_method_that_fails_shows_in_the_exit_code(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    own = tmp_path / "own.py"
    own.write_text(OWN)
    said = dips(*command(tiny, tmp_path / "out", f"{own}:Broken,{own}:Bright"))
    assert said.code == 1 and "not today" in said.out and "Bright" in said.out
    assert "not today" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.parametrize(
    ("methods", "more", "hint"),
    [
        ("cma", (), "did you mean 'cam'"),
        ("cam", ("--budget", "0"), "error: --budget 0 must be above 0 minutes\n"),
        ("cam", ("--budget", "long"), 'for --budget: unable to convert "long" into a number or converged. See'),
        ("cam", ("--budget", "1,5"), "converged. Write 1.5, with a point."),
        ("cam", ("--stride", "4"), "error: --stride 4: give 8, 16 or 32\n"),
        ("syn.py:X", (), "syn.py:X"),
        ("cam", ("--device", "gpu"), "--device takes auto, cpu, cuda, mps"),
        ("cam", ("--seeds", "0"), "error: --seeds 0 must be at least 1\n"),
        ("cam", ("--split", "train"), "learn from"),
        ("", (), "--methods"),
        ("none.py:Mine", (), "no file none.py"),
    ],
)
def test_wrong_input(tiny: Tiny, tmp_path: Path, dips: Dips, methods: str, more: tuple[str, ...], hint: str) -> None:
    said = dips(*command(tiny, tmp_path / "out", methods, *more))
    assert said.code == 2 and hint in said.err, said.err
    assert not (tmp_path / "out" / "table.json").exists()


def test_photos_without_a_test_part_are_not_offered_another_split(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    said = dips("compare", tiny.data / "train", "--methods", "cam", "--out", tmp_path / "out")
    assert said.code == 2 and "give the folder that holds train/ and test/" in said.err and "--split" not in said.err


def test_weights_that_cannot_be_used_stop_it_at_once(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("no weights")
    out = tmp_path / "out"
    said = dips(*("compare", tiny.data, "--methods", "centre", "--out", out, "--recipe", tiny.recipe), "--weights", notes)
    assert said.code == 2 and f"{notes}: unknown kind of weight file" in said.err, said.err
    assert not (out / "table.json").exists()
