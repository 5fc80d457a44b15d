"""COCO json beside photos -> :class:`~dips.data.listing.Listing`.

An image without annotations is known to show nothing, unless it lies in the folder of a class: its boxes are ``(0, 4)``. If
annotations were left out, its boxes are None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from dips.data.coco_json import CocoData, CocoImage
from dips.data.labels import is_background
from dips.data.listing import Entry, Listing
from dips.data.locate import Located, locate, photo_id, subset_stem
from dips.data.objects import Described
from dips.data.photo_files import list_images
from dips.errors import DataError
from dips.system.console import counted
from dips.system.names import some
from dips.types import Problem, Severity

__all__ = ["add_coco", "read_coco"]


def add_coco(listing: Listing, data: CocoData, *, listed_only: bool) -> None:
    """Add the boxes of a COCO file, in place, to a listing of photos that are sorted into one folder per class.

    The class remains that of the folder. If the file has a category of that name, only boxes of this category are used.

    Args:
        listing: as :func:`~dips.data.folder.read_folder` returns it.
        data: the file.
        listed_only: leave out the photos that the file does not list.

    Raises:
        DataError: the file lists a photo twice.
    """
    entries = {entry.path: entry for entry in listing.entries}
    images, located = _find_images(data, listing.root, lambda: entries)
    blank = list[str]()
    for file, image in images.items():
        if (entry := entries.get(file)) is None or not data.annotated:
            continue
        names = [entry.class_name] if entry.class_name in data.categories else None
        entry.set_boxes(image.objects.boxes_of(names), image.frame)
        if not entry.unsure and not entry.boxed and not is_background(entry.class_name):
            entry.boxes = None  # its class says that something is there
            blank.append(entry.id)
        if is_background(entry.class_name) and entry.boxed:
            message = f"has boxes in {data.path.name} but lies in the folder '{entry.class_name}'"
            listing.problems.append(Problem(entry.path, message, Severity.SPOILS))
    listing.problems += [*data.problems, *located.problems(data.path, listing.root)]
    if blank:
        message = (
            f"{counted(len(blank), 'photo', 'lies')} in the folder of a class, without a box of it, so that the boxes "
            f"are unknown"
        )
        listing.problems.append(Problem(data.path, f"{message}: {some(blank, 3)}; annotate them to measure by them"))
    if listed_only:
        listing.entries = [entry for entry in listing.entries if entry.path in images]
    listing.layout, listing.has_boxes = "coco", data.annotated


def read_coco(data: CocoData, folder: Path, *, split: str = "all", listed_only: bool = True) -> Listing:
    """Read photos that are not sorted into folders; their classes are those of their boxes, largest area first.

    Photos without annotations are of the category called ``none`` or ``background``, or else of the class ``none``.

    Args:
        data: the COCO file.
        folder: the photos; ids are relative to it.
        split: name of the split.
        listed_only: leave out the photos in ``folder`` that the file does not list; otherwise they have no class.

    Raises:
        DataError: the file lists a photo twice.
    """
    path, photos = data.path, list_images(folder)
    images, located = _find_images(data, folder, lambda: photos)
    background = next(filter(is_background, data.categories), "none")
    listing = Listing(folder, "coco", [], [], split, has_boxes=data.annotated)
    for file, image in images.items():
        if folder != path.parent and not file.is_relative_to(folder):
            continue
        entry = Entry(file, photo_id(file, folder))
        if data.annotated:
            empty = not image.objects.boxes and not image.objects.lost
            Described(entry, image.objects, empty=empty).settle(background, image.frame)
        listing.entries.append(entry)
    listing.classes = sorted({name for entry in listing.entries for name in entry.class_names})
    listing.problems += data.problems
    if not listed_only and (others := [file for file in photos if file not in images]):
        listing.entries += [Entry(file, photo_id(file, folder)) for file in others]
        names = some((file.name for file in others), 3)
        message = f"{counted(len(others), 'photo', 'is')} not listed in {path.name}, without a class: {names}; list them"
        listing.problems.append(Problem(folder, message))
    listing.problems += located.problems(path, folder)
    return listing


def _find_images(data: CocoData, folder: Path, photos: Callable[[], Iterable[Path]]) -> tuple[dict[Path, CocoImage], Located]:
    """Return the images of a COCO file by their photo, and where the photos were found."""
    beside = data.path.parent / subset_stem(data.path)  # NAME.coco.json beside NAME/
    located = locate((image.name for image in data.images), (data.path.parent, folder, beside), photos)
    images: dict[Path, CocoImage] = {}
    for image in data.images:
        if (file := located.files.get(image.name)) is None:
            continue
        if (other := images.setdefault(file, image)) is not image:
            raise DataError(f"{data.path} lists {file} twice ('{other.name}' and '{image.name}'); merge the two images")
    return images, located
