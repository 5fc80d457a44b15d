"""Batches of pipelines: the same predictions as of photos one by one, a row for each photo whatever is wrong with it."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dips import Model, Prediction
from dips.batch import Predictor
from dips.data.images import read_image
from dips.errors import DataError, RunError

from ..conftest import MakePhoto

_ADDED = ["label", "label_score", "class_scores", "width", "height", "boxes", "box_scores", "box_labels", "mask", "error"]


@pytest.fixture
def predict(tiny_model: Model) -> Predictor:
    return Predictor(tiny_model.run, device="cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, make_photo: MakePhoto) -> list[Path]:
    """Photos of several sizes, with and without an object."""
    folder = tmp_path_factory.mktemp("photos")
    boxes = [(8, 6, 30, 28), None, (2, 2, 20, 12), (30, 10, 60, 40), None]
    sizes = [(64, 48), (48, 64), (64, 48), (90, 60), (20, 20)]
    return [
        make_photo(folder / f"{seed}.jpg", size, seed=seed, box=box)
        for seed, (size, box) in enumerate(zip(sizes, boxes, strict=True))
    ]


@pytest.fixture(scope="module")
def expected(tiny_model: Model, photos: list[Path]) -> list[Prediction]:
    return list(tiny_model.predict(photos))


def require_same(columns: Any, expected: list[Prediction]) -> None:
    """Check columns against predictions, to the last bit."""
    for row, prediction in enumerate(expected):
        assert columns["error"][row] == ""
        assert columns["label"][row] == prediction.label
        assert columns["label_score"][row] == np.float32(prediction.label_score)
        assert (columns["width"][row], columns["height"][row]) == prediction.size
        np.testing.assert_array_equal(np.array(columns["class_scores"][row], np.float32), prediction.class_scores)
        boxes = np.array(columns["boxes"][row], np.float32).reshape(-1, 4)
        np.testing.assert_array_equal(boxes, prediction.boxes)
        np.testing.assert_array_equal(np.array(columns["box_scores"][row], np.float32), prediction.box_scores)
        labels = [prediction.label_of(index) for index in range(len(boxes))]
        assert list(columns["box_labels"][row]) == labels


def test_paths(predict: Predictor, photos: list[Path], expected: list[Prediction]) -> None:
    number = np.arange(len(photos))
    answer = predict({"number": number, "path": np.array(list(map(str, photos)))})
    assert list(answer) == ["number", "path", *_ADDED] and answer["number"] is number
    require_same(answer, expected)
    assert sum(map(len, answer["boxes"])), "the comparison means something"
    assert answer["boxes"].dtype == object and answer["boxes"][0].dtype == np.float32
    assert answer["class_scores"].shape == (len(photos), 2) and answer["mask"][0] is None


def test_file_urls_as_spark_gives_them(predict: Predictor, photos: list[Path], expected: list[Prediction]) -> None:
    require_same(predict({"path": [f"file:{photo}" for photo in photos]}), expected)


def test_urls_are_fetched_side_by_side_and_named_as_they_are(
    predict: Predictor, photos: list[Path], expected: list[Prediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed (extra 'remote')")
    stored = {f"memory://b/{photo.name}": photo.read_bytes() for photo in photos} | {"memory://b/bad.jpg": b"no photo"}
    two = threading.Barrier(2)

    def read(url: str) -> bytes:
        two.wait(timeout=5)
        return stored[url]

    monkeypatch.setattr("dips.data.sources.read_url", read)
    answer = predict({"uri": list(stored)})
    require_same({name: answer[name][:5] for name in _ADDED}, expected)
    assert answer["error"][5].startswith("memory://b/bad.jpg is not a photo")


@pytest.mark.parametrize("name", ["bytes", "content"])
def test_bytes_are_not_passed_on(predict: Predictor, photos: list[Path], expected: list[Prediction], name: str) -> None:
    answer = predict({"path": list(map(str, photos)), name: [photo.read_bytes() for photo in photos]})
    assert list(answer) == ["path", *_ADDED]
    require_same(answer, expected)


def test_dicts_of_hugging_face(predict: Predictor, photos: list[Path], expected: list[Prediction]) -> None:
    images: list[dict[str, Any]] = [{"bytes": photo.read_bytes(), "path": photo.name} for photo in photos[:3]]
    images += [{"bytes": None, "path": str(photo)} for photo in photos[3:]]
    require_same(predict({"image": images}), expected)


def test_arrays(tiny_model: Model, predict: Predictor, photos: list[Path]) -> None:
    pixels = [read_image(photo) for photo in photos]
    require_same(predict({"image": pixels}), list(tiny_model.predict(pixels)))
    one_size = np.stack([pixels[0], pixels[2]])
    require_same(predict({"image": one_size}), list(tiny_model.predict(list(one_size))))


def test_a_column_of_another_name(predict: Predictor, photos: list[Path], expected: list[Prediction]) -> None:
    batch = {"photo": list(map(str, photos)), "path": ["x"] * 5, "site": ["a"] * 5}
    other = Predictor(predict.run, device="cpu", column="photo", keep=["photo", "site"])
    answer = other(batch)
    assert list(answer) == ["photo", "site", *_ADDED]
    require_same(answer, expected)


def test_masks(predict: Predictor, photos: list[Path], expected: list[Prediction]) -> None:
    answer = Predictor(predict.run, device="cpu", masks=True)({"path": photos})
    for data, prediction in zip(answer["mask"], expected, strict=True):
        mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, prediction.mask * np.uint8(255))


def test_each_row_has_its_answer(predict: Predictor, photos: list[Path], expected: list[Prediction], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photos[0].read_bytes()[:200])
    rows: list[Any] = [
        broken,
        photos[0],
        None,
        photos[0],
        "/nowhere.jpg",
        photos[3].read_bytes(),
        np.zeros((9, 9, 4), np.uint8),
    ]
    answer = predict({"image": rows, "path": [f"name-{row}" for row in range(7)]})
    good = [1, 3, 5]
    require_same({name: [answer[name][row] for row in good] for name in _ADDED}, [expected[0], expected[0], expected[3]])
    errors = [answer["error"][row] for row in (0, 2, 4, 6)]
    assert [bool(error) for error in errors] == [True] * 4
    assert "broken.jpg" in errors[0] and errors[1] == "name-2 has no photo" and "/nowhere.jpg" in errors[2]
    assert errors[3].startswith("name-6 is an array (9, 9, 4) of uint8; a photo is (height, width, 3)")
    for row in (0, 2, 4, 6):
        assert answer["label"][row] is None and np.isnan(answer["label_score"][row]) and answer["width"][row] == 0
        assert answer["boxes"][row].shape == (0, 4) and np.isnan(answer["class_scores"][row]).all()


def test_it_is_pickled_without_its_model(predict: Predictor, photos: list[Path], expected: list[Prediction]) -> None:
    predict({"path": photos[:1]})
    data = pickle.dumps(predict)
    assert len(data) < 1000
    require_same(pickle.loads(data)({"path": photos}), expected)


def test_settings(predict: Predictor, photos: list[Path]) -> None:
    other = Predictor(predict.run, device="cpu", settings=["predict.max_boxes=1", "predict.threshold=0.9"])
    assert max(map(len, other({"path": photos})["boxes"])) == 1
    with pytest.raises(RunError, match="is not a run folder"):
        Predictor("/nowhere")({"path": photos})


@pytest.mark.parametrize("kind", ["Table", "RecordBatch"])
def test_tables_of_arrow(predict: Predictor, photos: list[Path], expected: list[Prediction], kind: str) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'remote')")
    columns = {"number": pa.array(range(5), pa.int16()), "bytes": pa.array([photo.read_bytes() for photo in photos])}
    answer = predict(getattr(pa, kind).from_pydict(columns))
    assert type(answer).__name__ == kind and answer.schema.names == ["number", *_ADDED]
    assert answer.schema.field("number").type == pa.int16()
    require_same({name: answer.column(name).to_pylist() for name in _ADDED}, expected)
    broken = predict(getattr(pa, kind).from_pydict({"number": columns["number"], "bytes": pa.array([b""] * 5)}))
    assert broken.schema == answer.schema and all(broken.column("error").to_pylist())
    assert broken.column("boxes").to_pylist() == [[]] * 5
    for name in ("label", "label_score", "class_scores", "width", "mask"):
        assert broken.column(name).to_pylist() == [None] * 5
    assert predict(answer.slice(0, 0).append_column("bytes", pa.array([], pa.binary())).select(["bytes"])).num_rows == 0


def test_frames_of_pandas_as_map_in_pandas_gives_them(
    predict: Predictor, photos: list[Path], expected: list[Prediction]
) -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed (extra 'dev')")
    frame = pd.DataFrame({"path": list(map(str, photos)), "content": [photo.read_bytes() for photo in photos]})

    def localized(frames: Iterator[Any]) -> Iterator[Any]:
        yield from map(predict, frames)

    answers = list(localized(iter([frame[:3], frame[3:]])))
    assert [len(answer) for answer in answers] == [3, 2]
    answer = pd.concat(answers)
    assert list(answer.columns) == ["path", *_ADDED] and list(answer.index) == [0, 1, 2, 3, 4]
    require_same({name: list(answer[name]) for name in _ADDED}, expected)
    ddl = [column.split(" ")[0] for column in Predictor.SPARK_SCHEMA.split(", ")]
    assert ddl == _ADDED


@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore:.use_\w+. is deprecated:DeprecationWarning")  # Ray Data sets them itself
def test_ray_data(
    loopback_ray: Any, predict: Predictor, photos: list[Path], expected: list[Prediction], tmp_path: Path
) -> None:
    pytest.importorskip("pandas", reason="pandas, which Ray Data needs, is not installed (extra 'dev')")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra 'remote')")
    ray = loopback_ray
    quiet = {"include_dashboard": False, "log_to_driver": False, "_system_config": {"memory_monitor_refresh_ms": 0}}
    ray.init("local", num_cpus=1, object_store_memory=80 << 20, **quiet)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"number": row, "path": str(photo)} for row, photo in enumerate([*photos, tmp_path / "none.jpg"])]
        found = ray.data.from_items(rows, override_num_blocks=1).map_batches(
            Predictor,
            fn_constructor_kwargs={"run": str(predict.run), "device": "cpu"},
            batch_format="pyarrow",
            batch_size=5,
            compute=ray.data.ActorPoolStrategy(size=1),
        )
        found.write_parquet(str(tmp_path / "found"))
    finally:
        ray.shutdown()
    table = parquet.read_table(tmp_path / "found").sort_by("number")
    assert table.num_rows == 6 and str(table.schema.field("boxes").type) == "list<element: list<element: float>>"
    columns = table.to_pydict()
    require_same({name: columns[name][:5] for name in _ADDED}, expected)
    assert "none.jpg" in columns["error"][5]


@pytest.mark.parametrize(
    ("batch", "options", "words"),
    [
        ({"photo": []}, {}, r"no column 'bytes, image, path ...'; column= names one of photo"),
        ({"photo": []}, {"column": "picture"}, "no column 'picture'; column= names one of photo"),
        ({"path": []}, {"keep": ["id"]}, "no column 'id'; keep= names some of path"),
        ({"path": [], "label": []}, {}, "has a column 'label', as the answer does; rename it, or give keep= without it"),
        ({"path": [], "mask": []}, {"keep": ["mask"]}, "has a column 'mask', as the answer does"),
        ([1], {}, "a batch is a dict of columns, .* not of the type list"),
    ],
)
def test_what_is_no_batch(batch: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Predictor("run", **options)(batch)
