"""``dips adapt`` as a function: from photos and the weights of a ViT to a file of adapted weights.

All commands accept the file as ``--weights``; it records which network it holds, and how it was made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dips.adaptation.crops import crop_sides
from dips.adaptation.loop import fit_transformer
from dips.adaptation.photos import read_photos
from dips.config import AdaptConfig
from dips.data.problems import ProblemList
from dips.data.sources import Source
from dips.errors import WeightsError
from dips.models.backbones import load_vit
from dips.models.weights.adapted import Adapted, write_adapted
from dips.models.weights.resolve import resolve
from dips.system.console import counted, log
from dips.system.device import environment, launch_fabric
from dips.system.environment import __version__
from dips.system.files import only_one
from dips.system.journal import refuse_existing

__all__ = ["AdaptResult", "adapt"]

_DETAIL = 2  # side of the photos in memory, in sides of a global crop, so that small crops keep detail


@dataclass(frozen=True)
class AdaptResult:
    """The result of an adaptation.

    Attributes:
        out: the weights file.
        record: the record stored in it.
        skipped: number of photos that could not be read.
    """

    out: Path
    record: Adapted
    skipped: int


def adapt(
    photos: Source,
    *,
    out: Path,
    config: AdaptConfig,
    weights: Sequence[str] = (),
    device: str = "auto",
    problems: ProblemList | None = None,
) -> AdaptResult:
    """Adapt a transformer to unlabelled photos, and write its weights.

    While it runs, ``NAME.resume.safetensors`` next to ``out`` holds its state, from which a repeated call resumes.

    Args:
        photos: where the photos are; see :func:`~dips.data.sources.read_source`.
        out: the file to write, ``.safetensors``; it must not exist.
        weights: as for ``--weights``: where to look for the transformer ``adapt.sst``.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto``; under torchrun each process uses its own.
        problems: list that unreadable photos are added to; None: a new list, so they are only logged.

    Raises:
        DataError: too few photos can be read.
        WeightsError: there are no weights to start from.
        RunError: the teacher collapsed; ``out`` exists, is in use by another process, or its state belongs to a different run.
    """
    fabric = launch_fabric(device)
    try:
        source = resolve(config.sst, role="transformer", given=weights)
        vit = load_vit(source)
    except WeightsError as error:  # its messages name the training setting
        raise WeightsError(str(error).replace("harvest.sst", "adapt.sst")) from error
    log(f"transformer: {source.line()}")
    side = _DETAIL * crop_sides(config, vit.patch)[0]
    found = read_photos(photos, side=side, limit=config.photos)
    told = ProblemList() if problems is None else problems
    told.add(found.problems)
    log(f"adapting the last {counted(min(config.blocks, len(vit.blocks)), 'block')} to {counted(len(found), 'photo')}")
    state_file = out.with_name(f"{out.stem}.resume.safetensors")
    first = fabric.is_global_zero
    with only_one(state_file.with_suffix(".lock"), out, "dips adapt", remove=True) if first else nullcontext():
        if out.exists():  # another process may have written it since the command began
            refuse_existing(out)
        state, progress = fit_transformer(
            partial(load_vit, source),
            found,
            config=config,
            fabric=fabric,
            state_file=state_file,
            origin={"fingerprint of the photos": found.fingerprint, "weights": source.sha256},
        )
        record = Adapted(
            arch=source.arch,
            note=f"{source.title}, adapted to {counted(len(found), 'photo')}",
            licence=source.licence,
            source=source.record(),
            photos=len(found),
            fingerprint=found.fingerprint,
            settings=dataclasses.asdict(config),
            steps=progress.step,
            seconds=round(progress.seconds, 3),
            checks=progress.checks,
            environment={"dips": __version__, **environment(fabric.device)},
        )
        if first:
            write_adapted(out, state, record)
            state_file.unlink(missing_ok=True)
    fabric.barrier()
    return AdaptResult(out, record, found.skipped)
