"""Photos as squares: read once, in batches and crops; what cannot be read is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dips.baselines import photos
from dips.baselines.photos import RESIZE, Photos, store_photos
from dips.harvest.store import Store
from dips.types import Sample

CPU = torch.device("cpu")


def test_read_once(tmp_path: Path, make_photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [Sample(make_photo(tmp_path / f"{i}.png", seed=i), f"{i}.png", i) for i in range(3)]
    first, _ = store_photos(samples, Store(tmp_path / "store"))
    monkeypatch.setattr(photos, "read_image", lambda *given, **named: pytest.fail("it is in the store"))
    second, problems = store_photos(samples, Store(tmp_path / "store"))
    assert not problems and second.digests == first.digests
    assert (second.square(1) == first.square(1)).all() and first.square(1).shape == (RESIZE, RESIZE, 3)


def test_a_damaged_and_a_missing_photo_are_left_out(tmp_path: Path, make_photo: Callable[..., Path]) -> None:
    good = make_photo(tmp_path / "good.png")
    bad, gone = tmp_path / "bad.png", tmp_path / "gone.png"
    bad.write_bytes(b"no photo")
    found, problems = store_photos([Sample(p, p.name, 0) for p in (bad, good, gone)], Store(tmp_path / "store"))
    assert [sample.path for sample in found.samples] == [good] and len(found.digests) == 1
    assert {problem.path for problem in problems} == {bad, gone}


def test_batches_and_crops(made_photos: tuple[Photos, Photos]) -> None:
    train, _ = made_photos
    images, labels = train.batch([4, 0], 64, CPU)
    assert images.shape == (2, 3, 64, 64) and 0 <= images.min() <= images.max() <= 1 and labels.tolist() == [1, 0]
    drawn = [train.crops([0, 1], 100, CPU, torch.Generator().manual_seed(seed))[0] for seed in (0, 0, 1)]
    assert drawn[0].shape == (2, 3, 100, 100)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
