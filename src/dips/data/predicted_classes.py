"""Predicted classes of photos from a CSV: id, then classes by descending probability, as names or numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from dips.data.ground_truth import SplitGroundTruth
from dips.errors import DataError
from dips.system.console import counted

__all__ = ["read_predicted_classes"]


def read_predicted_classes(path: Path, truth: SplitGroundTruth, ids: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Read the predicted labels of the photos ``ids`` of ``truth``, best first; lines about other photos are ignored.

    A class is given by its name or by its number: the one in ``class_labels.txt``, or else its index in the order of the
    classes. A first line that begins with ``id`` is a header.

    Raises:
        DataError: the file cannot be read, names an unknown class, names a photo twice or lacks one.
    """
    labels = {str(number): label for label, number in enumerate(truth.numbers)}
    labels |= {name: label for label, name in enumerate(truth.classes)}
    expected = set(ids)
    predicted: dict[str, tuple[int, ...]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                number = reader.line_num
                cells = [cell.strip() for cell in row]
                if not any(cells) or (number == 1 and cells[0].lower() == "id") or cells[0] not in expected:
                    continue
                where = f"{path}, line {number}"
                if cells[0] in predicted:
                    raise DataError(f"{where}: {cells[0]} is listed twice; remove one of the two lines")
                if unknown := [cell for cell in cells[1:] if cell and cell not in labels]:
                    raise DataError(f"{where}: '{unknown[0]}' is not a class of {truth.root}; write its name or its number")
                predicted[cells[0]] = tuple(labels[cell] for cell in cells[1:] if cell)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}); it needs lines of id,class") from error
    if missing := sorted(expected - {id for id, classes in predicted.items() if classes}):
        raise DataError(
            f"{path} predicts no class for {counted(len(missing), 'photo')}, among them {missing[0]}; add a line "
            f"id,class for each"
        )
    return predicted
