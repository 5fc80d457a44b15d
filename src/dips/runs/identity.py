"""Which model a run folder or an exported file holds, without loading it: needs neither torch nor onnxruntime."""

from __future__ import annotations

from pathlib import Path

from dips.errors import RunError
from dips.export.description import is_onnx, read_description
from dips.runs.records import MODEL, read_model_record
from dips.system.files import as_text, file_sha256

__all__ = ["class_names", "identity"]


def identity(run: Path) -> dict[str, str]:
    """Return checksums that identify a model.

    Returns:
        ``model``: SHA-256 of the run's ``model.json``, which knows the weights; a run and what was exported from it are the
        same model. ``file``: that of an exported file. "" where the file is missing or damaged; opening it says why.
    """
    if not is_onnx(run):
        return {"model": file_sha256(run / MODEL) if (run / MODEL).is_file() else ""}
    try:
        return {"model": read_description(run).model, "file": file_sha256(run)}
    except RunError:
        return {"model": "", "file": ""}


def class_names(run: Path) -> tuple[str, ...]:
    """Return the names of all classes as text, in the model's order.

    Raises:
        RunError: it holds no finished run, or is damaged.
    """
    classes = read_description(run).classes if is_onnx(run) else read_model_record(run).meta.classes
    return tuple(map(as_text, classes))
