"""A comparison in seconds: drawn scenes, tiny networks, and methods that count how often they are asked."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dips.comparison import compare
from dips.config import Config, to_toml

Compare = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DIPS_WEIGHTS", raising=False)
    monkeypatch.setenv("DIPS_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dips.demo.scenes import write_sample

    folder = tmp_path_factory.mktemp("scenes") / "data"
    write_sample(folder, train=10, test=6, size=(80, 64))
    return folder


@pytest.fixture
def run(scenes: Path, tmp_path: Path, tiny_config: Config, tiny_weights: Path) -> Compare:
    """``run(methods, **options)`` compares on the scenes, or ``data``, in ``tmp_path / "out"``."""
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(to_toml(tiny_config), encoding="utf-8")

    def call(methods: Any, *, data: Path = scenes, **more: Any) -> dict[str, Any]:
        given: dict[str, Any] = {"out": tmp_path / "out", "recipe": recipe, "store": tmp_path / "store", "device": "cpu"}
        return compare(data, methods=methods, weights=[str(tiny_weights)], budget=0.001, **(given | more))

    return call


@pytest.fixture
def kinds() -> Any:
    """The methods of ``methods.py``, with the count of fits at 0."""
    name = "comparison_methods"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("methods.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
