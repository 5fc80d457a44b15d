"""Photos that two evaluations have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from dips.benchmark.fingerprints import fingerprints, shared_photos


def test_photos_know_each_other_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = fingerprints(tmp_path / f"{n}.jpg" for n in range(3000))
    assert shared_photos(whole, fingerprints([Path("7.jpg"), Path("x/../8.jpg"), Path("else.jpg")])) == 2
    assert shared_photos(whole, fingerprints(tmp_path / "x" / f"{n}.jpg" for n in range(3000))) == 0
    assert shared_photos(whole, fingerprints([])) == 0 and shared_photos("", "") == 0
    assert fingerprints([Path("owl/\udcff.jpg")])
    with pytest.raises(ValueError):
        shared_photos("no base64!", "")
