"""A model as one ONNX file that needs no torch, written only if it predicts the same as the model.

In: the networks of a run and photos. Out: the file, which :mod:`dips.export.onnx_model` reads, and how far its outputs are from
torch's.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch.export import Dim

from dips.data.depth import Depth
from dips.data.images import ByteImage, image_size, read_image, resize_image
from dips.errors import ImageError, RunError
from dips.export.description import KEY, Description
from dips.export.graph import Graph
from dips.export.int8 import to_int8
from dips.export.onnx_model import CELLS, INPUT, OUTPUTS, OnnxNetworks
from dips.export.resampling import ANTIALIASED
from dips.models.networks import Networks
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor
from dips.system.console import counted, log
from dips.system.files import atomic_file
from dips.system.journal import refuse_existing
from dips.types import Answer, FloatArray, PhotoBatch

__all__ = ["OPSET", "ExportCheck", "compare_answers", "export_onnx", "require_new", "to_bytes"]

OPSET = 18
"""The opset that torch's exporter is made for."""

_MAX_WEIGHT_BYTES = 2_000_000_000  # of a file; protobuf is limited to 2 GiB
_MAX_INT8_DIFFERENCE = 0.05  # measured: 0.005 to 0.02 (docs/export.md); a model that quantisation broke is far above


@dataclass(frozen=True)
class ExportCheck:
    """How far an exported file deviates from torch on some photos.

    Attributes:
        photos: number of photos compared.
        score_map, probabilities: largest absolute differences; the latter include the cells' classes, if the file has them.
        mean: mean absolute difference of the score maps.
        other_boxes: photos whose boxes differ by more than a pixel, or whose class, or that of a box, differs.
    """

    photos: int
    score_map: float
    probabilities: float
    mean: float
    other_boxes: tuple[Path, ...]

    def line(self) -> str:
        """Return the comparison in words."""
        same = self.photos - len(self.other_boxes)
        return (
            f"largest difference to torch on {counted(self.photos, 'photo')}: {self.score_map:.1e} in score maps "
            f"(mean {self.mean:.1e}), "
            f"{self.probabilities:.1e} in probabilities; the same boxes in {same} of {self.photos}"
        )


def export_onnx(
    networks: Networks,
    path: Path,
    *,
    about: Description,
    photos: Sequence[Path],
    tolerance: float = 1e-3,
    calibration: Sequence[Path] = (),
) -> ExportCheck:
    """Write ``networks``, which must be on the CPU, as an ONNX file.

    Args:
        path: the file; its name ends in ``.onnx``.
        about: the file's description of itself.
        photos: photos to compare torch and onnxruntime on.
        tolerance: the largest difference of a score or a probability that is accepted.
        calibration: training photos; if given, the accepted model is written in 8 bits, and the result says how far that file
            is from torch.

    Raises:
        RunError: the file already exists or cannot be written, a package is missing, the file would predict differently from
            the model, or no photo can be read; nothing is written then.
    """
    require_new(path)
    data = to_bytes(networks, about)
    check = compare_answers(networks, OnnxNetworks(data, str(path), "cpu"), photos)
    if not (check.score_map <= tolerance and check.probabilities <= tolerance):  # NaN is refused, too
        remedy = "report it, or accept it with --tolerance"
        if not (math.isfinite(check.score_map) and math.isfinite(check.probabilities)):
            remedy = "the model's weights are damaged, or too large: copy it again, or train again"
        raise RunError(f"{path} was not written: {check.line()}, which is more than the tolerance of {tolerance:g}; {remedy}")
    if calibration:
        small = msgspec.structs.replace(about, precision="int8")
        data = _describe(to_int8(data, about.side, calibration, about.depth), small)
        check = compare_answers(networks, OnnxNetworks(data, str(path), "cpu"), photos)
        if not (check.mean <= _MAX_INT8_DIFFERENCE and check.probabilities <= 1):  # NaN is refused, too
            raise RunError(
                f"{path} was not written: in 8 bits score maps differ by {check.mean:.2g} in the mean (accepted: up to "
                f"{_MAX_INT8_DIFFERENCE:g}), probabilities by up to {check.probabilities:.2g}; give other training photos to "
                "--int8, or leave it out"
            )
    with atomic_file(path, "wb") as file:
        require_new(path)  # again, as the export took a while
        file.write(data)
    return check


def require_new(path: Path) -> None:
    """Check that a file called ``path`` may be created and would be recognised as an exported model.

    Raises:
        RunError: it may not, or would not.
    """
    if path.suffix.lower() != ".onnx":
        raise RunError(f"{path}: the name of an exported model must end in .onnx, by which it is told from a run folder")
    if path.exists():
        refuse_existing(path)


