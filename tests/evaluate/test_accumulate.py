from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dips.errors import ProtocolError
from dips.evaluate import (
    BoxAccumulator,
    BoxResult,
    MapAccumulator,
    best_iou_curve,
    boxes,
    boxes_at_thresholds,
    centre_map,
    measure_boxes,
)


def square(side: int = 224, x0: int = 50, y0: int = 60, x1: int = 120, y1: int = 150) -> np.ndarray:
    score_map = np.zeros((side, side), np.float32)
    score_map[y0:y1, x0:x1] = 1
    return score_map


def photos(count: int, seed: int = 0) -> list[dict[str, object]]:
    """Made photos of 32 x 32: some with boxes, some with none, some unknown, some without a label."""
    random = np.random.default_rng(seed)
    made: list[dict[str, object]] = []
    for index in range(count):
        start = random.integers(0, 16, (2, 2))
        boxes = np.concatenate([start, start + random.integers(2, 16, (2, 2))], axis=1)
        kind = index % 5
        made.append(
            {
                "score_map": np.kron(random.random((8, 8)), np.ones((4, 4))).astype(np.float32),
                "boxes": None if kind == 3 else boxes[:0] if kind == 4 else boxes[: 1 + index % 2],
                "label": None if kind == 2 else int(random.integers(8)),
                "predicted": [] if index % 7 == 6 else random.permutation(8).tolist(),
                "id": str(index),
            }
        )
    return made


def counted(rows: list[dict[str, object]]) -> BoxAccumulator:
    accumulator = BoxAccumulator(50, tau={"v1": 0.2, "30": 0.1, "50": 0.6, "70": 0.8}, frame=None, replicates=20)
    for row in rows:
        accumulator.add(**row)  # type: ignore[arg-type]
    return accumulator


def same(a: BoxResult, b: BoxResult) -> bool:
    numbers = ("n_images", "n_boxed", "n_boxes", "n_classified", "n_boxed_classified", "class_top1", "class_top5")
    curves = ("taus", "v1", "v2", "top1", "top5", "kinds")
    return (
        all(np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True) for name in (*numbers, *curves))
        and a.images == b.images
        and (
            a.resampled is b.resampled is None
            if a.resampled is None or b.resampled is None
            else np.array_equal(a.resampled, b.resampled, equal_nan=True)
        )
    )


def test_hits_are_those_of_the_curves() -> None:
    rows = [row for row in photos(20) if row["boxes"] is not None and len(row["boxes"])]  # type: ignore[arg-type]
    result = counted(rows).result()
    curves = {
        multi: np.array([best_iou_curve(r["score_map"], r["boxes"], multi_contour=multi, thresholds=50) for r in rows])  # type: ignore[arg-type]
        for multi in (False, True)
    }
    assert result.v1 == pytest.approx(100 * (curves[False] >= 0.5).mean(axis=0))
    for index, delta in enumerate((0.3, 0.5, 0.7)):
        assert result.v2[index] == pytest.approx(100 * (curves[True] >= delta).mean(axis=0))
    assert [image.iou for image in result.images] == curves[True][:, 30].tolist()
    assert [image.iou_largest for image in result.images] == curves[False][:, 10].tolist()
    assert [image.oracle_iou for image in result.images] == curves[True].max(axis=1).tolist()
    assert [image.oracle_tau for image in result.images] == result.taus[curves[True].argmax(axis=1)].tolist()


def test_labels_decide_top1_and_top5() -> None:
    accumulator = BoxAccumulator()
    truth = [[50, 60, 119, 149]]
    accumulator.add(square(), truth, label=3, predicted=[3, 1, 2, 4, 5])
    accumulator.add(square(), truth, label=3, predicted=[1, 2, 4, 5, 3])
    accumulator.add(square(), truth, label=3, predicted=[1, 2, 4, 5, 6, 3])  # the sixth does not count
    accumulator.add(square(), [[0, 0, 20, 20]], label=3, predicted=[3, 1, 2, 4, 5])  # right label, wrong box
    result = accumulator.result()
    assert (result.gt_known, result.top1_loc, result.top5_loc) == (75.0, 25.0, 50.0)
    assert (result.class_top1, result.class_top5) == (50.0, 75.0)


