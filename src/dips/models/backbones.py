"""timm's networks, with or without weights: transformers (wrapped by :mod:`dips.models.transformer`) and CNNs.

Only this module builds timm's networks. Images come in as ``(B, 3, H, W)`` float in [0, 1]; each network normalises them
itself, as in its training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from dips.errors import WeightsError
from dips.models.dilation import split_dilated
from dips.models.names import is_transformer, pretrained_config, unknown_name
from dips.models.transformer import Features, Normalise, Transformer, Vit, no_transformer
from dips.models.weights.resolve import Weights

__all__ = [
    "Features",
    "Normalise",
    "Transformer",
    "Vit",
    "build_cnn",
    "load_cnn",
    "load_transformer",
    "load_vit",
    "stages",
    "watched_outputs",
]


def build_cnn(name: str, classes: int = 0, *, stride: int = 32) -> nn.Module:
    """Build timm's CNN ``name`` with random weights; without classes it returns pooled features ``(B, F)``.

    Args:
        classes: number of outputs of its last layer; 0 = it has none.
        stride: pixels of the photo per pixel of the last feature map; below 32 the last stages are dilated instead of
            strided, with the same weights.

    Raises:
        WeightsError: there is no such network, or it does not support this stride.
    """
    if stride == 32:
        return _create(name, num_classes=classes)
    return split_dilated(_create(name, num_classes=classes, output_stride=stride))


def stages(net: nn.Module) -> list[tuple[nn.Module, int]]:
    """Return the modules of timm's CNN ``net`` that end its stages, from fine to coarse, and the number of channels of each.

    Their outputs are ``(B, channels, h, w)``. The last need not be the feature map: layers without a stage may follow.
    """
    return [(net.get_submodule(stage["module"]), int(stage["num_chs"])) for stage in cast(Any, net).feature_info]


@contextmanager
def watched_outputs(modules: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect the outputs of modules while they run, in order."""
    outputs: list[Tensor] = []
    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(module.register_forward_hook(lambda module, inputs, output: outputs.append(output)))
        yield outputs


def load_transformer(weights: Weights) -> Transformer:
    """Build the frozen transformer of ``weights``.

    Raises:
        WeightsError: the weights do not fit their architecture, or it has no class-token attention.
    """
    return Transformer(_vit(weights), weights.arch)


def load_vit(weights: Weights) -> Vit:
    """Build the transformer of ``weights`` as a trainable one.

    Raises:
        WeightsError: as :func:`load_transformer`.
    """
    return Vit(_vit(weights), weights.arch)


def _vit(weights: Weights) -> nn.Module:
    if is_transformer(weights.arch) is False:
        raise WeightsError(no_transformer(weights.arch))
    return _fitted(weights, weights.state, num_classes=0, dynamic_img_size=True)


def load_cnn(weights: Weights, classes: int | None = None) -> nn.Module:
    """Build timm's CNN with ``weights``.

    Args:
        weights: as resolved; tensors with other names, but in timm's order and shapes, are renamed.
        classes: None keeps the last layer of the weights, 0 drops it, N replaces it by a random one.

    Raises:
        WeightsError: the weights do not fit the architecture.
    """
    expected = _shapes(weights.arch)
    state = dict(weights.state)
    if not expected.keys() & state.keys() and [value.shape for value in state.values()] == list(expected.values()):
        state = dict(zip(expected, state.values(), strict=True))
    if classes is None:
        return _fitted(weights, state)
    net = _fitted(weights, state, num_classes=0)
    if classes:
        cast(Any, net).reset_classifier(classes)
    return net


def _fitted(weights: Weights, state: Mapping[str, Tensor], **arguments: Any) -> nn.Module:
    """Build a network and load ``state`` strictly through timm, which converts foreign names and resamples positions."""
    config = pretrained_config(weights.arch)
    if config is None:
        raise WeightsError(unknown_name(weights.arch))
    state = dict(state)
    overlay: dict[str, Any] = {"custom_load": False}
    if arguments.get("num_classes") == 0:
        # timm would give up strictness for a dropped classifier, so it is dropped here
        heads = (config.classifier,) if isinstance(config.classifier, str) else config.classifier or ()
        for head in heads:
            state.pop(f"{head}.weight", None)
            state.pop(f"{head}.bias", None)
        overlay |= {"num_classes": 0, "classifier": None, "label_offset": 0}
    expected = _shapes(weights.arch, **arguments)
    patch = "patch_embed.proj.weight"
    resized = patch in state and patch in expected and state[patch].shape[1:] != expected[patch][1:]
    try:
        if resized and state[patch].ndim == 4:
            raise ValueError("another patch size")  # timm would silently resample the patches
        net = timm.create_model(
            weights.arch, pretrained=True, pretrained_cfg_overlay=overlay | {"state_dict": state}, **arguments
        )
    except (RuntimeError, ValueError, KeyError, AssertionError, AttributeError, TypeError, IndexError) as error:
        raise WeightsError(
            f"{weights.origin} does not hold the weights of {weights.arch}: {_misfit(state, expected) or error}; "
            "name their architecture as NAME=FILE or in the settings"
        ) from error
    cast(Any, net).pretrained_cfg.pop("state_dict", None)
    return net.eval()


def _misfit(state: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> str:
    """Return the differences in words: the first few of each kind."""
    kinds = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "of another shape": [
            f"{name} ({'x'.join(map(str, state[name].shape))}, not {'x'.join(map(str, expected[name]))})"
            for name in expected
            if name in state and state[name].shape != expected[name]
        ],
    }
    return "; ".join(
        f"{len(names)} {kind}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        for kind, names in kinds.items()
        if names
    )


def _create(name: str, **arguments: Any) -> nn.Module:
    if pretrained_config(name) is None:
        raise WeightsError(unknown_name(name))
    try:
        return timm.create_model(name, pretrained=False, **arguments).eval()
    except (TypeError, RuntimeError, ValueError, AssertionError) as error:
        raise WeightsError(f"timm cannot build '{name}' for this use ({error}); choose another model") from error


def _shapes(name: str, **arguments: Any) -> dict[str, torch.Size]:
    """Return names and shapes of the network's tensors, in order; mostly without allocating or initialising them."""
    try:
        with torch.device("meta"):
            net = _create(name, **arguments)
    except (WeightsError, NotImplementedError):  # some networks compute while being built
        net = _create(name, **arguments)
    return {key: value.shape for key, value in net.state_dict().items()}
