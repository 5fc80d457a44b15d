"""The initialisers of an ONNX file as a state dict; the only place that reads the ``onnx`` package's format.

An exporter keeps the names of most parameters, but turns ``Linear`` into an anonymous, transposed MatMul constant, and
folds position embeddings into anonymous constants. The former get their name back from the bias that is added next, the latter
from their shape. If the file contains a Dinov2 of the transformers library, it is renamed to timm's ``vit_*_patch14_dinov2``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dips.errors import WeightsError

__all__ = ["read_onnx"]

_Arrays = dict[str, NDArray[Any]]

_EMBEDDINGS = "backbone.embeddings."
_LAYER = re.compile(r"backbone\.encoder\.layer\.(\d+)\.(.+)")
_IN_BLOCK = {
    "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "norm1": "norm1",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def read_onnx(path: Path) -> dict[str, Tensor]:
    """Read the tensors of ``path`` by parameter name.

    Raises:
        WeightsError: ``onnx`` is not installed, the file is damaged, or it stores tensors in other files.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise WeightsError(f'{path} needs the package onnx: pip install "dips-wsol[demo]"') from error
    try:
        graph = onnx.load(path, load_external_data=False).graph
        # to_array would read them: any file that the weights name, and its bytes would become part of a trained model
        if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in graph.initializer):
            raise WeightsError(f"{path} keeps tensors in other files, which are not read; save it again as one file")
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    except WeightsError:
        raise
    except Exception as error:  # damaged files make the package raise nearly anything
        raise WeightsError(f"{path} is damaged or incomplete; fetch it again ({error})") from error
    named = arrays | _linear_weights(graph, arrays)
    if f"{_EMBEDDINGS}cls_token" in named:
        try:
            named = _dinov2(named)
        except (KeyError, ValueError) as error:
            raise WeightsError(
                f"{path}: cannot make out the DINOv2 inside ({error}); give the weights in another form"
            ) from error
    return {name: torch.from_numpy(np.array(array)) for name, array in named.items()}


def _linear_weights(graph: Any, arrays: _Arrays) -> _Arrays:
    """Return the anonymous matrices of linear layers, named after the bias that is added next."""
    producer = {output: node for node in graph.node for output in node.output}
    weights: _Arrays = {}
    for node in graph.node:
        if node.op_type != "Add":
            continue
        for bias, other in (tuple(node.input), tuple(node.input)[::-1]):
            product = producer.get(other)
            if bias not in arrays or not bias.endswith(".bias") or product is None or product.op_type != "MatMul":
                continue
            factor = [name for name in product.input if name in arrays]
            if len(factor) == 1:
                weights[bias.removesuffix("bias") + "weight"] = arrays[factor[0]].T
    return weights


def _dinov2(arrays: _Arrays) -> _Arrays:
    """Rename the tensors of a Dinov2 of the transformers library to timm's names.

    Raises:
        KeyError, ValueError: tensors are missing or ambiguous.
    """
    state: _Arrays = {
        "cls_token": arrays[f"{_EMBEDDINGS}cls_token"],
        "patch_embed.proj.weight": arrays[f"{_EMBEDDINGS}patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": arrays[f"{_EMBEDDINGS}patch_embeddings.projection.bias"],
        "norm.weight": arrays["backbone.layernorm.weight"],
        "norm.bias": arrays["backbone.layernorm.bias"],
    }
    tokens = {
        name: array for name, array in arrays.items() if array.ndim == 3 and array.shape[::2] == (1, state["norm.weight"].size)
    }
    class_position = [array for name, array in tokens.items() if array.shape[1] == 1 and not name.endswith("_token")]
    patch_position = [array for array in tokens.values() if array.shape[1] > 1]
    if len(class_position) != 1 or len(patch_position) != 1:
        raise ValueError(f"{len(class_position)} class and {len(patch_position)} patch position embeddings")
    state["pos_embed"] = np.concatenate([class_position[0], patch_position[0]], axis=1)
    blocks = set()
    for name, array in arrays.items():
        if match := _LAYER.fullmatch(name):
            blocks.add(match[1])
            module, _, kind = match[2].rpartition(".")
            new = _IN_BLOCK.get(match[2]) or (f"{_IN_BLOCK[module]}.{kind}" if module in _IN_BLOCK else None)
            if new is not None:
                state[f"blocks.{match[1]}.{new}"] = array
    for block in blocks:
        attention = f"backbone.encoder.layer.{block}.attention.attention."
        for kind in ("weight", "bias"):
            parts = [arrays[f"{attention}{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"blocks.{block}.attn.qkv.{kind}"] = np.concatenate(parts)
    return state
