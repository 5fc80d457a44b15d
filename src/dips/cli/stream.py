"""``dips stream``: from a video, or a folder that photos arrive in, to the boxes of its frames."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
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
    from dips.predict.tracks import Tracks
    from dips.types import Problem

__all__ = ["stream"]

_SHOWN_OBJECTS = 20


def stream(
    run: RunOrOnnx,
    source: Annotated[Path, Parameter(name="SOURCE", help="A video, or a folder to watch for new photos.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The JSON file to create: boxes of every frame.")],
    fps: Annotated[float, Parameter(help="Frames of a video to look at per second; 0: every frame.")] = 1.0,
    idle: Annotated[float, Parameter(help="Stop watching a folder after so many seconds without a new photo.")] = 60.0,
    track: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Follow objects through a video: all boxes of one have the same number, and objects are counted once; needs "
            "the extra 'track'.",
        ),
    ] = False,
    track_gap: Annotated[
        float | None,
        Parameter(help="With --track: seconds after which an object without a box is no longer the same one; default: 1."),
    ] = None,
    track_frames: Annotated[
        int | None, Parameter(help="With --track: frames that an object must be found in to be counted; default: 3.")
    ] = None,
    options: PredictOptions = AS_TRAINED,
) -> int:
    """Find the objects in the frames of a video, or in photos as they arrive in a folder; Ctrl-C stops watching.

    Repeat an interrupted command to continue where it stopped: finished frames are kept in OUT.part.
    """
    from dips.data.photo_files import VIDEOS
    from dips.predict.stream import FrameJournal
    from dips.runs.identity import identity
    from dips.system.names import as_text

    if fps < 0 or idle < 0:
        raise ConfigError(f"--fps and --idle must not be negative: {fps:g}, {idle:g}")
    settings, weights, device = options.all_settings(), options.weights, options.device
    is_video = not source.is_dir()
    if track and not is_video:
        raise DataError(
            f"--track follows objects through a video, and {source} is a folder, whose photos need not follow each other; "
            "leave out --track, or make a video of the photos"
        )
    rule = _rule(track, track_gap, track_frames)
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
        tracks = None if rule is None else rule(journal.times())
        total = journal.finish(source=as_text(source.as_posix()), fps=rate, skipped=skipped, tracks=tracks)
    say(f"{counted(total, 'frame')} in {out}")
    if tracks is not None:
        _say_objects(tracks, out)
    if remark := journal.found.remark():
        say(remark)
    if remark := journal.found.scores.remark("frame"):
        say(remark)
    return 1 if skipped else 0


def _rule(track: bool, gap: float | None, frames: int | None) -> Callable[[Iterable[float]], Tracks] | None:
    """Return what follows objects through frames of such times; None where none are to be followed.

    Raises:
        ConfigError: an option is out of range, or does nothing.
        ModuleNotFoundError: the tracker is not installed.
    """
    given = {"--track-gap": gap, "--track-frames": frames}
    for option, value in given.items():
        if value is None:
            continue
        if not track:
            raise ConfigError(f"{option} does nothing without --track; add --track or leave it out")
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{option} must be above 0, not {value:g}")
    if not track:
        return None
    from dips.predict.tracks import GAP, MIN_FRAMES, Tracks

    return partial(Tracks, gap=GAP if gap is None else gap, min_frames=MIN_FRAMES if frames is None else frames)


def _say_objects(tracks: Tracks, out: Path) -> None:
    """Print how many objects there are, and each of them."""
    record = tracks.record()
    shown = [each for each in record.tracks if each.counted]
    brief = len(record.tracks) - len(shown)
    found = ", ".join(f"{number} {name}" for name, number in record.objects.items()) if record.tracks else "no box to follow"
    rest = f"; {counted(brief, 'track')} of fewer not counted" if brief else ""
    rule = f" (in {counted(record.min_frames, 'frame')} or more each{rest})" if record.tracks else ""
    say(f"objects: {found}{rule}")
    for each in shown[:_SHOWN_OBJECTS]:
        box = " ".join(f"{value:g}" for value in each.box)
        when = f"{each.first:g} to {each.last:g} s, {counted(each.frames, 'frame')}"
        say(f"  {each.label} {each.track}: {when}, best score {each.score:.2f} at {each.time:g} s, box {box}")
    if len(shown) > _SHOWN_OBJECTS:
        say(f"  and {len(shown) - _SHOWN_OBJECTS} more, see 'tracking' in {out}")
    if remark := tracks.remark():
        say(remark)


def _write_frames(
    journal: FrameJournal, predictor: Predictor, source: Path, *, fps: float | None, idle: float, model: str
) -> list[Problem]:
    """Write the boxes of all frames that are not in the journal; return the photos that were skipped.

    Args:
        source: a video, or with ``fps=None`` a folder to watch. Ctrl-C stops watching, like ``idle`` seconds without a photo.
        model: the name of the model in the records.
    """
    from dips.predict.frames import predict_frames, video_frames, watch_folder
    from dips.predict.stream import write_stream
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