def test_nothing_is_said_of_five_where_fewer_were_predicted() -> None:
    accumulator = BoxAccumulator()
    accumulator.add(square(), [[50, 60, 119, 149]], label=3, predicted=[3, 1, 2, 4, 5])
    assert (accumulator.result().top5_loc, accumulator.result().class_top5) == (100, 100)
    accumulator.add(square(), [[50, 60, 119, 149]], label=3, predicted=[3, 1])
    result = accumulator.result()
    assert np.isnan([result.top5_loc, result.class_top5]).all() and (result.top1_loc, result.class_top1) == (100, 100)


def test_photos_without_true_boxes_count_for_classification_only() -> None:
    accumulator = BoxAccumulator()
    accumulator.add(square(), [[50, 60, 119, 149]], label=1, predicted=[1, 0])
    accumulator.add(None, None, label=0, predicted=[1, 0])  # boxes unknown
    accumulator.add(square(), np.zeros((0, 4)), label=0, predicted=[0, 1])  # background
    result = accumulator.result()
    assert (result.n_images, result.n_boxed, result.n_classified) == (3, 1, 3)
    assert result.max_box_acc_v2 == 100.0 and result.class_top1 == pytest.approx(200 / 3)
    assert len(accumulator) == 3


def test_unknown_labels_are_left_out_of_top1() -> None:
    accumulator = BoxAccumulator()
    accumulator.add(square(), [[50, 60, 119, 149]])
    accumulator.add(square(), [[50, 60, 119, 149]], label=1, predicted=[1])
    result = accumulator.result()
    assert (result.gt_known, result.top1_loc, result.n_boxed_classified) == (100.0, 100.0, 1)


def test_nothing_to_count_is_nan() -> None:
    result = BoxAccumulator().result()
    assert np.isnan([result.max_box_acc, result.max_box_acc_v2, result.top1_loc, result.class_top1]).all()


def test_boxes_computed_once_give_the_same() -> None:
    levels = boxes_at_thresholds(centre_map())
    one, two = BoxAccumulator(), BoxAccumulator()
    for truth in ([[20, 30, 200, 190]], [[90, 90, 130, 140], [0, 0, 30, 30]]):
        one.add(levels, truth)
        two.add(centre_map(), truth)
    assert same(one.result(), two.result())


def test_mistakes_name_the_photo() -> None:
    accumulator = BoxAccumulator()
    with pytest.raises(ProtocolError, match=r"a\.jpg.*resize"):
        accumulator.add(np.ones((100, 100)), [[0, 0, 9, 9]], id="a.jpg")
    with pytest.raises(ProtocolError, match=r"b\.jpg.*missing"):
        accumulator.add(None, [[0, 0, 9, 9]], id="b.jpg")
    with pytest.raises(ProtocolError, match=r"c\.jpg.*NaN"):
        accumulator.add(np.full((224, 224), np.nan), [[0, 0, 9, 9]], id="c.jpg")
    with pytest.raises(ProtocolError, match="thresholds"):
        accumulator.add(boxes_at_thresholds(centre_map(), 10), [[0, 0, 9, 9]])
    assert len(accumulator) == 0 and accumulator.result().n_boxed == 0


@settings(max_examples=15)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 99))
def test_merging_equals_counting_together(first: int, second: int, seed: int) -> None:
    rows = photos(first + second, seed)
    merged = counted(rows[:first])
    other = counted(rows[first:])
    before = other.result()
    merged.merge(other)
    assert same(merged.result(), counted(rows).result())
    assert same(other.result(), before)


def test_photos_measured_elsewhere_count_the_same() -> None:
    """As over processes: measured there, pickled, counted here."""
    here, there = counted([]), counted(photos(12))
    for row in photos(12):
        here.count(pickle.loads(pickle.dumps(measure_boxes(**row, thresholds=50))))  # type: ignore[arg-type]
    assert same(here.result(), there.result())
    assert same(pickle.loads(pickle.dumps(there)).result(), there.result())


