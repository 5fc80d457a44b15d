"""Where tools put a COCO json and its photos: side by side or, like CVAT, Datumaro and COCO itself, in separate folders."""

from __future__ import annotations

import os
from pathlib import Path

from dips.data.locate import ANNOTATION_FOLDERS, INSTANCES, photos_of, subset_name, subset_stem
from dips.system.names import some
from dips.types import Problem

__all__ = ["annotation_files", "find_coco", "unused_files"]

_BLOCK = 1 << 20
_MOST = 20  # JSON files in a folder that are inspected: if there are more, each describes one photo


def find_coco(folder: Path) -> Path | None:
    """Return the COCO file of the photos in ``folder`` (absolute).

    That is ``<folder>.coco.json`` beside it or its parent; inside, ``_annotations.coco.json``, ``annotations.json``, the only
    ``*.coco.json``, the only file in ``annotations/``, or the only JSON that is COCO; or the only file in ``annotations/`` of
    the two folders above whose photos are in or below ``folder``.
    """
    paths = [folder.parent / f"{folder.name}.coco.json", folder.parent.parent / f"{folder.parent.name}.coco.json"]
    if existing := [path for path in (*paths, folder / "_annotations.coco.json") if path.is_file()]:
        return existing[0]
    if (path := folder / "annotations.json").is_file() and _is_coco(path):
        return path
    inside = sorted(folder.glob("*.coco.json"))
    groups = [inside, list(annotation_files(folder).values()), [] if inside else _coco_inside(folder)]
    for above in folder.parents[:2]:
        groups.append([file for file in annotation_files(above).values() if photos_of(file).is_relative_to(folder)])
    return next((group[0] for group in groups if len(group) == 1), None)


def unused_files(folder: Path, *, tables: bool) -> list[Problem]:
    """Report the COCO files and, with ``tables``, the CSVs that lie in ``folder`` and were not chosen."""
    there = [path for path in folder.glob("*.[ct]sv") if tables and path.is_file()]
    there += [path for path in folder.glob("annotations.json") if path.is_file()]  # COCO or not: its name suggests it
    there += [*folder.glob("*.coco.json"), *annotation_files(folder).values(), *_coco_inside(folder)]
    for name in ANNOTATION_FOLDERS:
        foreign = sorted((folder / name).glob("*.json"))
        if foreign and not annotation_files(folder):
            message = f"{some([path.name for path in foreign], 3)}: not COCO, so that nothing here is used; export it as COCO"
            return [Problem(folder / name, message)]
    if not (paths := sorted(set(there))):
        return []
    names = some((path.relative_to(folder).as_posix() for path in paths), 3)
    message = f"{names}: not used; if this says what the photos show, give the file itself in place of its folder"
    return [Problem(folder, message)]


def annotation_files(top: Path) -> dict[str, Path]:
    """Return the COCO files in ``annotations/`` of a folder by the part of the data that each describes.

    Files called ``instances_*`` take precedence over all others, such as captions and keypoints.
    """
    folder = next((top / name for name in ANNOTATION_FOLDERS if (top / name).is_dir()), None)
    if folder is None:
        return {}
    paths = sorted(folder.glob(f"{INSTANCES}*.json")) or [
        path for path in sorted(folder.glob("*.json"))[:_MOST] if _is_coco(path)
    ]
    names = [subset_name(path) for path in paths]
    return {subset_stem(path) if names.count(name) > 1 else name: path for name, path in zip(names, paths, strict=True)}


def _coco_inside(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("*.json"))
    return [path for path in paths if _is_coco(path)] if len(paths) <= _MOST else []


def _is_coco(path: Path) -> bool:
    """Return whether a file looks like COCO, by its beginning and its end."""
    try:
        with path.open("rb") as file:
            text = file.read(_BLOCK)
            file.seek(max(len(text), file.seek(0, os.SEEK_END) - _BLOCK))
            text += file.read(_BLOCK)
    except OSError:
        return False
    return b'"images"' in text and b'"file_name"' in text
