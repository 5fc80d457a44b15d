"""Weight files of ``dips adapt``: they say what they are, and every command believes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from dips.errors import WeightsError
from dips.models.weights.adapted import Adapted, read_adapted, write_adapted
from dips.models.weights.resolve import resolve
from dips.types import is_saliency_tuned

VIT = "vit_small_patch14_dinov2"
STATE = {"x": torch.ones(2)}
MORE = {**STATE, "y": torch.arange(6.0).view(2, 3).T}  # of another layout in memory
RECORD = Adapted(
    arch=VIT,
    note="DINOv2-S, saliency-tuned (embedded), adapted to 40 photos",
    licence="MIT",
    source={"sha256": "ab" * 32},
    photos=40,
    checks=[{"step": 0, "spread": 0.1 + 0.2}],
)

pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_adapted(tmp_path / "mine.safetensors", MORE, RECORD)
    return tmp_path / "mine.safetensors"


def test_a_record_makes_a_round(file: Path) -> None:
    assert read_adapted(file) == RECORD
    loaded = safetensors.torch.load_file(file)
    assert loaded.keys() == MORE.keys() and all(torch.equal(loaded[name], MORE[name]) for name in MORE)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_files_of_another_origin_have_none(tmp_path: Path) -> None:
    safetensors.torch.save_file(STATE, plain := tmp_path / "plain.safetensors")
    (damaged := tmp_path / "damaged.safetensors").write_bytes(b"\x08nothing")
    torch.save(STATE, other := tmp_path / "other.pth")
    assert [read_adapted(path) for path in (plain, damaged, other, tmp_path / "missing.safetensors")] == [None] * 4


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"arch": 1, "note": ""}', '{"schema_version": 9, "arch": "a", "note": ""}'])
def test_a_damaged_record_is_named(text: str, tmp_path: Path) -> None:
    safetensors.torch.save_file(STATE, path := tmp_path / "mine.safetensors", {"dips.adapted": text})
    with pytest.raises(WeightsError, match=r"mine\.safetensors .*; make it again with 'dips adapt'"):
        read_adapted(path)


@pytest.mark.parametrize("arch", ["auto", VIT, f"{VIT}.lvd142m"])
def test_it_is_found_whatever_its_name(arch: str, file: Path) -> None:
    found = resolve(arch, role="transformer", given=[str(file)])
    assert found.arch == (VIT if arch == "auto" else arch)
    assert (found.note, found.licence, found.source) == (RECORD.note, "MIT", "file")
    assert is_saliency_tuned(found.title), "the caveat of the weights it was begun with holds"
    assert found.origin == str(file.resolve())


def test_it_has_its_note_in_a_folder_and_by_name_too(file: Path) -> None:
    named = file.rename(file.with_name(f"{VIT}.safetensors"))
    for item in (str(named.parent), f"{VIT}={named}"):
        assert resolve(VIT, role="transformer", given=[item]).note == RECORD.note


def test_of_another_network_it_is_refused(file: Path) -> None:
    with pytest.raises(WeightsError, match=rf"these are weights of {VIT}, not of vit_base_patch16_224; set harvest\.sst={VIT}"):
        resolve("vit_base_patch16_224", role="transformer", given=[str(file)])


def test_a_cnn_looks_further(file: Path) -> None:
    safetensors.torch.save_file(STATE, cnn := file.with_name("resnet18.safetensors"))
    assert resolve("resnet18", role="cnn", given=[str(file), str(cnn)]).origin == str(cnn)
