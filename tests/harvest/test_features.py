"""Pooled features are the CNN's; linear maps are fitted once, on chosen photos, which alone pass the transformer."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dips.data.depth import Depth
from dips.data.images import read_image, resize_image
from dips.errors import DataError, StoreError
from dips.harvest import features
from dips.harvest.features import choose_photos, linear_maps, pooled_features, pooled_shelf
from dips.harvest.linear import PhotoFeatures, fit_linear_maps
from dips.harvest.squares import SquareReader
from dips.harvest.store import Shelf, Store
from dips.models.frozen import FrozenNetworks
from dips.models.inputs import to_tensor
from dips.models.linear_map import LinearMaps
from dips.models.weights.resolve import Weights
from dips.types import Outline, Review, Sample

pytestmark = pytest.mark.usefixtures("unfolded")  # passes are counted

Rig = Any
CPU = torch.device("cpu")
WEIGHTS = Weights("test_efficientnet", "file", "tiny", "0" * 64)


def reader_of(rig: Rig, paths: Sequence[Path]) -> SquareReader:
    return SquareReader([Sample(path, path.name, 0) for path in paths], rig.store)


def fit(
    rig: Rig, paths: Sequence[Path], labels: Sequence[int] = (0, 1, 2, 0, 1, 2), background: int | None = 2, **options: Any
) -> LinearMaps:
    """Fit maps to photos of three classes, the last without object; ``reviews`` by position."""
    rig.loads = rig.shown = rig.passed = 0
    reader = reader_of(rig, paths)
    rig.sides = options.pop("sides", (32,))
    shelf: Shelf | None = options.pop("shelf", None)
    given_names: dict[str, str] = options.pop("names", rig.names())
    maps, rig.gain = linear_maps(
        reader,
        {d: object_label(label, background) for d, label in zip(reader.digests, labels, strict=True)},
        load=rig.frozen,
        names=given_names,
        classes=options.pop("classes", 3) - (background is not None),
        several={reader.digests[row]: own for row, own in options.pop("several", {}).items()},
        reviews={reader.digests[row]: review for row, review in options.pop("reviews", {}).items()},
        config=rig.config(refine="dataset", **options),
        store=rig.store,
        shelf=shelf,
        device=CPU,
    )
    return maps


def test_several_labels_change_the_maps_and_no_network_runs_again(rig: Rig, photos: list[Path]) -> None:
    plain = fit(rig, photos)
    first = fit(rig, photos, several={0: (0, 1)})
    assert (rig.shown, rig.passed) == (0, 0) and not same(first, plain)
    assert same(first, fit(rig, photos, several={0: (0, 1)})) and rig.loads == 0
    assert same(fit(rig, photos, several={}), plain) and rig.loads == 0


def test_a_rare_label_that_is_never_the_first_is_fitted_on(
    rig: Rig, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first labels are all 0; of few photos those are taken that show the other classes, too."""
    seen: list[PhotoFeatures] = []

    def recorded(found: PhotoFeatures, classes: int, config: Any) -> Any:
        seen.append(found)
        return fit_linear_maps(found, classes, config)

    monkeypatch.setattr(features, "fit_linear_maps", recorded)
    several = {2: (0, 1), 5: (0, 2)}
    fit(rig, photos, (0, 0, 0, 0, 0, 0), background=None, several=several, refine_photos=3)
    assert sorted(seen[0].several.values()) == [(0, 1), (0, 2)] and seen[0].labels.tolist() == [0, 0, 0]


def object_label(label: int, background: int | None) -> int:
    return -1 if label == background else label - (background is not None and label > background)


def same(one: LinearMaps, other: LinearMaps) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def stored(rig: Rig) -> list[Path]:
    return sorted(rig.store.folder.rglob("maps.safetensors"))


def test_pooled_features(rig: Rig, photos: list[Path]) -> None:
    frozen, shelf = rig.frozen(), pooled_shelf(rig.store, WEIGHTS, 64, Depth())
    reader = reader_of(rig, [*photos, photos[0]])
    first = pooled_features(frozen, reader, shelf, batch=4, device=CPU)
    assert rig.passed == 6 and rig.shown == 0
    images = to_tensor([resize_image(read_image(path), (64, 64)) for path in [*photos, photos[0]]])
    with torch.no_grad():
        torch.testing.assert_close(first, frozen.classifier.features(images), atol=1e-4, rtol=1e-4)
    rig.passed = 0
    again = pooled_features(frozen, reader_of(rig, [*photos, photos[0]]), shelf, batch=4, device=CPU)
    assert rig.passed == 0 and torch.equal(again, first)
    assert not list(rig.store.folder.glob("squares*")), "photos are not kept"


