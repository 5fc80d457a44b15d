"""Read the plan of a prediction and validate its fields other than the photos, as the file may be damaged.

In: the files of the work. Out: a plan whose identity and context have the fields that a prediction needs.
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
"""Value of ``work`` in the identity of such a plan."""

PHOTO_FORMATS = ("json", "overlays", "heatmaps", "masks")
"""Formats with one file per photo."""


class _Identity(Record, frozen=True, kw_only=True):
    formats: tuple[str, ...]
    model: str = ""

    def __post_init__(self) -> None:
        if unknown := set(self.formats) - {*PHOTO_FORMATS, *FORMATS}:
            raise ValueError(f"{', '.join(sorted(unknown))} is no format")


class _Context(Record, frozen=True, kw_only=True):
    """The data that all photos have in common.

    Attributes:
        folder: the last part of the path of the predicted folder, as text.
        depth: how values of more than 8 bits are converted, if networks predict.
        failed: photos that could not be read when the folder that this one is made from was written.
    """

    folder: str
    depth: Depth | msgspec.UnsetType = msgspec.UNSET
    failed: tuple[SkippedRecord, ...] = ()


def read_prediction_plan(files: Files, remedy: str = "choose another --out or remove it") -> Plan | None:
    """Return the plan, or None if there is none. Plans of work other than a prediction are not validated further.

    Args:
        remedy: what to do about a damaged plan.

    Raises:
        RunError: the plan is damaged.
    """
    plan = read_plan(files, remedy)
    if plan is not None and plan.identity.get("work") == KIND:
        try:
            msgspec.convert(plan.identity, _Identity)
            msgspec.convert(plan.context, _Context)
        except msgspec.ValidationError as error:
            raise RunError(f"{files.place}/{PLAN} is damaged ({error}); {remedy}") from error
    return plan
