"""A folder of predictions: its contents, planned before any of them is written, and the work that fills it.

In: photos, or a finished folder. Out, written shard by shard of a plan, so that an interruption loses nothing, nothing is
overwritten, and the number of processes does not matter::

    json/NAME.json    maps/NAME.png        the objects of each photo, and its score map
    classes/NAME.png                       the class probabilities of its parts, if objects have classes of their own
    overlays/NAME.jpg heatmaps/NAME.jpg masks/NAME.png
                                           requested formats, per photo
    predictions.json  coco.json  ...       all photos in one file; formats of other tools (dips.formats)
    skipped.json                           photos that could not be read, if any; carried over to folders made from this one

NAME is the photo's path below the given folder (below the deepest common folder of several), without its suffix unless two
photos would then share a name. Until everything is written, ``.unfinished/`` holds the plan and the finished parts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dips import formats
from dips.data.sources import Source, key_of, read_source
from dips.errors import ConfigError, RunError
from dips.formats.records import SkippedRecord, SkippedRecords
from dips.predict.merging import Filled, merge_predictions
from dips.predict.plans import KIND, PHOTO_FORMATS, read_prediction_plan
from dips.predict.results import begun_before, read_records
from dips.predict.writing import SUFFIXES
from dips.shards.files import Files
from dips.shards.launch import Crew, Job, launch, planned
from dips.shards.plan import WORK, Item, Plan, make_plan, shard_size, work_of
from dips.shards.stores import each_name
from dips.system.files import is_temporary
from dips.system.journal import differences, kept_in, refuse_existing, refuse_other_work
from dips.system.names import as_text, scheme_of
from dips.system.records import read_record
from dips.system.suggestions import closest
from dips.types import Problem

__all__ = ["FORMATS", "REVIEWS", "PredictionFolder", "parse_formats", "require_other"]

FORMATS = (*PHOTO_FORMATS, *(name for name in formats.FORMATS if name != "json"))
REVIEWS = dict.fromkeys(("review.jsonl", "reviewed.coco.json"), "a review by 'dips view'")
"""Results of a person's review of the predictions, by file name in the folder."""

_READERS = {
    **dict.fromkeys(("cvat", "roboflow"), "coco or voc"),
    **dict.fromkeys(("detectron2", "detectron", "mmdetection", "fiftyone", "supervisely"), "coco"),
    **dict.fromkeys(("ultralytics", "darknet"), "yolo"),
    "labelimg": "voc or yolo",
    **dict.fromkeys(("pascal", "pascalvoc", "xml"), "voc"),
    **dict.fromkeys(("qgis", "arcgis"), "geojson"),
    **dict.fromkeys(("excel", "xlsx"), "csv"),
}
"""Tools, and the formats offered here that they can read."""
_HOLDS = "an interrupted prediction"
_LABELS = {
    "model": "another model",
    "file": "another exported file",
    "settings": "other settings",
    "formats": "another --format",
    "photos": "other photos",
    "items": "other photos",
    "review": "another review",
}
_FILES = (
    *("predictions.json", "skipped.json", "coco.json", "boxes.csv", "labelstudio.json", "labelstudio.xml"),
    "camera-points.geojson",
)
_STEP = 16  # photos of a finished folder that are processed together


def parse_formats(text: str) -> tuple[str, ...]:
    """Return the format names in a text like ``"json,overlays"``, in the order of :data:`FORMATS`; ``json`` is always included.

    Raises:
        ConfigError: a name is unknown.

    >>> parse_formats("masks, JSON")
    ('json', 'masks')
    """
    names = {part.strip().lower() for part in text.split(",")} - {""}
    for name in sorted(names - set(FORMATS)):
        reads = _READERS.get(re.sub(r"[^a-z0-9]", "", name))
        hint = f" (write {reads})" if reads else closest(name, FORMATS)
        raise ConfigError(f"--format: '{name}' is unknown{hint}; there are {', '.join(FORMATS)}, separated by commas")
    return tuple(name for name in FORMATS if name in names or name == "json")