def test_pooled_features_belong_to_weights_and_side(rig: Rig) -> None:
    other = Weights("test_efficientnet", "file", "tiny", "1" * 64)
    shelves = [pooled_shelf(rig.store, weights, side, Depth()) for weights, side in ((WEIGHTS, 64), (other, 64), (WEIGHTS, 96))]
    assert len({shelf.folder for shelf in shelves}) == 3


def test_pooled_features_of_unreadable_photos(rig: Rig, photos: list[Path]) -> None:
    photos[1].write_text("no photo")
    photos[4].unlink()
    shelf = pooled_shelf(rig.store, WEIGHTS, 64, Depth())
    reader = reader_of(rig, photos)
    assert pooled_features(rig.frozen(), reader, shelf, batch=2, device=CPU).shape == (4, 256)
    samples, _, problems = reader.readable()
    assert [s.path for s in samples] == [photos[0], photos[2], photos[3], photos[5]]
    assert {p.path for p in problems} == {photos[1], photos[4]}
    with pytest.raises(DataError, match=r"none of the photos can be read; see 'dips check'"):
        pooled_features(rig.frozen(), reader_of(rig, [photos[1]]), shelf, batch=2, device=CPU)


labelled = st.dictionaries(st.text("0123456789abcdef", min_size=1, max_size=6), st.integers(-1, 3), max_size=60)


@given(labels=labelled, limit=st.integers(2, 50), data=st.data())
def test_laws_of_the_choice(labels: dict[str, int], limit: int, data: st.DataObject) -> None:
    chosen = choose_photos(labels, limit)
    # some of them, as many as there may be, in the order of their digests, whatever order they came in
    assert set(chosen) <= set(labels) and chosen == sorted(set(chosen)) and len(chosen) == min(limit, len(labels))
    mixed = dict(data.draw(st.permutations(list(labels.items()))))
    assert choose_photos(mixed, limit) == chosen
    # no more than half show nothing where others suffice, no fewer where there are as many
    counts, total = Counter(labels[d] for d in chosen), Counter(labels.values())
    blank = total.pop(-1, 0)
    shown = sum(total.values())
    chosen_blank = counts.pop(-1, 0)
    assert chosen_blank <= limit // 2 or sum(counts.values()) == shown
    assert chosen_blank >= min(blank, limit // 2)
    # as many of each class as there are
    for label, count in total.items():
        assert counts[label] == count or counts[label] + 1 >= max(counts.values())
        own = sorted(d for d in labels if labels[d] == label)
        assert [d for d in chosen if labels[d] == label] == own[: counts[label]]


def test_maps_are_fitted_once(rig: Rig, photos: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    first = fit(rig, photos)
    assert (rig.loads, rig.shown, rig.passed) == (1, 6, 6)
    assert "fitted on 6 photos, the transformer runs on 6\n" in capsys.readouterr().err
    assert first.channels == (32, 48, 64, 24) and first.stages == 3
    assert first.accurate.bias.shape == (2,), "one for each class with objects"
    again = fit(rig, photos)
    assert (rig.loads, rig.shown, rig.passed) == (0, 0, 0)
    assert "the linear maps are in the store" in (said := capsys.readouterr().err) and "transformer is not run" in said
    assert same(first, again) and again.channels == first.channels and again.stages == 3
    assert [again.of(mode).level for mode in ("accurate", "fast")] == [first.of(mode).level for mode in ("accurate", "fast")]
    assert len(stored(rig)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"refine_rounds": 2},
        {"refine_inputs": "cnn"},
        {"refine_penalty": 1.0},
        {"refine_fraction": 0.3},
        {"fast_penalty": 1.0},
        {"refine_photos": 5},
        {"labels": (0, 1, 2, 1, 1, 2)},
        {"background": None},
        {"background": 1},
        {"classes": 4},
        {"names": {"transformer": "another"}},
        {"sides": (48,)},
    ],
)
def test_what_the_maps_depend_on(rig: Rig, photos: list[Path], change: dict[str, Any]) -> None:
    fit(rig, photos)
    maps = fit(rig, photos, **change)
    assert rig.loads == 1 and len(stored(rig)) == 2
    assert same(maps, fit(rig, photos, **change)) and rig.loads == 0