def test_rows_are_kept_only_where_asked_for() -> None:
    accumulator = BoxAccumulator(10, frame=None)
    accumulator.add(**photos(1)[0])  # type: ignore[arg-type]
    assert accumulator.result().images == () and accumulator.result().n_images == 1


def test_maps_are_judged_by_masks_where_there_are_any() -> None:
    mask = np.zeros((224, 224), np.uint8)
    mask[60:150, 50:120] = 1
    of_boxes, of_masks = MapAccumulator(), MapAccumulator()
    of_boxes.add(square() * 0.5, [[50, 60, 119, 149]])
    of_masks.add(square(), [[50, 60, 119, 149]], mask)
    boxes, masks = of_boxes.result(), of_masks.result()
    assert boxes.pxap is None and masks.pxap == 100
    assert boxes.activations is not None and masks.activations is not None
    assert boxes.activations["truth"] == "boxes" and masks.activations["truth"] == "masks"
    assert boxes.activations["foreground"][50] == 100 and masks.activations["foreground"][99] == 100
    assert boxes.activations["background"][0] == 100 and boxes.activations["foreground_pixels"] == 70 * 90
    assert boxes.boxes.max_box_acc_v2 == 100
    of_boxes.merge(of_masks)
    assert of_boxes.result().boxes.n_boxed == 2 and of_boxes.result().pxap == 100


def test_what_is_refused_is_not_counted() -> None:
    accumulator, truth = BoxAccumulator(10, frame=None, replicates=3), [[0, 0, 9, 9]]
    with pytest.raises(ProtocolError, match="an id"):
        accumulator.add(square(32, 0, 0, 9, 9), truth)
    with pytest.raises(ProtocolError, match="20 thresholds, not at 10"):
        accumulator.count(measure_boxes(square(32, 0, 0, 9, 9), truth, id="a", thresholds=20))
    with pytest.raises(ProtocolError, match="merge"):
        accumulator.merge(counted(photos(3)))
    other = BoxAccumulator(10, frame=None, replicates=4)
    other.add(square(32, 0, 0, 9, 9), truth, id="a")
    with pytest.raises(ProtocolError, match="replicates"):
        accumulator.merge(other)
    assert len(accumulator) == 0 and accumulator.result().n_boxed == 0 and np.isnan(accumulator.result().v1).all()


@settings(max_examples=20)
@given(st.integers(0, 99), st.sampled_from([3, 40, 1000]))
def test_photos_are_measured_alike_without_numba(seed: int, thresholds: int) -> None:
    row = photos(2, seed)[0]
    fast = measure_boxes(**row, thresholds=thresholds)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxes, "_trees", lambda: None)
        slow = measure_boxes(**row, thresholds=thresholds)  # type: ignore[arg-type]
    assert len({len(values) for one in (fast, slow) for values in (one.single, one.multiple, one.kinds)}) == 1
    tau = {"v1": 0.3, "30": 0.1, "50": 0.5, "70": 0.9}
    assert fast.row(tau) == slow.row(tau)


def test_merging_refuses_other_thresholds() -> None:
    with pytest.raises(ProtocolError, match="merge"):
        BoxAccumulator(10).merge(BoxAccumulator(20))


@pytest.mark.parametrize(("photos", "boxed", "boxes"), [([1, 3, 0, 2], 3, 6), ([0, 0], 0, 0), ([5], 1, 5)])
def test_boxes_and_photos_with_boxes_are_two_numbers(photos: list[int], boxed: int, boxes: int) -> None:
    first, second = BoxAccumulator(), BoxAccumulator()
    for n, count in enumerate(photos):
        (first if n % 2 else second).add(square(), [[10 * i, 0, 10 * i + 8, 8] for i in range(count)] or np.zeros((0, 4)))
    first.merge(second)
    result = first.result()
    assert (result.n_images, result.n_boxed, result.n_boxes) == (len(photos), boxed, boxes)
    record = result.record()
    assert (record["n_boxed"], record["n_boxes"]) == (boxed, boxes)
