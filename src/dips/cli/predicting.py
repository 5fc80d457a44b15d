"""``dips predict``: from a run and photos to a folder of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["predict_folder"]


def predict_folder(
    run: Path, images: Sequence[Path], out: Path, formats: str, settings: Sequence[str], weights: Sequence[str], device: str
) -> int:
    """Everything is checked before the networks are loaded; returns the exit code."""
    from dips.export.folder import PredictionFolder, parse_formats
    from dips.runtime import file_sha256

    model_json = run / "model.json"  # holds the checksum of the weights; where it is missing, load() says so
    made_with = {"model": file_sha256(model_json) if model_json.is_file() else "", "settings": sorted(settings)}
    folder = PredictionFolder.plan(images, out, formats=parse_formats(formats), made_with=made_with)

    from dips.api import load

    model = load(run, device=device, settings=settings, weights=weights)
    done = folder.fill(lambda paths, skipped: model.predict(paths, skipped=skipped))
    print(f"{done.photos} photos, {done.boxes} boxes in {out}")
    if done.skipped:
        print(f"{len(done.skipped)} photos could not be read and were skipped, see {out / 'skipped.json'}")
    return 1 if done.skipped else 0
