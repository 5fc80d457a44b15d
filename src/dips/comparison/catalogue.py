"""Which methods there are, and in which order they can be fitted.

In: what a user typed after ``--methods``. Out: methods, those first that others build on.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from dips.baselines.acol import ACoL
from dips.baselines.adl import Adl
from dips.baselines.c2am import C2am
from dips.baselines.cam import Cam, CamIvr, CamMax, CamPas
from dips.baselines.cutmix import CutMix
from dips.baselines.fcam import FCam, FCamLayerCam
from dips.baselines.gradients import GradCam, GradCamPlus, LayerCam
from dips.baselines.has import Has
from dips.baselines.lost import Lost
from dips.baselines.method import ScoreMapMethod
from dips.baselines.spg import Spg
from dips.baselines.tokencut import TokenCut
from dips.baselines.tscam import TsCam
from dips.baselines.untrained import Centre, Head, MeanAttention
from dips.comparison.dips_method import Dips, Linear
from dips.errors import ConfigError
from dips.system.suggestions import closest

__all__ = ["METHODS", "find_methods", "place_of"]

METHODS: dict[str, type[ScoreMapMethod]] = {
    kind.name: kind
    for kind in (
        *(Dips, Linear),
        *(Cam, CamMax, CamPas, CamIvr, LayerCam, GradCam, GradCamPlus),
        *(Has, ACoL, Spg, Adl, CutMix, TsCam, FCam, FCamLayerCam, C2am),
        *(Centre, MeanAttention, Lost, TokenCut),
    )
}
"""Methods by name; single attention heads are named ``head1``, ``head2`` and so on."""


def find_methods(wanted: Iterable[str | ScoreMapMethod], *, heads: Callable[[], int]) -> list[ScoreMapMethod]:
    """Methods with those that they need, in an order in which they can be fitted.

    Args:
        wanted: names, in any case; ``heads`` stands for every head, ``all`` for everything; ``FILE.py:CLASS`` for a method of
            one's own; or a method.
        heads: gives the number of heads of the transformer; called only if one is asked for.

    Raises:
        ConfigError: there is no such method.
    """
    found: dict[str, ScoreMapMethod] = {}
    unknown: list[str] = []

    def add(method: ScoreMapMethod) -> None:
        if method.name in found:
            return
        for need in method.needs:
            if need not in found:
                add(_made(need, heads))
        found[method.name] = method

    for item in wanted:
        if isinstance(item, ScoreMapMethod):
            _require_attributes(type(item).__name__, item)
            add(item)
            continue
        for name in _names(item, heads):
            if name not in found:
                try:
                    add(_made(name, heads))
                except _UnknownError as error:
                    unknown.append(str(error))
    if unknown:  # all of them at once
        names = ", ".join([*METHODS, "heads", "head1, head2 and so on", "all"])
        raise ConfigError(f"--methods: there is no method {', no method '.join(unknown)}; there are {names}, or FILE.py:CLASS")
    return list(found.values())


def place_of(name: str) -> tuple[int, str]:
    """Sorts names as the catalogue does: single heads after the others, unknown methods last."""
    known = list(METHODS)
    number = name.removeprefix("head")
    if name in METHODS:
        return known.index(name), ""
    return (len(known), number.zfill(4)) if number != name and number.isdigit() else (len(known) + 1, name)


class _UnknownError(Exception):
    """A name that is none, in quotes, with what may be meant."""


def _names(item: str, heads: Callable[[], int]) -> Sequence[str]:
    item = item if ".py" in item else item.lower()
    if item not in ("all", "heads"):
        return [item]
    every = [f"head{i + 1}" for i in range(heads())]
    return [*METHODS, *every] if item == "all" else every


def _made(name: str, heads: Callable[[], int]) -> ScoreMapMethod:
    if name in METHODS:
        return METHODS[name]()
    number = name.removeprefix("head")
    if name.startswith("head") and number.isdigit() and 1 <= int(number) <= heads():
        return Head(int(number))
    if ".py:" in name or name.endswith(".py"):
        return _own(name)
    raise _UnknownError(f"'{name}'{closest(name, [*METHODS, 'heads', 'all'])}")


def _require_attributes(kind: str, method: ScoreMapMethod) -> None:
    """See that a method says what the table needs.

    Raises:
        ConfigError: it does not.
    """
    if missing := [name for name in ("name", "title", "paper") if not isinstance(getattr(method, name, None), str)]:
        raise ConfigError(f'--methods: {kind} lacks {", ".join(missing)}; write it into the class, e.g. {missing[0]} = "..."')
    if method.labels not in ("none", "image"):
        raise ConfigError(f'--methods: {kind} has labels = {method.labels!r}; it is "none" or "image"')
    if isinstance(method.needs, str):
        raise ConfigError(f"--methods: {kind} has needs = {method.needs!r}; it is a tuple of names, ({method.needs!r},)")


def _own(item: str) -> ScoreMapMethod:
    """A method from a file that the user names."""
    place, _, kind = item.rpartition(":") if ".py:" in item else (item, "", "")
    path = Path(place).expanduser()
    if not path.is_file():
        raise ConfigError(f"--methods {item}: there is no file {path}")
    where = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    name = f"dips_method_{path.stem}_{where}"  # a file of the same name elsewhere is another module
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"--methods {item}: the file cannot be imported ({type(error).__name__}: {error})") from error
    found = getattr(module, kind, None)
    if not (isinstance(found, type) and issubclass(found, ScoreMapMethod)):
        own = [
            n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, ScoreMapMethod) and v.__module__ == name
        ]
        if not kind and own:
            raise ConfigError(f"--methods {item}: add the class: {' or '.join(f'{place}:{each}' for each in own)}")
        there = f"there is {', '.join(own)}" if own else "there is none; derive one from it (docs/compare.md)"
        raise ConfigError(
            f"--methods {item}: {path.name} has no class {kind} that is a ScoreMapMethod{closest(kind, own)}; {there}"
            if kind
            else f"--methods {item}: {path.name} has no class that is a ScoreMapMethod; derive one from it (docs/compare.md)"
        )
    try:
        method = found()
    except TypeError as error:  # abstract, or it wants arguments
        raise ConfigError(f"--methods {item}: {kind} cannot be made ({error})") from error
    _require_attributes(item, method)
    if method.name in METHODS or not re.fullmatch(r"[a-z0-9][a-z0-9+._-]*", method.name):
        raise ConfigError(
            f"--methods {item}: its name, {method.name!r}, must be one of its own, of small letters, digits and + . _ -"
        )
    return method
