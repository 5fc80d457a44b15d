"""How many items are done, for whoever watches: counted as they are done, in shards that may be begun again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from dips.shards.plan import Shard
from dips.shards.work import Attempt, Skipped, Work

__all__ = ["Tally", "item_count", "told_of_items"]


def item_count(shards: Iterable[Shard]) -> int:
    """Return how many items shards have together."""
    return sum(map(len, shards))


def told_of_items(work: Work, tell: Callable[[Shard, int], None]) -> Work:
    """Return work that calls ``tell`` with the shard, and how many of its items are done, after each of them."""

    def told(attempt: Attempt) -> Iterator[bytes | Skipped]:
        count = 0
        for result in work(attempt):
            yield result
            is_more = isinstance(result, Skipped) and result.has_result  # of the item before
            if count < len(attempt.items) and not is_more:  # what follows is about all of them
                count += 1
                tell(attempt.shard, count)

    return told


class Tally:
    """A number of items that never falls, though what is done of a shard counts no more once the attempt has ended in vain.

    Args:
        total: how many there are to be.
        more: called with how many more are done.

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
        """Note how many items of a shard are done."""
        self._sum += count - self._done.get(shard, 0)
        self._done[shard] = count
        self._show(min(self._sum, self._total))

    def end(self) -> None:
        """Note that all is done, whoever did it."""
        self._show(self._total)

    def _show(self, count: int) -> None:
        if count > self._shown:
            self._more(count - self._shown)
            self._shown = count
