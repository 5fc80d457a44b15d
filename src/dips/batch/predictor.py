"""Prediction for pipelines with photos in tables: :class:`Predictor`, from columns to columns, row by row.

In: a batch of Ray Data, Spark, Daft or your own code. Out: a batch of the same kind with as many rows in the same order, even
if photos are damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dips.batch.fetching import Behind, fetched_ahead
from dips.data.images import encode_image
from dips.data.sources import Fetcher
from dips.errors import DataError
from dips.loading import load
from dips.predict.inputs import Picture
from dips.predict.prediction import Prediction
from dips.system.names import file_url_path, scheme_of

if TYPE_CHECKING:
    from dips.predict.model import PredictionModel

__all__ = ["Predictor"]

_PHOTOS = ("bytes", "content", "image", "path", "uri")
_PLACES = ("path", "uri")
_Row = dict[str, Any]


@dataclass(frozen=True)
class Predictor:
    """Predicts the photos of a batch, like ``dips predict``.

    It can be pickled, and holds no model: each process loads the model at its first call, and reuses it for later ones.

    .. code-block:: python

        predict = Predictor("runs/masts")
        answer = predict({"path": ["a.jpg", "b.jpg"]})
        print(answer["label"], answer["boxes"][0], answer["error"])

    A batch is a dict of columns, a ``pandas.DataFrame``, a ``pyarrow.Table`` or a ``pyarrow.RecordBatch``. The result is of the
    same kind: input columns, and these, named like the attributes of :class:`~dips.predict.prediction.Prediction`:

    =================  ==================  =====================================================================
    ``label``          string              predicted class
    ``label_score``    float32             its probability
    ``class_scores``   (C,) float32        probability of every class, in the model's order
    ``width, height``  int32               size of the photo in pixels, EXIF rotation applied
    ``boxes``          (k, 4) float32      ``x0 y0 x1 y1`` in the photo's pixels, end exclusive, best first
    ``box_scores``     (k,) float32        in [0, 1]
    ``box_labels``     k strings           class of each box
    ``mask``           bytes               with ``masks``: a PNG of the photo's size, 255 on objects
    ``error``          string              why there is no prediction; empty if there is one
    =================  ==================  =====================================================================

    In a dict, columns are arrays; in tables, boxes are lists of lists, which Parquet and other programs support. A row without
    a prediction has no boxes; its label, scores and size are null, or in a dict ``None``, ``nan`` and 0.

    Photos of more than 8 bits are converted like the training photos, and those that do not fit are stretched one by one, as
    not all photos of a pipeline are known in advance.

    Attributes:
        run: the run folder, or the ``.onnx`` file, which does not need torch, at a path that the process can read.
        device, settings, weights: see :func:`dips.load`.
        column: the column with the photos: bytes of image files, arrays ``(H, W, 3) uint8`` RGB or ``(H, W)`` grey, paths,
            URLs (extra ``remote``), or dicts with ``bytes`` or ``path``, as used by Hugging Face. By default the first of
            ``bytes``, ``content``, ``image``, ``path`` and ``uri`` that exists.
        keep: input columns to keep. By default all except ``column``, which is also kept if it is named ``path`` or ``uri``.
            None of them may have the name of a result column.
        masks: fill the column ``mask``, which otherwise is null.

    Raises:
        DataError: there is no such column, a kept one has the name of a result column, or the batch is of another kind.
        DipsError: the model cannot be opened, see :func:`dips.load`.
    """

    run: str | Path
    device: str = "auto"
    settings: Sequence[str] = ()
    weights: Sequence[str] = ()
    column: str = ""
    keep: Sequence[str] | None = None
    masks: bool = False

    SPARK_SCHEMA: ClassVar[str] = (
        "label string, label_score float, class_scores array<float>, width int, height int, boxes array<array<float>>, "
        "box_scores array<float>, box_labels array<string>, mask binary, error string"
    )
    """Schema of the added columns for Spark's ``mapInPandas``."""

    def __call__(self, batch: Any) -> Any:
        """Predict a batch."""
        table = _Table.of(batch)
        column = self.column or next((name for name in _PHOTOS if name in table.names), "")
        if column not in table.names:
            there = ", ".join(table.names) or "none"
            raise DataError(f"the batch has no column '{column or 'bytes, image, path ...'}'; column= names one of {there}")
        keep = self.keep
        if keep is None:
            keep = [name for name in table.names if name != column or name in _PLACES]
        if missing := [name for name in keep if name not in table.names]:
            raise DataError(f"the batch has no column '{missing[0]}'; keep= names some of {', '.join(table.names)}")
        if taken := [name for name in keep if name in _FIELDS]:
            raise DataError(f"the batch has a column '{taken[0]}', as the answer does; rename it, or give keep= without it")
        photos = table.column(column)
        place = next((name for name in _PLACES if name in table.names), "")
        names = [str(name) for name in table.column(place)] if place else [f"row {row}" for row in range(len(photos))]
        settings, weights = tuple(self.settings), tuple(self.weights)
        model = _opened(str(self.run), self.device, settings, weights)
        return table.answer(list(keep), _predicted(model, photos, names, masks=self.masks), len(model.classes))


@lru_cache(maxsize=1)
def _opened(run: str, device: str, settings: tuple[str, ...], weights: tuple[str, ...]) -> PredictionModel:
    return load(run, device=device, settings=settings, weights=weights)


