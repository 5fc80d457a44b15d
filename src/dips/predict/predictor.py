"""Predict the class, score map, mask and boxes of a photo with a trained localizer, however it was trained.

In: photo files. Out: :class:`~dips.predict.prediction.Prediction` in the photo's own pixels. The networks see the photo resized
to a square. No torch is needed here: the networks may be those of a run or an exported file.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dips.config import PredictConfig
from dips.data.camera import Camera, read_camera
from dips.data.depth import Depth, Scale, Shown, scale_words
from dips.data.images import ByteImage, image_size, median_side, read_bytes, read_image_bytes, resize_image
from dips.data.scale import depth_of
from dips.data.split import spread
from dips.data.tiling import MUCH_LARGER
from dips.data.windows import PhotoWindows, open_photo
from dips.errors import ConfigError, ImageError, RunError
from dips.predict.inputs import Picture
from dips.predict.prediction import Prediction
from dips.scoremaps.calibration import Calibration, ungated
from dips.scoremaps.object_classes import ClassCells
from dips.scoremaps.tiles import Blend, CellBlend, ClassVote, Tiles
from dips.system.console import log
from dips.types import Answer, Answerer, FloatArray, PhotoBatch

__all__ = ["Predictor"]


def _windows(photo: Picture, depth: Depth) -> AbstractContextManager[PhotoWindows]:
    return nullcontext(PhotoWindows(photo.read(None, depth)[0], photo.size()))


_LOOKED_AT = 20  # number of photos whose size is checked
_ROUNDING = 4e-7  # rounding error by which a sum of 32-bit numbers may leave [0, 1]
TILED_MIN_SCORE = 0.6  # mean of the score map; measured: docs/experiments.md


class _Said(NamedTuple):
    """The networks' output for one square: its score map, its class probabilities, and the class logits of its cells."""

    score_map: FloatArray
    probabilities: FloatArray
    cells: FloatArray | None

    @staticmethod
    def each(answer: Answer) -> Iterator[_Said]:
        """Yield the output for each photo of a batch."""
        for index, score_map in enumerate(answer.maps):
            yield _Said(score_map, answer.probabilities[index], None if answer.cells is None else answer.cells[index])


class _View(NamedTuple):
    """A photo prepared for the networks as a whole."""

    path: Path
    size: tuple[int, int]
    square: ByteImage
    scale: Scale | None
    camera: Camera | None
    opened: Callable[[], AbstractContextManager[PhotoWindows]]


class _Group(NamedTuple):
    """Photos that the networks process together, and those that cannot be read, with the reasons."""

    views: list[_View]
    unreadable: list[tuple[Path, str]]


