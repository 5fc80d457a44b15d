"""``dips export``: from a run to a file that needs no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from dips.errors import ConfigError

__all__ = ["export_run"]


def export_run(
    run: Path,
    kind: str,
    out: Path | None,
    photos: Path | None,
    tolerance: float,
    int8: Path | None,
    settings: Sequence[str],
    weights: Sequence[str],
) -> int:
    """Returns the exit code."""
    if kind != "onnx":
        raise ConfigError(f"--format: '{kind}' is unknown; there is onnx")
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise ConfigError(f"--tolerance must be a number above 0, not {tolerance}")
    from dips.export.onnx import require_new
    from dips.model import load_run

    path = Path(f"{run.resolve().name}.onnx") if out is None else out
    require_new(path)
    model = load_run(run, device="cpu", settings=settings, weights=weights)
    found = model.export(path, photos=photos, tolerance=tolerance, int8=int8)
    print(f"model     {path} ({path.stat().st_size / 1e6:.0f} MB)")
    print(f"compared  {found.line()}")
    for photo in found.other_boxes:
        print(f"          other boxes in {photo}")
    return 0
