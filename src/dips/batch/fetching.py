"""Photos behind URLs: fetched several at a time, while those before them are predicted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dips.predict.inputs import Picture

__all__ = ["Behind", "fetched_ahead"]

Behind = Callable[[str], Picture]
"""Begins to fetch what is behind a URL."""

_AHEAD = 8  # photos that are fetched at the same time


def fetched_ahead(
    photos: Callable[[Behind], Iterator[Path | Picture]], fetch: Callable[[str], bytes]
) -> Iterator[Path | Picture]:
    """Yield photos, each after the next ones have been begun.

    Args:
        photos: yields them; is called with what takes one behind a URL.
        fetch: returns the bytes behind a URL; called by several threads.
    """
    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting: deque[Path | Picture] = deque()
        for photo in photos(lambda url: Picture.behind(url, pool.submit(fetch, url).result)):
            waiting.append(photo)
            if len(waiting) > _AHEAD:
                yield waiting.popleft()
        yield from waiting
