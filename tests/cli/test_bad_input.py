"""Everything that goes wrong at a user's desk: one line that names what is at fault, and code 2 (1 for skipped photos)."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from .conftest import Dips, Tiny


def test_unknown_settings(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    for wrong, hint in (
        ("train.epoch=3", "did you mean 'train.epochs'"),
        ("train.epochs=many", "whole number"),
        ("train.epochs", "stage.name=value"),
    ):
        said = dips(*tiny.train(tmp_path / "run", "--set", wrong))
        assert said.code == 2 and hint in said.err
    said = dips("train", tiny.data, "--out", tmp_path / "run", "--recipe", "papre")
    assert said.code == 2 and "there are default, demo, drone, paper" in said.err
    said = dips("predict", tiny.run, tiny.data / "test", "--out", tmp_path / "out", "--set", "train.epochs=3")
    assert said.code == 2 and "takes only settings of prediction" in said.err
    assert list(tmp_path.iterdir()) == []


def test_existing_run_is_left_alone(tiny: Tiny, dips: Dips) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny.run.iterdir()}
    said = dips(*tiny.train(tiny.run))
    assert said.code == 2 and "already exists" in said.err and "--resume" in said.err
    assert {path: path.stat().st_mtime_ns for path in tiny.run.iterdir()} == before


def test_data_that_cannot_be_trained_on(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    empty, single = tmp_path / "empty", tmp_path / "single"
    empty.mkdir()
    shutil.copytree(tiny.data / "train" / "tower", single / "tower")
    for data in (empty, single, tmp_path / "missing"):
        said = dips(*tiny.train(tmp_path / "run", data=data))
        assert said.code == 2 and str(data) in said.err
        assert not (tmp_path / "run").exists()


def test_strange_photos(tiny: Tiny, tmp_path: Path, dips: Dips, make_photo: object) -> None:
    photos = tmp_path / "pho tos ü"
    photos.mkdir()
    shutil.copy(tiny.data / "test" / "tower" / "0000.jpg", photos / "turm höhe 1.jpg")
    (photos / "text.jpg").write_text("hello")
    (photos / "cut.jpg").write_bytes((photos / "turm höhe 1.jpg").read_bytes()[:900])
    assert callable(make_photo)
    make_photo(photos / "dot.png", size=(1, 1))
    make_photo(photos / "strip.jpg", size=(20000, 30))
    said = dips("predict", tiny.run, photos, "--out", tmp_path / "out", "--format", "json,masks,overlays")
    assert said.code == 1
    assert "3 photos" in said.out and "2 photos could not be read" in said.out
    assert "text.jpg" in said.err and "cut.jpg" in said.err
    record = json.loads((tmp_path / "out/json/strip.json").read_text())
    assert (record["width"], record["height"]) == (20000, 30)
    assert (tmp_path / "out/overlays/turm höhe 1.jpg").is_file()


def test_training_skips_what_it_cannot_read(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny.data / "train", data)
    (data / "tower" / "text.jpg").write_text("hello")
    said = dips(*tiny.train(tmp_path / "run", "--set", "train.epochs=1", data=data))
    assert said.code == 0
    assert "text.jpg" in said.err


def test_no_photos_no_run(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    (tmp_path / "empty").mkdir()
    for run, photos, words in (
        (tiny.run, tmp_path / "empty", "no photos"),
        (tiny.run, tmp_path / "missing", "does not exist"),
        (tmp_path / "missing", tiny.data / "test", "not a run folder"),
        (tmp_path / "empty", tiny.data / "test", "not a run folder"),
    ):
        said = dips("predict", run, photos, "--out", tmp_path / "out")
        assert said.code == 2 and words in said.err
        assert not (tmp_path / "out").exists()


def test_damaged_run(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    run = shutil.copytree(tiny.run, tmp_path / "run")
    with (run / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    for command in (("predict", run, tiny.data / "test", "--out", tmp_path / "out"), ("evaluate", run, tiny.data)):
        said = dips(*command)
        assert said.code == 2 and "model.safetensors is damaged" in said.err
    assert not (tmp_path / "out").exists()


def test_damaged_and_missing_weights(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    weights = shutil.copytree(tiny.weights, tmp_path / "weights")
    with (weights / "test_vit.safetensors").open("r+b") as file:
        file.truncate(1000)
    command = ["train", tiny.data, "--out", tmp_path / "run", "--recipe", tiny.recipe, "--store", tmp_path / "store"]
    said = dips(*command, "--weights", weights)
    assert said.code == 2 and "test_vit.safetensors" in said.err
    said = dips(*command)
    assert said.code == 2 and "test_vit" in said.err and "--weights" in said.err
    assert not (tmp_path / "run").exists()


def test_no_such_device(tiny: Tiny, tmp_path: Path, dips: Dips) -> None:
    said = dips(*tiny.train(tmp_path / "run", "--device", "gpu7"))
    assert said.code == 2 and "auto, cpu, cuda, mps" in said.err


def test_full_disk(tiny: Tiny, tmp_path: Path, dips: Dips, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for command in (
        tiny.train(tmp_path / "run"),
        ["predict", str(tiny.run), str(tiny.data / "test"), "--out", str(tmp_path / "out")],
        ["evaluate", str(tiny.run), str(tiny.data), "--json", str(tmp_path / "e.json")],
    ):
        said = dips(*command)
        assert said.code == 2 and "No space left on device" in said.err and said.err.rstrip().count("dips: error") == 1
