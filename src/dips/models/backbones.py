"""Networks of timm: the frozen transformer that gives class-token attention (paper 3.1), and CNNs.

The one file that knows timm. Images come in as ``(B, 3, H, W)`` float in [0, 1]; each network normalises them itself, as
it was trained.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import timm
import torch
import torch.nn.functional as F
from timm.layers import apply_rot_embed_cat
from torch import Tensor, nn

from dips.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from dips.models.weights import Weights

__all__ = [
    "Features",
    "Normalise",
    "Transformer",
    "build_cnn",
    "cnn_config",
    "hub_entry",
    "is_transformer",
    "load_cnn",
    "load_transformer",
    "random_transformer",
]

_TRANSFORMERS = ("vision_transformer", "eva", "deit")
_BLOCKS = ("Block", "EvaBlock")
_ATTENTION = ("Attention", "AttentionRope", "EvaAttention")


@dataclass(frozen=True, slots=True)
class Features:
    """What the transformer's last block says about a batch; ``h, w`` count patches.

    Attributes:
        attention: ``(B, heads, h, w)``, the class token's softmaxed attention. The softmax runs over all tokens, so a
            map sums to less than 1 by what class and register tokens receive.
        keys: ``(B, h, w, D)``, keys of the patches, heads concatenated; before rotary position embedding.
        cls: ``(B, C)``, the class token after the final norm.
    """

    attention: Tensor
    keys: Tensor
    cls: Tensor


class Normalise(nn.Module):
    """``(images - mean) / std`` per channel; the constants are saved with the network."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Iterable[float], std: Iterable[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class _LastBlock(nn.Module):
    """A transformer block worked out for the class token alone, remembering how it attended.

    Nothing after the last block reads the patch tokens, so one row of the attention suffices, and projection and MLP run
    on one token. Fused attention never forms the row; here it is explicit.
    """

    def __init__(self, block: nn.Module, prefix: int) -> None:
        super().__init__()
        self.block = block
        self.prefix = prefix
        self.attention: Tensor | None = None
        self.keys: Tensor | None = None

    def forward(self, x: Tensor, rope: Tensor | None = None, **_: Any) -> Tensor:
        """All tokens ``(B, N, C)`` before the block to the class token ``(B, 1, C)`` after it."""
        block = cast(Any, self.block)
        attn = block.attn
        tokens = block.norm1(x)
        q, k, v = _project(attn, tokens)
        self.keys = k[:, :, self.prefix :].transpose(1, 2).flatten(2)
        if rope is not None:  # the class token has no position: its query stays
            layout = {"half": True} if getattr(attn, "rotate_half", False) else {}
            patches = apply_rot_embed_cat(k[:, :, self.prefix :], rope, **layout)
            k = torch.cat([k[:, :, : self.prefix], patches], dim=2).type_as(v)
        groups = q.shape[1] // k.shape[1]
        if groups > 1:
            k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        row = ((q[:, :, :1] * attn.scale) @ k.transpose(-2, -1)).float().softmax(dim=-1)
        self.attention = row[:, :, 0, self.prefix :]
        out = (row.type_as(v) @ v).transpose(1, 2).flatten(2)
        if (norm := getattr(attn, "norm", None)) is not None:
            out = norm(out)
        if (gate := getattr(attn, "gate", None)) is not None:
            out = out * gate(tokens[:, :1]).sigmoid()
        cls = x[:, :1] + _scaled(block, 1, attn.proj(out))
        return cls + _scaled(block, 2, block.mlp(block.norm2(cls)))


def _project(attn: Any, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values ``(B, heads, N, d)`` of timm's attention modules."""
    if getattr(attn, "qkv", None) is None:
        q, k, v = attn.q_proj(tokens), attn.k_proj(tokens), attn.v_proj(tokens)
    else:
        bias = attn.qkv.bias
        if getattr(attn, "q_bias", None) is not None:
            bias = torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])
        q, k, v = F.linear(tokens, attn.qkv.weight, bias).chunk(3, dim=-1)
    q, k, v = (x.unflatten(-1, (-1, attn.head_dim)).transpose(1, 2) for x in (q, k, v))
    return attn.q_norm(q), attn.k_norm(k), v