def test_what_the_maps_do_not_depend_on(rig: Rig, photos: list[Path]) -> None:
    first = fit(rig, photos)
    again = fit(rig, photos, heads=3, map_power=0.5, levels=2, min_area=0.3, top_p=4, batch=5, score_on="box", flip=True)
    assert rig.loads == 0 and same(first, again)
    moved = photos[0].rename(photos[0].with_name("z.png"))
    assert same(first, fit(rig, [moved, *photos[1:]])) and rig.loads == 0


def test_only_the_photos_of_the_fit_pass_the_networks(rig: Rig, photos: list[Path]) -> None:
    shelf = pooled_shelf(rig.store, WEIGHTS, 64, Depth())
    first = fit(rig, photos, refine_photos=3, shelf=shelf)
    assert rig.shown == rig.passed == 3
    reader = reader_of(rig, photos)
    chosen = choose_photos(dict(zip(reader.digests, (0, 1, -1, 0, 1, -1), strict=True)), 3)
    assert set(shelf.missing(reader.digests)) == set(reader.digests) - set(chosen), "the CNN's answers are kept"
    rig.passed = 0
    pooled = pooled_features(rig.frozen(), reader, shelf, batch=2, device=CPU)
    assert rig.passed == 3, "the others"
    alone = pooled_features(rig.frozen(), reader, pooled_shelf(rig.store, WEIGHTS, 65, Depth()), batch=6, device=CPU)
    torch.testing.assert_close(pooled, alone, atol=1e-5, rtol=1e-4)
    assert same(first, fit(rig, photos, refine_photos=3)) and rig.loads == 0


