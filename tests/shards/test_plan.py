"""Plans: the same items in the same shards, whoever asks, and no other work in their place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dips.errors import RunError
from dips.shards.files import LocalFiles
from dips.shards.plan import PLAN, Item, Shard, make_plan, mark_merged, read_items, read_plan, shard_size

ELSEWHERE = [f'["a.jpg", "b", {stem}]\n'.encode() * 3 for stem in ('"../a"', '"a/../../b"', '"/a"', '"..\\\\a"', "1")]
LABELS = {"model": "another model", "items": "other photos"}


def items(count: int, name: str = "photo") -> Iterator[Item]:
    return (Item(f"{name}-{number}.jpg", f"/photos/{name}-{number}.jpg", f"{name}-{number}") for number in range(count))


def test_items_come_back_in_their_order(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    plan = make_plan(files, lambda: items(25), {"model": "3f2a"}, size=10)
    shards = list(plan.shards())
    assert [shard.name for shard in shards] == ["00000", "00001", "00002"]
    assert [item for shard in shards for item in read_items(files, shard)] == list(items(25))
    assert read_items(files, Shard(1, 10, 3, 5)) == list(items(25))[13:15]
    assert read_plan(files) == plan == make_plan(files, lambda: items(25), {"model": "3f2a"}, size=10)


@pytest.mark.parametrize("name", ["\udcff.jpg", 'a "b"\n.jpg', "ü\\.jpg", "\U0001f4f7"])
def test_any_name_is_kept(tmp_path: Path, name: str) -> None:
    files = LocalFiles(tmp_path)
    plan = make_plan(files, lambda: [Item(name, name)], {"source": name}, size=10)
    assert read_items(files, next(plan.shards())) == [Item(name, name)]
    assert make_plan(files, lambda: [Item(name, name)], {"source": name}, size=10).items == 1


@pytest.mark.parametrize(
    ("identity", "count", "name", "words"),
    [
        ({"model": "97bc"}, 25, "photo", "holds interrupted work made with another model; choose another --out"),
        ({"model": "3f2a", "seed": 1}, 25, "photo", "seed None, now 1"),
        ({"model": "3f2a"}, 24, "photo", "other photos"),
        ({"model": "3f2a"}, 25, "other", "other photos"),
    ],
)
def test_another_plan_is_refused(tmp_path: Path, identity: dict[str, object], count: int, name: str, words: str) -> None:
    files = LocalFiles(tmp_path)
    make_plan(files, lambda: items(25), {"model": "3f2a"}, size=10)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json*")}
    with pytest.raises(RunError, match=words):
        make_plan(files, lambda: items(count, name), identity, size=10, labels=LABELS)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.json*")}


def test_lists_of_a_planner_that_was_killed_do_not_count(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)

    def killed() -> Iterator[Item]:
        yield from items(35, "old")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_plan(files, killed, {"model": "97bc"}, size=10)
    assert read_plan(files) is None
    plan = make_plan(files, lambda: items(15), {"model": "3f2a"}, size=10)
    assert [item for shard in plan.shards() for item in read_items(files, shard)] == list(items(15))


@pytest.mark.parametrize("data", [b"", b'["a.jpg"]\n', b'["a.jpg", 1\n' * 3, b"{}\n" * 3, None, *ELSEWHERE])
def test_a_damaged_list_is_named(tmp_path: Path, data: bytes | None) -> None:
    files = LocalFiles(tmp_path)
    plan = make_plan(files, lambda: items(3), {}, size=10)
    files.remove("lists/00000.jsonl") if data is None else files.write("lists/00000.jsonl", data)
    with pytest.raises(RunError, match=r"00000\.jsonl is damaged"):
        read_items(files, next(plan.shards()))


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.write(PLAN, b"{")
    with pytest.raises(RunError, match=r"plan\.json is damaged"):
        read_plan(files)


@given(count=st.integers(1, 3_000_000), step=st.integers(1, 64))
def test_the_size_follows_from_the_items_alone(count: int, step: int) -> None:
    size = shard_size(count, step)
    assert size % step == 0 and size <= 1000 + step
    assert -(-count // size) <= max(64, -(-count // 1000))


@given(length=st.integers(2, 1200), step=st.integers(1, 40))
def test_pieces_are_the_whole_down_to_single_items(length: int, step: int) -> None:
    todo, singles, names = [Shard(3, length, 0, length)], [], set()
    while todo:
        shard = todo.pop()
        names.add(shard.name)
        if len(shard) == 1:
            singles.append(shard.start)
            continue
        pieces = shard.pieces(step)
        assert 2 <= len(pieces) <= 10 and all(len(piece) < len(shard) for piece in pieces)
        assert [pieces[0].start, *(piece.stop for piece in pieces)] == [*(piece.start for piece in pieces), shard.stop]
        assert len(shard) <= step or all(piece.start % step == 0 for piece in pieces)
        todo += pieces
    assert sorted(singles) == list(range(length)) and len(names) > length


def test_what_follows_from_all_items_is_kept(tmp_path: Path) -> None:
    files, context = LocalFiles(tmp_path), {"scales": [[0, 4095]], "folder": "\udcff"}
    make_plan(files, lambda: items(3), {}, size=10, context=context)
    assert make_plan(files, lambda: items(3), {}, size=10, context={}).context == context
    plan = read_plan(files)
    assert plan is not None
    mark_merged(files, plan)
    merged = read_plan(files)
    assert merged is not None and merged.is_merged and merged.context == context


def test_markers_that_cannot_be_removed_do_not_count_for_a_new_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = LocalFiles(tmp_path)
    files.write("done/00000", b"")
    monkeypatch.setattr(LocalFiles, "discard", lambda files, folder: None)  # a disk's refusal is no error
    with pytest.raises(RunError, match=r"done of earlier work cannot be removed; allow it, or choose another --out"):
        make_plan(files, lambda: items(3), {}, size=10)
    assert read_plan(files) is None
