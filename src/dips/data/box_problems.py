"""Ground-truth boxes and the photos that they belong to -> what does not fit together.

In: samples and, if the photos exist, their sizes. Out: problems; first those of all boxes together, such as boxes in fractions
of the photo's size, which no single photo reveals.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dips.data.images import image_size
from dips.errors import ImageError
from dips.types import Problem, Sample, Severity

__all__ = ["Size", "box_problems", "photo_sizes"]

Size = tuple[int, int]
"""Width and height in pixels."""

_Box = list[float]
_FEW_BOXES = 5  # if there are fewer, all may lie near the upper left corner by chance
_LARGE_SIDE = 200  # pixels; boxes of smaller photos may all end below 100
_PHOTOS_AT_A_TIME = 256
_USED = ("it is used as it is; correct it", "they are used as they are; correct them")


def photo_sizes(samples: Iterable[Sample], workers: int = 4) -> Iterator[tuple[Sample, Size | None]]:
    """Yield the photos that have ground-truth boxes with their sizes, from the headers of their files; None if unreadable."""
    boxed = (sample for sample in samples if sample.boxed)
    with ThreadPoolExecutor(workers) as pool:
        while group := list(islice(boxed, _PHOTOS_AT_A_TIME)):
            yield from zip(group, pool.map(_size, group), strict=True)


def _size(sample: Sample) -> Size | None:
    try:
        return image_size(sample.path)
    except ImageError:  # whoever decodes the photo reports it
        return None


def box_problems(source: Path, photos: Iterable[tuple[Sample, Size | None]]) -> list[Problem]:
    """Return problems with the boxes of photos: first those of all boxes together, then photo by photo.

    Args:
        source: where the boxes are from.
        photos: each with its own size after EXIF rotation; None if unknown.
    """
    found, together = list[Problem](), _Together()
    small = list[Problem]()
    for sample, size in photos:
        if sample.boxes is None or not sample.boxed:
            continue
        frame, boxes = sample.frame or size, sample.boxes.tolist()
        contradicts = size is not None and sample.frame is not None and _contradicts(size, sample.frame)
        together.add(boxes, None if contradicts else frame)
        if contradicts and size is not None and sample.frame is not None:
            found.append(Problem(sample.path, _contradiction(size, sample.frame), Severity.SPOILS))
        elif frame is not None and (beyond := sum(not _inside(box, frame) for box in boxes)):
            message = f"{_which(beyond, boxes, 'reaches', 'reach')} beyond the photo ({_words(frame)}); {_USED[beyond > 1]}"
            found.append(Problem(sample.path, message, Severity.SPOILS))
        if count := sum(min(box[2] - box[0], box[3] - box[1]) < 1 for box in boxes):
            message = f"{_which(count, boxes, 'is', 'are')} smaller than a pixel, probably given as fractions 0..1"
            remedy = f"{_USED[count > 1]}: multiply by width and height"
            small.append(Problem(sample.path, f"{message}; {remedy}", Severity.SPOILS))
    messages = [Problem(source, message, Severity.SPOILS) for message in together.messages()]
    return [*messages, *found, *(small if together.longest >= 2 else [])]


def _which(count: int, boxes: list[_Box], does: str, do: str) -> str:
    return f"its only box {does}" if len(boxes) == 1 else f"{count} of its {len(boxes)} boxes {does if count == 1 else do}"


def _contradicts(size: Size, frame: Size) -> bool:
    """Return whether the photo can't be a larger or smaller copy of the one that its boxes were drawn on."""
    expected = size[0] * frame[1] / size[1]
    return abs(expected - frame[0]) > max(0.02 * frame[0], 2 * frame[1] / size[1])


def _contradiction(size: Size, frame: Size) -> str:
    what = f"is {_words(size)}, but its boxes were drawn on {_words(frame)}"
    used = "its boxes are stretched to the photo"
    if _contradicts(size[::-1], frame):
        return f"{what}: it was turned or cropped since; {used}; draw them again, or put the original photo back"
    return (
        f"{what}: width and height are exchanged; {used}; exchange the two where the boxes are listed, or turn the photo back"
    )


def _words(size: Size) -> str:
    return f"{size[0]} x {size[1]}"


def _inside(box: _Box, frame: Size) -> bool:
    """Return whether ``x0 y0 x1 y1`` lies in the photo, give or take a pixel."""
    x0, y0, x1, y1 = box
    return min(x0, y0) >= -1 and x1 <= frame[0] + 1 and y1 <= frame[1] + 1


def _is_box(box: _Box, frame: Size) -> bool:
    return box[2] > box[0] and box[3] > box[1] and _inside(box, frame)


@dataclass(slots=True)
class _Together:
    """What all boxes have in common; nothing is stored per photo."""

    boxes: int = 0
    framed: int = 0
    beyond: int = 0
    as_corners: int = 0
    exchanged: int = 0
    largest: float = 0.0
    longest: float = 0.0
    smallest_photo: float = float("inf")

    def add(self, boxes: list[_Box], frame: Size | None) -> None:
        for box in boxes:
            x0, y0, x1, y1 = box
            self.boxes += 1
            self.largest = max(self.largest, x1, y1)
            self.longest = max(self.longest, x1 - x0, y1 - y0)
            if frame is None:
                continue
            self.framed += 1
            self.smallest_photo = min(self.smallest_photo, *frame)
            self.beyond += not _inside(box, frame)
            self.as_corners += _is_box([x0, y0, x1 - x0, y1 - y0], frame)
            self.exchanged += _is_box([y0, x0, y1, x1], frame)

    def messages(self) -> Iterator[str]:
        used = "they are used as they are, so that nothing measured by them means anything"
        every = f"all {self.boxes} boxes" if self.boxes > 1 else "the only box"
        many_beyond = self.beyond >= max(1, self.framed // 4)
        if not self.boxes:
            return
        if self.longest < 2:
            yield (
                f"{every} of this data: smaller than 2 pixels, as fractions of the photo's size are; {used}; multiply them by "
                "its width and height"
            )
        elif self.largest <= 100 and self.framed == self.boxes >= _FEW_BOXES and self.smallest_photo >= _LARGE_SIDE:
            yield (
                f"{every} of this data end below 100, though the photos are larger, as percent of their size do; if so, "
                f"{used}; multiply them by width / 100 and height / 100"
            )
        elif many_beyond and self.as_corners == self.framed:
            yield (
                f"{self.beyond} of {self.framed} boxes of this data reach beyond their photos, but none would if "
                f"the numbers were x0 y0 x1 y1 in place of x y width height; {used}; write width and height"
            )
        elif many_beyond and self.exchanged == self.framed:
            yield (
                f"{self.beyond} of {self.framed} boxes of this data reach beyond their photos, but none would if x and y were "
                f"exchanged; {used}; exchange them"
            )
