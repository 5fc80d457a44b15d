"""``dips stream``: from a video, or a folder that fills, to the boxes of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from dips.cli.options import Device, PredictSettings, RunOrOnnx, Tile, Weights
from dips.errors import ConfigError, DataError

if TYPE_CHECKING:
    from dips.predict.stream import FrameJournal
    from dips.types import Problem
from dips.cli.messages import counted
from dips.cli.options import tile_setting

__all__ = ["stream"]


def stream(
    run: RunOrOnnx,
    source: Annotated[Path, Parameter(name="SOURCE", help="A video, or a folder of photos that fills while it is watched.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The JSON to make: boxes of every frame.")],
    fps: Annotated[float, Parameter(help="Frames of a video that are looked at per second; 0: every frame.")] = 1.0,
    idle: Annotated[float, Parameter(help="End when no photo has come into the folder for so many seconds.")] = 60.0,
    tile: Tile = None,
    settings: PredictSettings = None,
    weights: Weights = None,
    device: Device = "auto",
) -> int:
    """Find the objects in the frames of a video, or in photos as they come into a folder; Ctrl-C ends the watch.

    A command that was killed goes on when it is given again: finished frames wait in OUT.part.
    """
    given = [*tile_setting(tile), *(settings or ())]
    return stream_boxes(run, source, out, rate=fps, idle=idle, settings=given, weights=weights or (), device=device)


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
    from dips.predict.stream import FrameJournal
    from dips.runs.identity import identity
    from dips.system.files import as_text

    if rate < 0 or idle < 0:
        raise ConfigError(f"--fps and --idle must not be negative: {rate:g}, {idle:g}")
    video = not source.is_dir()
    if video and source.suffix.lower() not in VIDEOS:
        raise DataError(f"{source} is no video ({', '.join(sorted(VIDEOS))}) and no folder; 'dips predict' takes photos")
    if not source.exists():
        raise DataError(f"{source} does not exist; give a video or a folder")
    name = identity(run)
    journal = FrameJournal(out, {**name, "source": str(source), "fps": rate if video else None, "settings": sorted(settings)})

    with closing(journal):
        skipped = _run_stream(run, source, journal, rate, idle, settings, weights, device, name["model"][:12])
        total = journal.finish(source=as_text(source.as_posix()), fps=rate if video else None, skipped=skipped)
    print(f"{counted(total, 'frame')} in {out}")
    return 1 if skipped else 0


def _run_stream(
    run: Path,
    source: Path,
    journal: FrameJournal,
    rate: float,
    idle: float,
    settings: Sequence[str],
    weights: Sequence[str],
    device: str,
    model_name: str,
) -> list[Problem]:
    """Predict what comes; returns the photos that were skipped."""
    from dips.loading import load
    from dips.predict.stream import predict_frames, video_frames, watch_folder, write_stream
    from dips.system.console import log
    from dips.types import Problem

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
        found = predict_frames(model.predictor, video_frames(source, rate, journal.done))
    else:
        log(f"watching {source}; ends when no photo has come for {idle:g} seconds, or with Ctrl-C")
        found = watch_folder(source, model.predictor.photo, idle=idle, skipped=skip, done=journal.done)
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