def _scaled(block: Any, branch: int, x: Tensor) -> Tensor:
    if hasattr(block, f"ls{branch}"):
        return cast(Tensor, getattr(block, f"ls{branch}")(x))
    gamma = getattr(block, f"gamma_{branch}")
    return x if gamma is None else gamma * x


class Transformer(nn.Module):
    """A frozen timm ViT with class token (DINO, DINOv2, DINOv3, supervised ones).

    Attributes:
        patch: side of a patch in pixels.
        heads: attention heads of the last block.
        prefix: tokens before the patches (class token, registers).
        dim: length of a patch's key.
        width: length of ``cls``.
    """

    def __init__(self, net: nn.Module, name: str) -> None:
        """``net`` is changed: its last block is replaced.

        Raises:
            WeightsError: ``net`` is no ViT with a class token whose attention we can read.
        """
        super().__init__()
        vit = cast(Any, net)
        if getattr(vit, "blocks", None) is None or not hasattr(vit, "num_prefix_tokens"):
            raise WeightsError(_no_transformer(name))
        if getattr(vit, "cls_token", None) is None:
            raise WeightsError(f"harvest.sst: '{name}' has no class token, so no attention maps; choose e.g. a DINO model")
        block = vit.blocks[-1]
        if type(block).__name__ not in _BLOCKS or type(block.attn).__name__ not in _ATTENTION:
            raise WeightsError(
                f"harvest.sst: the attention of '{name}' cannot be read ({type(block).__name__}); "
                "choose a plain ViT, e.g. vit_small_patch16_224.dino"
            )
        self.name = name
        self.patch = int(vit.patch_embed.patch_size[0])
        self.prefix = int(vit.num_prefix_tokens)
        self.heads = int(block.attn.num_heads)
        self.dim = int(getattr(block.attn, "num_kv_heads", self.heads) * block.attn.head_dim)
        self.width = int(vit.embed_dim)
        self.normalise = Normalise(vit.pretrained_cfg["mean"], vit.pretrained_cfg["std"])
        self.last = vit.blocks[-1] = _LastBlock(block, self.prefix)
        self.net = net
        self.requires_grad_(False).train(False)

    def train(self, mode: bool = True) -> Transformer:
        """Stays in evaluation mode: the transformer is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Features:
        """Attention, keys and class token of ``(B, 3, H, W)`` images in [0, 1]; H and W are multiples of ``patch``."""
        height, width = images.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ConfigError(
                f"harvest.sizes: {self.name} sees patches of {self.patch} pixels, and {height} x {width} is no multiple of that"
            )
        grid = (height // self.patch, width // self.patch)
        cls = cast(Any, self.net).forward_features(self.normalise(images))[:, 0]
        attention, keys = self.last.attention, self.last.keys
        self.last.attention = self.last.keys = None
        assert attention is not None and keys is not None
        return Features(attention.unflatten(-1, grid), keys.unflatten(1, grid), cls)


def is_transformer(name: str) -> bool | None:
    """Whether timm's model ``name`` belongs to its ViT families; None if timm has no such model."""
    if not timm.is_model(name):
        return None
    return timm.model_entrypoint(name.partition(".")[0]).__module__.rpartition(".")[2] in _TRANSFORMERS


def hub_entry(name: str) -> tuple[str, tuple[str, ...], str] | None:
    """Repository, file names to try in order, and licence of timm's weights called ``name``; None if there are none."""
    config = _pretrained_config(name)
    if config is None or not config.hf_hub_id:
        return None
    files = (config.hf_hub_filename,) if config.hf_hub_filename else ("model.safetensors", "pytorch_model.bin")
    return config.hf_hub_id, files, config.license or ""