def require_other(out: str | Path, option: str, file: Path) -> None:
    """Check that an option's file is none of those that a prediction writes to its folder; other names there are allowed.

    Raises:
        RunError: it is one of them, or lies in one of their folders.
    """
    if scheme_of(str(out)):
        return
    here, there = (Path(os.path.realpath(path)) for path in (out, file))
    if here not in (there, *there.parents):
        return
    name = next(iter(there.relative_to(here).parts), "")
    if name.casefold() in {"", WORK, *_FILES, *SUFFIXES, *FORMATS} or is_temporary(Path(name)):
        raise RunError(f"{option} {file} is what the prediction itself writes; give another name, or a file outside of {out}")


ALONE = Crew()
"""A crew of this process alone, which does all of the work."""


class Listing(NamedTuple):
    """The photos that a folder of predictions is about.

    Attributes:
        source: names, which are text; paths or URLs as they were given; paths of the results inside ``json/`` and the other
            folders, without suffix.
        context: the data that all photos have in common.
    """

    source: Source
    context: Mapping[str, Any]


@dataclass(frozen=True)
class PredictionFolder:
    """A folder to be filled with predictions::

        folder = PredictionFolder.plan(["photos"], Path("out"), formats=("json",), made_with={"model": "3f2a"})
        filled = folder.fill(PredictJob(run=Path("run"), out=Path("out")))

    Attributes:
        out: the folder itself, or its URL in a store.
        identity: JSON that identifies the work, besides its photos.
        step: number of photos predicted together.
        find: finds the photos.
    """

    out: str | Path
    identity: Mapping[str, Any]
    step: int
    find: Callable[[], Listing] = field(repr=False)

    @staticmethod
    def plan(
        photos: Sequence[str | Path],
        out: str | Path,
        *,
        formats: tuple[str, ...],
        made_with: Mapping[str, Any],
        step: int = _STEP,
        crew: Crew = ALONE,
    ) -> PredictionFolder:
        """Find the photos and check that ``out`` may be filled; writes nothing.

        Args:
            photos: see :func:`~dips.data.sources.read_source`.
            made_with: JSON that identifies model and settings.
            step: number of photos that the networks process together.
            crew: the processes that will work; a task of an array searches for the photos only if no other task has.

        Raises:
            DataError: there are no photos.
            RunError: ``out`` exists and is not an interrupted prediction of the same work.
        """
        out = out if scheme_of(str(out)) else Path(out)
        folder = PredictionFolder(out, _identity(made_with, formats, key_of(photos)), step, partial(_list, photos, out))
        folder._check()
        if not crew.is_task:
            _ = folder.listing
        return folder

    @staticmethod
    def from_finished(
        source: Path,
        out: Path,
        *,
        formats: tuple[str, ...],
        made_with: Mapping[str, Any],
        photos_dir: Path | None = None,
        only: Container[str] | None = None,
    ) -> PredictionFolder:
        """Plan a folder for the photos of a finished one, from the contents of the latter; writes nothing.

        Args:
            source: the finished folder.
            made_with: settings, as JSON.
            photos_dir: where the photos are now, see :func:`dips.predict.results.moved`.
            only: names of the photos to include; None for all.

        Raises:
            RunError: ``source`` is not such a folder, is unfinished or damaged, its photos are not in ``photos_dir``, or
                ``out`` exists as for :meth:`plan`.
        """
        items: dict[str, Item] = {}
        folder = model = ""
        for file, record in read_records(source, photos_dir):
            if only is None or record.name in only:
                stem = file.relative_to(source / "json").as_posix().removesuffix(".json")
                path = record.path if scheme_of(record.path) else str(Path(record.path))
                items[path] = Item(record.name, path, stem)
                folder, model = record.folder, record.model
        failed = [] if only is not None else [msgspec.to_builtins(record) for record in _failed(source)]
        identity = _identity({**made_with, "model": model}, formats, [os.path.abspath(source)])
        listing = Listing(Source(folder, len(items), [*items.values()]), {"folder": folder, "failed": failed})
        made = PredictionFolder(out, identity, _STEP, lambda: listing)
        made._check()
        return made

    @cached_property
    def listing(self) -> Listing:
        """The photos, which are searched for only once.

        Raises:
            DataError: there are none.
        """
        return self.find()

    @property
    def left_out(self) -> Sequence[Problem]:
        """Other files found beside the photos, if this process has searched for them."""
        return self.listing.source.problems if "listing" in vars(self) else ()

    @cached_property
    def files(self) -> Files:
        """The files of the work."""
        return work_of(self.out)

    def fill(self, job: Job, *, context: Callable[[], Mapping[str, Any]] = dict) -> Filled:
        """Create or continue the folder in this process until it is complete, and return what was found.

        Args:
            job, context: see :meth:`work`.

        Raises:
            DataError: none of the photos could be read; the folder is removed.
            RunError: as for :meth:`work`.
        """
        self.work(job, context=context)
        return merge_predictions(self.out)

    def work(
        self,
        job: Job,
        crew: Crew = ALONE,
        *,
        context: Callable[[], Mapping[str, Any]] = dict,
        begun: Callable[[Plan], None] = lambda plan: None,
    ) -> None:
        """Create or continue the folder, photo by photo; :func:`~dips.predict.merging.merge_predictions` completes it.

        Args:
            job: predicts the photos; its plan is in the folder when it is opened.
            context: returns the data about all photos together that the job needs; called if there is no plan yet.
            begun: called once there is a plan, before any photo is predicted.

        Raises:
            RunError: another command is running, ``out`` holds other work, or a file cannot be written; the files so far stay,
                and the next call continues from them.
        """
        with planned(self.files, partial(self._make, crew, context), crew) as plan:
            begun(plan)
            if not plan.is_merged:
                launch(self.files, plan, job, crew)

    def _make(self, crew: Crew, context: Callable[[], Mapping[str, Any]]) -> Plan:
        before = self._check()
        if before is not None and crew.is_task:  # a task does not search for the photos again
            return before
        source = self.listing.source
        return make_plan(
            self.files,
            source.each,
            self.identity,
            size=shard_size(source.count, self.step),
            step=self.step,
            context={} if before else {**self.listing.context, **context()},
            holds=_HOLDS,
            labels=_LABELS,
            remedy=self._remedy,
        )

    def _check(self) -> Plan | None:
        """Return the plan of the same work if it was interrupted; None if the folder may be created.

        Raises:
            RunError: the folder holds other work, or something else.
        """
        kept = self._kept
        remedy = f"it holds {kept}: choose another --out" if kept else f"remove {self.out} or choose another --out"
        before = read_prediction_plan(self.files, remedy)
        if before is not None:
            refuse_other_work(self.out, _HOLDS, differences(before.identity, self.identity, _LABELS), remedy=self._remedy)
        elif isinstance(self.out, Path) and begun_before(self.out):
            raise RunError(
                f"{self.out} holds a prediction that an earlier version of DiPS began and cannot be continued; {remedy}"
            )
        elif self._holds_more:
            refuse_existing(self.out, kept=kept)
        return before

    @property
    def _kept(self) -> str:
        """A description of a person's work in the folder; "" for a store, where nothing is reviewed."""
        return kept_in(self.out, REVIEWS) if isinstance(self.out, Path) else ""

    @property
    def _holds_more(self) -> bool:
        """Whether there is anything besides files of the work."""
        if isinstance(self.out, Path):
            return self.out.exists() and not _is_begun(self.out)
        return any(not name.startswith(f"{WORK}/") for name in each_name(self.out))

    @property
    def _remedy(self) -> str:
        """What to do about other work."""
        if kept := self._kept:
            return f"it also holds {kept}: choose another --out"
        more = ", as long as nothing more is reviewed" if "review" in self.identity else ""
        return f"choose another --out or remove it; only the same command continues it{more}"


def _is_begun(out: Path) -> bool:
    """Return whether a folder so far contains only files of the work."""
    return out.is_dir() and [path.name for path in out.iterdir() if not is_temporary(path)] == [WORK]


def _identity(made_with: Mapping[str, Any], formats: tuple[str, ...], sources: list[str]) -> dict[str, Any]:
    return {"work": KIND, **made_with, "formats": list(formats), "photos": sources}


def _list(photos: Sequence[str | Path], out: str | Path) -> Listing:
    source = read_source(photos, leave_out=out)
    return Listing(source, {"folder": as_text(source.folder)})


def _failed(folder: Path) -> tuple[SkippedRecord, ...]:
    """Return the photos that could not be read when a folder was written; earlier versions did not record their names."""
    file = folder / "skipped.json"
    if not file.is_file():
        return ()
    skipped = read_record(file, SkippedRecords, remedy="remove it; then nothing says which photos could not be read").skipped
    return tuple(record for record in skipped if record.name)
