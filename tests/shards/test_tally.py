"""What is told of items that are done."""

from __future__ import annotations

from typing import cast

from dips.shards.plan import Item, Shard
from dips.shards.tally import Tally, item_count, told_of_items
from dips.shards.work import Attempt, Skipped


def test_more_than_all_is_never_told() -> None:
    told: list[int] = []
    tally = Tally(6, told.append)
    for shard, count in (("a", 4), ("b", 4), ("a", 0), ("a", 4)):
        tally.note(shard, count)
    tally.end()
    assert told == [4, 2]


def test_what_a_shard_has_besides_its_items_is_not_told() -> None:
    class Begun:
        shard, items = Shard(0, 2, 0, 2), [Item("a", "a"), Item("b", "b")]

    told: list[tuple[Shard, int]] = []
    results: list[bytes | Skipped] = [b"a", Skipped("a", "no overlay", has_result=True), Skipped("b", "broken"), b"both"]
    work = told_of_items(lambda attempt: iter(results), lambda *given: told.append(given))
    assert list(work(cast(Attempt, Begun))) == results
    assert told == [(Begun.shard, 1), (Begun.shard, 2)] and item_count([Begun.shard, Shard(1, 3, 0, 3)]) == 5
