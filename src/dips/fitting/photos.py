"""The photos of a training, and of the harvest before it: both parts, with the reviews, whole or in tiles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dips.config import Config
from dips.data.labels import several_labels
from dips.data.tiling import in_tiles, tile_side
from dips.fitting.review import add_review
from dips.fitting.splits import read_splits
from dips.system.console import counted, log
from dips.types import DataSet, Sample

__all__ = ["TrainingPhotos", "read_photos"]


@dataclass(frozen=True)
class TrainingPhotos:
    """The photos that a training uses.

    Attributes:
        train, val: the two parts, in tiles if it learns from tiles.
        blank: photos that show no object, if there is no class for them.
        whole: both parts, not in tiles.
        side: side of a tile in pixels; 0 = there are none.
    """

    train: DataSet
    val: DataSet
    blank: tuple[Sample, ...]
    whole: tuple[DataSet, DataSet]
    side: int

    @property
    def count(self) -> int:
        """The number of photos, whatever the number of their tiles."""
        return sum(map(len, self.whole)) + len(self.blank)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All samples, in the order of the parts."""
        return (*self.train.samples, *self.val.samples, *self.blank)


def read_photos(data: str | Path, config: Config, reviewed: str | Path | None = None) -> TrainingPhotos:
    """Read DATA and its reviews, and log a summary in one line.

    Raises:
        DataError: the data cannot be trained on.
        ConfigError: ``train.select_on=boxes``, and no validation photo has a box.
    """
    train, val = read_splits(data, config)
    blank: tuple[Sample, ...] = ()
    if reviewed is not None:
        train, val, blank = add_review(Path(reviewed), data, train, val, label_column=config.data.label_column)
    mixed = several_labels(train.samples)
    log(
        f"{counted(len(train), 'training photo')}, {counted(len(val), 'validation photo')}, "
        f"{counted(len(train.classes), 'class')}"
        + (f"; {counted(mixed, 'training photo', 'has')} several labels" if mixed else "")
        + ("" if train.background is None else f"; '{train.classes[train.background]}' is without object")
    )
    whole = train, val
    if side := tile_side(train, config.train.tile, config.classifier.size):
        train, val = (in_tiles(part, side, config.predict.tile_overlap) for part in whole)
        log(f"photos are seen in {counted(len(train) + len(val), 'tile')} of {side} x {side} pixels")
    return TrainingPhotos(train, val, blank, whole, side)
