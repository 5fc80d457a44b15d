"""What TensorBoard's own reader finds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dips.errors import ConfigError
from dips.train.tensorboard import require_board, write_epoch

pytest.importorskip("tensorboard", reason="tensorboard is not installed")


def test_epochs_as_scalars(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    for epoch in (1, 2, 2):  # the second epoch again, after a kill
        record = {"epoch": epoch, "step": 7 * epoch, "loss": 1 / epoch, "loss_cpa": 0.5, "val_v2": 40.0 + epoch, "lr": None}
        write_epoch(tmp_path, record)
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert sorted(found.Tags()["scalars"]) == ["loss/loss", "loss/loss_cpa", "training/step", "validation/v2"]
    assert [(event.step, event.value) for event in found.Scalars("validation/v2")] == [(1, 41.0), (2, 42.0)]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(ConfigError, match=r"pip install \"dips-wsol\[tensorboard\]\""):
        require_board()
