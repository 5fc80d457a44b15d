"""From photos and weights to a file that says what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from dips.adaptation.adapt import AdaptResult, adapt
from dips.config import AdaptConfig
from dips.data.sources import read_source
from dips.errors import DataError, RunError, WeightsError
from dips.models.backbones import load_transformer, load_vit
from dips.models.weights.adapted import read_adapted
from dips.models.weights.resolve import resolve
from dips.system.environment import __version__
from dips.system.files import file_sha256, only_one

from ..conftest import MakePhoto
from .conftest import CONFIG

TINY = replace(CONFIG, sst="test_vit", steps=2, batch=2, checks=1)

pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture
def folder(tmp_path: Path, make_photo: MakePhoto) -> Path:
    for number in range(4):
        make_photo(tmp_path / "photos" / f"{number}.jpg", size=(80, 60), seed=number)
    return tmp_path / "photos"


def run(folder: Path, weights: Path, out: Path, config: AdaptConfig = TINY) -> AdaptResult:
    return adapt(read_source([folder], leave_out=out), out=out, config=config, weights=[str(weights)], device="cpu")


def test_the_file_says_what_was_done(folder: Path, tmp_path: Path, tiny_weights: Path) -> None:
    out = tmp_path / "mine.safetensors"
    done = run(folder, tiny_weights, out)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["mine.safetensors"], "no state is left"
    record = read_adapted(out)
    assert record == done.record and record is not None
    assert record.arch == "test_vit" and record.note == "test_vit, adapted to 4 photos"
    assert record.source["sha256"] == file_sha256(tiny_weights / "test_vit.safetensors")
    assert (record.photos, record.steps, len(record.fingerprint)) == (4, 2, 64)
    assert record.settings == vars(TINY) and record.environment["dips"] == __version__
    assert [check["step"] for check in record.checks] == [0, 2] and record.checks[1]["loss"] > 0
    assert done.skipped == 0 and done.out == out


def test_other_commands_take_the_file(folder: Path, tmp_path: Path, tiny_weights: Path) -> None:
    out = tmp_path / "mine.safetensors"
    run(folder, tiny_weights, out)
    weights = resolve("auto", role="transformer", given=[str(out)])
    assert (weights.arch, weights.note) == ("test_vit", "test_vit, adapted to 4 photos")
    images = torch.rand(1, 3, 64, 64)
    before = load_transformer(resolve("test_vit", role="transformer", given=[str(tiny_weights)]))(images)
    after = load_transformer(weights)(images)
    assert not torch.equal(before.attention, after.attention) and after.attention.isfinite().all()
    again = run(folder, out, tmp_path / "twice.safetensors", replace(TINY, sst="auto"))
    assert again.record.note == "test_vit, adapted to 4 photos, adapted to 4 photos"


def test_nothing_but_the_blocks_that_learn_changes(folder: Path, tmp_path: Path, tiny_weights: Path) -> None:
    out = tmp_path / "mine.safetensors"
    run(folder, tiny_weights, out)
    before = load_vit(resolve("test_vit", role="transformer", given=[str(tiny_weights)])).net.state_dict()
    after = safetensors.torch.load_file(out)
    assert before.keys() == after.keys()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith(("blocks.4.", "blocks.5.", "norm.")) for name in changed)


def test_a_run_that_was_killed_goes_on(
    folder: Path, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folder, tiny_weights, tmp_path / "whole.safetensors")

    def full(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dips.adaptation.adapt.write_adapted", full)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tiny_weights, tmp_path / "cut.safetensors")
    assert (tmp_path / "cut.resume.safetensors").is_file() and not (tmp_path / "cut.safetensors").exists()
    monkeypatch.undo()
    run(folder, tiny_weights, tmp_path / "cut.safetensors")
    assert not (tmp_path / "cut.resume.safetensors").exists()
    whole, cut = (safetensors.torch.load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_the_folder_of_the_file_is_made(folder: Path, tmp_path: Path, tiny_weights: Path) -> None:
    run(folder, tiny_weights, tmp_path / "new" / "mine.safetensors")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine.safetensors"]


def test_nothing_is_overwritten(folder: Path, tmp_path: Path, tiny_weights: Path) -> None:
    out = tmp_path / "mine.safetensors"
    out.write_bytes(b"written since the command began")
    with pytest.raises(RunError, match=r"mine\.safetensors already exists; nothing was changed"):
        run(folder, tiny_weights, out)
    assert out.read_bytes() == b"written since the command began"
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "mine.safetensors"}


def test_two_commands_on_one_file_are_refused(folder: Path, tmp_path: Path, tiny_weights: Path) -> None:
    with (
        only_one(tmp_path / "mine.resume.lock", tmp_path, "dips adapt", remove=True),
        pytest.raises(RunError, match=r"mine\.safetensors is in use by another 'dips adapt'"),
    ):
        run(folder, tiny_weights, tmp_path / "mine.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"photos"}
    run(folder, tiny_weights, tmp_path / "mine.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "mine.safetensors"}


def test_bad_input(folder: Path, tmp_path: Path, tiny_weights: Path) -> None:
    out = tmp_path / "mine.safetensors"
    with pytest.raises(DataError, match="needs at least 2"):
        run(folder / "0.jpg", tiny_weights, out)
    with pytest.raises(WeightsError, match=r"^adapt\.sst: 'test_efficientnet' is not a vision transformer"):
        run(folder, tiny_weights, out, replace(TINY, sst="test_efficientnet"))
    with pytest.raises(WeightsError, match="no weights of vit_small_patch16_224"):
        run(folder, tiny_weights, out, replace(TINY, sst="vit_small_patch16_224"))
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
