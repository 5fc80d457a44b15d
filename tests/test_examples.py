"""The examples in docstrings run and say what they promise; every public class has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import dips
import dips.evaluate as evaluate

MODULES = sorted(module.name for module in pkgutil.walk_packages(dips.__path__, "dips.") if module.name != "dips.__main__")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    if ">>>" not in inspect.getsource(module):
        return
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0 and result.attempted > 0


NEEDS_A_TRAINED_RUN = {"Model"}  # its example stands in the README, which tests/test_package.py checks


def test_public_classes_have_an_example() -> None:
    names = {name: getattr(dips, name) for name in dips.__all__} | {name: getattr(evaluate, name) for name in evaluate.__all__}
    classes = [value for value in names.values() if isinstance(value, type) and not issubclass(value, Exception)]
    lacking = {value.__name__ for value in classes if ">>>" not in (value.__doc__ or "")}
    assert len(classes) > 10 and lacking == NEEDS_A_TRAINED_RUN