def cnn_config(name: str) -> dict[str, tuple[float, ...]]:
    """``mean`` and ``std`` that timm's model ``name`` expects."""
    config = _pretrained_config(name)
    if config is None:
        raise WeightsError(_unknown(name))
    return {"mean": tuple(config.mean), "std": tuple(config.std)}


def build_cnn(name: str, classes: int = 0, *, stride: int = 32) -> nn.Module:
    """timm's CNN ``name`` with random weights; without classes it answers pooled features ``(B, F)``.

    Args:
        stride: pixels of the photo per pixel of the last feature map; below 32 the last stages are dilated instead of
            strided, with the same weights.

    Raises:
        WeightsError: there is no such network, or it cannot have this stride.
    """
    return _create(name, num_classes=classes, **({} if stride == 32 else {"output_stride": stride}))


def random_transformer(name: str, *, seed: int = 0, **overrides: Any) -> Transformer:
    """A transformer with random weights, for tests and timing; ``overrides`` are timm's, e.g. ``depth=2``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Transformer(_create(name, num_classes=0, **({"dynamic_img_size": True} | overrides)), name)


def load_transformer(weights: Weights) -> Transformer:
    """The frozen transformer of ``weights``.

    Raises:
        WeightsError: the weights do not fit their architecture, or it has no class-token attention.
    """
    if is_transformer(weights.arch) is False:
        raise WeightsError(_no_transformer(weights.arch))
    net = _fitted(weights, weights.state, num_classes=0, dynamic_img_size=True)
    return Transformer(net, weights.arch)


def load_cnn(weights: Weights, classes: int | None = None) -> nn.Module:
    """timm's CNN with ``weights``.

    Args:
        weights: as resolved; tensors that carry other names but timm's order and shapes are renamed.
        classes: None keeps the classifier of the weights, 0 leaves it away, N puts a random one in its place.

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
    """The network with ``state`` loaded strictly, by way of timm, which knows foreign names and resamples positions."""
    config = _pretrained_config(weights.arch)
    if config is None:
        raise WeightsError(_unknown(weights.arch))
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
            raise ValueError("another patch size")  # timm would resample the patches without a word
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
    """What differs, in words: the first few of each kind."""
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
    if _pretrained_config(name) is None:
        raise WeightsError(_unknown(name))
    try:
        return timm.create_model(name, pretrained=False, **arguments).eval()
    except (TypeError, RuntimeError, ValueError, AssertionError) as error:
        raise WeightsError(f"timm cannot build '{name}' for this use ({error}); choose another model") from error


def _shapes(name: str, **arguments: Any) -> dict[str, torch.Size]:
    """Names and shapes of the network's tensors, in order; mostly without allocating or initialising them."""
    try:
        with torch.device("meta"):
            net = _create(name, **arguments)
    except (WeightsError, NotImplementedError):  # some networks compute while being built
        net = _create(name, **arguments)
    return {key: value.shape for key, value in net.state_dict().items()}


def _pretrained_config(name: str) -> Any:
    """timm's entry for ``name``; None if there is no such model or tag."""
    if not timm.is_model(name):
        return None
    try:
        return timm.get_pretrained_cfg(name, allow_unregistered=True)
    except RuntimeError:  # the tag is unknown
        return None


def _no_transformer(name: str) -> str:
    return f"harvest.sst: '{name}' is no vision transformer; choose one, e.g. vit_small_patch16_224.dino"


def _unknown(name: str) -> str:
    base = name.partition(".")[0]
    if timm.is_model(base) and base != name:
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{base}.*")]
        return f"timm knows no weights '{name.partition('.')[2]}' of {base}; there are {', '.join(tags) or 'none'}"
    close = difflib.get_close_matches(base, timm.list_models(), n=1)
    return f"timm has no model '{name}'{f'; did you mean {close[0]}?' if close else '; see timm.list_models()'}"
