"""Fetch photos behind URLs, several at a time, while earlier ones are predicted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dips.predict.inputs import Picture

__all__ = ["Behind", "fetched_ahead"]

Behind = Callable[[str], Picture]
"""Starts fetching the image file behind a URL."""

_AHEAD = 8  # photos fetched at the same time


def fetched_ahead(
    photos: Callable[[Behind], Iterator[Path | Picture]], fetch: Callable[[str], bytes]
) -> Iterator[Path | Picture]:
    """Yield photos, each after the fetching of the next ones has started.

    Args:
        photos: yields the photos; called with a function that wraps a photo behind a URL.
        fetch: returns the bytes behind a URL; called from several threads.
    """
    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting: deque[Path | Picture] = deque()
        for photo in photos(lambda url: Picture.behind(url, pool.submit(fetch, url).result)):
            waiting.append(photo)
            if len(waiting) > _AHEAD:
                yield waiting.popleft()
        yield from waiting
