"""Write the results of each photo while its shard is processed: its own files at once, its record to the shard's part.

In: items of a plan, and their predictions in any order. Out: the files below, each written completely or not at all, the JSON
last; and the results of the shard, one line of JSON per photo, in the order of the items::

    maps/NAME.png    classes/NAME.png    masks/NAME.png    overlays/NAME.jpg    heatmaps/NAME.jpg    json/NAME.json
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dips.data.depth import Depth
from dips.data.images import read_bytes, read_image_bytes, read_scaled
from dips.errors import ImageError, RunError
from dips.formats.records import PredictionRecord, read_prediction
from dips.predict.inputs import path_of
from dips.predict.map_files import write_classes, write_map
from dips.predict.outbox import Outbox
from dips.predict.prediction import MAX_OVERLAY_SIDE, Prediction
from dips.predict.results import locate
from dips.shards.plan import Item, Plan
from dips.shards.work import Attempt, Skipped, Work
from dips.system.files import atomic_file
from dips.system.names import as_text, scheme_of
from dips.system.records import to_json, write_json

__all__ = ["SUFFIXES", "PhotoWriter", "Predict"]

SUFFIXES = {"json": ".json", "overlays": ".jpg", "heatmaps": ".jpg", "maps": ".png", "classes": ".png", "masks": ".png"}
"""Suffixes of the files of each photo, by folder."""

Predict = Callable[[Sequence[Item], Callable[[Path, str], None]], Iterator[Prediction]]
"""Yields the predictions of photos; calls the function with the path of each unreadable photo, and the reason."""


@dataclass(frozen=True)
class PhotoWriter:
    """Writes the files of photos.

    Attributes:
        outbox: where the files are written.
        formats: see :data:`dips.predict.folder.FORMATS`.
        folder: the last part of the path of the predicted folder, as text.
        model: identifies the model.
        step: number of photos predicted together: if the files of one are missing, all of them are predicted again.
        beside: photos with a relative path are looked up relative to the current folder, then to the parents of this one; None
            if the user gave the paths.
        photos_dir: where the photos are now, if the user specified it.
        fetch: returns the bytes of a photo behind a URL.
    """

    outbox: Outbox
    formats: tuple[str, ...]
    folder: str
    model: str
    step: int
    beside: Path | None = None
    photos_dir: Path | None = None
    fetch: Callable[[str], bytes] = read_bytes

    @staticmethod
    def of(
        out: str | Path,
        plan: Plan,
        *,
        beside: Path | None = None,
        photos_dir: Path | None = None,
        fetch: Callable[[str], bytes] = read_bytes,
    ) -> PhotoWriter:
        """Return the writer for a plan, and the folder or URL that it fills."""
        formats, model = tuple(plan.identity["formats"]), str(plan.identity.get("model", ""))[:12]
        return PhotoWriter(Outbox(out), formats, plan.context["folder"], model, plan.step, beside, photos_dir, fetch)

    def work(self, predict: Predict) -> Work:
        """Return the function that processes a shard: one result per photo, and one more if it could not be drawn on."""

        def results(attempt: Attempt) -> Iterator[bytes | Skipped]:
            groups = [attempt.items[start : start + self.step] for start in range(0, len(attempt.items), self.step)]
            whole = [all(map(self._is_whole, group)) for group in groups]
            fresh = self._fresh(
                [item for group, kept in zip(groups, whole, strict=True) if not kept for item in group], predict
            )
            for group, kept in zip(groups, whole, strict=True):
                for item in group:
                    yield from [_line(read_prediction(self._file("json", item)))] if kept else next(fresh)
                self.outbox.send()
            self.outbox.flush()

        return results

    def _fresh(self, items: Sequence[Item], predict: Predict) -> Iterator[list[bytes | Skipped]]:
        """Predict photos, write their files and yield the results of each."""
        by_path = {path_of(item.uri): item for item in items}
        ready: dict[str, list[bytes | Skipped]] = {}
        waiting = deque(items)

        def skip(path: Path, reason: str) -> None:
            item = by_path[path]
            for kind in SUFFIXES:  # left by an attempt that could still read it
                self.outbox.remove(self._name(kind, item))
            ready[item.id] = [Skipped(item.id, reason)]

        for prediction in predict(items, skip) if items else ():
            item = by_path[prediction.path]
            ready[item.id] = self.write(item, prediction)
            while waiting and waiting[0].id in ready:
                yield ready.pop(waiting.popleft().id)
        for item in waiting:
            if item.id not in ready:
                raise RuntimeError(f"{item.uri} was neither predicted nor skipped")
            yield ready.pop(item.id)

    def write(self, item: Item, prediction: Prediction) -> list[bytes | Skipped]:
        """Write the files of one photo, and return its results.

        Raises:
            RunError: a file cannot be written; the files written so far stay, and the next attempt continues from them.
        """
        skipped: list[bytes | Skipped] = []
        write_map(prediction, self._file("maps", item))
        write_classes(prediction, self._file("classes", item))
        if "masks" in self.formats:
            prediction.write_mask(self._file("masks", item))
        try:
            self._write_pictures(item, prediction)
        except ImageError as error:  # moved or damaged since it was predicted; its objects are still valid
            words = f"{error}; its boxes are kept, only the overlay is missing: 'dips boxes' draws it later"
            skipped.append(Skipped(item.id, words, has_result=True))
        path = item.uri if scheme_of(item.uri) else _path_text(prediction.path)
        record = prediction.record(path=path, name=item.id, folder=self.folder, model=self.model)
        write_json(self._file("json", item), record, indent=1)  # written last: it marks the photo as done
        return [_line(record), *skipped]

    def _write_pictures(self, item: Item, prediction: Prediction) -> None:
        kinds = [kind for kind in ("overlays", "heatmaps") if kind in self.formats]
        if not kinds:
            return
        if self.beside is None and scheme_of(item.uri):
            depth = Depth.at(prediction.scale)
            pixels, _ = read_image_bytes(self.fetch(item.uri), item.uri, max_side=MAX_OVERLAY_SIDE, depth=depth)
        else:
            path = prediction.path if self.beside is None else locate(prediction.path, self.beside, self.photos_dir)
            pixels = read_scaled(path, prediction.scale, max_side=MAX_OVERLAY_SIDE)
        for kind in kinds:
            data = prediction.overlay_jpeg(pixels, heat=kind == "heatmaps")
            with atomic_file(self._file(kind, item), "wb") as file:
                file.write(data)

    def _is_whole(self, item: Item) -> bool:
        """Return whether an earlier attempt wrote all files of a photo; after a power failure some may be empty."""
        try:
            record = read_prediction(self._file("json", item))
        except RunError:
            return False
        kinds = ["maps", *(kind for kind in ("masks", "overlays", "heatmaps") if kind in self.formats)]
        kinds += ["classes"] if record.cell_classes else []
        return record.name == item.id and all(_is_there(self._file(kind, item)) for kind in kinds)

    def _file(self, kind: str, item: Item) -> Path:
        return self.outbox.folder / self._name(kind, item)

    @staticmethod
    def _name(kind: str, item: Item) -> str:
        return f"{kind}/{item.stem}{SUFFIXES[kind]}"


def _line(record: PredictionRecord) -> bytes:
    return (to_json(record) + "\n").encode("utf-8", "backslashreplace")


def _is_there(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except OSError:
        return False


def _path_text(path: Path) -> str:
    """Return a photo's path as text, or unchanged, which JSON can hold, if the text is the path of another photo."""
    plain, text = path.as_posix(), as_text(path.as_posix())
    return plain if text != plain and Path(text).exists() else text
