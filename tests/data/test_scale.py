"""One scale for photos of more than 8 bits: found in a bounded sample, kept where it suits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dips.data.scale as scale_module
from dips.config import Config
from dips.data.deep import read_values
from dips.data.depth import Depth, Values
from dips.data.scale import depth_of, depth_setting

from .conftest import MakePhoto, write_tiff


def counts(folder: Path, number: int, low: float, high: float, dtype: type = np.uint16) -> list[Path]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    return [write_tiff(folder / f"{n:03d}.tif", rng.uniform(low, high, (20, 30)).astype(dtype)) for n in range(number)]


def test_the_scale_of_a_set(tmp_path: Path, make_photo: MakePhoto, capfd: pytest.CaptureFixture[str]) -> None:
    paths = counts(tmp_path / "a", 5, 7000, 8000)
    ((low, high),) = depth_of(paths, Depth()).scales
    assert 6990 <= low <= 7010 and 7990 <= high <= 8010 and "16-bit grey): values 7000 to " in capfd.readouterr().err
    eight = [make_photo(tmp_path / f"{n}.png", seed=n) for n in range(4)]
    assert depth_of(eight, Depth()) == Depth()
    assert len(depth_of([*eight, *paths], Depth()).scales) == 1, "photos of 8 bits have no part in it"
    broken = tmp_path / "broken.tif"
    broken.write_bytes(paths[0].read_bytes()[:99])
    assert depth_of([broken, *paths], Depth()).scales == ((low, high),)
    assert depth_of(counts(tmp_path / "b", 3, 0, 65535), Depth()) == Depth(), "these use their type's range"
    for given in (Depth(rule="full"), Depth(rule="fixed", scales=((1.0, 2.0),))):
        assert depth_of(paths, given) == given


def test_a_training_scale_is_kept_for_its_kind(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trained = Depth(scales=((7000.0, 9000.0),))
    assert depth_of(counts(tmp_path / "same", 4, 7200, 7600), trained) == trained and not capfd.readouterr().err
    other = depth_of(counts(tmp_path / "degrees", 4, -5, 20, np.float32), trained)
    assert len(other.scales) == 2 and other.scales[1] == (7000, 9000) and -6 < other.scales[0][0] < -4
    assert "the training photos had 7000 to 9000" in capfd.readouterr().err


def test_the_sample_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = counts(tmp_path / "a", 1, 7000, 8000)[0]
    seen: list[Path] = []

    def read(path: Path) -> Values | None:
        seen.append(path)
        return read_values(path)

    monkeypatch.setattr(scale_module, "read_values", read)
    assert depth_of([path] * 5000, Depth()).scales and len(seen) == 48


@pytest.mark.parametrize(
    ("setting", "depth"),
    [
        ("auto", Depth()),
        ("full", Depth(rule="full")),
        ("7000..9000", Depth(rule="fixed", scales=((7000.0, 9000.0),))),
        ("-20.5..1e2", Depth(rule="fixed", scales=((-20.5, 100.0),))),
    ],
)
def test_the_setting(setting: str, depth: Depth) -> None:
    assert depth_setting(Config().override([f"data.depth={setting}"]).data) == depth
