"""``dips stream``: from a video, or a folder that photos arrive in, to the boxes of its frames."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from dips.cli.early import require_model
from dips.cli.options import AS_TRAINED, PredictOptions, RunOrOnnx
from dips.errors import ConfigError, DataError
from dips.system.console import counted, say

if TYPE_CHECKING:
    from dips.predict.predictor import Predictor
    from dips.predict.stream import FrameJournal
    from dips.types import Problem

__all__ = ["stream"]


def stream(
    run: RunOrOnnx,
    source: Annotated[Path, Parameter(name="SOURCE", help="A video, or a folder to watch for new photos.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The JSON file to create: boxes of every frame.")],
    fps: Annotated[float, Parameter(help="Frames of a video to look at per second; 0: every frame.")] = 1.0,
    idle: Annotated[float, Parameter(help="Stop watching a folder after so many seconds without a new photo.")] = 60.0,
    options: PredictOptions = AS_TRAINED,
) -> int:
    """Find the objects in the frames of a video, or in photos as they arrive in a folder; Ctrl-C stops watching.

    Repeat an interrupted command to continue where it stopped: finished frames are kept in OUT.part.
    """
    from dips.data.photo_files import VIDEOS
    from dips.predict.stream import FrameJournal
    from dips.runs.identity import identity
    from dips.system.files import as_text

    if fps < 0 or idle < 0:
        raise ConfigError(f"--fps and --idle must not be negative: {fps:g}, {idle:g}")
    settings, weights, device = options.all_settings(), options.weights, options.device
    is_video = not source.is_dir()
    if is_video and source.suffix.lower() not in VIDEOS:
        raise DataError(
            f"{source} is neither a video ({', '.join(sorted(VIDEOS))}) nor a folder; for photos use 'dips predict'"
        )
    if not source.exists():
        raise DataError(f"{source} does not exist; give a video or a folder")
    config = require_model(run, settings=settings, weights=weights, device=device)
    model_id, rate = identity(run), fps if is_video else None
    mark: dict[str, Any] = {**model_id, "source": str(source), "fps": rate, "settings": dataclasses.asdict(config)}
    with closing(FrameJournal(out, mark)) as journal:
        from dips.loading import load  # the networks are loaded once everything else is known to be right
        from dips.system.console import log

        model = load(run, device=device, settings=settings, weights=weights or ())
        log(f"{model.predictor.summary()}; {model.made_with()}")
        skipped = _write_frames(journal, model.predictor, source, fps=rate, idle=idle, model=model_id["model"][:12])
        total = journal.finish(source=as_text(source.as_posix()), fps=rate, skipped=skipped)
    say(f"{counted(total, 'frame')} in {out}")
    if remark := journal.found.remark():
        say(remark)
    if remark := journal.found.scores.remark("frame"):
        say(remark)
    return 1 if skipped else 0


def _write_frames(
    journal: FrameJournal, predictor: Predictor, source: Path, *, fps: float | None, idle: float, model: str
) -> list[Problem]:
    """Write the boxes of all frames that are not in the journal; return the photos that were skipped.

    Args:
        source: a video, or with ``fps=None`` a folder to watch. Ctrl-C stops watching, like ``idle`` seconds without a photo.
        model: the name of the model in the records.
    """
    from dips.predict.stream import predict_frames, video_frames, watch_folder, write_stream
    from dips.system.console import log
    from dips.types import Problem

    if journal.done:
        log(f"{counted(len(journal.done), 'frame', 'was')} done before and kept")
    skipped: list[Problem] = []

    def skip(path: Path, reason: str) -> None:
        skipped.append(Problem(path, reason))
        log(f"skipped: {reason}")

    if fps is None:
        log(f"watching {source}; stops after {idle:g} seconds without a new photo, or with Ctrl-C")
        frames = watch_folder(source, predictor.photo, idle=idle, skipped=skip, done=journal.done)
    else:
        frames = predict_frames(predictor, video_frames(source, fps, journal.done))
    try:
        with closing(frames):
            for count, _ in enumerate(write_stream(frames, journal, model=model), start=1):
                if count % 100 == 0:
                    log(f"{counted(count, 'frame')}")
    except KeyboardInterrupt:
        if fps is not None:
            raise
        log("stopped watching")
    return skipped