def test_what_is_fitted_on(rig: Rig, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages, then keys, bounded grids; mean attention at the first side; classes without the background's."""
    seen: list[tuple[PhotoFeatures, int]] = []

    def recorded(found: PhotoFeatures, classes: int, config: Any) -> Any:
        seen.append((found, classes))
        return fit_linear_maps(found, classes, config)

    monkeypatch.setattr(features, "fit_linear_maps", recorded)
    labels = (0, 1, 2, 0, 1, 2)
    fit(rig, photos, labels, background=1, sides=(32, 48))
    ((found, classes),) = seen
    assert classes == 2 and found.key_sides == (32, 48) and found.stages == 3
    reader = reader_of(rig, photos)
    order = sorted(range(6), key=lambda i: reader.digests[i])
    assert found.labels.tolist() == [{0: 0, 1: -1, 2: 1}[labels[i]] for i in order]
    frozen: FrozenNetworks = rig.frozen()
    with torch.no_grad():
        look = frozen.look(to_tensor([resize_image(read_image(photos[i]), (64, 64)) for i in order]))
        expected = [*look.stages, *look.keys]
        attention = look.transformed[0].attention.mean(1)
    assert [tuple(block.shape) for block in found.blocks] == [tuple(block.shape) for block in expected]
    for block, other in zip(found.blocks, expected, strict=True):
        assert block.dtype == torch.float16
        torch.testing.assert_close(block.float(), other, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(found.attention, attention, atol=1e-5, rtol=1e-3)


def test_features_of_a_fit_are_bounded(
    rig: Rig, photos: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    per_photo = 2 * (32 * 64 + 48 * 16 + 64 * 4 + 24 * 16)
    monkeypatch.setattr(features, "_MAX_FEATURE_BYTES", 3 * per_photo)
    fit(rig, photos, (0, 0, 0, 0, 0, 0), batch=1)
    assert rig.shown == 3 and "features of 3 photos fill" in capsys.readouterr().err


@pytest.mark.parametrize("broken", [None, 0, 4])
def test_where_memory_ends_the_maps_do_not_depend_on_what_the_store_holds(
    rig: Rig, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: int | None
) -> None:
    per_photo = 2 * (32 * 64 + 48 * 16 + 64 * 4 + 24 * 16)
    monkeypatch.setattr(features, "_MAX_FEATURE_BYTES", 3 * per_photo)
    digests = reader_of(rig, photos).digests
    by_digest = sorted(range(6), key=lambda row: digests[row])
    if broken is not None:
        photos[by_digest[broken]].write_text("no photo")
    first = fit(rig, photos, (0, 1, 0, 1, 0, 1), background=None, classes=2, batch=1)
    for number, last in enumerate((by_digest[3:], by_digest[4:], by_digest[1:4])):
        rig.store = Store(tmp_path / f"store {number}")
        fit(rig, [photos[row] for row in last], [row % 2 for row in last], background=None, classes=2, batch=1)
        assert same(fit(rig, photos, (0, 1, 0, 1, 0, 1), background=None, classes=2, batch=1), first)


def test_unreadable_photos_are_left_out(rig: Rig, photos: list[Path]) -> None:
    photos[1].write_text("no photo")
    photos[3].write_bytes(photos[3].read_bytes()[:100])
    maps = fit(rig, photos)
    assert rig.shown == 4
    assert same(maps, fit(rig, photos)) and rig.loads == 0
    for path in photos:
        path.write_text(path.name)
    with pytest.raises(DataError, match=r"no photo of a class with objects can be read.*see 'dips check'"):
        fit(rig, photos)


def test_only_background(rig: Rig, photos: list[Path]) -> None:
    with pytest.raises(DataError, match="no photo of a class with objects"):
        fit(rig, photos, [2] * 6)
    assert not stored(rig)


def test_copies_count_once(rig: Rig, photos: list[Path]) -> None:
    first = fit(rig, photos)
    copies = [Path(shutil.copy(p, p.with_name(f"copy {p.name}"))) for p in photos[:2]]
    assert same(fit(rig, [*photos, *copies], [0, 1, 2, 0, 1, 2, 0, 1]), first) and rig.loads == 0


def test_a_stopped_fit_leaves_nothing_half_done(rig: Rig, photos: list[Path]) -> None:
    rig.fail_after = 4
    with pytest.raises(KeyboardInterrupt):
        fit(rig, photos)
    rig.fail_after = None
    assert not stored(rig)
    fit(rig, photos)
    assert rig.shown == 2 and len(stored(rig)) == 1, "what was seen before is kept"


def test_reviewed_boxes_change_the_maps_and_no_network_runs_again(rig: Rig, photos: list[Path]) -> None:
    plain = fit(rig, photos)
    boxes = np.array([[0.1, 0.2, 0.4, 0.5]], np.float32)
    first = fit(rig, photos, reviews={0: Review(boxes)})
    assert (rig.shown, rig.passed) == (0, 0) and not same(first, plain)
    assert same(first, fit(rig, photos, reviews={0: Review(boxes)})) and rig.loads == 0
    other = fit(rig, photos, reviews={0: Review(boxes / np.float32(2))})
    assert not same(first, other) and rig.shown == 0
    empty = fit(rig, photos, reviews={0: Review(boxes[:0])})
    assert same(empty, plain), "without a single box nothing is corrected"
    triangle = Outline((1, 1), (np.array([[0.1, 0.2], [0.4, 0.2], [0.1, 0.5]], np.float32),))
    outlined = fit(rig, photos, reviews={0: Review(boxes, (triangle,))})
    assert not same(first, outlined) and rig.shown == 0


def test_reviewed_photos_are_fitted_on_before_others(rig: Rig, photos: list[Path]) -> None:
    reader = reader_of(rig, photos)
    labels = dict(zip(reader.digests, (0, 1, -1, 0, 1, -1), strict=True))
    last = max(digest for digest, label in labels.items() if label == 0)
    assert last not in choose_photos(labels, 3) and last in choose_photos(labels, 3, {last})
    assert len(choose_photos(labels, 3, set(labels))) == 3


def test_damaged_maps(rig: Rig, photos: list[Path]) -> None:
    import safetensors.torch

    fit(rig, photos)
    (file,) = stored(rig)
    whole = file.read_bytes()
    state = safetensors.torch.load(whole)
    lacking = {name: value for name, value in state.items() if name != "accurate.weight_1"}
    without_shape = safetensors.torch.save(state)
    for data in (
        b"",
        b"junk" * 50,
        whole[:-9],
        without_shape,
        safetensors.torch.save(lacking, {"stages": "3"}),
    ):
        file.write_bytes(data)
        with pytest.raises(StoreError, match=r"maps\.safetensors is damaged.*remove its folder"):
            fit(rig, photos)
    file.write_bytes(whole)
    fit(rig, photos)
