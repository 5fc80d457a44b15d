"""``dips doctor`` tells what is there, and goes on where something is broken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import dips as package
from dips.cli import doctor
from dips.models.weights import resolve as weights

from .conftest import Dips


def test_doctor(dips: Dips, tmp_path: Path) -> None:
    store = tmp_path / "cache" / "dips" / "store"
    store.mkdir(parents=True)
    (store / "x").write_bytes(b"0" * 2048)
    said = dips("doctor")
    assert said.code == 0 and said.err == ""
    assert f"dips {package.__version__}" in said.out and f"{store}: 2.0 KiB in 1 file\n" in said.out
    for words in ("torch ", "cpu: ", "MIT", "Apache-2.0", "free space in this folder: "):
        assert words in said.out
    assert "FAILED" not in said.out
    assert os.environ["DIPS_OFFLINE"] == "1"


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, dips: Dips, tmp_path: Path) -> None:
    for package_of_weights in weights.EMBEDDED:
        monkeypatch.setattr(type(package_of_weights), "path", lambda self: None)
    monkeypatch.setenv("DIPS_WEIGHTS", str(tmp_path / "gone.pth"))
    said = dips("doctor")
    assert said.code == 0
    assert said.out.count("NOT INSTALLED") == 2 and "MISSING" in said.out
    assert "harvest.sst=auto: NONE" in said.out


def test_a_broken_part_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch, dips: Dips) -> None:
    def broken() -> None:
        raise OSError("libcudart.so: cannot open")

    monkeypatch.setattr(doctor, "_devices", broken)
    said = dips("doctor")
    assert said.code == 0 and "FAILED: OSError: libcudart.so" in said.out
    assert "free space at the store: " in said.out