class Predictor:
    """A localizer that is ready to predict.

    Args:
        networks: compute the score maps and class probabilities of squares.
        config: the prediction settings, with ``threshold`` resolved.
        classes: class names in label order.
        background: label of the class without an object; its photos get no boxes.
        photo_side: side in pixels of a square as large as the training photos were, for ``predict.tile=-1``.
        depth: how values of more than 8 bits are reduced to 8, as in training.
        calibration: converts scores of such maps to probabilities. If ``predict.min_score`` is set, its gate does not apply.

    Raises:
        ConfigError: ``predict.tile=-1`` without ``photo_side``.

    .. code-block:: python

        model = dips.load("runs/masts")
        for prediction in model.predictor.photos(paths, skipped=lambda path, reason: print(reason)):
            print(prediction.path, prediction.boxes)
    """

    def __init__(
        self,
        networks: Answerer,
        *,
        config: PredictConfig,
        classes: tuple[str, ...],
        background: int | None,
        photo_side: int | None = None,
        depth: Depth | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        if config.tile < 0 and photo_side is None:
            raise ConfigError("predict.tile: this run does not record the size of its training photos; give a side in pixels")
        self.networks, self.config = networks, config
        self.classes, self.background = classes, background
        self.depth, self._told = depth or Depth(), False
        self.photo_side = photo_side
        self.calibration = calibration if config.min_score < 0 else ungated(calibration)
        self.tile = photo_side if config.tile < 0 and photo_side is not None else config.tile

    @property
    def _tiled_min_score(self) -> float:
        return TILED_MIN_SCORE if self.calibration is None else float(self.calibration.chance(TILED_MIN_SCORE))

    def summary(self) -> str:
        """Return one line that describes how photos are predicted."""
        tiles = f"tiles of {self.tile} pixels besides the whole photo" if self.tile else "photos as a whole"
        scale = f", values {scale_words(self.depth.scales[0])} as black to white" if self.depth.scales else ""
        return f"{tiles}, threshold {self.config.threshold:.3g}{scale}"

    def for_photos(self, paths: Sequence[Path | str]) -> Predictor:
        """Return a predictor that uses the same scale for all these photos, see :func:`~dips.data.scale.depth_of`.

        Logs a hint if photos are much larger than the training photos and would not be tiled. URLs are strings.
        """
        if hint := self._size_hint(paths):
            log(hint)
        return self.with_depth(depth_of(paths, self.depth))

    def with_depth(self, depth: Depth) -> Predictor:
        """Return a predictor that reduces values of more than 8 bits to 8 with ``depth``."""
        other = copy.copy(self)
        other.depth, other._told = depth, False
        return other

    def _size_hint(self, paths: Sequence[Path | str]) -> str:
        """Return advice for photos whose objects may be too small, from the headers of a few; "" if they are not."""
        if self.tile or self.photo_side is None:
            return ""
        sizes: list[tuple[int, int]] = []
        for path in spread(paths, _LOOKED_AT):
            with suppress(ImageError):
                sizes.append(image_size(path))
        if not sizes or (side := median_side(sizes)) < MUCH_LARGER * self.photo_side:
            return ""
        return (
            f"the photos are {side / self.photo_side:.1f} times as wide and high as the training photos were; if their objects "
            "are no larger, look for them in tiles: --tile auto (--set predict.tile=-1)"
        )

    def photos(
        self, photos: Iterable[Path | Picture], skipped: Callable[[Path, str], None], *, ahead: bool | None = None
    ) -> Iterator[Prediction]:
        """Predict readable photos, in order; ``skipped`` is called with the path of each unreadable one, and the reason.

        Args:
            ahead: read one batch ahead of the networks, in a thread; by default for a list, while an iterator is consumed
                lazily.
        """
        is_ahead = isinstance(photos, Sequence) if ahead is None else ahead
        with closing(self._ahead(photos) if is_ahead else self._groups(photos)) as groups:
            for group in groups:
                for path, reason in group.unreadable:
                    skipped(path, reason)
                for view, said in self._answers(group.views):
                    try:
                        yield self._predict(view, said)
                    except ImageError as error:
                        skipped(view.path, str(error))

    def _groups(self, photos: Iterable[Path | Picture]) -> Generator[_Group, None, None]:
        remaining = iter(photos)
        while group := list(islice(remaining, self.config.batch)):
            yield self._read(group)

    def _ahead(self, photos: Iterable[Path | Picture]) -> Generator[_Group, None, None]:
        remaining = iter(photos)
        with ThreadPoolExecutor(1, "dips reads ahead") as thread:
            reading = None
            while group := list(islice(remaining, self.config.batch)):
                before, reading = reading, thread.submit(self._read, group)
                if before is not None:
                    yield before.result()
            if reading is not None:
                yield reading.result()

    def _read(self, photos: Iterable[Path | Picture]) -> _Group:
        """Read photos that the networks process together."""
        group = _Group([], [])
        for photo in photos:
            try:
                group.views.append(self._view(photo))
            except ImageError as error:
                group.unreadable.append((photo.path if isinstance(photo, Picture) else photo, str(error)))
        return group

    def photo(self, path: Path) -> Prediction:
        """Predict one photo.

        Raises:
            ImageError: the photo cannot be read.
        """
        return next(self._predict(*answer) for answer in self._answers([self._view(path)]))

    def _view(self, photo: Path | Picture) -> _View:
        opened: Callable[..., AbstractContextManager[PhotoWindows]]
        if isinstance(photo, Picture):
            path, size, opened = photo.path, photo.size(), partial(_windows, photo)
            pixels, shown = photo.read(self.networks.side, self.depth)
            camera = photo.camera()
        else:
            data = read_bytes(photo)
            pixels, shown = read_image_bytes(data, photo, max_side=self.networks.side, depth=self.depth)
            path, size, opened = photo, image_size(photo, data), partial(open_photo, photo)
            camera = read_camera(data)
        if shown is not None:
            self._tell(path, shown)
        scale = None if shown is None else shown.scale
        return _View(path, size, self._square(pixels), scale, camera, partial(opened, Depth.at(scale)))

    def _tell(self, path: Path, shown: Shown) -> None:
        """Log once that photos are not converted with the scale of the training photos."""
        if self._told or not shown.stretched or shown.scale in self.depth.scales:
            return
        self._told = True
        known = f" (others: {scale_words(self.depth.scales[-1])})" if self.depth.scales else ""
        used = f"{scale_words(shown.used)} of {shown.type}"
        log(f"{path} uses values {used}{known}: it, and others like it, are stretched each by its own range")

    def pictures(self, pictures: Iterable[tuple[Path, ByteImage]]) -> Iterator[Prediction]:
        """Predict images ``(H, W, 3) uint8`` RGB, in order; their paths are only names."""

        def refuse(path: Path, reason: str) -> None:
            raise ImageError(reason)

        return self.photos((Picture.of(path, pixels) for path, pixels in pictures), refuse)

    def _answers(self, views: Sequence[_View]) -> Iterator[tuple[_View, _Said]]:
        """Return the networks' output for each photo as a whole."""
        if views:
            yield from zip(views, _Said.each(self._answer([view.square for view in views])), strict=True)

    def _answer(self, squares: Sequence[ByteImage]) -> Answer:
        answer = self.networks.answer(PhotoBatch(np.stack(squares)))
        for values in (answer.maps, answer.probabilities):
            is_sound = values.min() >= -_ROUNDING and values.max() <= 1 + _ROUNDING  # NaN is not
            if not (is_sound and (answer.cells is None or np.isfinite(answer.cells).all())):
                raise RunError(
                    "the model answers with scores that are not numbers from 0 to 1: its weights are damaged, or too large for "
                    "this device; copy the model again, try --device cpu, or train again"
                )
        return answer

    def _square(self, photo: ByteImage) -> ByteImage:
        return resize_image(photo, (self.networks.side, self.networks.side))

    def looks(self, size: tuple[int, int]) -> int:
        """Return how many squares the networks process for a photo of this width and height: the whole and its tiles."""
        tiles = self._tiles(size)
        return 1 + (len(tiles) if len(tiles) > 1 else 0)

    def _tiles(self, size: tuple[int, int]) -> Tiles | tuple[()]:
        return Tiles.plan(size, self.tile, self.config.tile_overlap) if self.tile else ()

    def _predict(self, view: _View, whole: _Said) -> Prediction:
        """Predict a photo from the networks' output for the whole, and from its tiles, if it has any."""
        tiles = self._tiles(view.size)
        if len(tiles) < 2:
            return self.make_prediction(
                view.path, view.size, *whole[:2], cells=whole.cells, scale=view.scale, camera=view.camera
            )
        assert isinstance(tiles, Tiles)
        blend, classes = Blend(tiles, len(whole.score_map)), ClassVote(whole.score_map, whole.probabilities, self.background)
        cells = None if whole.cells is None else CellBlend(tiles, whole.cells)
        with view.opened() as photo:
            remaining = iter(tiles)
            while group := list(islice(remaining, self.config.batch)):
                answer = self._answer([self._square(photo.window(*tile)) for tile in group])
                for tile, part in zip(group, _Said.each(answer), strict=True):
                    blend.add(tile, part.score_map)
                    classes.add(part.score_map, part.probabilities)
                    if cells is not None and part.cells is not None:
                        cells.add(tile, part.cells)
        fraction = tiles.tile[0] * tiles.tile[1] / (view.size[0] * view.size[1])
        return self.make_prediction(
            view.path,
            view.size,
            blend.with_whole(whole.score_map),
            classes.probabilities(),
            fraction,
            cells=None if cells is None else cells.logits(),
            scale=view.scale,
            camera=view.camera,
        )

    def make_prediction(
        self,
        path: Path,
        size: tuple[int, int],
        grid: FloatArray,
        probabilities: FloatArray,
        fraction: float = 1.0,
        *,
        cells: FloatArray | None = None,
        scale: Scale | None = None,
        camera: Camera | None = None,
    ) -> Prediction:
        """Return the prediction for a score map.

        Args:
            path: the photo's file.
            size: width and height of the photo in pixels.
            grid: the score map ``(h, w)`` in [0, 1], of any resolution.
            probabilities: ``(C,)``, of every class.
            fraction: fraction of the photo's area that ``predict.min_area`` is relative to: that of a tile, or 1.
            cells: class logits ``(C, h, w)`` in each cell of a grid, if objects have classes of their own.
            scale: the values mapped to black and white, if the photo has more than 8 bits.
            camera: where and when the photo was taken, if recorded.

        Raises:
            ConfigError: no threshold was chosen.
        """
        if self.config.threshold < 0:
            raise ConfigError("predict.threshold: none was chosen on validation here; give one between 0 and 1")
        prediction = Prediction.from_map(
            path,
            size,
            grid,
            classes=self.classes,
            probabilities=probabilities,
            background=None if self.background is None else self.classes[self.background],
            scale=scale,
            camera=camera,
            calibration=self.calibration,
            cells=None if cells is None else ClassCells.of(cells, self.background),
        )
        return prediction.with_objects(
            threshold=self.config.threshold,
            min_area=self.config.min_area * fraction,
            min_score=self.config.min_score if self.config.min_score >= 0 else self._tiled_min_score if fraction < 1 else 0.0,
            max_boxes=self.config.max_boxes,
        )
