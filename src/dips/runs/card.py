"""The model card of a run: ``README.md`` in its folder, for whoever finds the model later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dips.runs.records import RunRecord
from dips.system.console import counted, printable
from dips.system.files import atomic_file
from dips.types import in_words, is_saliency_tuned

__all__ = ["write_card"]

_DRAWN = "A person gave the boxes of the reviewed photos, and nobody any other box or mask."


def write_card(path: Path, record: RunRecord, evaluation: Mapping[str, Any] | None = None) -> None:
    """Write the card from ``run.json`` and, if there is one, ``evaluation.json``."""
    classes = ", ".join(record.classes)
    background = "every photo shows an object of its class"
    if record.background is not None:
        background = f"photos of `{record.classes[record.background]}` show no object"
    seconds, by_class = record.seconds.harvest + record.seconds.training, record.class_accuracy
    drawn = _DRAWN if record.reviewed else "Nobody drew a box or mask for the training."
    device = record.environment.get("device", "an unknown device")
    lines = [
        "# A DiPS localizer",
        "",
        "Finds the object in a photo: its class, a score map, a mask and boxes. Trained on "
        + ("class labels alone." if not record.reviewed else f"{record.labels}, whose boxes a person gave."),
        "",
        f"- **Classes:** {classes}",
        f"- **Background:** {background}",
        f"- **Data:** `{record.data}`, {counted(record.photos.train, 'training photo')}, "
        f"{counted(record.photos.val, 'validation photo')}",
        f"- **Model selection:** {record.selection}",
        *([f"- **Validation:** {_numbers(record.validation)} (percent)"] if record.validation else []),
        f"- **Validation accuracy:** {_numbers(record.accuracy)} (percent)" + (f"; {by_class.words()}" if by_class else ""),
        *_measured(evaluation),
        f"- **Seed:** {record.seed}; {seconds:.0f} s of harvest and training on {device}",
        "",
        "## Weights it started from",
        "",
    ]
    for role, item in record.weights.items():
        name = f"{item.arch}, {item.note}" if item.note else item.arch
        lines.append(f"- **{role}:** {name}; {item.source}: {item.origin}; licence: {item.licence or 'unknown'}")
    if any(is_saliency_tuned(item.note) for item in record.weights.values()):
        lines += [
            "",
            "The embedded transformer was fine-tuned by its authors for saliency; numbers made with it are not those of a "
            "purely self-supervised one.",
        ]
    lines += [
        "",
        "## Limits",
        "",
        f"{drawn} A box encloses what tells the photos of its class from all others. What "
        "often goes with the object (a perch, a shadow, people, dogs) can become a part of its box or a box of its own, and "
        "objects that touch share one; photos of such things without the object belong in a background folder (`none/`). "
        "Look at the overlays before you rely on the boxes.",
        "",
        "Use it with `dips predict` or `dips.load`; the settings are in `config.toml`, the numbers in `report.html`.",
    ]
    with atomic_file(path) as file:
        file.write("\n".join(map(printable, lines)) + "\n")


def _measured(evaluation: Mapping[str, Any] | None) -> list[str]:
    if evaluation is None or evaluation["max_box_acc_v2"] is None:
        return []
    accuracy = f"MaxBoxAccV2 {evaluation['max_box_acc_v2']:.1f} at the best threshold of these photos"
    if chosen := evaluation["at_validation_tau"]:
        accuracy += f", {chosen['box_acc_v2']:.1f} at validation's"
    if own := evaluation["at_run_tau"]:
        accuracy += (
            f"; of the boxes of dips predict {own['precision']:.1f} are right, {own['recall']:.1f} of the objects are found"
        )
        accuracy += f", AP50 {own['ap50']:.1f}" if own.get("ap50") is not None else ""
    data, split, photos = evaluation["data"], evaluation["split"], counted(evaluation["n_boxed"], "photo")
    return [f"- **Measured** on `{data}`, {split}, {photos} with ground-truth boxes: {accuracy} (percent)"]


def _numbers(values: Mapping[str, float]) -> str:
    return ", ".join(f"{in_words(name)} {value:.1f}" for name, value in values.items())