def to_bytes(networks: Networks, about: Description) -> bytes:
    """Export networks, which must be on the CPU, to the bytes of an ONNX file.

    Raises:
        RunError: a package is missing, the networks are too large, or torch cannot export them.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401  # torch's exporter is built on both
    except ImportError as error:
        raise RunError(f'the export needs onnx and onnxscript ({error}); pip install "dips-wsol[export]"') from error
    graph = Graph(networks).eval()
    held = {id(value): value.nbytes for value in (*graph.parameters(), *graph.buffers())}
    if sum(held.values()) > _MAX_WEIGHT_BYTES:
        raise RunError(f"the networks have {sum(held.values()) / 1e9:.1f} GB of weights, more than one ONNX file can hold")
    side = networks.side
    sample = torch.zeros(2, side + 32, side + 16, 3, dtype=torch.uint8)  # three different sides
    # traced with photos above the side, as torch would trace squares separately; the file's operators work for all sizes
    sizes = {0: Dim("batch"), 1: Dim("height", min=side + 1), 2: Dim("width", min=side + 1), 3: Dim.STATIC}
    with warnings.catch_warnings(), torch.no_grad():
        # the exporter itself uses what torch calls deprecated, and folds weights that may overflow; outputs are compared later
        for category in (DeprecationWarning, FutureWarning, RuntimeWarning):
            warnings.simplefilter("ignore", category)
        try:
            traced = torch.export.export(graph, (sample,), dynamic_shapes=(sizes,)).run_decompositions(ANTIALIASED)
            program = torch.onnx.export(
                traced,
                (sample,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[*OUTPUTS, *([CELLS] if networks.object_classes else [])],
                dynamic_shapes=(sizes,),
                external_data=False,
                verbose=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
            first = (str(error).splitlines() or [""])[0]
            raise RunError(f"torch {torch.__version__} cannot export these networks ({first}); try a newer version") from error
    if program is None:
        raise RunError(f"torch {torch.__version__} exported nothing; try a newer version")
    return _describe(program.model_proto, about)


def _describe(model: Any, about: Description) -> bytes:
    """Return the file without what the exporter notes about this machine, and with what a reader must know."""
    import onnx

    for item in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info, model.graph, model):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    for function in model.functions:
        for item in (function, *function.node):
            item.ClearField("metadata_props")
            item.ClearField("doc_string")
    model.producer_name, model.producer_version = "dips", about.dips
    notes = sorted({note for item in about.weights.values() if (note := item.get("note"))})
    model.doc_string = f"DiPS localizer, exported by dips {about.dips}. Pretrained weights: {'; '.join(notes) or 'none'}."
    onnx.helper.set_model_props(model, {KEY: about.to_json()})
    return bytes(model.SerializeToString())


def compare_answers(networks: Networks, exported: OnnxNetworks, photos: Sequence[Path]) -> ExportCheck:
    """Compare the outputs of torch and onnxruntime on the same photos, for one of them also at its own size.

    Raises:
        RunError: no photo can be read.
    """
    about = exported.description
    config = about.predict if about.predict.threshold >= 0 else dataclasses.replace(about.predict, threshold=0.5)
    predictor = Predictor(
        exported, config=config, classes=about.classes, background=about.background, photo_side=about.photo_side
    )
    count, score_map, probabilities, total = 0, 0.0, 0.0, 0.0
    other: list[Path] = []
    for batch in _batches(photos, about.side, about.depth):
        squares = PhotoBatch(np.stack([square for _, square in batch]))
        one, two = networks.answer(squares), exported.answer(squares)
        score_map, probabilities = _largest(one, two, score_map, probabilities)
        total += float(np.abs(one.maps - two.maps).mean()) * len(batch)
        if not count:
            whole = read_image(batch[0][0], depth=about.depth)
            with torch.inference_mode():
                said = [item.numpy() for item in Graph(networks)(torch.from_numpy(whole)[None])]
            unresized = exported.answer(PhotoBatch(whole[None]))
            score_map, probabilities = _largest(Answer(*said), unresized, score_map, probabilities)
        for i, (path, _) in enumerate(batch):
            count += 1
            if not (np.isfinite(one.maps[i]).all() and np.isfinite(two.maps[i]).all()):  # there are no boxes to compare
                other.append(path)
                continue
            size = image_size(path)
            there, here = (
                predictor.make_prediction(
                    path,
                    size,
                    answer.maps[i],
                    answer.probabilities[i],
                    cells=None if answer.cells is None else answer.cells[i],
                )
                for answer in (one, two)
            )
            if (there.label, there.box_labels) != (here.label, here.box_labels) or not _same_boxes(there, here):
                other.append(path)
    if not count:
        raise RunError("no photo could be read to compare torch and onnxruntime on; give others with --photos")
    return ExportCheck(count, score_map, probabilities, total / count, tuple(other))


def _same_boxes(one: Prediction, two: Prediction) -> bool:
    return one.boxes.shape == two.boxes.shape and bool(np.abs(one.boxes - two.boxes).max(initial=0) <= 1)


def _largest(one: Answer, two: Answer, score_map: float, probabilities: float) -> tuple[float, float]:
    maps = np.abs(one.maps - two.maps).max()
    classes = np.abs(one.probabilities - two.probabilities).max()
    if one.cells is not None and two.cells is not None:
        classes = np.maximum(classes, np.abs(_odds(one.cells) - _odds(two.cells)).max())
    return float(np.maximum(maps, score_map)), float(np.maximum(classes, probabilities))  # NaN stays NaN


def _odds(cells: FloatArray) -> FloatArray:
    """Return probabilities of the classes in each cell, from logits ``(B, C, h, w)``."""
    powers = np.exp(cells - cells.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _batches(photos: Sequence[Path], side: int, depth: Depth) -> Iterator[list[tuple[Path, ByteImage]]]:
    remaining = iter(photos)
    while group := list(islice(remaining, 4)):
        batch = []
        for path in group:
            try:
                batch.append((path, resize_image(read_image(path, max_side=side, depth=depth), (side, side))))
            except ImageError as error:
                log(f"not compared: {error}")
        if batch:
            yield batch
