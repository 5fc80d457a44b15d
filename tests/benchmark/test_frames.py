"""Ground truth and score maps in the frame of a protocol, and their comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dips.benchmark.frames import compare_centre, compare_map, read_ground_truth
from dips.errors import DataError, ImageError, ProtocolError
from dips.evaluate import BoxAccumulator, ImageRow, MapAccumulator, best_iou_curve, centre_map, mask_to_frame, to_frame
from dips.evaluate.protocol import Protocol, find_protocol
from dips.types import Sample

FRAMED, ORIGINAL = find_protocol("wsol-224"), find_protocol("original-pixels")
BOXES = np.array([[50, 60, 300, 200], [10, 10, 40, 30]], np.float32)

TAU = dict.fromkeys(("v1", "30", "50", "70"), 0.5)


def sample(**more: object) -> Sample:
    return dataclasses.replace(Sample(Path("gone/a.jpg"), "a.jpg", 1, BOXES, (500, 375)), **more)  # type: ignore[arg-type]


def smooth(width: int, height: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).random((5, 5)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)


@pytest.fixture
def masked(tmp_path: Path) -> Sample:
    """A photo of 60 x 40 with a mask of another size, and no boxes."""
    mask = np.zeros((80, 120), np.uint8)
    mask[20:60, 30:90] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    return Sample(tmp_path / "gone.jpg", "a.jpg", 0, frame=(60, 40), masks=(tmp_path / "m.png",))


def test_boxes_go_to_the_frame() -> None:
    ground_truth = read_ground_truth(sample(), FRAMED)
    assert ground_truth.size == (500, 375) and ground_truth.mask is None and ground_truth.comparable
    assert ground_truth.boxes is not None and ground_truth.boxes.tolist() == to_frame(BOXES, (500, 375)).tolist()
    original = read_ground_truth(sample(), ORIGINAL)
    assert original.boxes is not None and original.boxes.tolist() == BOXES.tolist()


def test_the_photo_tells_its_size_where_nothing_else_does(tmp_path: Path, make_photo: Callable[..., Path]) -> None:
    path = make_photo(tmp_path / "a.jpg", (50, 30))
    ground_truth = read_ground_truth(sample(path=path, frame=None, boxes=BOXES / 10), FRAMED)
    assert (
        ground_truth.size == (50, 30)
        and ground_truth.boxes is not None
        and ground_truth.boxes[0].tolist() == [22, 44, 134, 149]
    )
    with pytest.raises(ImageError, match=r"gone/a\.jpg does not exist"):
        read_ground_truth(sample(frame=None), FRAMED)


def test_nothing_is_wanted_where_nothing_is_known() -> None:
    for boxes in (None, BOXES[:0]):
        for protocol in (FRAMED, ORIGINAL):
            ground_truth = read_ground_truth(sample(boxes=boxes, frame=None if boxes is None else (9, 9)), protocol)
            assert not ground_truth.comparable
            comparison = compare_map(None, ground_truth, protocol, predicted=[1])
            assert comparison.score_map is None and comparison.boxes.row(TAU) == ImageRow("a.jpg", 1, 1, 0)
            assert compare_centre(ground_truth, protocol).boxes.n_true == 0


@pytest.mark.parametrize("protocol", [FRAMED, ORIGINAL], ids=lambda protocol: protocol.name)
def test_maps_are_resized_bilinearly(protocol: Protocol) -> None:
    ground_truth, score_map = read_ground_truth(sample(), protocol), smooth(31, 22)
    frame = protocol.frame((500, 375))
    resized = np.clip(cv2.resize(score_map, frame, interpolation=cv2.INTER_LINEAR), 0, 1)
    comparison = compare_map(score_map, ground_truth, protocol)
    assert comparison.score_map is not None and np.array_equal(comparison.score_map, resized)
    boxes = protocol.boxes(BOXES, (500, 375))
    for multiple, found in ((True, comparison.boxes.multiple), (False, comparison.boxes.single)):
        assert np.array_equal(found[comparison.boxes.cut_of_tau], best_iou_curve(resized, boxes, multi_contour=multiple))
    assert compare_map(resized, ground_truth, protocol).boxes.row(TAU) == comparison.boxes.row(TAU), (
        "a map that fits is not touched"
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (40_000, 1), (2500, 2000)])
@pytest.mark.parametrize("protocol", [FRAMED, ORIGINAL], ids=lambda protocol: protocol.name)
def test_maps_of_any_size(protocol: Protocol, shape: tuple[int, int]) -> None:
    ground_truth = read_ground_truth(sample(), protocol)
    comparison = compare_map(np.full(shape, 0.5), ground_truth, protocol)
    assert comparison.score_map is not None and comparison.score_map.shape == protocol.frame((500, 375))[::-1]
    whole = compare_map(np.ones((375, 500)), ground_truth, protocol)
    assert comparison.boxes.row(TAU).iou == whole.boxes.row(TAU).iou, "a constant map is one box"


def test_a_method_without_map_finds_nothing() -> None:
    ground_truth = read_ground_truth(sample(), FRAMED)
    comparison = compare_map(None, ground_truth, FRAMED)
    assert comparison.score_map is not None and comparison.score_map.shape == (224, 224) and not comparison.score_map.any()
    accumulator = MapAccumulator()
    comparison.add_to(accumulator, ground_truth)
    result = accumulator.result()
    assert result.boxes.n_boxed == 1 and result.boxes.max_box_acc_v2 == 0
    assert result.activations is not None and result.activations["foreground"][0] == 100


def test_what_is_no_score_map_is_refused() -> None:
    for wrong in (np.full((9, 9), np.nan), np.full((9, 9), 2.0), np.zeros((3, 9, 9))):
        with pytest.raises(ProtocolError):
            compare_map(wrong, read_ground_truth(sample(), FRAMED), FRAMED)


@pytest.mark.parametrize("protocol", [FRAMED, ORIGINAL], ids=lambda protocol: protocol.name)
def test_masks_are_truth_too(masked: Sample, protocol: Protocol) -> None:
    ground_truth = read_ground_truth(masked, protocol)
    width, height = protocol.frame((60, 40))
    assert (
        ground_truth.comparable
        and ground_truth.boxes is None
        and ground_truth.mask is not None
        and ground_truth.mask.shape == (height, width)
    )
    perfect, worst = MapAccumulator(), MapAccumulator()
    for accumulator, score_map in ((perfect, ground_truth.mask == 1), (worst, ground_truth.mask == 0)):
        comparison = compare_map(score_map.astype(np.float32), ground_truth, protocol)
        comparison.add_to(accumulator, ground_truth)
        assert comparison.boxes.n_true == 0
    assert perfect.result().pxap == pytest.approx(100) and perfect.result().boxes.n_boxed == 0
    assert worst.result().pxap == pytest.approx(100 * (ground_truth.mask == 1).mean())


def test_masks_need_no_size_in_the_fields_frame(masked: Sample) -> None:
    ground_truth = read_ground_truth(dataclasses.replace(masked, frame=None), FRAMED)
    assert ground_truth.size is None and ground_truth.mask is not None
    assert np.array_equal(ground_truth.mask, mask_to_frame(np.asarray(Image.open(masked.masks[0])) // 255))
    assert compare_map(smooth(7, 9), ground_truth, FRAMED).score_map is not None
    with pytest.raises(ImageError, match=r"gone\.jpg does not exist, and protocol original-pixels needs .*image_sizes\.txt"):
        read_ground_truth(dataclasses.replace(masked, frame=None), ORIGINAL)


def test_masks_that_are_gone(masked: Sample) -> None:
    masked.masks[0].unlink()
    with pytest.raises(DataError, match=r"m\.png does not exist"):
        read_ground_truth(masked, FRAMED)


def test_the_centre_is_that_of_the_fields_frame() -> None:
    ground_truth = read_ground_truth(sample(), FRAMED)
    found, counted = BoxAccumulator(), BoxAccumulator()
    found.count(compare_centre(ground_truth, FRAMED, predicted=[1]).boxes)
    counted.add(centre_map(), to_frame(BOXES, (500, 375)), label=1, predicted=[1], id="a.jpg")
    assert found.result().record() == counted.result().record()


def test_the_centre_is_stretched_to_the_photo() -> None:
    ground_truth = read_ground_truth(sample(), ORIGINAL)
    stretched = compare_map(centre_map(), ground_truth, ORIGINAL).boxes
    centre = compare_centre(ground_truth, ORIGINAL).boxes
    assert np.array_equal(centre.multiple, stretched.multiple) and np.array_equal(centre.single, stretched.single)
    assert compare_centre(ground_truth, ORIGINAL, thresholds=10).boxes.thresholds == 10


@pytest.mark.parametrize(("predicted", "counted"), [((3, 1), 1), ((2, 0), 2), ((4, 3), 0), ((), 0)])
def test_a_photo_of_several_classes_counts_with_the_one_that_is_found(predicted: tuple[int, ...], counted: int) -> None:
    sample = Sample(Path("a.jpg"), "a.jpg", 0, np.array([[0, 0, 9, 9]], np.float32), frame=(20, 20), others=(1, 2))
    truth = read_ground_truth(sample, FRAMED)
    assert compare_map(np.eye(8), truth, FRAMED, predicted=predicted).boxes.label == counted
    assert compare_centre(truth, FRAMED, predicted=predicted).boxes.label == counted
    single = dataclasses.replace(sample, others=())
    assert compare_map(np.eye(8), read_ground_truth(single, FRAMED), FRAMED, predicted=predicted).boxes.label == 0
