"""The validation cut: stratified, by seed, and the same everywhere."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dips.data import class_counts, split_validation
from dips.errors import DataError
from dips.types import DataSet, Sample


def dataset(counts: list[int]) -> DataSet:
    samples = [
        Sample(path=Path(f"/p/{label}/{n}.jpg"), id=f"{label}/{n}.jpg", label=label)
        for label, k in enumerate(counts)
        for n in range(k)
    ]
    return DataSet(root=Path("/p"), classes=tuple(map(str, range(len(counts)))), samples=tuple(samples))


@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(lambda counts: max(counts) > 1),
    share=st.floats(0.02, 0.9),
    seed=st.integers(0, 99),
)
def test_parts_are_disjoint_stratified_and_sorted(counts: list[int], share: float, seed: int) -> None:
    data = dataset(counts)
    train, val = split_validation(data, fraction=share, seed=seed)
    assert sorted([*train.samples, *val.samples], key=data.samples.index) == list(data.samples)
    assert list(train.samples) == [s for s in data.samples if s in train.samples]
    kept, cut = class_counts(train), class_counts(val)
    for label, count in enumerate(counts):
        if count > 1:
            assert kept[label] >= 1 and cut[label] >= 1 and abs(cut[label] - share * count) <= 1
        else:
            assert cut.get(label, 0) == 0
    assert (train.split, val.split) == ("train", "val")


def test_depends_on_ids_and_seed_only() -> None:
    data = dataset([40, 40])
    _, val = split_validation(data, fraction=0.25, seed=3)
    turned = dataclasses.replace(data, samples=data.samples[::-1], root=Path("/elsewhere"))
    assert set(split_validation(turned, fraction=0.25, seed=3)[1].samples) == set(val.samples)
    assert {s.id for s in split_validation(data, fraction=0.25, seed=4)[1].samples} != {s.id for s in val.samples}
    assert [s.id for s in val.samples][:4] == ["0/3.jpg", "0/7.jpg", "0/11.jpg", "0/12.jpg"], (
        "must never change between versions"
    )
    # other photos of the class stay where they are but for one
    fewer = dataclasses.replace(data, samples=data.samples[1:])
    assert len({s.id for s in val.samples} ^ {s.id for s in split_validation(fewer, fraction=0.25, seed=3)[1].samples}) <= 2


@given(
    photos=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=2, max_size=60),
    share=st.floats(0.02, 0.9),
    seed=st.integers(0, 9),
)
def test_copies_stay_together(photos: list[tuple[int, int]], share: float, seed: int) -> None:
    """Whatever classes they lie in; and every class keeps a photo to learn from."""
    samples = tuple(Sample(Path(f"{n}.jpg"), f"{n}.jpg", label) for n, (label, _) in enumerate(photos))
    copies = {sample.path: str(content) for sample, (_, content) in zip(samples, photos, strict=True)}
    data = DataSet(Path(), ("a", "b", "c"), samples)
    try:
        train, val = split_validation(data, fraction=share, seed=seed, copies=copies)
    except DataError:
        assert all(len({copies[s.path] for s in samples if s.label == label}) < 2 for label in range(3)) or len(set(photos)) < 6
        return
    assert len(train) + len(val) == len(data) and len(val)
    assert not {copies[s.path] for s in train.samples} & {copies[s.path] for s in val.samples}
    assert class_counts(train).keys() == class_counts(data).keys()


@given(
    photos=st.lists(st.sets(st.integers(0, 4), min_size=1, max_size=3), min_size=4, max_size=60),
    share=st.floats(0.02, 0.6),
    seed=st.integers(0, 9),
)
def test_photos_with_several_labels(photos: list[set[int]], share: float, seed: int) -> None:
    """Every class keeps a photo to learn from, and has about its share, or as much as the others leave."""
    samples = []
    for number, labels in enumerate(photos):
        first, *others = sorted(labels)
        samples.append(Sample(Path(f"{number}.jpg"), f"{number}.jpg", first, others=tuple(others)))
    data = DataSet(Path(), tuple("abcde"), tuple(samples))
    try:
        train, val = split_validation(data, fraction=share, seed=seed)
    except DataError:
        assert max(class_counts(data).values()) < 2 or min(class_counts(data).values()) == 1
        return
    assert len(train) + len(val) == len(data) and class_counts(train).keys() == class_counts(data).keys()
    for label, count in class_counts(data).items():
        if count > 1:
            here = class_counts(val).get(label, 0)
            assert here or all(
                min(class_counts(train)[other] for other in s.labels) < 2 for s in train.samples if label in s.labels
            )


def test_a_rare_label_is_validated_by_photos_that_show_it_beside_others() -> None:
    """It is always the second one, so that a cut by first labels would leave it to chance."""
    samples = [Sample(Path(f"{n}.jpg"), f"{n}.jpg", n % 2, others=(2,) if n in (3, 40) else ()) for n in range(80)]
    data = DataSet(Path(), ("a", "b", "rare"), tuple(samples))
    for seed in range(5):
        train, val = split_validation(data, fraction=0.15, seed=seed)
        assert class_counts(train)[2] == class_counts(val)[2] == 1 and len(val) == 12


def test_a_folder_with_every_photo_twice() -> None:
    data = dataset([40, 40])
    copies = {sample.path: f"{sample.label} {int(sample.path.stem) // 2}" for sample in data.samples}
    _, val = split_validation(data, fraction=0.2, seed=0, copies=copies)
    assert class_counts(val) == {0: 8, 1: 8} and len({copies[sample.path] for sample in val.samples}) == 8
    assert split_validation(data, fraction=0.2, seed=0, copies={}) == split_validation(data, fraction=0.2, seed=0)


def test_what_cannot_be_cut() -> None:
    with pytest.raises(DataError, match="no class has two different photos"):
        split_validation(dataset([1, 1]), fraction=0.5, seed=0)
    with pytest.raises(DataError, match="between 0 and 1"):
        split_validation(dataset([3, 3]), fraction=1.0, seed=0)
    data = dataset([3])
    with pytest.raises(DataError, match="no class has two different photos"):
        split_validation(data, fraction=0.5, seed=0, copies={sample.path: "same" for sample in data.samples})
