"""``dips harvest``: do what a training does with all photos before its first epoch, in any number of processes.

In: DATA and settings. Out: a store with everything that such a training needs, so that it runs no network over the photos.
Two stages process each photo on its own, and are split into shards: the CNN's output (:class:`PhotosJob`), and, if a U-Net is
trained, maps and proposals (:class:`MapsJob`). What depends on all photos together is done by one process after the first
stage: the choice of photos that the linear maps are fitted on, these maps, and the classifier.

Each harvest has its own folder of control files in the store, ``.unfinished/HASH``; until everything is done, it is listed by
``.unfinished/harvests/HASH``, which names its DATA.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from dips.batch.harvest_jobs import NETWORKS, MapsContext, MapsJob, PhotosJob, item_of, name_of, networks_of, put_part
from dips.config import Config, several, training_config
from dips.data.depth import Depth
from dips.data.problems import ProblemList, left_out
from dips.data.scale import depth_of, depth_setting
from dips.errors import ConfigError, DataError, RunError
from dips.fitting.maps import MapMaker
from dips.fitting.photos import TrainingPhotos, read_photos
from dips.fitting.prepare import prepare
from dips.harvest.store import Store, settings_hash
from dips.shards.files import LocalFiles, files_at
from dips.shards.launch import Crew, Job, launch, planned
from dips.shards.merge import all_done, ending, part_lines, skipped
from dips.shards.plan import WORK, Item, Plan, make_plan, read_plan, shard_size
from dips.shards.work import Shards, Skipped
from dips.system.console import counted, log, quiet
from dips.system.device import pick_device
from dips.system.environment import quoted, store_folder
from dips.system.names import scheme_of, some
from dips.system.records import Record, to_json
from dips.types import DataSet, Sample

__all__ = ["Harvested", "harvest", "is_url", "merge_harvests"]

_PHOTOS, _MAPS = "photos", "maps"
_LIST = "harvests"


@dataclass(frozen=True)
class Harvested:
    """The outcome of a harvest.

    Attributes:
        photos: number of photos.
        is_done: whether the store has everything; if not, the same command must be repeated for the maps.
        store: the folder of the store.
    """

    photos: int
    is_done: bool
    store: Path = field(default=Path(), compare=False)


class _Request(Record, frozen=True, kw_only=True):
    """The inputs of a harvest, and whether it collects parts or fills a store; paths are absolute."""

    data: str
    config: dict[str, Any]
    weights: tuple[str, ...]
    reviewed: str | None
    collected: bool


class _PlannedError(Exception):
    """The next stage has been planned, for others to work on."""


def is_url(store: str | Path | None) -> bool:
    """Return whether a store is collected at a URL rather than kept in a folder."""
    return bool(scheme_of(str(store)))


def harvest(
    data: str | Path,
    *,
    store: str | Path | None = None,
    recipe: str | Path | None = None,
    settings: Sequence[str] = (),
    weights: Sequence[str] = (),
    reviewed: str | Path | None = None,
    device: str = "auto",
    crew: Crew | None = None,
    problems: str | Path | None = None,
) -> Harvested | None:
    """Fill a store with the data that a training needs for each photo.

    Args:
        data, recipe, settings, weights, reviewed, device: as for :func:`dips.fit`.
        store: the folder of the store; default: the user's cache. At a URL parts are collected, from which
            :func:`merge_harvests` makes a store.
        crew: the processes that do the work; by default this process.
        problems: a file for all problems of the data, of which only the first few are logged.

    Returns:
        the outcome; None if other tasks also work, or ``store`` is a URL: :func:`merge_harvests` then ends the work.

    Raises:
        DipsError: as for :func:`dips.fit`.
        ConfigError: a U-Net's maps would be collected at a URL.
        DataError: photos killed the processes that worked on them, so no training can read them.
        RunError: the same harvest is already running, or a process died.
    """
    config, crew = training_config(recipe, several(settings)), crew or Crew()
    if is_url(store) and config.train.epochs:
        raise ConfigError(
            f"--store {store}: a U-Net's maps (train.epochs above 0) depend on all photos together, and are made in two "
            "rounds; give a folder for --store"
        )
    place = str(store).rstrip("/") if is_url(store) else str(store_folder(store).absolute())
    request = _Request(
        data=os.path.abspath(data),
        config=msgspec.to_builtins(config),
        weights=tuple(os.path.abspath(item) if os.path.exists(item) else item for item in several(weights)),
        reviewed=None if reviewed is None else os.path.abspath(reviewed),
        collected=is_url(store),
    )
    return _Harvest(request, config, place, device, crew, ProblemList(problems)).run()


def merge_harvests(store: str, into: str | Path | None = None, *, device: str = "auto") -> Harvested | None:
    """End the harvests that several tasks worked on.

    Args:
        store: the folder or URL passed to these tasks.
        into: the folder of the store made from the collected parts; default: the user's cache.

    Returns:
        The outcome of the last harvest; None if there is none.

    Raises:
        ConfigError: ``into`` is given, but nothing was collected.
        RunError: a harvest is not done.
    """
    place = store.rstrip("/") if is_url(store) else os.path.abspath(store)
    harvests = [_begun(place, key, device) for key in files_at(f"{place}/{WORK}").names(_LIST)]
    if into is not None and harvests and not any(each.request.collected for each in harvests):
        raise ConfigError(f"--store {into}: the harvest in {store} fills a store there, so that no other is made; leave it out")
    done = None
    for each in harvests:
        done = each.merge(str(store_folder(into).absolute()) if each.request.collected else place)
    return done


def _begun(place: str, key: str, device: str) -> _Harvest:
    """Return a listed harvest."""
    files = files_at(f"{place}/{WORK}/{key}")
    plan = read_plan(files)
    if plan is None:  # killed after the first stage was merged, or before anything was planned
        data = os.fsdecode(files_at(f"{place}/{WORK}").read(f"{_LIST}/{key}"))
        raise RunError(f"the harvest of {data} in {place} stopped between two stages; repeat its 'dips harvest', then this")
    try:
        request = msgspec.convert({name: plan.identity.get(name) for name in _Request.__struct_fields__}, _Request)
        config = msgspec.convert(request.config, Config)
    except (msgspec.ValidationError, ConfigError) as error:
        raise RunError(f"{files.place}/plan.json is damaged ({error}); remove the folder") from error
    return _Harvest(request, config, place, device, Crew(), ProblemList(None))


class _Harvest:
    """One harvest, from its first stage to its last."""

    def __init__(self, request: _Request, config: Config, place: str, device: str, crew: Crew, told: ProblemList) -> None:
        self.request, self.config, self.place, self.device, self.crew, self.told = request, config, place, device, crew, told
        self.identity: dict[str, Any] = json.loads(to_json(request))  # as it will be read back
        self.key = settings_hash(self.identity)
        self.list, self.files = files_at(f"{place}/{WORK}"), files_at(f"{place}/{WORK}/{self.key}")

    def run(self) -> Harvested | None:
        """Run the harvest, see :func:`harvest`."""
        before = read_plan(self.files)
        if self.crew.is_task and before is not None:
            self._launch(before)
            return None
        photos = self._photos()
        if before is None or before.identity.get("stage") == _PHOTOS:
            with planned(self.files, lambda: self._plan_photos(photos), self.crew) as plan:
                self._launch(plan)
            if self.crew.is_task or self.request.collected:
                return None
            self._end()
        return self._rest(photos, self.place, self._do_maps)

    def merge(self, folder: str) -> Harvested:
        """End a stage that other tasks worked on, and run or plan the next one.

        Args:
            folder: the folder of the store.
        """
        plan = read_plan(self.files)
        assert plan is not None
        is_last = plan.identity.get("stage") == _MAPS
        photos = self._photos()  # read first: if DATA is not accessible here, nothing is changed
        self._end(Store(Path(folder)) if self.request.collected else None)
        if is_last:
            self._forget()
            return Harvested(photos.count, is_done=True, store=Path(folder))
        return self._rest(photos, folder, self._plan_maps)

    def _photos(self) -> TrainingPhotos:
        photos = read_photos(self.request.data, self.config, self.request.reviewed)
        self.told.add(photos.train.problems)
        return photos

    # --- stages

    def _plan_photos(self, photos: TrainingPhotos) -> Plan:
        with quiet():  # later steps log the scale
            depth = depth_of([sample.path for sample in photos.train.samples], depth_setting(self.config.data))
        return self._plan(_PHOTOS, photos.samples, {"depth": msgspec.to_builtins(depth)})

    def _plan_maps(self, maker: MapMaker, photos: DataSet) -> None:
        self._maps_plan(maker, photos)
        raise _PlannedError

    def _do_maps(self, maker: MapMaker, photos: DataSet) -> None:
        with planned(self.files, lambda: self._maps_plan(maker, photos), self.crew) as plan:
            self._launch(plan)
        self._end()

    def _maps_plan(self, maker: MapMaker, photos: DataSet) -> Plan:
        if read_plan(self.files) is None:  # otherwise shards already done used the existing networks
            self.files.write(NETWORKS, networks_of(maker))
        return self._plan(_MAPS, photos.samples, msgspec.to_builtins(MapsContext.of(maker, photos.classes)))

    def _plan(self, stage: str, samples: Sequence[Sample], context: dict[str, Any]) -> Plan:
        unique = {name_of(sample): sample for sample in samples}
        step = self.config.harvest.batch

        def items() -> Iterator[Item]:
            return map(item_of, unique.values())

        self.list.create(f"{_LIST}/{self.key}", os.fsencode(self.request.data))
        return make_plan(
            self.files,
            items,
            {"work": "harvest", "stage": stage, **self.identity},
            size=shard_size(len(unique), step),
            step=step,
            context=context,
            holds="a harvest",
            labels={"items": "other photos", "stage": "another stage"},
            remedy="remove it",
        )

    def _job(self, plan: Plan) -> Job:
        given, store = self.request.weights, None if self.request.collected else self.place
        if plan.identity.get("stage") == _PHOTOS:
            return PhotosJob(self.config, given, msgspec.convert(plan.context["depth"], Depth), store, self.device)
        context = msgspec.convert(plan.context, MapsContext)
        return MapsJob(self.files, self.config, given, self.place, self.device, context)

    def _launch(self, plan: Plan) -> None:
        if not plan.is_merged:
            merge = f"dips merge {quoted(self.place)}{' --store FOLDER' if self.request.collected else ''}"
            launch(self.files, plan, self._job(plan), self.crew, merge=merge)

    def _end(self, store: Store | None = None) -> None:
        """End a stage, and write its parts to ``store``, if given."""
        killers: list[Skipped] = []
        with ending(self.files) as plan:
            if not plan.is_merged:
                shards = Shards(self.files, plan)
                killers = list(skipped(shards))
                if store is not None:
                    self._collect(shards, store)
        if killers:
            self._forget()
            self.told.add(left_out(Path(each.id), f"{each.id} cannot be worked on: {each.reason}") for each in killers)
            raise DataError(
                f"{counted(len(killers), 'photo')} ended the processes that worked on them, as would a training: "
                f"{some([each.id for each in killers], 3)}; take them out of the data and repeat the command"
            )

    def _collect(self, shards: Shards, store: Store) -> None:
        count = 0
        for shard, done in all_done(shards):
            source = f"{self.files.place}/parts/{done.part}"
            count += put_part(part_lines(self.files, shard, done), store, source=source)
        log(f"{counted(count, 'record')} of {self.place} put into {store.folder}")

    def _rest(self, photos: TrainingPhotos, folder: str, ahead: Callable[[MapMaker, DataSet], None]) -> Harvested:
        """Do the work that depends on all photos together."""
        store, device = Store(Path(folder)), pick_device(self.device)
        try:
            inputs = prepare(
                photos.train,
                photos.val,
                blank=photos.blank,
                config=self.config,
                store=store,
                device=device,
                given=self.request.weights,
                ahead=ahead,
            )
        except _PlannedError:
            return Harvested(photos.count, is_done=False, store=Path(folder))
        self.told.add(inputs.problems)
        self._forget()
        return Harvested(photos.count, is_done=True, store=Path(folder))

    def _forget(self) -> None:
        """Remove the last traces of the work."""
        self.list.remove(f"{_LIST}/{self.key}")
        if isinstance(self.list, LocalFiles):
            with suppress(OSError):  # another harvest is running
                (self.list.folder / _LIST).rmdir()
                self.list.folder.rmdir()
