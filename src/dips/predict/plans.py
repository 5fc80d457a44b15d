"""What the plan of a prediction says besides its photos; it is a file, and may be damaged.

In: the files of the work. Out: a plan whose identity and context have what a prediction asks of them.
"""

from __future__ import annotations

import msgspec

from dips.data.depth import Depth
from dips.errors import RunError
from dips.formats import FORMATS
from dips.formats.records import SkippedRecord
from dips.shards.files import Files
from dips.shards.plan import PLAN, Plan, read_plan
from dips.system.records import Record

__all__ = ["KIND", "PHOTO_FORMATS", "read_prediction_plan"]

KIND = "predict"
"""What the identity of such a plan says under ``work``."""

PHOTO_FORMATS = ("json", "overlays", "heatmaps", "masks")
"""Formats that are files of each photo."""


class _Identity(Record, frozen=True, kw_only=True):
    formats: tuple[str, ...]
    model: str = ""

    def __post_init__(self) -> None:
        if unknown := set(self.formats) - {*PHOTO_FORMATS, *FORMATS}:
            raise ValueError(f"{', '.join(sorted(unknown))} is no format")


class _Context(Record, frozen=True, kw_only=True):
    """What all photos have in common.

    Attributes:
        folder: the last part of the path of the folder that is predicted, as text.
        depth: how values of more than 8 bits are shown; where networks predict.
        failed: photos that could not be read when the folder was written that this one is made of.
    """

    folder: str
    depth: Depth | msgspec.UnsetType = msgspec.UNSET
    failed: tuple[SkippedRecord, ...] = ()


def read_prediction_plan(files: Files, remedy: str = "choose another --out or remove it") -> Plan | None:
    """Return the plan; None where there is none. What it says of other work than a prediction is not looked at.

    Args:
        remedy: what to do about a damaged one.

    Raises:
        RunError: it is damaged.
    """
    plan = read_plan(files, remedy)
    if plan is not None and plan.identity.get("work") == KIND:
        try:
            msgspec.convert(plan.identity, _Identity)
            msgspec.convert(plan.context, _Context)
        except msgspec.ValidationError as error:
            raise RunError(f"{files.place}/{PLAN} is damaged ({error}); {remedy}") from error
    return plan
