"""From a person's review to photos that are fitted on with their boxes (``dips train --reviewed``).

In: COCO, as saved by ``dips view`` beside a prediction or exported by an annotation tool, and the parts of a training. Out: the
same parts, in which reviewed photos are marked and have the reviewed boxes and their labels, whatever their folder's.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping
from itertools import compress
from pathlib import Path

import numpy as np

from dips.data import load_data
from dips.data.coco_json import CocoImage, parse_coco
from dips.data.copies import find_copies
from dips.data.images import image_size
from dips.data.load import available_splits
from dips.data.locate import locate, photos_of
from dips.errors import DataError, ImageError
from dips.fitting.calibrate import LEAST_BOXES
from dips.predict.results import REVIEWED, find_records
from dips.predict.results import locate as locate_predicted
from dips.system.console import counted
from dips.system.names import some
from dips.types import DataSet, Outline, Problem, Sample, Severity

__all__ = ["add_review"]

_TOLERANCE = 0.02  # of the aspect ratio: a tool may have resized the photo


def add_review(
    path: Path, data: str | Path, train: DataSet, val: DataSet, *, label_column: str = ""
) -> tuple[DataSet, DataSet, tuple[Sample, ...]]:
    """Add reviewed boxes, and the masks in them, to the parts of a training.

    Reviewed photos are trained on. Those of the validation part stay there if it is a separate ``val/``, if too few would be
    left for selection without them, or if they have enough boxes for calibrating scores. Photos that are not in DATA are added
    to the training photos.

    Args:
        path: the COCO file, or the prediction folder that contains one. All objects in its images are annotated; an image
            without annotations shows nothing.
        data: DATA, whose other splits must not be trained on.
        train, val: as :func:`dips.fitting.splits.read_splits` returns them.
        label_column: ``data.label_column``, with which they were read.

    Returns:
        Both parts, and the photos that show nothing, if there is no class for them.

    Raises:
        DataError: the file cannot be used, none of its photos is found, or some belong to another split of DATA.
    """
    return _Review(path, data, train, val, label_column).run()


class _Review:
    """The steps of :func:`add_review`, and what they share."""

    def __init__(self, path: Path, data: str | Path, train: DataSet, val: DataSet, label_column: str) -> None:
        self.file, self.data, self.train, self.val = path / REVIEWED if path.is_dir() else path, data, train, val
        self.label_column = label_column
        if not self.file.is_file():
            remedy = "review photos with 'dips view', which saves it, or give a COCO file"
            raise DataError(f"{self.file} does not exist; {remedy}")
        self.known = {_real(sample.path): sample for sample in (*train.samples, *val.samples)}
        self.problems: list[Problem] = []
        self.renamed = Counter[tuple[str, str]]()  # boxes by their name, which is no class, and by the class they count as

    def run(self) -> tuple[DataSet, DataSet, tuple[Sample, ...]]:
        """Run all steps, see :func:`add_review`."""
        coco = parse_coco(self.file, outlines=True)
        if not coco.annotated:
            raise DataError(f"{self.file} has no annotations; export it again, with the boxes")
        self.problems += coco.problems
        files = self._find([image.name for image in coco.images])
        self._refuse_measured(files)
        files = self._without_copies(files)
        reviewed = {}
        for image in coco.images:
            if image.name in files and (sample := self._sample(image, files[image.name])) is not None:
                reviewed[files[image.name]] = sample
        for (name, own), count in self.renamed.items():
            what = f"{counted(count, 'box', 'is')} called '{name}', which is no class of objects"
            verb = "counts" if count == 1 else "count"
            message = f"{what}, and {verb} as '{own}', as the photo or its other boxes; rename what is something else"
            self.problems.append(Problem(self.file, message, Severity.ODD))
        if not reviewed:
            reasons = "; ".join(problem.message for problem in self.problems[:3])
            raise DataError(f"{self.file}: none of its photos can be trained on{': ' if reasons else ''}{reasons}")
        return self._parts(reviewed)

    def _find(self, names: list[str]) -> dict[str, Path]:
        """Return the photos by their names in the file: those that were predicted, or else those of DATA."""
        folder = self.file.parent
        files: dict[str, Path] = {}
        if (folder / "json").is_dir():
            lost = set()
            for record in find_records(folder, names):
                try:
                    files[record.name] = locate_predicted(Path(record.path), folder)
                except ImageError as error:
                    lost.add(record.name)
                    self.problems.append(Problem(self.file, f"{error}; what was reviewed there is left out"))
            names = [name for name in names if name not in files and not (files and name in lost)]
        if not names:
            return files
        folders = (self.train.root, self.val.root, Path(self.data), folder, photos_of(self.file))
        located = locate(names, folders, lambda: [sample.path for sample in self.known.values()])
        self.problems += located.problems(self.file, self.train.root)
        return {**located.files, **files}

    def _refuse_measured(self, files: Mapping[str, Path]) -> None:
        """Reject photos of the other splits of DATA, or copies of them: numbers measured there would be worthless."""
        wanted = {_real(path) for path in files.values()} - self.known.keys()
        for split in available_splits(self.data):
            if split in ("train", "val", "all") or not wanted:
                continue
            other = load_data(self.data, split=split, background_class="", label_column=self.label_column)
            theirs = {_real(sample.path): sample.id for sample in other.samples}
            copies = find_copies([*theirs, *wanted])
            held = {copies[path] for path in theirs if path in copies}
            if found := [path for path in wanted if path in theirs or copies.get(path) in held]:
                names = some((theirs.get(path, path.name) for path in sorted(found)), 3)
                what = f"{counted(len(found), 'reviewed photo', 'is')} of the split '{split}' of {self.data}: {names}"
                raise DataError(
                    f"{self.file}: {what}; numbers measured there would be worth nothing. Review other photos, or move these "
                    f"from {split}/ to train/"
                )

    def _without_copies(self, files: Mapping[str, Path]) -> dict[str, Path]:
        """Return the files, with photos of DATA in place of their copies elsewhere."""
        elsewhere = [path for path in map(_real, files.values()) if path not in self.known]
        copies = find_copies([*self.known, *elsewhere]) if elsewhere else {}
        originals = {copies[path]: path for path in self.known if path in copies}
        return {name: originals.get(copies.get(_real(path), ""), _real(path)) for name, path in files.items()}

    def _sample(self, image: CocoImage, path: Path) -> Sample | None:
        """Return a reviewed photo; None if it is left out, which a problem explains."""
        known = self.known.get(path)
        boxes, outlines = image.objects.boxes_of(), image.objects.outlines_of()
        if boxes is None:
            return None  # the file's problems name it
        if any(image.objects.lost.values()):
            message = f"{image.name} shows more than its boxes say, a crowd for one, which would count as background: left out"
            self.problems.append(Problem(self.file, f"{message}; box each object"))
            return None
        try:
            size = image_size(path)
        except ImageError as error:
            self.problems.append(Problem(path, f"{error}; what was reviewed there is left out"))
            return None
        frame = image.frame or size
        if abs(frame[0] * size[1] / (frame[1] * size[0]) - 1) > _TOLERANCE:
            message = (
                f"has {size[0]} x {size[1]} pixels, {self.file.name} says {frame[0]} x {frame[1]}: another photo, left out"
            )
            self.problems.append(Problem(path, f"{message}; correct the name", Severity.SPOILS))
            return None
        labels: tuple[int, ...] = () if self.train.background is None else (self.train.background,)
        box_labels: tuple[int, ...] = ()
        if len(boxes):
            owners = self._owners(image, known)
            if owners is None:
                message = f"{image.name}: '{image.objects.class_names()[0]}' is no class of objects, left out; rename it"
                self.problems.append(Problem(self.file, message))
                return None
            boxes = np.clip(boxes, 0, np.array(frame * 2, np.float32))
            inside = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
            if not inside.all():
                what = f"{image.name}: {counted(int((~inside).sum()), 'box', 'lies')} beside the photo"
                rest = ", left out" if inside.any() else "; the photo is left out"
                self.problems.append(Problem(self.file, f"{what}{rest}; correct the boxes", Severity.SPOILS))
                if not inside.any():
                    return None
                boxes, owners, outlines = boxes[inside], tuple(compress(owners, inside)), tuple(compress(outlines, inside))
            areas = dict.fromkeys(owners, 0.0)
            for owner, (x0, y0, x1, y1) in zip(owners, boxes.tolist(), strict=True):
                areas[owner] += (x1 - x0) * (y1 - y0)
            labels = tuple(sorted(areas, key=lambda label: (-areas[label], label)))
            box_labels = owners if len(labels) > 1 else ()
        label, others = (labels[0] if labels else None), labels[1:]
        sample = known or Sample(path, path.as_posix(), label)
        sample = dataclasses.replace(sample, label=label, others=others, boxes=boxes, box_labels=box_labels, frame=frame)
        return dataclasses.replace(sample, masks=(), ignore=None, reviewed=True, outlines=_drawn_on(frame, outlines))

    def _owners(self, image: CocoImage, known: Sample | None) -> tuple[int, ...] | None:
        """Return the class of each box, in the order of the boxes: its own if it is one of DATA; else that of the largest other
        box, or of the photo, if it shows objects. None if there is none of these."""
        objects = {name: label for label, name in enumerate(self.train.classes) if label != self.train.background}
        given = [objects[name] for name in image.objects.class_names() if name in objects]
        of_photo = [label for label in (known.labels if known is not None else ()) if label in objects.values()]
        rest = next(iter((*given, *of_photo)), None)
        if rest is None and len(objects) == 1:
            (rest,) = objects.values()
        if rest is None:
            return None
        for name, own in image.objects.boxes.items():
            if name is not None and name not in objects:
                self.renamed[name, self.train.classes[rest]] += len(own)
        return tuple(
            objects.get(name, rest) if name is not None else rest for name, own in image.objects.boxes.items() for _ in own
        )

    def _parts(self, reviewed: dict[Path, Sample]) -> tuple[DataSet, DataSet, tuple[Sample, ...]]:
        """Return the parts with the reviewed photos."""
        separate = "val" in available_splits(self.data)
        rest = tuple(sample for sample in self.val.samples if _real(sample.path) not in reviewed)
        held = [reviewed[path] for sample in self.val.samples if (path := _real(sample.path)) in reviewed]
        boxes = sum(len(sample.boxes) for sample in held if sample.boxes is not None)
        stay = separate or len(rest) < len(self.val) / 2 or boxes >= LEAST_BOXES
        in_val = {_real(sample.path) for sample in self.val.samples} if stay else set()
        val = tuple(reviewed.get(_real(sample.path), sample) for sample in self.val.samples) if stay else rest
        own = [sample for path, sample in reviewed.items() if path not in in_val]
        others = [sample for sample in self.train.samples if _real(sample.path) not in reviewed]
        labelled = [sample for sample in own if sample.label is not None]
        train = tuple(sorted([*others, *labelled], key=lambda sample: sample.id))
        blank = tuple(sample for sample in own if sample.label is None)
        if unused := [sample.id for sample in val if sample.label is None]:
            what = f"{counted(len(unused), 'validation photo', 'was')} reviewed as empty, and no class is for such: left out"
            self.problems.append(Problem(self.file, f"{what}: {some(unused, 3)}", Severity.NOTE))
        val = tuple(sample for sample in val if sample.label is not None)
        problems = tuple(dict.fromkeys((*self.train.problems, *self.problems)))
        return (
            dataclasses.replace(self.train, samples=train, problems=problems),
            dataclasses.replace(self.val, samples=val),
            blank,
        )


def _drawn_on(frame: tuple[int, int], outlines: tuple[Outline | None, ...]) -> tuple[Outline | None, ...]:
    """Return outlines with polygons in pixels of a picture of this size; run lengths have their own."""
    return tuple(item if item is None or item.runs else dataclasses.replace(item, size=frame) for item in outlines)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
