"""``dips predict`` and ``dips boxes``: from photos, or from their score maps, to a folder of results."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from dips.errors import ConfigError, DataError
from dips.identity import identity
from dips.types import Problem

if TYPE_CHECKING:
    from dips.export.folder import Filled
    from dips.streams import Journal

__all__ = ["predict_folder", "refind_boxes", "stream_boxes", "tiling"]


def predict_folder(
    run: Path, images: Sequence[Path], out: Path, formats: str, settings: Sequence[str], weights: Sequence[str], device: str
) -> int:
    """Everything is checked before the networks are loaded; returns the exit code."""
    from dips.export.folder import PredictionFolder, parse_formats

    made_with = {**identity(run), "settings": sorted(settings)}
    folder = PredictionFolder.plan(images, out, formats=parse_formats(formats), made_with=made_with)

    from dips.opening import load
    from dips.runtime import log

    model = load(run, device=device, settings=settings, weights=weights)
    log(f"{model.predictor.summary()}; {model.made_with()}")
    return _told(folder.fill(lambda paths, skipped: model.predict(paths, skipped=skipped)), out)


def refind_boxes(
    predictions: Path,
    out: Path,
    formats: str,
    *,
    threshold: float | None,
    min_area: float | None,
    min_score: float | None,
    max_boxes: int | None,
) -> int:
    """Returns the exit code."""
    from dips.export.folder import PredictionFolder, found_again, parse_formats

    for name, value in (("threshold", threshold), ("min-area", min_area), ("min-score", min_score)):
        if value is not None and not 0 <= value <= 1:
            raise ConfigError(f"--{name} must be between 0 and 1, not {value}")
    if max_boxes is not None and not 1 <= max_boxes <= 65535:
        raise ConfigError(f"--max-boxes must be between 1 and 65535, not {max_boxes}")
    settings = [f"threshold={threshold}", f"min_area={min_area}", f"min_score={min_score}", f"max_boxes={max_boxes}"]
    folder = PredictionFolder.again(predictions, out, formats=parse_formats(formats), made_with={"settings": settings})
    predict = found_again(predictions, folder, threshold=threshold, min_area=min_area, min_score=min_score, max_boxes=max_boxes)
    return _told(folder.fill(predict), out)


def stream_boxes(
    run: Path,
    source: Path,
    out: Path,
    *,
    rate: float,
    idle: float,
    settings: Sequence[str],
    weights: Sequence[str],
    device: str,
) -> int:
    """A video, or a folder that fills; returns the exit code. Ctrl-C ends a folder's watch like idleness does."""
    from dips.data.images import VIDEOS
    from dips.export.annotations import skipped_records, text_of
    from dips.streams import Journal

    if rate < 0 or idle < 0:
        raise ConfigError(f"--fps and --idle must not be negative: {rate:g}, {idle:g}")
    video = not source.is_dir()
    if video and source.suffix.lower() not in VIDEOS:
        raise DataError(f"{source} is no video ({', '.join(sorted(VIDEOS))}) and no folder; 'dips predict' takes photos")
    if not source.exists():
        raise DataError(f"{source} does not exist; give a video or a folder")
    name = identity(run)
    journal = Journal(out, {**name, "source": str(source), "fps": rate if video else None, "settings": sorted(settings)})

    with closing(journal):
        skipped = _run_stream(run, source, journal, rate, idle, settings, weights, device, name["model"][:12])
        head = {"source": text_of(source.as_posix()), "fps": rate if video else None, "skipped": skipped_records(skipped)}
        total = journal.finish(head)
    print(f"{_count(total, 'frame')} in {out}")
    return 1 if skipped else 0


def _run_stream(
    run: Path,
    source: Path,
    journal: Journal,
    rate: float,
    idle: float,
    settings: Sequence[str],
    weights: Sequence[str],
    device: str,
    model_name: str,
) -> list[Problem]:
    """Predict what comes; returns the photos that were skipped."""
    from dips.opening import load
    from dips.runtime import log
    from dips.streams import predicted, video_frames, watched, write_stream

    video = not source.is_dir()
    model = load(run, device=device, settings=settings, weights=weights)
    log(f"{model.predictor.summary()}; {model.made_with()}")
    if journal.done:
        log(f"{len(journal.done)} frames were done before and are kept")
    skipped: list[Problem] = []

    def skip(path: Path, why: str) -> None:
        skipped.append(Problem(path, why))
        log(f"skipped: {why}")

    if video:
        found = predicted(model.predictor, video_frames(source, rate, journal.done))
    else:
        log(f"watching {source}; ends when no photo has come for {idle:g} seconds, or with Ctrl-C")
        found = watched(source, model.predictor.photo, idle=idle, skipped=skip, done=journal.done)
    try:
        with closing(found):
            for count, _ in enumerate(write_stream(found, journal, model=model_name), start=1):
                if count % 100 == 0:
                    log(f"{count} frames")
    except KeyboardInterrupt:
        if video:
            raise
        log("the watch ends")
    return skipped


def tiling(tile: str | None) -> list[str]:
    """``--tile`` as a setting.

    Raises:
        ConfigError: neither ``auto`` nor a number of pixels.
    """
    if tile is None:
        return []
    if tile != "auto" and not tile.isdecimal():
        raise ConfigError(f"--tile takes a side in pixels, e.g. 512, or auto, not '{tile}'")
    return [f"predict.tile={-1 if tile == 'auto' else tile}"]


def _told(done: Filled, out: Path) -> int:
    print(f"{_count(done.photos, 'photo')}, {_count(done.boxes, 'box')} in {out}")
    if done.skipped:
        print(f"{_count(len(done.skipped), 'photo')} could not be read, or not drawn on, see {out / 'skipped.json'}")
    return 1 if done.skipped else 0


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "es" if word.endswith("x") else "s")
