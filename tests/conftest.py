"""Fixtures for all tests: no network, made photos, and the real ones where they are."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dips.config import Config

MakePhoto = Callable[..., Path]


class NetworkBlocked(ConnectionError):
    """A test tried to reach the network."""


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Every connection but those between processes of this machine's own (Unix sockets) fails at once."""
    patch = pytest.MonkeyPatch()
    local = getattr(socket, "AF_UNIX", None)

    def guard(name: str) -> None:
        original = getattr(socket.socket, name)

        def connect(self: socket.socket, address: Any) -> Any:
            if self.family == local:
                return original(self, address)
            raise NetworkBlocked(f"tests must not reach the network, this one tried {address}")

        patch.setattr(socket.socket, name, connect)

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        raise NetworkBlocked(f"tests must not reach the network, this one looked up {host}")

    guard("connect")
    guard("connect_ex")
    patch.setattr(socket, "getaddrinfo", resolve)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real photos (birds20, insulators, wsol_metadata); tests that need it skip where it is missing."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("DIPS_TEST_DATA") or default)
    if not (folder / "birds20").is_dir():
        pytest.skip(f"no real photos in {folder}; set DIPS_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def make_photo() -> MakePhoto:
    """``make_photo(path, size=(w, h), seed=0, box=None, mode="RGB", **save)`` writes a smooth noisy photo, and its folder.

    With ``box`` (x0, y0, x1, y1) a bright rectangle lies there. The same arguments give the same file.
    """

    def make(
        path: Path,
        size: tuple[int, int] = (32, 24),
        *,
        seed: int = 0,
        box: tuple[int, int, int, int] | None = None,
        mode: str = "RGB",
        **save: Any,
    ) -> Path:
        coarse = np.random.default_rng(seed).integers(0, 160, (4, 4, 3), dtype=np.uint8)
        photo = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        if box is not None:
            photo.paste((255, 230, 40), box)
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.convert(mode).save(path, **save)
        return path

    return make


@pytest.fixture
def class_folders(tmp_path: Path, make_photo: MakePhoto) -> Path:
    """``train/`` and ``test/`` with the classes ``none`` (3 and 1 photos) and ``tower`` (4 and 2 photos)."""
    seed = 0
    for split, none, tower in (("train", 3, 4), ("test", 1, 2)):
        for name, count in (("none", none), ("tower", tower)):
            for number in range(count):
                seed += 1
                box = (8, 6, 20, 18) if name == "tower" else None
                make_photo(tmp_path / "data" / split / name / f"{number}.jpg", seed=seed, box=box)
    return tmp_path / "data"


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random weights of timm's smallest networks."""
    import safetensors.torch
    import torch

    from dips.models.backbones import timm

    folder = tmp_path_factory.mktemp("weights")
    for name in ("test_vit", "test_efficientnet"):
        torch.manual_seed(0)
        safetensors.torch.save_file(timm.create_model(name).state_dict(), folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """Settings that train those networks in a second: one epoch, small photos."""
    networks = {"harvest.sst": "test_vit", "classifier.arch": "test_efficientnet", "localizer.encoder": "test_efficientnet"}
    sides = {"harvest.sizes": [64], "classifier.size": 64, "train.resize": 64, "train.crop": 64, "predict.size": 64}
    return Config().replace(**networks, **sides, **{"train.epochs": 1, "train.batch": 8, "train.crf_size": 16})
