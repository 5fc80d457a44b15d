"""``dips train``: what is passed on, and what is printed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from .conftest import Dips, Tiny, fake


@pytest.mark.usefixtures("unchecked")
def test_train(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    calls = fake(monkeypatch, "dips.fitting.fit.fit", SimpleNamespace(run=Path("my runs/x")))
    said = dips("train", "data", "--out", "my runs/x")
    assert said.code == 0
    plain = {"recipe": None, "settings": (), "weights": (), "store": None, "device": "auto", "resume": False, "problems": None}
    assert calls[0] == {"0": Path("data"), "out": Path("my runs/x"), **plain}
    assert [line.split()[0] for line in said.out.splitlines()] == ["model", "look", "next"], "the report, and then new photos"
    assert "my runs/x/report.html " in said.out and "dips predict 'my runs/x' PHOTOS" in said.out
    dips(
        *("train", "data", "--out", "x", "--set", "train.epochs=4", "--set", "harvest.sizes=[224,448]", "--set=train.lr=0"),
        *("--weights", "a.pth", "--weights", "vit=b.pth", "--store", "s", "--recipe", "paper", "--device", "cpu", "--resume"),
        *("--problems", "p.json"),
    )
    assert calls[1]["settings"] == ["train.epochs=4", "harvest.sizes=[224,448]", "train.lr=0"]
    assert calls[1]["weights"] == ["a.pth", "vit=b.pth"]
    assert (calls[1]["store"], calls[1]["recipe"], calls[1]["device"], calls[1]["resume"]) == (Path("s"), "paper", "cpu", True)
    assert calls[1]["problems"] == Path("p.json")


def test_train_tells_what_is_wrong_with_the_data(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny.data / "train", data / "train")
    photos = sorted((data / "train" / "tower").glob("*.*"))
    shutil.copy(photos[0], data / "train" / "none" / "copy.jpg")
    (data / "train" / "tower" / "broken.png").write_text("no photo")
    tree = {
        "images": [{"id": n, "file_name": f"tower/{p.name}", "width": 96, "height": 72} for n, p in enumerate(photos)],
        "categories": [{"id": 1, "name": "tower"}],
        "annotations": [{"image_id": n, "category_id": 1, "bbox": [0.1, 0.1, 0.4, 0.5]} for n in range(len(photos))],
    }
    tree["images"].append({"id": 99, "file_name": "tower/gone.jpg"})
    (data / "train.coco.json").write_text(json.dumps(tree))
    said = dips(*tiny.train(tmp_path / "run", "--problems", tmp_path / "p.json", "--set", "train.epochs=0", data=data))
    assert said.code == 0, said.err
    for words in ("smaller than 2 pixels", "in another class", "does not exist in", "broken.png: is left out, as it"):
        assert words in said.err, said.err
    problems = json.loads((tmp_path / "p.json").read_text())["problems"]
    assert len(problems) == 4 and json.loads((tmp_path / "run" / "run.json").read_text())["problems"] == problems


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_training_that_was_killed_with_its_list_of_problems_in_the_run_starts(
    tiny: Tiny, tmp_path: Path, dips: Dips, monkeypatch: pytest.MonkeyPatch, resume: list[str]
) -> None:
    fake(monkeypatch, "dips.fitting.fit.prepare", KeyboardInterrupt())
    run = tmp_path / "run"
    for more in ([], resume):
        said = dips(*tiny.train(run, "--problems", run / "p.json", *more))
        assert said.code == 130 and [path.name for path in run.iterdir()] == ["p.json"], said.err
    said = dips(*tiny.train(run, *resume))
    assert said.code == 2 and "nothing was changed" in said.err
