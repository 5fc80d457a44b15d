"""Count the items done for progress displays, item by item, in shards that may be started over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from dips.shards.plan import Shard
from dips.shards.work import Attempt, Skipped, Work

__all__ = ["Tally", "item_count", "told_of_items"]


def item_count(shards: Iterable[Shard]) -> int:
    """Return the total number of items in the shards."""
    return sum(map(len, shards))


def told_of_items(work: Work, tell: Callable[[Shard, int], None]) -> Work:
    """Wrap work so that after each item it calls ``tell`` with the shard and the number of its items done."""

    def told(attempt: Attempt) -> Iterator[bytes | Skipped]:
        count = 0
        for result in work(attempt):
            yield result
            is_more = isinstance(result, Skipped) and result.has_result  # about the item before
            if count < len(attempt.items) and not is_more:  # later results are about all items
                count += 1
                tell(attempt.shard, count)

    return told


class Tally:
    """A count of items that never decreases, although the items of a shard no longer count once its attempt has failed.

    Args:
        total: the total number of items.
        more: called with the number of newly done items.

    >>> tally = Tally(10, print)
    >>> for shard, count in (("a", 3), ("b", 2), ("a", 0), ("a", 2), ("a", 5)):
    ...     tally.note(shard, count)
    3
    2
    2
    >>> tally.end()
    3
    """

    def __init__(self, total: int, more: Callable[[int], None]) -> None:
        self._total, self._more, self._shown = total, more, 0
        self._done: dict[str, int] = {}
        self._sum = 0

    def note(self, shard: str, count: int) -> None:
        """Record how many items of a shard are done."""
        self._sum += count - self._done.get(shard, 0)
        self._done[shard] = count
        self._show(min(self._sum, self._total))

    def end(self) -> None:
        """Record that all items are done, no matter who did them."""
        self._show(self._total)

    def _show(self, count: int) -> None:
        if count > self._shown:
            self._more(count - self._shown)
            self._shown = count
