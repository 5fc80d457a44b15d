"""An exported model in 8 bits: weights per channel, activations in the ranges found on calibration photos (static, QDQ).

In: the ONNX file in memory and photos that are not used for measuring. Out: a file of less than half the size, of standard
operators. The first and the last convolution of every network stay in 32 bits, which avoids most of the loss; so do
convolutions that only resize.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dips.data.depth import Depth
from dips.data.images import ByteImage, read_image, resize_image
from dips.errors import ImageError, RunError
from dips.export.onnx_model import INPUT
from dips.system.console import log

__all__ = ["to_int8"]

_OPERATORS = ["Conv", "MatMul"]


def to_int8(data: bytes, side: int, photos: Sequence[Path], depth: Depth | None = None) -> Any:
    """Quantise a model to 8 bits.

    Args:
        data: an ONNX file.
        side: side of the square that its networks see.
        photos: calibration photos.
        depth: how values of more than 8 bits in them are converted to 8.

    Returns:
        The model as an object of the package onnx, without description.

    Raises:
        RunError: no photo can be read, or the model cannot be quantised.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    squares = _squares(photos, side, depth or Depth())
    first = next(squares, None)
    if first is None:
        raise RunError("no photo for the calibration of --int8 could be read; give training photos")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # has no types
        upcoming: ByteImage | None = first

        def get_next(self) -> dict[str, Any] | None:
            square, self.upcoming = self.upcoming, next(squares, None)
            return None if square is None else {INPUT: square[None]}

    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it warns about what is done on purpose
    try:
        with tempfile.TemporaryDirectory() as folder:
            plain, simple, small = (Path(folder) / f"{name}.onnx" for name in ("plain", "simple", "small"))
            plain.write_bytes(data)
            quant_pre_process(str(plain), str(simple), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(simple),
                str(small),
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=_OPERATORS,
                nodes_to_exclude=_outer_convolutions(onnx.load(simple).graph),
            )
            model = onnx.load(small)
            used = {node.domain for node in model.graph.node}
            for item in [item for item in model.opset_import if item.domain not in used]:
                model.opset_import.remove(item)  # onnxruntime lists everything that it knows
    except (MemoryError, OSError):
        raise
    except Exception as error:  # the tool defines no exception class
        raise RunError(f"onnxruntime cannot bring the model into 8 bits ({error}); export it without --int8") from error
    finally:
        logging.disable(disabled)
    return model


def _squares(photos: Sequence[Path], side: int, depth: Depth) -> Iterator[ByteImage]:
    """Yield photos as squares ``(side, side, 3) uint8`` RGB; those that cannot be read are logged and skipped."""
    for path in photos:
        try:
            yield resize_image(read_image(path, max_side=side, depth=depth), (side, side))
        except ImageError as error:
            log(f"not used for calibration: {error}")


def _outer_convolutions(graph: Any) -> list[str]:
    """Return the names of the convolutions that see the photo or resize it, and of those not followed by another one."""
    channels = {tensor.name: tensor.dims[1] for tensor in graph.initializer if len(tensor.dims) > 1}
    followed: set[str] = set()
    outer = []
    for node in reversed(graph.node):  # they are in the order of computation
        leads_on = not followed.isdisjoint(node.output)
        if node.op_type == "Conv":
            width = channels.get(node.input[1], 0) * next((item.i for item in node.attribute if item.name == "group"), 1)
            if not leads_on or width in (1, 3):  # export/resampling.py resizes each channel by itself
                outer.append(node.name)
            leads_on = True
        if leads_on:
            # what locates a crop does not count as followed by the networks that see the crop
            followed.update(node.input[:1] if node.op_type == "GridSample" else node.input)
    return outer