def _predicted(model: PredictionModel, photos: Sequence[Any], names: Sequence[str], *, masks: bool) -> list[_Row]:
    rows: list[_Row] = [{}] * len(photos)
    paths: list[Path] = []  # one object per row, although two may be equal
    places: dict[int, int] = {}

    def pictures(behind: Behind) -> Iterator[Path | Picture]:
        for place, (photo, name) in enumerate(zip(photos, names, strict=True)):
            try:
                picture = _picture(photo, name, behind)
            except DataError as error:
                rows[place] = _nothing(str(error))
                continue
            paths.append(picture.path if isinstance(picture, Picture) else picture)
            places[id(paths[-1])] = place
            yield picture

    def skipped(path: Path, reason: str) -> None:
        rows[places[id(path)]] = _nothing(reason)

    for prediction in model.predictor.photos(fetched_ahead(pictures, Fetcher()), skipped):
        rows[places[id(prediction.path)]] = _row(prediction, masks=masks)
    return rows


def _picture(photo: Any, name: str, behind: Behind) -> Path | Picture:
    """Return the content of a cell as an input for prediction.

    Raises:
        DataError: it is not a photo.
    """
    if isinstance(photo, Mapping):
        photo = photo.get("bytes") or photo.get("path")
    if photo is None:
        raise DataError(f"{name} has no photo")
    if not isinstance(photo, str | Path):
        return Picture.of(Path(name), np.asarray(photo) if isinstance(photo, list) else photo)
    if str(photo).startswith("file:"):
        photo = file_url_path(str(photo))
    return behind(str(photo)) if scheme_of(str(photo)) else Path(photo)


def _row(prediction: Prediction, *, masks: bool) -> _Row:
    return {
        "label": prediction.label,
        "label_score": prediction.label_score,
        "class_scores": prediction.class_scores,
        "width": prediction.size[0],
        "height": prediction.size[1],
        "boxes": prediction.boxes,
        "box_scores": prediction.box_scores,
        "box_labels": [prediction.label_of(index) for index in range(len(prediction.boxes))],
        "mask": encode_image(prediction.mask.view(np.uint8) * np.uint8(255), ".png") if masks else None,
        "error": "",
    }


def _nothing(error: str) -> _Row:
    none = dict.fromkeys(("label", "label_score", "class_scores", "width", "height", "mask"))
    boxes = {"boxes": np.zeros((0, 4), np.float32), "box_scores": np.zeros(0, np.float32), "box_labels": []}
    return {**none, **boxes, "error": error}


_FIELDS = (
    *("label", "label_score", "class_scores", "width", "height"),
    *("boxes", "box_scores", "box_labels", "mask", "error"),
)


class _Table:
    """A batch: a dict of columns."""

    def __init__(self, batch: Any, names: Sequence[str]) -> None:
        self.batch, self.names = batch, tuple(names)

    @staticmethod
    def of(batch: Any) -> _Table:
        """Wrap a batch of any kind, without importing its library, which the caller has already done.

        Raises:
            DataError: the batch is of an unknown kind.
        """
        kind = type(batch).__module__.partition(".")[0]
        if isinstance(batch, Mapping):
            return _Table(batch, list(batch))
        if kind == "pandas" and hasattr(batch, "columns"):
            return _PandasTable(batch, list(map(str, batch.columns)))
        if kind == "pyarrow" and hasattr(batch, "schema"):
            return _ArrowTable(batch, batch.schema.names)
        raise DataError(
            f"a batch is a dict of columns, a DataFrame of pandas or a Table of pyarrow, not of the type {type(batch).__name__}"
        )

    def column(self, name: str) -> list[Any]:
        """Return the cells of a column."""
        return list(self.batch[name])

    def answer(self, keep: Sequence[str], rows: Sequence[_Row], classes: int) -> Any:
        """Return the kept columns and the added ones."""
        added: dict[str, NDArray[Any]] = {name: _objects([row[name] for row in rows]) for name in _FIELDS}
        class_scores = np.full((len(rows), classes), np.nan, np.float32)
        for scores, row in zip(class_scores, rows, strict=True):
            if row["class_scores"] is not None:
                scores[:] = row["class_scores"]
        added["label_score"] = added["label_score"].astype(np.float32)  # None is nan
        added["class_scores"] = class_scores
        for side in ("width", "height"):
            added[side] = np.array([size or 0 for size in added[side]], np.int32)
        return {**{name: self.batch[name] for name in keep}, **added}


class _PandasTable(_Table):
    def answer(self, keep: Sequence[str], rows: Sequence[_Row], classes: int) -> Any:
        return self.batch[list(keep)].assign(**_lists(rows))


class _ArrowTable(_Table):
    def column(self, name: str) -> list[Any]:
        return [cell.as_py() for cell in self.batch.column(name)]

    def answer(self, keep: Sequence[str], rows: Sequence[_Row], classes: int) -> Any:
        import pyarrow as pa

        number, words = pa.float32(), pa.string()
        types = {"label": words, "label_score": number, "class_scores": pa.list_(number), "width": pa.int32()}
        types |= {"height": pa.int32(), "boxes": pa.list_(pa.list_(number)), "box_scores": pa.list_(number)}
        types |= {"box_labels": pa.list_(words), "mask": pa.binary(), "error": words}
        fields = [*(self.batch.schema.field(name) for name in keep), *(pa.field(name, types[name]) for name in _FIELDS)]
        columns = _lists(rows)
        arrays = [*(self.batch.column(name) for name in keep), *(pa.array(columns[name], types[name]) for name in _FIELDS)]
        return type(self.batch).from_arrays(arrays, schema=pa.schema(fields))


def _lists(rows: Sequence[_Row]) -> dict[str, list[Any]]:
    """Return the added columns, with arrays converted to lists."""
    return {name: [cell.tolist() if isinstance(cell := row[name], np.ndarray) else cell for row in rows] for name in _FIELDS}


def _objects(cells: Sequence[Any]) -> NDArray[np.object_]:
    """Return cells as an object array, even if all of them are arrays of the same size."""
    column = np.empty(len(cells), object)
    for index, cell in enumerate(cells):
        column[index] = cell
    return column
