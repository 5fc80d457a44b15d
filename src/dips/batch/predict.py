"""The prediction of photos, and of boxes from stored score maps, as work for any number of processes.

In: the plan of a :class:`~dips.predict.folder.PredictionFolder`. Out: the files of :class:`~dips.predict.writing.PhotoWriter`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from dips.batch.fetching import fetched_ahead
from dips.data.depth import Depth
from dips.data.sources import Fetcher, Source
from dips.errors import RunError
from dips.formats.records import PredictionRecord
from dips.loading import load
from dips.predict.inputs import Picture
from dips.predict.model import PredictionModel
from dips.predict.plans import read_prediction_plan
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor
from dips.predict.results import predict_again
from dips.predict.writing import PhotoWriter
from dips.runs.identity import identity
from dips.shards.plan import Item, Plan, work_of
from dips.shards.work import Work
from dips.system.names import scheme_of
from dips.system.records import to_json

__all__ = ["BoxesJob", "PredictJob", "context_of", "predictor_of"]

_LOOKED_AT = 400  # photos sampled for the common context
_KEPT = 128 << 20  # bytes of photos behind URLs, kept to be drawn on after they were predicted


def context_of(model: PredictionModel, source: Source) -> dict[str, Any]:
    """Return the context of all photos together that each process needs: how values of more than 8 bits are converted."""
    photos = [item.uri if scheme_of(item.uri) else Path(item.uri) for item in source.spread(_LOOKED_AT)]
    return {"depth": json.loads(to_json(model.predictor.for_photos(photos).depth))}


def predictor_of(model: PredictionModel, plan: Plan) -> Predictor:
    """Return a predictor that converts all photos of a plan alike, in whichever process."""
    return model.predictor.with_depth(msgspec.convert(plan.context["depth"], Depth))


@dataclass(frozen=True)
class PredictJob:
    """The prediction of photos with a model.

    Attributes:
        run: the run folder or exported file, which other processes open too.
        out: the folder or URL of the prediction, with its plan.
        device, settings, weights: see :func:`dips.load`.
        loaded: the model, if this process has already loaded it.
    """

    run: Path
    out: str | Path
    device: str = "auto"
    settings: Sequence[str] = ()
    weights: Sequence[str] = ()
    loaded: PredictionModel | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Drop the model, as each worker process loads its own."""
        return {**self.__dict__, "loaded": None}

    def open(self) -> Work:
        """Load the model and return the function that processes a shard.

        Raises:
            RunError: it is not the model that the prediction was planned with, or see :func:`dips.load`.
        """
        plan = _plan(self.out)
        if self.loaded is None and (now := identity(self.run)) != {name: plan.identity.get(name) for name in now}:
            raise RunError(f"{self.run} is another model than the one that {self.out} was begun with; copy that one here")
        model = self.loaded or load(self.run, device=self.device, settings=self.settings, weights=self.weights)
        predictor = predictor_of(model, plan)
        fetch = Fetcher(_KEPT if {"overlays", "heatmaps"} & {*plan.identity["formats"]} else 0)
        writer = PhotoWriter.of(self.out, plan, fetch=fetch)

        return writer.work(lambda items, skip: predictor.photos(_photos(items, fetch), skip, ahead=True))


@dataclass(frozen=True)
class BoxesJob:
    """The search for new boxes in the score maps of a finished prediction.

    Attributes:
        source: the finished prediction.
        out: the folder of the new prediction, with its plan.
        threshold, min_area, min_score, max_boxes, photos_dir, review: see :func:`~dips.predict.results.predict_again`.
    """

    source: Path
    out: str | Path
    threshold: float | None = None
    min_area: float | None = None
    min_score: float | None = None
    max_boxes: int | None = None
    photos_dir: Path | None = None
    review: Callable[[PredictionRecord], PredictionRecord] | None = None

    def open(self) -> Work:
        """Return the function that finds the boxes of a shard."""

        def again(items: Sequence[Item], _: object) -> Iterator[Prediction]:
            return predict_again(
                self.source,
                (item.stem for item in items),
                threshold=self.threshold,
                min_area=self.min_area,
                min_score=self.min_score,
                max_boxes=self.max_boxes,
                photos_dir=self.photos_dir,
                review=self.review,
            )

        return PhotoWriter.of(self.out, _plan(self.out), beside=self.source, photos_dir=self.photos_dir).work(again)


def _photos(items: Sequence[Item], fetch: Callable[[str], bytes]) -> Iterator[Path | Picture]:
    return fetched_ahead(lambda behind: (behind(item.uri) if scheme_of(item.uri) else Path(item.uri) for item in items), fetch)


def _plan(out: str | Path) -> Plan:
    plan = read_prediction_plan(work_of(out))
    if plan is None:
        raise RunError(f"{out} has no plan; it was completed or removed meanwhile")
    return plan
